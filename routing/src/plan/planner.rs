//! The way in: from a shape to its plan.

use sqlparser::ast::{Insert, Query, Statement};

use super::conditions::Shardings;
use super::names::{Names, Renaming, Target};
use super::parse::{self, NotParsed, Parsed};
use super::rights::{Need, Needs};
use super::scopes::Scopes;
use super::session::Words;
use super::sides::Placed;
use super::write::{self, Write};
use super::{
    Access, Context, DataPlan, Gather, Keys, MovingSides, Pin, Plan, Replacement, RoutePlan, ServedBy,
    SessionCommand, SidePlan, Sides, Splice, Touch, When, called, catalogue, divided, number, passed, read,
    replica, rights, session, touch,
};
use crate::lex::Lexed;
use crate::lex::words::{self, Token, TokenKind};
use crate::merge::RowProtocol;
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, DatabaseId, MoveId, Side, TableId, is_system};

/// Plans a statement shape; `sql` is the representative that `lexed` was made from.
#[must_use]
pub fn plan(sql: &[u8], lexed: &Lexed, context: Context<'_>) -> Plan {
    if lexed.second_statement.is_some() {
        return Plan::Refused(refusal::MULTIPLE_STATEMENTS.because(""));
    }
    let tokens = words::tokens(sql, &lexed.regions);
    let words = Words { sql, tokens: session::without_semicolons(&tokens) };
    if words.tokens.is_empty() {
        return Plan::Session(SessionCommand::Empty);
    }
    match session::command(words, context.server.flavour) {
        Some(plan) if context.protocol == RowProtocol::Text || !session::selects(&plan) => return plan,
        _ => {}
    }
    match data(sql, lexed, &tokens, context) {
        Ok(mut plan) => {
            let names = Names { topology: context.topology, database: context.database };
            plan.needs.join(rights::of(words, names, context.server.flavour));
            plan.served_by = replica::all_considered(&plan, words);
            Plan::Data(Box::new(plan))
        }
        Err(refusal) => Plan::Refused(refusal),
    }
}

fn data(sql: &[u8], lexed: &Lexed, tokens: &[Token], context: Context<'_>) -> Result<DataPlan, Refusal> {
    let names = Names { topology: context.topology, database: context.database };
    if let Some(refusal) = session::unsupported(sql, tokens) {
        return Err(refusal);
    }
    if let Some(plan) = catalogue::plan(sql, lexed, tokens, names) {
        return plan;
    }
    let parsed = match parse::parse(sql, lexed, tokens) {
        Ok(parsed) => parsed,
        Err(NotParsed::Refused(refusal)) => return Err(refusal),
        Err(NotParsed::Unknown(why)) => return passed::whole(sql, lexed, tokens, names, &why),
    };
    let planner = Planner { names, parsed, tokens };
    match &planner.parsed.statement {
        Statement::Query(query) => planner.query(query),
        Statement::Insert(insert) => planner.insert(insert),
        Statement::Update(update) => planner.write(&write::of_update(update), Renaming::Alias),
        Statement::Delete(delete) => {
            let renaming = if write::is_multi_table(delete) { Renaming::Alias } else { Renaming::Qualifiers };
            planner.write(&write::of_delete(delete), renaming)
        }
        _ => passed::whole(sql, lexed, tokens, names, "a statement the rules know nothing about"),
    }
}

/// A parsed statement on its way to a plan.
pub(super) struct Planner<'a> {
    pub names: Names<'a>,
    pub parsed: Parsed<'a>,
    tokens: &'a [Token],
}

impl Planner<'_> {
    pub fn home(&self) -> Result<BackendId, Refusal> {
        self.names.home()
    }

    fn query(&self, query: &Query) -> Result<DataPlan, Refusal> {
        let scopes = Scopes::of_query(&self.parsed, self.names)?;
        let sides = self.sides(&scopes, |side| read::side(self, query, &scopes, side), || None)?;
        let served_by = replica::of_query(&self.parsed, self.names, &scopes);
        Ok(DataPlan { served_by, ..self.plan("SELECT", read::access(query), &scopes, sides) })
    }

    fn write(&self, write: &Write<'_>, renaming: Renaming) -> Result<DataPlan, Refusal> {
        let scopes = Scopes::of_write(&self.parsed, self.names, &write.tables, write.condition)?;
        let sides = self.sides(
            &scopes,
            |side| write::side(self, write, &scopes, side, renaming),
            || Some(touch::of_write(self, write, &scopes)),
        )?;
        Ok(self.plan(write.verb, Access::Write, &scopes, sides))
    }

    fn insert(&self, insert: &Insert) -> Result<DataPlan, Refusal> {
        let scopes = Scopes::of_insert(&self.parsed, self.names, write::insert_table(insert)?)?;
        let verb = if insert.replace_into { "REPLACE" } else { "INSERT" };
        let Target::Named(table) = scopes.instances[0].target else {
            // The rows may come from anywhere that is there too.
            let sides =
                self.sides(&scopes, |side| self.insert_unnamed(&scopes, side), || Some(Err(untouchable())))?;
            return Ok(self.plan(verb, Access::Write, &scopes, sides));
        };
        let sides = self.sides(
            &scopes,
            |side| write::insert_side(self, insert, &scopes, table, side),
            || Some(touch::of_insert(self, insert, table)),
        )?;
        let numbering = number::of_insert(self, insert, table).map(Box::new);
        Ok(DataPlan { numbering, ..self.plan(verb, Access::Write, &scopes, sides) })
    }

    /// An `INSERT` into a table that no rule names, perhaps from tables that rules do name.
    fn insert_unnamed(&self, scopes: &Scopes, side: Side) -> Result<SidePlan, Refusal> {
        let topology = self.names.topology;
        let (route, because) =
            Placed::new(topology, scopes, side).read(&self.parsed, scopes, self.home()?)?;
        if matches!(route, RoutePlan::ByKey(_)) {
            return Err(refusal::INSERT_SELECT.because("from a sharded table"));
        }
        let mut splices = super::names::splices(&self.parsed, topology, scopes, side, Renaming::Qualifiers);
        splices.extend(self.fact_splices());
        splices.sort_by_key(|splice| splice.span.start);
        Ok(SidePlan { route, splices, gather: Gather::Sum, because })
    }

    /// One side, or both sides of the move that the statement's tables belong to.
    fn sides(
        &self,
        scopes: &Scopes,
        of: impl Fn(Side) -> Result<SidePlan, Refusal>,
        touch: impl FnOnce() -> Option<Result<Touch, Refusal>>,
    ) -> Result<Sides, Refusal> {
        catalogue::check(&self.parsed, scopes, self.names)?;
        called::check(self.parsed.sql, self.tokens, self.names, &tables(scopes))?;
        let Some(by) = self.moving(scopes)? else { return Ok(Sides::One(of(Side::Target)?)) };
        let (source, target) = (of(Side::Source), of(Side::Target));
        if let (Err(refusal), Err(_)) = (&source, &target) {
            return Err(refusal.clone());
        }
        let keys_of = |side: &Result<SidePlan, Refusal>| match side {
            Ok(SidePlan { route: RoutePlan::ByKey(by_key), .. }) if by_key.also.is_empty() => {
                Some(by_key.keys.clone())
            }
            Ok(SidePlan { route: RoutePlan::ByRow { rows, .. }, .. }) => {
                Some(Keys::In(rows.iter().map(|row| row.key).collect()))
            }
            _ => None,
        };
        // The target's keys tell whose a row is; those of the source may be another table's.
        let of_source = || if self.divides(by) { None } else { keys_of(&source) };
        let keys = keys_of(&target).or_else(of_source).unwrap_or(Keys::All);
        let times = self.times(scopes, by);
        let reaches_others = divided::reaches_others(self, by, scopes);
        Ok(Sides::Moving(Box::new(MovingSides {
            by,
            source,
            target,
            keys,
            times,
            reaches_others,
            numbered: divided::numbered(self, by, scopes),
            touch: touch(),
        })))
    }

    fn divides(&self, by: MoveId) -> bool {
        self.names.topology.move_of(by).divided.is_some()
    }

    /// What a statement says about the age of the rows of a move, if its history has a boundary.
    fn times(&self, scopes: &Scopes, by: MoveId) -> Option<Vec<Keys>> {
        let topology = self.names.topology;
        let column = &topology.move_of(by).history.as_ref()?.column;
        let mut times = Vec::new();
        for (at, instance) in scopes.instances.iter().enumerate() {
            let Target::Named(id) = instance.target else { continue };
            let table = topology.table_of(id);
            if table.moving.is_none() {
                continue;
            }
            table.schema.as_ref()?.column(column)?;
            let mut keys = vec![None; scopes.instances.len()];
            keys[at] = Some(column.clone());
            times.push(Shardings { parsed: &self.parsed, scopes, keys }.left_of(at));
        }
        Some(times)
    }

    fn moving(&self, scopes: &Scopes) -> Result<Option<MoveId>, Refusal> {
        let mut found = None;
        for table in tables(scopes) {
            let Some(moving) = &self.names.topology.table_of(table).moving else { continue };
            if found.is_some_and(|by| by != moving.by) {
                return Err(refusal::TWO_MOVES.because(""));
            }
            found = Some(moving.by);
        }
        Ok(found)
    }

    fn plan(&self, verb: &'static str, access: Access, scopes: &Scopes, sides: Sides) -> DataPlan {
        DataPlan {
            access,
            verb,
            tables: tables(scopes),
            databases: databases(scopes),
            pin: pin(self.parsed.sql, self.tokens),
            placeholders: self.parsed.lexed.placeholders,
            numbering: None,
            needs: self.needs(access, scopes),
            served_by: ServedBy::Primary,
            sides,
        }
    }

    /// What an account must be allowed, as far as the syntax tree tells.
    fn needs(&self, access: Access, scopes: &Scopes) -> Needs {
        let mut needs = catalogue::needs(&self.parsed, scopes, self.names);
        if access == Access::Write {
            needs.add(Need::Writes);
        }
        for instance in &scopes.instances {
            let database = instance.database.and_then(|(start, _)| self.parsed.name_at(start));
            database.into_iter().filter(|name| !is_system(name)).for_each(|name| needs.name(name));
        }
        needs
    }

    /// `LAST_INSERT_ID()` and its like are the session's, whichever backend runs the statement.
    pub fn fact_splices(&self) -> Vec<Splice> {
        let sql = self.parsed.sql;
        let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        let mut splices = Vec::new();
        let mut index = 0;
        while index < self.tokens.len() {
            let Some((fact, length)) = session::fact(sql, &self.tokens[index..]) else {
                index += 1;
                continue;
            };
            let (start, end) = (self.tokens[index].start, self.tokens[index + length - 1].end);
            let span = self.parsed.span(at(start), at(end));
            splices.push(Splice { span, with: Replacement::Fact(fact), when: When::Always });
            index += length;
        }
        splices
    }
}

fn untouchable() -> Refusal {
    refusal::UNTOUCHABLE.because("INSERT … SELECT")
}

fn tables(scopes: &Scopes) -> Vec<TableId> {
    let mut tables: Vec<TableId> = scopes
        .instances
        .iter()
        .filter_map(|instance| match instance.target {
            Target::Named(table) => Some(table),
            _ => None,
        })
        .collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

fn databases(scopes: &Scopes) -> Vec<DatabaseId> {
    let mut databases: Vec<DatabaseId> = scopes
        .instances
        .iter()
        .filter_map(|instance| match instance.target {
            Target::Unnamed(database) => Some(database),
            _ => None,
        })
        .collect();
    databases.sort_unstable();
    databases.dedup();
    databases
}

/// What of a connection's state the statement uses.
pub(super) fn pin(sql: &[u8], tokens: &[Token]) -> Pin {
    const LOCKS: [&str; 5] =
        ["get_lock", "release_lock", "release_all_locks", "is_free_lock", "is_used_lock"];
    for (index, token) in tokens.iter().enumerate() {
        let called = tokens.get(index + 1).is_some_and(|next| next.kind == TokenKind::Symbol(b'('));
        if token.is(sql, "sql_calc_found_rows") {
            return Pin::FoundRows;
        }
        if called && LOCKS.iter().any(|lock| token.is(sql, lock)) {
            return Pin::NamedLock;
        }
        let at = |index: Option<usize>| {
            index
                .and_then(|index| tokens.get(index))
                .is_some_and(|token| token.kind == TokenKind::Symbol(b'@'))
        };
        let named = tokens
            .get(index + 1)
            .is_some_and(|next| matches!(next.kind, TokenKind::Word | TokenKind::Quoted));
        if at(Some(index)) && named && !at(index.checked_sub(1)) {
            return Pin::UserVariable;
        }
    }
    let temporary = tokens.len() > 2 && tokens[0].is(sql, "create") && tokens[1].is(sql, "temporary");
    if temporary { Pin::TemporaryTable } else { Pin::None }
}

//! The way in: from a shape to its plan.

use sqlparser::ast::{Insert, Query, Statement};

use super::names::{Names, Renaming, Target};
use super::parse::{self, NotParsed, Parsed};
use super::scopes::Scopes;
use super::sides::Placed;
use super::write::{self, Write};
use super::{
    Access, Context, DataPlan, Gather, Keys, MovingSides, Pin, Plan, Replacement, RoutePlan, SidePlan, Sides,
    Splice, Touch, When, passed, read, session, touch,
};
use crate::lex::Lexed;
use crate::lex::words::{self, Token, TokenKind};
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, DatabaseId, MoveId, Side, TableId};

/// Plans a statement shape; `sql` is the representative that `lexed` was made from.
#[must_use]
pub fn plan(sql: &[u8], lexed: &Lexed, context: Context<'_>) -> Plan {
    if lexed.second_statement.is_some() {
        return Plan::Refused(refusal::MULTIPLE_STATEMENTS.because(""));
    }
    let tokens = words::tokens(sql, &lexed.regions);
    if let Some(plan) = session::command(sql, &tokens) {
        return plan;
    }
    match data(sql, lexed, &tokens, context) {
        Ok(plan) => Plan::Data(Box::new(plan)),
        Err(refusal) => Plan::Refused(refusal),
    }
}

fn data(sql: &[u8], lexed: &Lexed, tokens: &[Token], context: Context<'_>) -> Result<DataPlan, Refusal> {
    let names = Names { topology: context.topology, database: context.database };
    if let Some(refusal) = session::unsupported(sql, tokens) {
        return Err(refusal);
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
        Ok(self.plan("SELECT", read::access(query), &scopes, sides))
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
        Ok(self.plan(verb, Access::Write, &scopes, sides))
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
        splices.extend(self.insert_id_splices());
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
        let keys = keys_of(&target).or_else(|| keys_of(&source)).unwrap_or(Keys::All);
        Ok(Sides::Moving(Box::new(MovingSides { by, source, target, keys, touch: touch() })))
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
            sides,
        }
    }

    /// `LAST_INSERT_ID()` is the session's, whichever backend runs the statement.
    pub fn insert_id_splices(&self) -> Vec<Splice> {
        let sql = self.parsed.sql;
        let at = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        let mut splices = Vec::new();
        for (index, three) in self.tokens.windows(3).enumerate() {
            let call = three[0].is(sql, "last_insert_id")
                && three[1].kind == TokenKind::Symbol(b'(')
                && three[2].kind == TokenKind::Symbol(b')');
            if !call {
                continue;
            }
            let span = self.parsed.span(at(three[0].start), at(three[2].end));
            splices.push(Splice { span, with: Replacement::LastInsertId, when: When::Always });
            if self.is_bare_item(index, index + 3) {
                let name = String::from_utf8_lossy(&sql[three[0].start..three[2].end]);
                let with = Replacement::Text(format!(" AS {}", super::names::quoted(&name)));
                let end = self.parsed.span(at(three[2].end), at(three[2].end));
                splices.push(Splice { span: end, with, when: When::Always });
            }
        }
        splices
    }

    /// Is the call a whole item of a select list, whose text would name the column?
    fn is_bare_item(&self, first: usize, after: usize) -> bool {
        let sql = self.parsed.sql;
        let comma = |token: &Token| token.kind == TokenKind::Symbol(b',');
        let starts =
            first > 0 && (self.tokens[first - 1].is(sql, "select") || comma(&self.tokens[first - 1]));
        let ends = self.tokens.get(after).is_none_or(|token| {
            comma(token)
                || token.is(sql, "from")
                || token.is(sql, "limit")
                || token.kind == TokenKind::Symbol(b';')
        });
        starts && ends && self.tokens.first().is_some_and(|first| first.is(sql, "select"))
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
        if called && (token.is(sql, "found_rows") || token.is(sql, "row_count")) {
            return Pin::Previous;
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

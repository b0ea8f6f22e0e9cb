//! The bytes for one leg.

use super::route::number;
use super::{Facts, Kept, Leg, Route, Values, side_plan};
use crate::lex;
use crate::plan::{
    DataPlan, Fact, Gather, OwnRows, Replacement, RoutePlan, Row, SidePlan, Span, Splice, When, Written,
};
use crate::refusal::Refusal;
use crate::topology::{Node, Placement, Side, TableId, Topology};

/// Appends the statement for `leg` to `out`: the client's bytes with this leg's splices. `facts` replace the plan's
/// `LAST_INSERT_ID()` calls and their like.
///
/// # Errors
/// `LIMIT` values that are no numbers.
pub fn render(
    plan: &DataPlan,
    topology: &Topology,
    values: Values<'_>,
    route: &Route,
    leg: &Leg,
    facts: &Facts<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let side = side_plan(plan, route.side).expect("a route was taken on this side, so it has a plan");
    if side.splices.is_empty() && leg.rows.is_empty() {
        out.extend_from_slice(values.sql);
        return Ok(());
    }
    let mut writer = Writer { side, topology, values, route, leg, facts, next: 0, out };
    match &side.route {
        RoutePlan::ByRow { rows, .. } if !leg.rows.is_empty() => writer.some_rows(rows),
        _ => writer.copy(0, values.sql.len()),
    }
}

/// The parameters that the leg's text has.
#[must_use]
pub fn parameters(plan: &DataPlan, values: Values<'_>, route: &Route, leg: &Leg) -> Kept {
    let all = Kept::All(plan.placeholders);
    let Some(SidePlan { route: RoutePlan::ByRow { rows, .. }, .. }) = side_plan(plan, route.side) else {
        return all;
    };
    if leg.rows.is_empty() {
        return all;
    }
    let dropped: Vec<(usize, usize)> = (0..rows.len())
        .filter(|row| u32::try_from(*row).is_ok_and(|row| leg.rows.binary_search(&row).is_err()))
        .map(|row| range(values, rows[row].span))
        .collect();
    let placeholders = values.regions.iter().filter(|region| region.kind == lex::RegionKind::Placeholder);
    let kept = placeholders.zip(0..).filter(|(region, _)| {
        let at = region.start as usize;
        let after = dropped.partition_point(|(start, _)| *start <= at);
        after == 0 || dropped[after - 1].1 <= at
    });
    Kept::Some(kept.map(|(_, index)| index).collect())
}

fn range(values: Values<'_>, span: Span) -> (usize, usize) {
    (lex::offset(values.regions, span.start), lex::offset(values.regions, span.end))
}

struct Writer<'a> {
    side: &'a SidePlan,
    topology: &'a Topology,
    values: Values<'a>,
    route: &'a Route,
    leg: &'a Leg,
    facts: &'a Facts<'a>,
    /// The first splice not yet passed.
    next: usize,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn some_rows(&mut self, rows: &[Row]) -> Result<(), Refusal> {
        let (first, _) = range(self.values, rows[0].span);
        let (_, last) = range(self.values, rows[rows.len() - 1].span);
        self.copy(0, first)?;
        for (nth, &row) in self.leg.rows.iter().enumerate() {
            if nth > 0 {
                self.out.extend_from_slice(b", ");
            }
            let (start, end) = range(self.values, rows[row as usize].span);
            self.copy(start, end)?;
        }
        self.copy(last, self.values.sql.len())
    }

    /// Copies a range of the statement, with the splices inside of it.
    fn copy(&mut self, from: usize, to: usize) -> Result<(), Refusal> {
        let mut at = from;
        while let Some(splice) = self.side.splices.get(self.next) {
            let (start, end) = range(self.values, splice.span);
            if start >= to && !(start == to && end == to && to == self.values.sql.len()) {
                break;
            }
            self.next += 1;
            if start < at || (splice.when == When::Scattered && self.route.legs.len() < 2) {
                continue;
            }
            self.out.extend_from_slice(&self.values.sql[at..start]);
            self.replacement(splice)?;
            at = end;
        }
        self.out.extend_from_slice(&self.values.sql[at..to]);
        Ok(())
    }

    fn replacement(&mut self, splice: &Splice) -> Result<(), Refusal> {
        match &splice.with {
            Replacement::Table { table, written, alias, own } => {
                self.table(*table, *written, own.as_ref());
                if let Some(alias) = alias {
                    self.out.extend_from_slice(b" AS ");
                    quote(alias, self.out);
                }
            }
            Replacement::AlsoOwn(own) => {
                self.out.push(b')');
                self.own(b" AND ", own);
            }
            Replacement::OnlyOwn(own) => self.own(b" WHERE ", own),
            Replacement::Database { logical } => {
                let name = &self.topology.database_of(*logical).name;
                let physical = self.topology.physical_database(self.leg.backend, name);
                quote(physical, self.out);
            }
            Replacement::Text(text) => self.out.extend_from_slice(text.as_bytes()),
            Replacement::Fact(of) => {
                let (start, end) = range(self.values, splice.span);
                let written = &self.values.sql[start..end];
                fact(*of, written, self.facts, self.topology, self.leg, self.out);
            }
            Replacement::Name(span) => {
                let (start, end) = range(self.values, *span);
                self.out.extend_from_slice(b" AS ");
                quote_bytes(&self.values.sql[start..end], self.out);
            }
            Replacement::LimitSum => self.limit_sum()?,
        }
        Ok(())
    }

    fn own(&mut self, before: &[u8], own: &OwnRows) {
        let Some(condition) = own.of(self.leg.shard) else { return };
        self.out.extend_from_slice(before);
        self.out.extend_from_slice(condition.as_bytes());
    }

    /// The table's name, or a table of those of its rows that belong there.
    fn table(&mut self, id: TableId, written: Written, own: Option<&OwnRows>) {
        let several = self.route.legs.len() > 1;
        let condition = own.filter(|_| several).and_then(|own| own.of(self.leg.shard));
        if condition.is_some() {
            self.out.extend_from_slice(b"(SELECT * FROM ");
        }
        self.name(id, written);
        if let Some(condition) = condition {
            self.out.extend_from_slice(b" WHERE ");
            self.out.extend_from_slice(condition.as_bytes());
            self.out.push(b')');
        }
    }

    fn name(&mut self, id: TableId, written: Written) {
        let table = self.topology.table_of(id);
        let node = node(table.placement(self.route.side), self.leg);
        if written == Written::Qualified {
            let logical = &self.topology.database_of(table.database).name;
            quote(self.topology.physical_database(self.leg.backend, logical), self.out);
            self.out.push(b'.');
        }
        quote(node.map_or(&table.name, |node| &node.table), self.out);
    }

    fn limit_sum(&mut self) -> Result<(), Refusal> {
        if let Gather::Concat { limit: Some(limit) } | Gather::Merge { limit: Some(limit), .. } =
            &self.side.gather
        {
            let count = number(&limit.count, self.values)?;
            let offset = limit.offset.as_ref().map_or(Ok(0), |offset| number(offset, self.values))?;
            self.out.extend_from_slice(offset.saturating_add(count).to_string().as_bytes());
        }
        Ok(())
    }
}

/// Writes what stands for a fact. The connection's own answer only lends its type: a bare number would be as narrow as
/// it is short.
fn fact(of: Fact, written: &[u8], facts: &Facts<'_>, topology: &Topology, leg: &Leg, out: &mut Vec<u8>) {
    let value = match of {
        Fact::LastInsertId => format!("CAST({} AS UNSIGNED)", facts.last_insert_id),
        Fact::ConnectionId => format!("CAST({} AS UNSIGNED)", facts.connection_id),
        Fact::RowCount => facts.row_count.to_string(),
        Fact::FoundRows => facts.found_rows.to_string(),
        Fact::Database => match facts.database {
            None => return out.extend_from_slice(b"NULL"),
            Some(logical) if is_called(topology, leg, logical) => return out.extend_from_slice(written),
            Some(logical) => hexadecimal(logical),
        },
        Fact::User => hexadecimal(facts.account),
    };
    out.extend_from_slice(b"IFNULL(");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b", ");
    out.extend_from_slice(written);
    out.push(b')');
}

/// A string literal that no `sql_mode` and no character set reads otherwise.
fn hexadecimal(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("_utf8mb4 x'{digits}'")
}

/// Is the connection's current database the logical one by name?
fn is_called(topology: &Topology, leg: &Leg, logical: &str) -> bool {
    topology.carries(leg.backend, logical) && topology.physical_database(leg.backend, logical) == logical
}

/// The node of a table that a leg works on.
fn node<'a>(placement: &'a Placement, leg: &Leg) -> Option<&'a Node> {
    match placement {
        Placement::Single(node) => Some(node),
        Placement::Broadcast(nodes) => nodes.iter().find(|node| node.backend == leg.backend),
        Placement::Sharded(layout) => layout.nodes.get(leg.shard.0 as usize),
    }
}

fn quote(name: &str, out: &mut Vec<u8>) {
    quote_bytes(name.as_bytes(), out);
}

fn quote_bytes(name: &[u8], out: &mut Vec<u8>) {
    out.push(b'`');
    for &byte in name {
        if byte == b'`' {
            out.push(b'`');
        }
        out.push(byte);
    }
    out.push(b'`');
}

/// A table as `` `database`.`table` `` on one leg.
#[must_use]
pub fn full_table(topology: &Topology, table: TableId, side: Side, leg: &Leg) -> String {
    let (database, name) = place_of(topology, table, side, leg);
    let mut out = Vec::new();
    quote(database, &mut out);
    out.push(b'.');
    quote(name, &mut out);
    String::from_utf8(out).expect("names are text")
}

/// The physical database and table of a table on one leg.
#[must_use]
pub fn place_of<'a>(topology: &'a Topology, table: TableId, side: Side, leg: &Leg) -> (&'a str, &'a str) {
    let of = topology.table_of(table);
    let logical = &topology.database_of(of.database).name;
    let name = node(of.placement(side), leg).map_or(&of.name, |node| &node.table);
    (topology.physical_database(leg.backend, logical), name)
}

//! What verification and repair write down beside the rows: differences found, and repairs made.
//!
//! A repair is recorded in the transaction that makes it, in the database that it changes: there is no repair without its
//! record, and no record without its repair. A record says what the row was before and is after, shortened
//! ([`crate::image::legible`]), beside the rows themselves; the newest [`ROWS_KEPT`] of a database do, and [`RECORDS_KEPT`]
//! stay at all. The table of differences never holds values. Pure: this makes SQL text, others run it.

use crate::image::{hex, quoted};
use crate::repair::report::{NodeChange, RowThen};
use crate::verify::report::Difference;

/// Differences that were found, and what has become of them, on the first node of the target.
pub const MISMATCHES: &str = "shardway_mismatches";
/// Repairs that were made, on the side that was repaired.
pub const REPAIRS: &str = "shardway_repairs";

/// Records of a database that say what the rows were.
pub const ROWS_KEPT: u64 = 10_000;
/// Records of a database.
pub const RECORDS_KEPT: u64 = 100_000;

/// What has become of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The sides differ still, as far as is known.
    Open,
    /// A repair has brought them in line.
    Repaired,
    /// They were found equal later, without a repair.
    Equal,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Repaired => "repaired",
            State::Equal => "equal",
        }
    }
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub table: String,
    pub key: String,
    pub kinds: Vec<String>,
    pub columns: Vec<String>,
}

/// Makes the table of differences.
#[must_use]
pub fn create_mismatches(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
         move_name VARBINARY(200) NOT NULL, table_name VARBINARY(300) NOT NULL, row_key BLOB NOT NULL, \
         kind VARBINARY(100) NOT NULL, columns BLOB NOT NULL, state VARBINARY(20) NOT NULL, detail BLOB NOT NULL, \
         found_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), \
         seen_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), closed_at TIMESTAMP(3) NULL, \
         KEY (move_name, state)) ENGINE = InnoDB",
        mismatches(database)
    )
}

fn mismatches(database: &str) -> String {
    format!("{}.{MISMATCHES}", quoted(database))
}

/// The open differences of a move: id, table and key; locked.
#[must_use]
pub fn open_mismatches(database: &str, move_name: &str) -> String {
    format!(
        "SELECT id, table_name, row_key FROM {} WHERE move_name = x'{}' AND state = 'open' FOR UPDATE",
        mismatches(database),
        hex(move_name.as_bytes())
    )
}

/// Notes rows of a move that differ.
#[must_use]
pub fn insert_mismatches(database: &str, move_name: &str, found: &[&Found]) -> String {
    let row = |found: &&Found| {
        let (kinds, columns) = (found.kinds.join(", "), found.columns.join(","));
        let fields = [move_name, &found.table, &found.key, &kinds, &columns];
        format!("({}, '{}', '')", literals(&fields), State::Open.text())
    };
    format!(
        "INSERT INTO {} (move_name, table_name, row_key, kind, columns, state, detail) VALUES {}",
        mismatches(database),
        found.iter().map(row).collect::<Vec<_>>().join(", ")
    )
}

/// Notes that an open difference has been found again.
#[must_use]
pub fn seen_again(database: &str, ids: &[u64], found: &Found) -> String {
    format!(
        "UPDATE {} SET kind = x'{}', columns = x'{}', seen_at = CURRENT_TIMESTAMP(3) WHERE id IN ({})",
        mismatches(database),
        hex(found.kinds.join(", ").as_bytes()),
        hex(found.columns.join(",").as_bytes()),
        numbers(ids)
    )
}

/// Notes that differences are no more.
#[must_use]
pub fn close(database: &str, ids: &[u64], state: State, detail: &str) -> String {
    format!(
        "UPDATE {} SET state = '{}', detail = x'{}', closed_at = CURRENT_TIMESTAMP(3) WHERE id IN ({})",
        mismatches(database),
        state.text(),
        hex(detail.as_bytes()),
        numbers(ids)
    )
}

/// Notes why differences are still there.
#[must_use]
pub fn not_repaired(database: &str, ids: &[u64], reason: &str) -> String {
    format!(
        "UPDATE {} SET detail = x'{}' WHERE id IN ({})",
        mismatches(database),
        hex(reason.as_bytes()),
        numbers(ids)
    )
}

fn numbers(ids: &[u64]) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// Makes the table of repairs.
#[must_use]
pub fn create_repairs(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
         move_name VARBINARY(200) NOT NULL, table_name VARBINARY(300) NOT NULL, row_key BLOB NOT NULL, \
         node VARBINARY(300) NOT NULL, action VARBINARY(40) NOT NULL, columns BLOB NOT NULL, \
         row_before BLOB NULL, row_after BLOB NULL, \
         at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), KEY (move_name, at)) ENGINE = InnoDB",
        repairs(database)
    )
}

fn repairs(database: &str) -> String {
    format!("{}.{REPAIRS}", quoted(database))
}

/// Notes a repair of a move. What a row was is noted as JSON; `null` is no row, and NULL says that it is not kept any more.
#[must_use]
pub fn insert_repair(
    database: &str,
    move_name: &str,
    difference: &Difference,
    change: &NodeChange,
) -> String {
    let (key, columns) = (difference.key.to_string(), difference.columns.join(","));
    let fields = [move_name, &difference.table, &key, &change.node, change.action.text(), &columns];
    let row = |then: &RowThen| match then {
        RowThen::NotKept => "NULL".to_owned(),
        RowThen::Absent => literals(&["null"]),
        RowThen::Row(row) => {
            literals(&[&serde_json::to_string(row).expect("texts and numbers can be written as JSON")])
        }
    };
    format!(
        "INSERT INTO {} (move_name, table_name, row_key, node, action, columns, row_before, row_after) \
         VALUES ({}, {}, {})",
        repairs(database),
        literals(&fields),
        row(&change.before),
        row(&change.after)
    )
}

/// The number of the newest record.
#[must_use]
pub fn newest_repair(database: &str) -> String {
    format!("SELECT MAX(id) FROM {}", repairs(database))
}

/// Takes from the table what is not kept any more, when the newest record has that number.
#[must_use]
pub fn trim_repairs(database: &str, newest: u64) -> Vec<String> {
    let repairs = repairs(database);
    let rows = newest.checked_sub(ROWS_KEPT).map(|last| {
        format!(
            "UPDATE {repairs} SET row_before = NULL, row_after = NULL WHERE id <= {last} AND row_before IS NOT NULL"
        )
    });
    let records =
        newest.checked_sub(RECORDS_KEPT).map(|last| format!("DELETE FROM {repairs} WHERE id <= {last}"));
    records.into_iter().chain(rows).collect()
}

/// Texts that nothing in them can end.
fn literals(fields: &[&str]) -> String {
    fields.iter().map(|field| format!("x'{}'", hex(field.as_bytes()))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::legible::{Legible, LegibleField};
    use crate::repair::report::Action;
    use crate::verify::judge::Kind;
    use crate::verify::report::RowKey;

    #[test]
    fn nothing_in_a_record_can_end_its_statement() {
        let found = Found {
            table: "shop.users".into(),
            key: "'; --".into(),
            kinds: vec!["missing".into()],
            columns: vec!["a".into()],
        };
        let expected = "INSERT INTO `s`.shardway_mismatches (move_name, table_name, row_key, kind, columns, state, detail) \
                        VALUES (x'6D', x'73686F702E7573657273', x'273B202D2D', x'6D697373696E67', x'61', 'open', '')";
        assert_eq!(insert_mismatches("s", "m", &[&found]), expected);
        assert!(not_repaired("s", &[1, 2], "'").ends_with("SET detail = x'27' WHERE id IN (1, 2)"));
    }

    #[test]
    fn a_repair_says_what_the_row_was() {
        let difference = Difference {
            table: "s.t".into(),
            key: RowKey(vec!["7".into()]),
            kind: Kind::Missing,
            columns: Vec::new(),
        };
        let field =
            LegibleField { column: "id".into(), value: Some("'7".into()), shortened_from_bytes: None };
        let row = Legible { fields: vec![field], columns_left_out: 0 };
        let change = |before, after| NodeChange { node: "n".into(), action: Action::Written, before, after };
        let sql = insert_repair("s", "m", &difference, &change(RowThen::Absent, RowThen::Row(row)));
        let row = hex(br#"{"fields":[{"column":"id","value":"'7"}]}"#);
        assert!(
            sql.ends_with(&format!(", x'6E', x'7772697474656E', x'', x'{}', x'{row}')", hex(b"null"))),
            "{sql}"
        );
        let sql = insert_repair("s", "m", &difference, &change(RowThen::NotKept, RowThen::NotKept));
        assert!(sql.ends_with(", NULL, NULL)"), "{sql}");
    }

    #[test]
    fn old_records_lose_their_rows_and_older_ones_go() {
        assert!(trim_repairs("s", ROWS_KEPT - 1).is_empty());
        assert_eq!(trim_repairs("s", ROWS_KEPT + 7).len(), 1);
        let both = trim_repairs("s", RECORDS_KEPT + 7);
        assert_eq!(both[0], "DELETE FROM `s`.shardway_repairs WHERE id <= 7");
        assert!(both[1].ends_with("WHERE id <= 90007 AND row_before IS NOT NULL"), "{both:?}");
    }
}

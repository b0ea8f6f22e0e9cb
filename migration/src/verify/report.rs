//! What a comparison found, for people and for programs.
//!
//! Values of rows never appear: they are the bank's. A difference names the key and the columns.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::judge::Kind;
use crate::image::{Key, hex, unhex};
use crate::report::LastVerify;

/// Differing rows of a summary that are told by key.
const SAMPLES: usize = 10;

/// The whole comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `count`, `sample`, `hash` or `exact`; `touched` of the rows that were written last before a switch.
    pub mode: String,
    /// Which side was right by definition: `source` or `target`.
    pub authority: String,
    /// Rows of the authority that were looked at.
    pub checked: u64,
    /// Rows that definitely differ; where they are far too many for drift, those found before the rest was not looked at.
    pub different: u64,
    /// Rows that could not be judged.
    pub undecided: u64,
    /// The sides are equal; of a sample: the share of differing rows is below its limit.
    pub clean: bool,
    pub tables: Vec<TableReport>,
    /// Seconds since 1970.
    pub started_at: u64,
    pub finished_at: u64,
    /// Rows compared on both sides per second.
    pub rows_per_s: u64,
}

/// One table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableReport {
    pub table: String,
    pub checked: u64,
    pub authority_rows: u64,
    pub other_rows: u64,
    /// Rows by the grouping columns, where there are any.
    pub groups: Vec<Group>,
    pub different: u64,
    pub undecided: u64,
    pub misplaced: u64,
    pub duplicates: u64,
    /// Rows that the other side does not have at all.
    #[serde(default)]
    pub missing: u64,
    /// The first of the differences.
    pub differences: Vec<Difference>,
    /// Rows that could not be judged, some of them.
    pub undecided_rows: Vec<Undecided>,
}

/// One row that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecided {
    pub key: RowKey,
    pub why: Doubt,
}

/// Why a row could not be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    Changing,
    NotLocked,
    /// The other side did not catch up with it in time.
    Behind,
    /// Where keys are divided, each side has a row of its own.
    OnBothSides,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Doubt::Changing => "changes too fast to be judged",
            Doubt::NotLocked => "could not be locked to be judged, as somebody holds it",
            Doubt::Behind => "the other side did not catch up while it was locked",
            Doubt::OnBothSides => "each side owns a row under this key; give one of them another key",
        })
    }
}

/// A group's rows on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub values: Vec<String>,
    pub authority_rows: u64,
    pub other_rows: u64,
}

/// One row that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Difference {
    /// Logical `database.table`.
    pub table: String,
    pub key: RowKey,
    pub kind: Kind,
    pub columns: Vec<String>,
}

impl Report {
    /// The other side has every row as the authority has it, and perhaps some that the authority has no more.
    #[must_use]
    pub fn is_complete_there(&self) -> bool {
        let told: usize = self.tables.iter().map(|table| table.differences.len()).sum();
        let differences = self.tables.iter().flat_map(|table| &table.differences);
        self.undecided == 0
            && told as u64 >= self.different
            && differences.into_iter().all(|difference| difference.kind == Kind::Extra)
    }
}

/// A primary key as text that can be read back: parts that are not plain are in hexadecimal, after `0x`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowKey(pub Vec<String>);

impl From<&Key> for RowKey {
    fn from(key: &Key) -> RowKey {
        let part = |part: &Vec<u8>| match std::str::from_utf8(part) {
            Ok(text) if !text.starts_with("0x") && text.chars().all(|char| !char.is_control()) => {
                text.to_owned()
            }
            _ => format!("0x{}", hex(part)),
        };
        RowKey(key.0.iter().map(part).collect())
    }
}

impl RowKey {
    /// The key itself. `None`: somebody has changed the text.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        let part = |part: &String| match part.strip_prefix("0x") {
            Some(digits) => unhex(digits.as_bytes()),
            None => Some(part.clone().into_bytes()),
        };
        self.0.iter().map(part).collect::<Option<_>>().map(Key)
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("-"))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.table, self.key, self.kind)?;
        if !self.columns.is_empty() {
            write!(f, " in {}", self.columns.join(", "))?;
        }
        if self.kind == Kind::OnSeveral {
            f.write_str("; give all but one another key")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.clean { "both sides agree" } else { "the sides do not agree" };
        writeln!(
            f,
            "{} ({}, {} is right): {} rows compared, {} differ, {} undecided, {} rows/s",
            verdict, self.mode, self.authority, self.checked, self.different, self.undecided, self.rows_per_s
        )?;
        for table in &self.tables {
            write!(f, "{table}")?;
        }
        Ok(())
    }
}

impl fmt::Display for TableReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {}: {} compared, {} differ ({} on the wrong shard, {} twice), {} undecided",
            self.table, self.checked, self.different, self.misplaced, self.duplicates, self.undecided
        )?;
        for group in &self.groups {
            let mark = if group.authority_rows == group.other_rows { "" } else { "  <- differs" };
            let values = group.values.join(", ");
            writeln!(f, "    {values}: {} and {}{mark}", group.authority_rows, group.other_rows)?;
        }
        for difference in &self.differences {
            writeln!(f, "    {difference}")?;
        }
        for Undecided { key, why } in &self.undecided_rows {
            writeln!(f, "    {} {key}: {why}", self.table)?;
        }
        Ok(())
    }
}

impl Report {
    /// Some differences as text.
    #[must_use]
    pub fn samples(&self, at_most: usize) -> Vec<String> {
        self.differences().take(at_most).map(ToString::to_string).collect()
    }

    /// Rows that the other side does not have at all.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.tables.iter().map(|table| table.missing).sum()
    }

    /// Are all differences that were found among those that were kept?
    #[must_use]
    pub fn is_told_whole(&self) -> bool {
        self.tables.iter().all(|table| table.different <= table.differences.len() as u64)
    }

    /// As the state of a move has it.
    #[must_use]
    pub fn summary(&self) -> LastVerify {
        LastVerify {
            mode: self.mode.clone(),
            checked: self.checked,
            different: self.different + self.undecided,
            missing: Some(self.missing()),
            clean: self.clean,
            finished_at: self.finished_at,
            samples: self.samples(SAMPLES),
        }
    }

    /// The differences of all tables that were kept.
    pub fn differences(&self) -> impl Iterator<Item = &Difference> {
        self.tables.iter().flat_map(|table| &table.differences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was() {
        for part in [&b"17"[..], b"0x17", b"", b"\xff\x00", "ü".as_bytes(), b"a\nb"] {
            let key = Key(vec![part.to_vec(), b"2".to_vec()]);
            assert_eq!(RowKey::from(&key).key(), Some(key));
        }
        assert_eq!(RowKey(vec!["0xZZ".into()]).key(), None);
    }

    #[test]
    fn a_report_names_keys_and_columns() {
        let difference = Difference {
            table: "shop.users".into(),
            key: RowKey(vec!["7".into()]),
            kind: Kind::Changed,
            columns: vec!["name".into(), "born".into()],
        };
        let twice = Difference {
            key: RowKey(vec!["6".into()]),
            kind: Kind::OnSeveral,
            columns: Vec::new(),
            ..difference.clone()
        };
        let undecided = |key: &str, why| Undecided { key: RowKey(vec![key.into()]), why };
        let group =
            |values: &str, other_rows| Group { values: vec![values.into()], authority_rows: 5, other_rows };
        let table = TableReport {
            table: "shop.users".into(),
            checked: 10,
            groups: vec![group("new", 5), group("paid", 4)],
            different: 2,
            undecided: 2,
            differences: vec![twice, difference],
            undecided_rows: vec![undecided("8", Doubt::Changing), undecided("9", Doubt::OnBothSides)],
            ..TableReport::default()
        };
        let report = Report {
            mode: "hash".into(),
            authority: "source".into(),
            checked: 10,
            different: 2,
            undecided: 2,
            clean: false,
            tables: vec![table],
            started_at: 1,
            finished_at: 2,
            rows_per_s: 10,
        };
        let expected = "the sides do not agree (hash, source is right): 10 rows compared, 2 differ, 2 undecided, 10 rows/s\n\
                        \x20 shop.users: 10 compared, 2 differ (0 on the wrong shard, 0 twice), 2 undecided\n\
                        \x20   new: 5 and 5\n\
                        \x20   paid: 5 and 4  <- differs\n\
                        \x20   shop.users 6: on several shards of the right side; give all but one another key\n\
                        \x20   shop.users 7: different in name, born\n\
                        \x20   shop.users 8: changes too fast to be judged\n\
                        \x20   shop.users 9: each side owns a row under this key; give one of them another key\n";
        assert_eq!(report.to_string(), expected);
        assert_eq!(report.samples(9)[1..], ["shop.users 7: different in name, born"]);
    }
}

//! What a repair did, for people and for programs.
//!
//! For every row: its key, what was wrong, and for every node that was written the row before and after, shortened
//! ([`crate::image::legible`]). The text for people names keys and columns only, as it may end in a log.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::image::legible::Legible;
use crate::report::LastVerify;
use crate::verify::judge::Kind;
use crate::verify::report::{Difference, RowKey};

/// Bytes of rows in one report; what they were beyond that is in the records only.
const ROWS_BYTES: usize = 8 << 20;

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub table: String,
    pub key: RowKey,
    pub result: Done,
    /// What was wrong under the lock.
    pub faults: Vec<Difference>,
    /// What was done about it, or would be.
    #[serde(default)]
    pub changes: Vec<NodeChange>,
}

/// What was done to one row of a node of the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeChange {
    /// The physical table.
    pub node: String,
    pub action: Action,
    pub before: RowThen,
    pub after: RowThen,
}

/// How a row of a node is brought in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Written,
    Deleted,
}

impl Action {
    /// As records have it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Action::Written => "written",
            Action::Deleted => "deleted",
        }
    }
}

/// What a node had under a key at some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowThen {
    Absent,
    Row(Legible),
    /// There are too many rows to tell of this one.
    NotKept,
}

impl RowThen {
    fn weight(&self) -> usize {
        match self {
            RowThen::Row(row) => row.weight(),
            RowThen::Absent | RowThen::NotKept => 0,
        }
    }
}

/// How a row ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Both sides have it now.
    Repaired,
    /// A real run would write it.
    WouldRepair,
    /// It was equal by the time it was looked at.
    Equal,
    /// It could not be written; the reason.
    Failed(String),
}

/// The whole repair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairReport {
    pub outcomes: Vec<Outcome>,
    /// Why nothing was written at all.
    pub refused: Option<String>,
    pub finished_at: u64,
    /// Every row, compared after the last one was written; `null` where nothing was to be.
    #[serde(default)]
    pub compared_again: Option<LastVerify>,
    /// How much room the rows take.
    #[serde(skip)]
    rows_bytes: usize,
}

impl RepairReport {
    /// Nothing was written, for a reason.
    #[must_use]
    pub fn refused(reason: String, finished_at: u64) -> RepairReport {
        RepairReport { refused: Some(reason), finished_at, ..RepairReport::default() }
    }

    /// Takes an outcome in; without the rows, where there is no room for them any more.
    pub fn add(&mut self, mut outcome: Outcome) {
        for change in &mut outcome.changes {
            let weight = change.before.weight() + change.after.weight();
            if self.rows_bytes + weight > ROWS_BYTES {
                (change.before, change.after) = (RowThen::NotKept, RowThen::NotKept);
            } else {
                self.rows_bytes += weight;
            }
        }
        self.outcomes.push(outcome);
    }

    /// Takes a further run in.
    pub fn take(&mut self, further: RepairReport) {
        let RepairReport { outcomes, refused, finished_at, .. } = further;
        (self.refused, self.finished_at) = (refused, finished_at);
        outcomes.into_iter().for_each(|outcome| self.add(outcome));
    }

    /// Rows that were written.
    #[must_use]
    pub fn repaired(&self) -> usize {
        self.count(|done| matches!(done, Done::Repaired))
    }

    /// Rows that ended like this.
    #[must_use]
    pub fn count(&self, like: fn(&Done) -> bool) -> usize {
        self.outcomes.iter().filter(|outcome| like(&outcome.result)).count()
    }

    /// Has every row been brought in line, or been found so?
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let open = |done: &Done| matches!(done, Done::WouldRepair | Done::Failed(_));
        let still_differs = self.compared_again.as_ref().is_some_and(|again| !again.clean);
        self.refused.is_none() && !still_differs && self.count(open) == 0
    }
}

impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(refused) = &self.refused {
            writeln!(
                f,
                "nothing {}was repaired: {refused}",
                if self.outcomes.is_empty() { "" } else { "more " }
            )?;
        }
        if self.refused.is_some() && self.outcomes.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "{} rows repaired, {} would be, {} were equal by now, {} failed",
            self.repaired(),
            self.count(|done| matches!(done, Done::WouldRepair)),
            self.count(|done| matches!(done, Done::Equal)),
            self.count(|done| matches!(done, Done::Failed(_))),
        )?;
        for outcome in &self.outcomes {
            let why: Vec<String> = outcome.faults.iter().map(fault_text).collect();
            let result = match &outcome.result {
                Done::Repaired => "repaired".to_owned(),
                Done::WouldRepair => "would be repaired".to_owned(),
                Done::Equal => "equal by now".to_owned(),
                Done::Failed(reason) => format!("failed: {reason}"),
            };
            let why = if why.is_empty() { String::new() } else { format!(" (was {})", why.join("; ")) };
            writeln!(f, "  {} {}: {result}{why}", outcome.table, outcome.key)?;
        }
        match &self.compared_again {
            Some(again) if again.clean => writeln!(f, "compared again: {} rows, all equal", again.checked),
            Some(again) => {
                writeln!(f, "compared again: {} rows, {} of which differ", again.checked, again.different)
            }
            None => Ok(()),
        }
    }
}

fn fault_text(fault: &Difference) -> String {
    match fault.kind {
        Kind::Changed => format!("{} in {}", fault.kind, fault.columns.join(", ")),
        _ => fault.kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::legible::LegibleField;

    #[test]
    fn a_report_says_what_became_of_every_row() {
        let key = RowKey(vec!["7".into()]);
        let fault = Difference {
            table: "s.t".into(),
            key: key.clone(),
            kind: Kind::Changed,
            columns: vec!["a".into(), "b".into()],
        };
        let outcome = |result, faults| Outcome {
            table: "s.t".into(),
            key: key.clone(),
            result,
            faults,
            changes: Vec::new(),
        };
        let mut report = RepairReport::default();
        report.add(outcome(Done::Repaired, vec![fault]));
        report.add(outcome(Done::Equal, Vec::new()));
        let expected = "1 rows repaired, 0 would be, 1 were equal by now, 0 failed\n\
                        \x20 s.t 7: repaired (was different in a, b)\n\
                        \x20 s.t 7: equal by now\n";
        assert_eq!(report.to_string(), expected);
        assert!(report.is_complete());
        report.compared_again = Some(LastVerify { checked: 9, different: 1, ..LastVerify::default() });
        assert!(
            report.to_string().ends_with("compared again: 9 rows, 1 of which differ\n")
                && !report.is_complete()
        );
        report.compared_again = Some(LastVerify { checked: 9, clean: true, ..LastVerify::default() });
        assert!(report.to_string().ends_with("compared again: 9 rows, all equal\n") && report.is_complete());
        report.outcomes.push(outcome(Done::Failed("locked".into()), Vec::new()));
        assert!(!report.is_complete());
    }

    #[test]
    fn a_report_of_many_long_rows_is_of_bounded_size() {
        let field =
            LegibleField { column: "c".into(), value: Some("x".repeat(4_000)), shortened_from_bytes: None };
        let row = RowThen::Row(Legible { fields: vec![field], columns_left_out: 0 });
        let change = NodeChange {
            node: "n".into(),
            action: Action::Written,
            before: row.clone(),
            after: RowThen::Absent,
        };
        let outcome = Outcome {
            table: "s.t".into(),
            key: RowKey(vec!["7".into()]),
            result: Done::Repaired,
            faults: Vec::new(),
            changes: vec![change],
        };
        let mut report = RepairReport::default();
        for _ in 0..10_000 {
            report.add(outcome.clone());
        }
        let told = report.outcomes.iter().filter(|outcome| outcome.changes[0].before == row).count();
        assert!((1_000..3_000).contains(&told), "{told}");
        assert_eq!(report.outcomes.last().unwrap().changes[0].before, RowThen::NotKept);
        let json = serde_json::to_string(&report.outcomes[0].changes).unwrap();
        assert!(
            json.starts_with(r#"[{"node":"n","action":"written","before":{"row":{"fields":[{"column":"c""#),
            "{json}"
        );
        assert!(json.ends_with(r#""after":"absent"}]"#), "{json}");
    }
}

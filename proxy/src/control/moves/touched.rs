//! Under the hold of a switch, once the other side has everything: the rows that were written last are compared once more.
//!
//! Nobody writes then, so what differs would differ for good, and the switch is undone. So it is when nobody can tell, or
//! not before the hold is over. What differs is noted as by every other comparison, and keeps writes where they are until
//! one of every row, or a repair, has taken it away. The streams know what they wrote last, and the process what it
//! wrote twice where no stream follows; both forget it when the process ends.

use std::time::Instant;

use shardway_migration::lately::Keys;
use shardway_migration::report::Touched;
use shardway_migration::tables::MovingTable;
use shardway_migration::verify;
use shardway_migration::verify::report::Report;
use shardway_routing::refusal;
use shardway_routing::topology::Side;

use super::Moves;
use crate::control::deadline::Deadline;

/// Rows that a refusal names.
const NAMED: usize = 3;

/// Why new rules must not take effect.
#[derive(Debug)]
pub enum Unready {
    Told(String),
    Differ(Box<Differ>),
}

/// What differs, to be noted when statements go on.
#[derive(Debug)]
pub struct Differ {
    name: String,
    moving: Vec<MovingTable>,
    report: Report,
}

impl From<String> for Unready {
    fn from(told: String) -> Unready {
        Unready::Told(told)
    }
}

impl From<&str> for Unready {
    fn from(told: &str) -> Unready {
        Unready::Told(told.to_owned())
    }
}

impl Unready {
    /// The same, of a move.
    pub(super) fn of(self, name: &str) -> Unready {
        match self {
            Unready::Told(told) => Unready::Told(format!("moves.{name}: {told}")),
            differ @ Unready::Differ(_) => differ,
        }
    }
}

impl Moves {
    /// Compares them. To be called when nobody writes and the other side has everything.
    ///
    /// # Errors
    /// What differs, or that it could not be told in time.
    pub(super) async fn were_carried(
        &self,
        name: &str,
        moving: &[MovingTable],
        authority: Side,
        deadline: Deadline,
    ) -> Result<Touched, Unready> {
        let began = Instant::now();
        let keys = self.lately(name);
        let compared =
            deadline.bound("the comparison had not ended", verify::at_rest(moving, authority, &keys)).await;
        let unknown = |why: String| Unready::Told(refusal::LATELY_UNEQUAL.because(why).to_string());
        let report = compared.map_err(unknown)?.map_err(|error| unknown(error.to_string()))?;
        if report.clean {
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            return Ok(Touched { rows: report.checked, ms });
        }
        Err(Unready::Differ(Box::new(Differ { name: name.to_owned(), moving: moving.to_vec(), report })))
    }

    fn lately(&self, name: &str) -> Keys {
        let mut keys = Keys::new();
        self.shared.lately.tell(&mut keys);
        for tail in self.tails(name) {
            tail.lately.tell(&mut keys);
        }
        keys
    }

    /// Why new rules have not taken effect, as an operator is told. Notes what differs: statements must not be held any more.
    pub(in crate::control) async fn told(&self, unready: Unready) -> String {
        let found = match unready {
            Unready::Told(told) => return told,
            Unready::Differ(found) => found,
        };
        let Differ { name, moving, report } = *found;
        let named = report.samples(NAMED).join("; ");
        let more = report.different.saturating_sub(NAMED as u64);
        let named = if more > 0 { format!("{named}; and {more} more") } else { named };
        if let Err(error) = self.keep_found(&name, &moving, &report, None).await {
            tracing::error!(r#move = name, %error, "what differs is not noted on the target");
        }
        format!("moves.{name}: {}", refusal::LATELY_UNEQUAL.because(named))
    }
}

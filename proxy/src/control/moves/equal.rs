//! Comparing both sides of a move while clients write, and bringing in line what differs.

use std::pin::Pin;

use shardway_migration::converge::Converge;
use shardway_migration::mismatches;
use shardway_migration::pulse::Pulse;
use shardway_migration::record;
use shardway_migration::repair::report::RepairReport;
use shardway_migration::repair::{self, Policy, Run};
use shardway_migration::tables::{MovingTable, WorkError};
use shardway_migration::tally::Tally;
use shardway_migration::verify::report::Report;
use shardway_migration::verify::{self, Mode};
use shardway_routing::refusal;
use shardway_routing::topology::{DoubleWrite, Move, Side};

use super::check::as_ruled;
use super::counted::What;
use super::{Moves, find, journal};
use crate::control::steps::{Step, reached};

/// Brings the other side of one move up to the moment of the call, under statements that go on.
pub(super) struct CatchUp<'a> {
    pub moves: &'a Moves,
    pub moving: &'a [MovingTable],
    pub of: &'a Move,
    pub repairs: Repairs,
}

/// Whether the caller keeps the authority from changing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repairs {
    Locked,
    Unlocked,
}

impl Converge for CatchUp<'_> {
    fn converge(&self) -> Pin<Box<dyn Future<Output = Result<(), WorkError>> + Send + '_>> {
        Box::pin(async {
            for tail in self.moves.tails(&self.of.name) {
                tail.catch_up().await?;
            }
            reached(Step::Converge(self.moves.of(&self.of.name).state.phase())).await;
            match self.repairs {
                Repairs::Unlocked => loop {
                    let healed = async {
                        self.authority_stays()?;
                        self.heal().await
                    };
                    if let Some(healed) = self.moves.single.copying_meanwhile(healed).await {
                        return healed;
                    }
                },
                Repairs::Locked => self.heal().await,
            }
        })
    }
}

impl CatchUp<'_> {
    async fn heal(&self) -> Result<(), WorkError> {
        match self.of.double_write {
            DoubleWrite::Off => Ok(()),
            _ => journal::catch_up(&self.moves.shared, self.moving, self.of.writes).await,
        }
    }

    /// A switch may have been since the work began: then the rows of before would be written over newer ones.
    fn authority_stays(&self) -> Result<(), WorkError> {
        let snapshot = self.moves.shared.snapshot();
        match find(&snapshot.topology, &self.of.name) {
            Ok((_, now)) if now.owners() == self.of.owners() => Ok(()),
            _ => Err(WorkError::Interrupted(
                "writes have gone over since this began, so both sides must be looked at anew; compare again"
                    .into(),
            )),
        }
    }
}

impl Moves {
    /// Compares both sides and keeps what was found.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn compare(&self, name: &str, mode: &Mode) -> Result<Report, WorkError> {
        let snapshot = self.shared.snapshot();
        let (by, of) = find(&snapshot.topology, name).map_err(WorkError::Stopped)?;
        let moving = self.moving(&snapshot.topology, by)?;
        let converge = CatchUp { moves: self, moving: &moving, of, repairs: Repairs::Unlocked };
        let tally = self.count(name, What::Comparing);
        self.compared(name, &moving, of.writes, &converge, mode, &tally).await
    }

    async fn compared(
        &self,
        name: &str,
        moving: &[MovingTable],
        authority: Side,
        converge: &CatchUp<'_>,
        mode: &Mode,
        tally: &Tally,
    ) -> Result<Report, WorkError> {
        let settings = self.settings(name);
        let mode = as_ruled(mode.clone(), &settings, moving);
        let unproved = self.of(name).unproved_since;
        let lanes = settings.verify.parallel as usize;
        let report = verify::run(moving, authority, converge, &mode, lanes, tally).await?;
        self.keep_found(name, moving, &report, unproved).await?;
        Ok(report)
    }

    /// Notes what a comparison found, on the target for everybody to see and in the move's state. `unproved` is what was
    /// to be proved when it began.
    pub(super) async fn keep_found(
        &self,
        name: &str,
        moving: &[MovingTable],
        report: &Report,
        unproved: Option<u64>,
    ) -> Result<(), WorkError> {
        let proves = report.clean && matches!(report.mode.as_str(), "hash" | "exact");
        let open = mismatches::compared(name, moving, report).await;
        let open = open.map_err(|error| error.of("noting on the target what was found"))?;
        let noted = self.states.change(name, |state| {
            state.last_verify = Some(report.summary());
            state.unproved_since.take_if(|since| proves && Some(*since) == unproved);
            state.open_mismatches = open;
        });
        noted.map_err(WorkError::Stopped)
    }

    /// Compares every row, brings those in line that differ, and compares again. Where more differ than a comparison tells
    /// of, that is done until none do, or nothing more can be written.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn repair(&self, name: &str, run: Run) -> Result<RepairReport, WorkError> {
        if run == Run::Real {
            self.not_parted(name).map_err(WorkError::Stopped)?;
        }
        let mut found = self.compare(name, &Mode::Hash).await?;
        let mut report = RepairReport::default();
        loop {
            let (is_told_whole, repaired) = (found.is_told_whole(), report.repaired());
            report.take(self.repair_found(name, found, run).await?);
            if run == Run::Dry || report.refused.is_some() || report.outcomes.is_empty() {
                return Ok(report);
            }
            found = self.compare(name, &Mode::Hash).await?;
            report.compared_again = Some(found.summary());
            if found.clean || is_told_whole || report.repaired() == repaired {
                return Ok(report);
            }
        }
    }

    async fn repair_found(&self, name: &str, found: Report, run: Run) -> Result<RepairReport, WorkError> {
        let _same_authority = self.single.copying().await;
        let snapshot = self.shared.snapshot();
        let (by, of) = find(&snapshot.topology, name).map_err(WorkError::Stopped)?;
        let moving = self.moving(&snapshot.topology, by)?;
        let converge = CatchUp { moves: self, moving: &moving, of, repairs: Repairs::Locked };
        self.repaired(name, &moving, of.writes, &converge, found, run).await
    }

    async fn repaired(
        &self,
        name: &str,
        moving: &[MovingTable],
        authority: Side,
        converge: &CatchUp<'_>,
        found: Report,
        run: Run,
    ) -> Result<RepairReport, WorkError> {
        let cap = usize::try_from(self.settings(name).repair.cap).unwrap_or(usize::MAX);
        if found.different > cap as u64 {
            let refused = format!(
                "{} rows differ and at most {cap} may be repaired. Unless a stream was lost, or rows were deleted where \
                 capture = \"timestamp\" does not see it, that is a bug, not drift: find it first. Then raise repair.cap in the rules and start again; or take the move out of the rules, empty the target's tables, and put it back, which begins it anew",
                found.different
            );
            let report = RepairReport::refused(refused, found.finished_at);
            return self.keep_repaired(name, moving, report).await;
        }
        let differences: Vec<_> = found.tables.into_iter().flat_map(|table| table.differences).collect();
        let policy = Policy { cap, run };
        let pulse = Pulse::of(moving);
        let run = repair::run(name, moving, authority, converge, &differences, policy);
        let report = pulse.beside(pulse.during(run)).await?;
        self.keep_repaired(name, moving, report).await
    }

    /// Notes what a repair did.
    async fn keep_repaired(
        &self,
        name: &str,
        moving: &[MovingTable],
        report: RepairReport,
    ) -> Result<RepairReport, WorkError> {
        let open = mismatches::repaired(name, moving, &report).await;
        let open = open.map_err(|error| error.of(&format!("{report}\nnoting this on the target")))?;
        self.states.change(name, |state| state.open_mismatches = open).map_err(WorkError::Stopped)?;
        Ok(report)
    }

    /// Is the move one whose deletions nobody follows? Clients go on deleting rows, so that such sides are equal under hold
    /// only: [`Moves::prove_equal`].
    fn is_degraded(&self, name: &str) -> bool {
        let snapshot = self.shared.snapshot();
        let found = find(&snapshot.topology, name);
        found.is_ok_and(|(_, of)| of.capture.is_degraded(of.writes))
    }

    /// While no client writes: compares every row, takes away on the other side what was deleted, and compares again.
    ///
    /// # Errors
    /// Why both sides are not known to be equal.
    pub(super) async fn prove_equal(&self, of: &Move, moving: &[MovingTable]) -> Result<(), String> {
        let (name, authority) = (of.name.as_str(), of.writes);
        let proved = async {
            let converge = CatchUp { moves: self, moving, of, repairs: Repairs::Locked };
            let compare = async || {
                let tally = self.count(name, What::Proving);
                self.compared(name, moving, authority, &converge, &Mode::Hash, &tally).await
            };
            let mut found = compare().await?;
            if !found.clean && found.undecided == 0 {
                let repaired = self.repaired(name, moving, authority, &converge, found, Run::Real).await?;
                if let Some(refused) = repaired.refused {
                    return Err(WorkError::Stopped(refused));
                }
                found = compare().await?;
            }
            Ok(found)
        };
        let why = match proved.await {
            Ok(Report { clean: true, .. }) => return Ok(()),
            Ok(Report { different, undecided, .. }) => {
                format!("{different} rows differ and {undecided} could not be judged")
            }
            Err(error) => error.to_string(),
        };
        Err(refusal::NOT_PROVED.because(why).to_string())
    }

    /// Compares until both sides are equal, repairing in between; more than drift needs a person.
    pub(super) async fn equal(&self, name: &str) -> Result<(), WorkError> {
        const REPAIRS: usize = 2;
        let mut found = self.compare(name, &Mode::Hash).await?;
        for _ in 0..REPAIRS {
            if found.clean {
                return Ok(());
            }
            tracing::warn!(r#move = name, different = found.different, "both sides differ; repairing");
            self.not_parted(name).map_err(WorkError::Stopped)?;
            let repaired = self.repair_found(name, found, Run::Real).await?;
            if let Some(refused) = repaired.refused {
                return Err(WorkError::Stopped(refused));
            }
            // A pass with a repair is never a clean pass.
            found = self.compare(name, &Mode::Hash).await?;
            if self.is_degraded(name) && found.is_complete_there() {
                return Ok(());
            }
        }
        if found.clean {
            return Ok(());
        }
        Err(WorkError::Stopped(format!(
            "{} rows differ and {} could not be judged, after repairs; those that are open in {} say why",
            found.different,
            found.undecided,
            record::MISMATCHES
        )))
    }
}

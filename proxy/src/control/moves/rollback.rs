//! Going back: a move's traffic to the source, step by step, each step told as it happens.
//!
//! A planned rollback stops what goes forward, takes traffic to the source through the switch with all its guards (so the
//! source has every write before it answers), restores data and rules where the operator asks, and compares. An
//! emergency takes traffic to the source at once and tells what is not synchronised (`part`).
//!
//! How far it is lies in a file of its own, written before and after each step. Every step finds out what is done
//! already, so a process that finds a rollback under way as it starts runs it again from the beginning.

mod report;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use shardway_migration::phase::{Phase, State};
use shardway_migration::verify::Mode;
use shardway_routing::refusal;
use shardway_routing::topology::Side;

use super::part::READ_SOON;
use super::points::Point;
use super::state::Authority;
use super::{Moves, find};
use crate::control::store::now_s;
use crate::control::{Control, rule_file};
use crate::durable;
use work::Told;

pub use report::{Ask, Manner, Outcome, Rollback, StepReport, StepState};

/// The alert of an emergency.
pub const ALERT: &str = "emergency_rollback";
/// How long a planned rollback may take to give way to an emergency.
const ENDS_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The last rollback of every move.
#[derive(Debug)]
pub(super) struct Rollbacks {
    folder: PathBuf,
    /// Those under way: the step, and the point they lead to.
    running: Mutex<BTreeMap<String, (String, Option<u64>)>>,
}

impl Rollbacks {
    pub(super) fn open(state: &std::path::Path) -> std::io::Result<Rollbacks> {
        let folder = state.join("rollbacks");
        std::fs::create_dir_all(&folder)?;
        Ok(Rollbacks { folder, running: Mutex::default() })
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, (String, Option<u64>)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, name: &str) -> Result<Option<Rollback>, String> {
        let file = self.folder.join(format!("{name}.json"));
        match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| format!("{} cannot be read: {error}; remove it", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
        }
    }

    fn save(&self, name: &str, rollback: &Rollback) -> Result<(), String> {
        let saved = serde_json::to_vec_pretty(rollback)
            .map_err(std::io::Error::from)
            .and_then(|bytes| durable::write(&self.folder.join(format!("{name}.json")), &bytes));
        saved.map_err(|error| format!("how far the rollback is cannot be saved: {error}"))
    }
}

/// Takes a rollback out of those under way.
struct Entered<'a> {
    rollbacks: &'a Rollbacks,
    name: &'a str,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.rollbacks.running().remove(self.name);
    }
}

impl Moves {
    /// Is one under way?
    #[must_use]
    pub fn is_rolling_back(&self, name: &str) -> bool {
        self.rollbacks.running().contains_key(name)
    }

    /// The step that a rollback under way is at.
    #[must_use]
    pub fn rollback_step(&self, name: &str) -> Option<String> {
        self.rollbacks.running().get(name).map(|(step, _)| step.clone())
    }

    /// The point that a rollback under way leads to.
    pub(super) fn leads_to(&self, name: &str) -> Option<u64> {
        self.rollbacks.running().get(name).and_then(|(_, point)| *point)
    }

    /// The last rollback of a move.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_rollback(&self, name: &str) -> Result<Option<Rollback>, String> {
        self.rollbacks.read(name)
    }
}

/// Goes back, and returns how it ended. It goes on when the caller goes away.
///
/// # Errors
/// Why it did not begin.
pub async fn rollback(control: &Arc<Control>, name: &str, ask: Ask) -> Result<Rollback, String> {
    let point = admitted(control, name, &ask)?;
    if ask.manner == Manner::Emergency {
        // A planned one that waits for something ends.
        let _emergency = control.store.declare_emergency();
        let until = Instant::now() + ENDS_MAX;
        while control.moves.is_rolling_back(name) && Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    {
        let mut running = control.moves.rollbacks.running();
        if running.contains_key(name) {
            return Err(format!(
                "a rollback of {name} is under way; `shardway move rollback {name} --last` shows how far it is"
            ));
        }
        running.insert(name.to_owned(), (String::new(), point.as_ref().map(|point| point.id)));
    }
    let (control, name) = (Arc::clone(control), name.to_owned());
    let run = tokio::spawn(async move {
        let _entered = Entered { rollbacks: &control.moves.rollbacks, name: &name };
        let record = Rollback {
            ask,
            started_at: now_s(),
            finished_at: None,
            outcome: Outcome::Running,
            steps: Vec::new(),
            not_synchronised: None,
            restored: Vec::new(),
        };
        Course { control: &control, name: &name, point, record }.run().await
    });
    run.await.map_err(|error| format!("the rollback ended unexpectedly: {error}"))?
}

/// After a start: rollbacks that a crash left behind run again.
pub fn resume_all(control: &Arc<Control>) {
    let names: Vec<String> =
        control.shared.snapshot().topology.moves.iter().map(|of| of.name.clone()).collect();
    for name in names {
        let last = match control.moves.rollbacks.read(&name) {
            Ok(Some(last)) if last.outcome == Outcome::Running => last,
            Ok(_) => continue,
            Err(error) => {
                tracing::error!(r#move = name, error, "whether a rollback was under way is not known");
                continue;
            }
        };
        tracing::warn!(r#move = name, "a rollback was under way when the process ended; it begins again");
        let control = Arc::clone(control);
        tokio::spawn(async move {
            match rollback(&control, &name, last.ask).await {
                Ok(ended) => {
                    tracing::info!(r#move = name, outcome = ?ended.outcome, "the rollback has ended")
                }
                Err(error) => tracing::error!(r#move = name, error, "the rollback did not begin again"),
            }
        });
    }
}

/// Looks for what speaks against it before anything is touched.
fn admitted(control: &Control, name: &str, ask: &Ask) -> Result<Option<Point>, String> {
    let snapshot = control.shared.snapshot();
    let (_, of) = find(&snapshot.topology, name)?;
    let point = match &ask.to {
        Some(_) if ask.manner == Manner::Emergency => {
            return Err("an emergency leads to the source as it is; leave --to out".to_owned());
        }
        Some(named) => Some(control.moves.point(name, named)?),
        None => None,
    };
    let state = control.moves.of(name).state;
    if is_closed(control, name) && !(ask.restore && point.is_some()) {
        return Err(refusal::WAY_BACK_CLOSED.because(format!("{name} is {}", state.phase())).to_string());
    }
    if let Some(point) = &point {
        if point.authority != Authority::Source {
            let why = format!(
                "{} is of a time when the target owned writes of all keys or some, and a rollback leads to the source; `shardway rules revert {}` brings its rules back",
                point.name, point.rules_version
            );
            return Err(refusal::NO_POINT.because(why).to_string());
        }
        let version = point.rules_version;
        rule_file::load(&control.shared.config.rules, &point.rules, version).map_err(|error| {
            refusal::NO_POINT.because(format!("its rules cannot be read: {error}")).to_string()
        })?;
    }
    if ask.restore && point.as_ref().is_none_or(|point| point.backup.is_none()) {
        let why = "--restore needs --to with a point that has a backup";
        return Err(refusal::BACKUP_UNUSABLE.because(why).to_string());
    }
    if let Some(mode) = &ask.verify
        && mode != "none"
        && Mode::named(mode).is_none()
    {
        return Err("verify is none of none, count, sample, hash, exact".to_owned());
    }
    let is_lost = matches!(state, State::Failed { phase: Phase::ReverseSync | Phase::Divided, .. });
    if ask.manner == Manner::Emergency && of.owners().include(Side::Target) && is_lost && !ask.yes {
        let error = control.moves.of(name).last_error.unwrap_or_default();
        return Err(format!(
            "the source has not been followed for a while ({error}) and may lack much; --yes goes there all the same"
        ));
    }
    Ok(point)
}

/// Has the source been given up? Then a rollback may restore beside it, and leaves the traffic alone.
fn is_closed(control: &Control, name: &str) -> bool {
    matches!(control.moves.of(name).state.phase(), Phase::Finishing | Phase::Done)
}

struct Course<'a> {
    control: &'a Arc<Control>,
    name: &'a str,
    point: Option<Point>,
    record: Rollback,
}

impl Course<'_> {
    async fn run(mut self) -> Result<Rollback, String> {
        if let Ok(Some(before)) = self.control.moves.rollbacks.read(self.name)
            && before.outcome == Outcome::Running
        {
            self.record.started_at = before.started_at;
            self.record.steps = before.steps;
            self.record.restored = before.restored;
            for step in &mut self.record.steps {
                if step.state == StepState::Running {
                    step.state = StepState::Interrupted;
                }
            }
        }
        let ended = match self.record.ask.manner {
            Manner::Planned => self.planned().await,
            Manner::Emergency => self.emergency().await,
        };
        self.record.outcome = match ended {
            Err(()) => Outcome::Failed,
            Ok(()) if self.record.restored.is_empty() => Outcome::Done,
            Ok(()) => Outcome::AwaitsAPerson,
        };
        self.record.finished_at = Some(now_s());
        if let Err(error) = self.control.moves.rollbacks.save(self.name, &self.record) {
            tracing::error!(r#move = self.name, error, "how the rollback ended is not kept");
        }
        Ok(self.record)
    }

    async fn planned(&mut self) -> Result<(), ()> {
        let (control, name) = (self.control, self.name);
        let point = self.point.clone();
        if is_closed(control, name) {
            return self.data().await;
        }
        self.step("stop", work::stop(control, name)).await?;
        self.step("traffic", work::to_source(control, name)).await?;
        self.data().await?;
        self.step("rules", work::rules(control, name, point.as_ref())).await?;
        if !self.record.restored.is_empty() {
            let why = "the rows that clients use are not the restored ones yet; when they are, the target differs from them";
            return self.step("validate", async { Ok(Told::Skipped(why.to_owned())) }).await;
        }
        let mode = self.record.ask.verify.clone().unwrap_or_else(|| "hash".to_owned());
        let validated = work::validate(control, name, &mode, point.as_ref());
        let validated = async { control.store.unless_emergency(validated).await.flatten() };
        self.step("validate", validated).await
    }

    /// Restores beside the source's tables, where that is asked for.
    async fn data(&mut self) -> Result<(), ()> {
        let (point, ask) = (self.point.clone(), self.record.ask.clone());
        // Of a rollback that a crash interrupted; it is there already.
        let mut restored = self.record.restored.clone();
        let (control, name) = (self.control, self.name);
        let done = work::data(control, name, point.as_ref(), &ask, &mut restored);
        let done = async { control.store.unless_emergency(done).await.flatten() };
        self.step("data", done).await?;
        self.record.restored = restored;
        self.note();
        Ok(())
    }

    async fn emergency(&mut self) -> Result<(), ()> {
        let (control, name) = (self.control, self.name);
        self.step("traffic", work::at_once(control, name)).await?;
        self.step("alert", work::alert(control, name)).await?;
        let gaps = async { control.moves.gaps(name, READ_SOON).await };
        let found = gaps.await.ok().flatten();
        self.record.not_synchronised = found.as_ref().map(|found| found.not_synchronised.clone());
        let told = match &found {
            Some(found) => Told::Done(work::listed(&found.not_synchronised)),
            None => Told::Skipped("the source owned writes, so it has everything".to_owned()),
        };
        self.step("not synchronised", async { Ok(told) }).await
    }

    /// Does one step, noting it before and after. What cannot be noted does not keep traffic from going back.
    async fn step(&mut self, step: &str, work: impl Future<Output = Result<Told, String>>) -> Result<(), ()> {
        if let Some((at, _)) = self.control.moves.rollbacks.running().get_mut(self.name) {
            step.clone_into(at);
        }
        let running = StepReport {
            step: step.to_owned(),
            state: StepState::Running,
            detail: String::new(),
            seconds: 0.0,
        };
        self.record.steps.push(running);
        self.note();
        let began = Instant::now();
        let done = work.await;
        let (state, detail) = match &done {
            Ok(Told::Done(detail)) => (StepState::Done, detail.clone()),
            Ok(Told::Skipped(detail)) => (StepState::Skipped, detail.clone()),
            Ok(Told::AwaitsAPerson(detail)) => (StepState::AwaitsAPerson, detail.clone()),
            Err(error) => (StepState::Failed, error.clone()),
        };
        tracing::info!(r#move = self.name, step, ?state, detail, "rollback");
        if let Some(last) = self.record.steps.last_mut() {
            *last = StepReport { state, detail, seconds: began.elapsed().as_secs_f64(), ..last.clone() };
        }
        self.note();
        done.map(|_| ()).map_err(|_| ())
    }

    fn note(&self) {
        if let Err(error) = self.control.moves.rollbacks.save(self.name, &self.record) {
            tracing::error!(r#move = self.name, error, "a step of a rollback is not kept");
        }
    }
}

//! What each step of a rollback does. Every one finds out what is done already, so it may run twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardway_migration::phase::{Event, Phase, State};
use shardway_migration::point;
use shardway_migration::verify::Mode;
use shardway_routing::refusal;
use shardway_routing::topology::{Capture, DoubleWrite, Move, Side};
use shardway_routing::transition::{Facts as _, SourceKept};

use super::{ALERT, Ask};
use crate::control::moves::backup::Restored;
use crate::control::moves::find;
use crate::control::moves::part::NotSynchronised;
use crate::control::moves::points::Point;
use crate::control::store::now_s;
use crate::control::traffic::{self, Always, Wish};
use crate::control::{Control, rule_file};
use crate::durable;

/// How long a planned rollback waits for the way back to be in step.
const IN_STEP_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long servers may take to say what they are like now.
const ASK_MAX: Duration = Duration::from_secs(5);
/// Tries of a switch whose statements did not end in time.
const TRIES: u32 = 3;
/// What a step has to say.
pub(super) enum Told {
    Done(String),
    Skipped(String),
    /// The rest is for a person.
    AwaitsAPerson(String),
}

/// What is not synchronised, in one line.
pub(super) fn listed(of: &NotSynchronised) -> String {
    let streams = of.streams.iter().map(|gap| {
        let applied = gap.applied.as_ref().map_or("nowhere known".to_owned(), ToString::to_string);
        let missing = match (gap.rows, &gap.unknown) {
            (_, Some(why)) => format!("what was written after it is not known ({why})"),
            (Some(0), None) => "nothing was written after it".to_owned(),
            (Some(rows), None) => format!("{rows} rows were written after it"),
            (None, None) => "nobody has asked yet".to_owned(),
        };
        format!("{}: applied up to {applied}, {missing}", gap.backend)
    });
    let mut parts: Vec<String> = streams.collect();
    if of.dirty_keys > 0 {
        parts.push(format!("{} dirty keys", of.dirty_keys));
    }
    parts.extend(of.transactions.iter().map(|open| format!("when traffic went back, {open}")));
    parts.join("; ")
}

fn of_move(control: &Control, name: &str) -> Result<Move, String> {
    find(&control.shared.snapshot().topology, name).map(|(_, of)| of.clone())
}

/// What goes forward by itself rests.
pub(super) async fn stop(control: &Arc<Control>, name: &str) -> Result<Told, String> {
    let state = control.moves.of(name).state;
    let works = !matches!(state.phase(), Phase::Draft | Phase::Synced | Phase::Divided | Phase::ReverseSync);
    match state {
        State::Running { .. } if works => {
            control.moves.happen(name, Event::Pause("a rollback".to_owned())).await?;
            Ok(Told::Done("the copy rests; `shardway move resume` goes on with it".to_owned()))
        }
        State::Running { .. } => Ok(Told::Skipped("nothing goes forward by itself".to_owned())),
        State::Paused { .. } | State::Failed { .. } => {
            Ok(Told::Skipped(format!("the move is {} already", state.name())))
        }
    }
}

fn back() -> Wish {
    Wish {
        reads: Some(0.0),
        writes: Some("source".to_owned()),
        always: Some(Always::Nobody),
        ..Wish::default()
    }
}

/// The text in force, and what it becomes.
fn edited(control: &Control, name: &str, wish: &Wish) -> Result<(String, String), String> {
    let before = control.store.in_force().ok_or("no rules are in force")?.text;
    let after = traffic::edited(&before, name, wish)?;
    Ok((before, after))
}

/// Through the switch, with its guards.
pub(super) async fn to_source(control: &Arc<Control>, name: &str) -> Result<Told, String> {
    let was = of_move(control, name)?;
    let mut tried = 0;
    loop {
        if was.owners().include(Side::Target) {
            control.store.unless_emergency(in_step(control, name)).await.flatten()?;
        }
        // Anew each time: others change the rules as well.
        let (before, after) = edited(control, name, &back())?;
        if before == after {
            in_file(control, &before, &after)?;
            return Ok(Told::Skipped("the source serves all reads and owns writes already".to_owned()));
        }
        let Err(error) = control.store.apply(&after, "rollback").await else {
            in_file(control, &before, &after)?;
            break;
        };
        control.store.take_back(&before).await;
        tried += 1;
        if tried == TRIES {
            return Err(format!("{error}; traffic stays where it is; `--emergency` does not wait"));
        }
        control.store.unless_emergency(tokio::time::sleep(Duration::from_secs(1))).await?;
    }
    Ok(Told::Done(match was.owners().include(Side::Target) {
        true => "reads and writes are on the source, which has every acknowledged write".to_owned(),
        false => "reads are on the source".to_owned(),
    }))
}

/// Waits until the source can be relied on.
async fn in_step(control: &Arc<Control>, name: &str) -> Result<(), String> {
    let until = Instant::now() + IN_STEP_MAX;
    while control.moves.source_kept(name) == SourceKept::No {
        let waits = control.moves.streams(name).and_then(|streams| streams.waits_for);
        if Instant::now() > until {
            let waits = waits.unwrap_or_else(|| "its streams are not followed".to_owned());
            return Err(format!(
                "the source is not in step with the target: {waits}; `shardway move rollback {name} --emergency` does not wait for it"
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Puts the text in force into the operator's file. Changes there that were not in force are kept beside it.
fn in_file(control: &Control, before: &str, after: &str) -> Result<(), String> {
    let file = &control.shared.config.rules;
    let is = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    if is == after {
        return Ok(());
    }
    if is != before {
        let beside = file.with_extension("toml.before-rollback");
        durable::write(&beside, is.as_bytes()).map_err(|error| format!("{}: {error}", beside.display()))?;
        tracing::warn!(file = %beside.display(), "the rule file had changes that were not in force; they are here");
    }
    rule_file::replace(file, after).map_err(|error| format!("{error:#}"))
}

/// Rows: those of the source as they are, or the point's beside them, which a person puts in place.
pub(super) async fn data(
    control: &Arc<Control>,
    name: &str,
    point: Option<&Point>,
    ask: &Ask,
    restored: &mut Vec<Restored>,
) -> Result<Told, String> {
    if !ask.restore {
        return Ok(Told::Skipped("the source's rows stay as they are".to_owned()));
    }
    let point = point.ok_or("--restore needs the point that it leads to: --to POINT")?;
    let backup = point.backup.ok_or_else(|| {
        refusal::BACKUP_UNUSABLE.because(format!("there was no backup at {}", point.name)).to_string()
    })?;
    if restored.is_empty() {
        *restored = control.moves.restore_beside(name, backup, point.id).await?;
    }
    let told: Vec<String> = restored.iter().map(ToString::to_string).collect();
    Ok(Told::AwaitsAPerson(told.join("\n")))
}

/// The point's rules; and whatever would go forward by itself under them rests.
pub(super) async fn rules(control: &Arc<Control>, name: &str, point: Option<&Point>) -> Result<Told, String> {
    let told = match point {
        None => Told::Skipped("the other rules stay as they are".to_owned()),
        Some(point) => {
            let before = control.store.in_force().ok_or("no rules are in force")?.text;
            if before != point.rules {
                let reason = format!("rollback to {}", point.name);
                if let Err(error) = control.store.apply(&point.rules, &reason).await {
                    control.store.take_back(&before).await;
                    return Err(format!(
                        "traffic is on the source; the rules of {} are refused: {error}",
                        point.name
                    ));
                }
                in_file(control, &before, &point.rules)?;
            }
            Told::Done(format!("the rules of version {} are in force", point.rules_version))
        }
    };
    let state = control.moves.of(name).state;
    if control.moves.settings(name).schedule.is_some() && state == (State::Running { phase: Phase::Synced }) {
        control.moves.happen(name, Event::Pause("a rollback".to_owned())).await?;
        return Ok(Told::Done("the schedule rests; `shardway move resume` goes on with it".to_owned()));
    }
    Ok(told)
}

/// Compares both sides, where the target is to be equal.
pub(super) async fn validate(
    control: &Arc<Control>,
    name: &str,
    mode: &str,
    point: Option<&Point>,
) -> Result<Told, String> {
    let Some(mode) = Mode::named(mode) else {
        return Ok(Told::Skipped("as the operator asked".to_owned()));
    };
    let changed = match point {
        Some(point) => changes_since(control, name, point).await?,
        None => String::new(),
    };
    let phase = control.moves.of(name).state.phase();
    if !matches!(phase, Phase::Synced | Phase::Divided | Phase::ReverseSync) {
        return Ok(Told::Skipped(format!("in phase {phase} the target is not equal yet{changed}")));
    }
    let report =
        control.moves.compare(name, &mode).await.map_err(|error| format!("not compared: {error}"))?;
    let found = format!("{}: {} rows compared", report.mode, report.checked);
    if report.clean {
        return Ok(Told::Done(format!("{found}, both sides are equal{changed}")));
    }
    Err(format!(
        "{found}, {} differ and {} are undecided; traffic is on the source; `shardway move verify {name}` shows them{changed}",
        report.different, report.undecided
    ))
}

/// What is otherwise than at the point, and no rollback brings back.
async fn changes_since(control: &Control, name: &str, point: &Point) -> Result<String, String> {
    let snapshot = control.shared.snapshot();
    let (by, _) = find(&snapshot.topology, name)?;
    let now = point::look(&snapshot.topology, by, ASK_MAX).await;
    let changes = point.servers.changes_until(&now);
    Ok(if changes.is_empty() {
        String::new()
    } else {
        format!("; since {}: {}", point.name, changes.join(", "))
    })
}

/// Whoever answers or does not.
pub(super) async fn at_once(control: &Arc<Control>, name: &str) -> Result<Told, String> {
    let edit = |before: &str| {
        let was = of_move(control, name)?;
        let double_write = match (was.double_write, &was.capture, was.writes) {
            (DoubleWrite::Off, ..) => None,
            // What is mirrored now would overwrite what only the target has.
            (_, _, Side::Target) | (_, Capture::Binlog, _) => Some("off"),
            // Without a log the target depends on it, and clients must not depend on the target.
            (DoubleWrite::Strict, ..) => Some("sync"),
            _ => None,
        };
        let wish = Wish { double_write: double_write.map(str::to_owned), ..back() };
        traffic::edited(before, name, &wish)
    };
    let (before, after) = control.store.at_once(name, "emergency rollback", edit).await?;
    if before == after {
        in_file(control, &before, &after)?;
        return Ok(Told::Skipped("the source serves all reads and owns writes already".to_owned()));
    }
    let told = "reads and writes are on the source".to_owned();
    match in_file(control, &before, &after) {
        Ok(()) => Ok(Told::Done(told)),
        Err(error) => Ok(Told::Done(format!("{told}; but the rule file says otherwise: {error}"))),
    }
}

pub(super) async fn alert(control: &Arc<Control>, name: &str) -> Result<Told, String> {
    let message = match control.moves.of(name).parted {
        Some(_) => "emergency rollback: the source owns writes and may lack some that the target has",
        None => "emergency rollback: all reads are on the source",
    };
    let rules = &control.store.settings().alerts;
    control.shared.alarm.raise(rules, name, ALERT, message, now_s());
    Ok(Told::Done(message.to_owned()))
}

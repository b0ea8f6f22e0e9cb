//! The dirty keys of every move: loaded at start, healed for as long as the process runs, forgotten when both sides have
//! them.

mod places;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use shardway_migration::connection;
use shardway_migration::dirty::{self, Stored};
use shardway_migration::heal::{self, Journal};
use shardway_migration::pulse::Pulse;
use shardway_migration::tables::{self, MovingTable, WorkError};
use shardway_routing::key::KeyValue;
use shardway_routing::topology::{DoubleWrite, Move, MoveId, Side, Topology};

use self::places::Places;
use super::ending::Passed;
use super::{find, moves};
use crate::control::Control;
use crate::control_connection::answer_within;
use crate::dirty::{Dirty, Until};
use crate::followed::Left;
use crate::shared::Shared;

/// Younger journal entries are about to be removed by the transaction that wrote them.
const MIN_AGE: Duration = Duration::from_secs(1);
const HEAL_EVERY: Duration = Duration::from_millis(300);
/// Between two passes that bring nothing.
const HEAL_SELDOM: Duration = Duration::from_secs(2);
/// Between two tries to read a journal whose server is away.
const LOAD_EVERY: Duration = Duration::from_secs(1);
/// Passes in a row that may bring nothing before a barrier gives up.
const PASSES: usize = 100;

/// Heals until the journals are empty. To be called when nobody writes and the streams have caught up.
pub(super) async fn drain(shared: &Shared, moving: &[MovingTable], authority: Side) -> Result<(), WorkError> {
    for journal in heal::journals(moving, authority) {
        let mut idle = 0;
        while heal::oldest(moving, &journal).await?.is_some() {
            let healed = heal::run(moving, authority, &journal, 0, 0).await?;
            idle = if healed.entries.is_empty() { idle + 1 } else { 0 };
            if idle == PASSES {
                return Err(stuck());
            }
        }
    }
    for until in [Until::Healed, Until::Streamed] {
        shared.dirty.forget(&names(moving), until);
    }
    Ok(())
}

/// Heals what the journals have now, while clients go on writing.
pub(super) async fn catch_up(
    shared: &Shared,
    moving: &[MovingTable],
    authority: Side,
) -> Result<(), WorkError> {
    for journal in heal::journals(moving, authority) {
        let Some(newest) = heal::newest(moving, &journal).await? else { continue };
        let mut idle = 0;
        while heal::oldest(moving, &journal).await?.is_some_and(|oldest| oldest <= newest) {
            let healed = heal::run(moving, authority, &journal, 0, 0).await?;
            idle = if healed.entries.is_empty() { idle + 1 } else { 0 };
            if idle == PASSES {
                return Err(stuck());
            }
        }
    }
    settle(shared, moving, authority, Vec::new()).await
}

fn stuck() -> WorkError {
    WorkError::Stopped("there are dirty keys that cannot be healed; the log says why".into())
}

fn names(moving: &[MovingTable]) -> Vec<String> {
    moving.iter().map(|table| table.name.clone()).collect()
}

/// Makes the journals of both sides.
pub(super) async fn make_journals(moving: &[MovingTable]) -> Result<(), WorkError> {
    for side in [Side::Source, Side::Target] {
        for Journal { server, database } in heal::journals(moving, side) {
            let mut connection = connection::connect(&server).await?;
            connection.query_drop(dirty::create(&database)).await?;
            connection.disconnect().await?;
        }
    }
    Ok(())
}

/// Loads the journals, so that nobody reads a row that may be behind. Where an authority cannot be asked, it answers for
/// every row of its move itself until it can: that its backend is down must not keep the others from being served.
pub(in crate::control) async fn load_dirty(control: &Arc<Control>, topology: &Topology) {
    for (by, of) in moves(topology) {
        if !is_journaled(control, of) {
            continue;
        }
        if let Err(error) = load(&control.shared, topology, by).await {
            tracing::warn!(
                error,
                r#move = of.name,
                "the dirty keys are not known; the authority answers for all"
            );
            let token = rand::random();
            let tables = topology.full_names(of).into_iter().map(|table| (table, None)).collect();
            control.shared.dirty.add(token, tables, Until::Streamed);
            tokio::spawn(load_later(Arc::clone(control), of.name.clone(), token));
        }
    }
}

/// Tries again until the journals are known, or are of no more use.
async fn load_later(control: Arc<Control>, name: String, token: u64) {
    loop {
        tokio::time::sleep(LOAD_EVERY).await;
        let snapshot = control.shared.snapshot();
        let Ok((by, of)) = find(&snapshot.topology, &name) else { break };
        if !is_journaled(&control, of) || load(&control.shared, &snapshot.topology, by).await.is_ok() {
            break;
        }
    }
    tracing::info!(r#move = name, "the dirty keys are known");
    control.shared.dirty.remove(token);
}

async fn load(shared: &Shared, topology: &Topology, by: MoveId) -> Result<(), String> {
    let moving = tables::of_move(topology, by).map_err(|refusal| refusal.to_string())?;
    for journal in heal::journals(&moving, topology.move_of(by).writes) {
        let entries = heal::all(&moving, &journal).await;
        let mut transactions: HashMap<u64, (Vec<Dirty>, Duration)> = HashMap::new();
        for Stored { entry, age, .. } in entries.map_err(|error| format!("reading dirty keys: {error}"))? {
            let key = entry.shard_keys.first().and_then(|key| KeyValue::from_canonical(key));
            let (keys, oldest) = transactions.entry(entry.token).or_default();
            keys.push((entry.table, key));
            *oldest = age.max(*oldest);
        }
        for (token, (keys, age)) in transactions {
            shared.dirty.add_aged(token, keys, Until::Healed, age);
        }
    }
    Ok(())
}

/// Heals for as long as the process runs: every now and then, and at once when a transaction asks for it. Keys that
/// cannot be healed are tried ever more seldom.
pub(in crate::control) async fn heal_always(control: Arc<Control>) {
    let mut pause = HEAL_EVERY;
    let mut places = Places::default();
    loop {
        let asked = control.shared.dirty.awaits_healing.notified();
        // After a failure it is time that helps, not another transaction.
        let is_hopeful = pause == HEAL_EVERY;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = asked, if is_hopeful => {}
        }
        // Rules of before the wait may name another authority, and its rows would be written over newer ones.
        let healing = async { round(&control, &control.shared.snapshot().topology, &mut places).await };
        pause = match control.moves.single.copying_meanwhile(healing).await {
            Some(Round::Stuck) => (pause * 2).min(HEAL_SELDOM),
            Some(Round::Done) => HEAL_EVERY,
            None => {
                // It may have healed some.
                let snapshot = control.shared.snapshot();
                moves(&snapshot.topology).for_each(|(_, of)| control.moves.endings.forget(&of.name));
                HEAL_EVERY
            }
        };
    }
}

/// How a pass over all journals went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Done,
    /// Keys of some move could not be healed, and none were.
    Stuck,
}

/// One pass over the journals of every move.
async fn round(control: &Control, topology: &Topology, places: &mut Places) -> Round {
    let mut went = Round::Done;
    for (by, of) in moves(topology) {
        if !is_journaled(control, of) {
            continue;
        }
        let Ok(moving) = tables::of_move(topology, by) else { continue };
        let min_age = if of.double_write == DoubleWrite::Async { Duration::ZERO } else { MIN_AGE };
        let pulse = Pulse::of(&moving);
        let passed = pulse.during(pass(&control.shared, &of.name, &moving, of.writes, min_age, places));
        match pulse.beside(passed).await {
            Ok(Gone { healed: 0, failed: 0, .. }) if of.double_write == DoubleWrite::Off => {
                if let Err(reason) = finish(control, of, &moving).await {
                    went = Round::Stuck;
                    is_behind(of, &reason);
                }
            }
            // What is healed now, perhaps before the error, is newer than any place that the streams were to pass.
            Ok(Gone { failed, is_stuck, .. }) => {
                control.moves.note_failures(&of.name, failed);
                control.moves.endings.forget(&of.name);
                if is_stuck {
                    went = Round::Stuck;
                }
            }
            Err(error) => {
                control.moves.note_failures(&of.name, 1);
                control.moves.endings.forget(&of.name);
                went = Round::Stuck;
                tracing::warn!(%error, r#move = of.name, "cannot heal dirty keys");
            }
        }
    }
    went
}

/// May the journals of a move hold keys?
fn is_journaled(control: &Control, of: &Move) -> bool {
    of.double_write != DoubleWrite::Off || control.moves.of(&of.name).is_behind_double_write
}

/// Notes that nothing is left of a double write that has ended, once that is so.
async fn finish(control: &Control, of: &Move, moving: &[MovingTable]) -> Result<(), String> {
    for journal in heal::journals(moving, of.writes) {
        if heal::oldest(moving, &journal).await.map_err(|error| error.to_string())?.is_some() {
            control.moves.endings.forget(&of.name);
            return Ok(());
        }
    }
    let tails = control.moves.tails(&of.name);
    if tails.is_empty() && !control.moves.of(&of.name).starts.is_empty() {
        return Err("its streams are not followed".to_owned());
    }
    match control.moves.endings.passed(&of.name, tails)? {
        Passed::Yes => control.moves.in_line(of),
        Passed::NotYet => Ok(()),
        Passed::NotYetLong => {
            is_behind(of, "its streams have not caught up yet");
            Ok(())
        }
    }
}

fn is_behind(of: &Move, reason: &str) {
    tracing::warn!(reason, r#move = of.name, "the target is behind what double write left");
}

/// What a pass over a move's journals has done with their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gone {
    healed: usize,
    /// Must be tried again.
    failed: usize,
    /// Has some journal been looked at to its end, and nothing in it could be healed?
    is_stuck: bool,
}

/// One pass over a move's journals.
async fn pass(
    shared: &Shared,
    name: &str,
    moving: &[MovingTable],
    authority: Side,
    min_age: Duration,
    places: &mut Places,
) -> Result<Gone, WorkError> {
    let (mut failed, mut is_stuck, mut trouble) = (0, false, None);
    let mut tokens = Vec::new();
    let min_age_ms = u64::try_from(min_age.as_millis()).unwrap_or(u64::MAX);
    for journal in heal::journals(moving, authority) {
        let place = places.of(name, &journal);
        match heal::run(moving, authority, &journal, min_age_ms, place.behind).await {
            Ok(healed) => {
                is_stuck |= place.is_stuck(&healed);
                failed += healed.failed;
                tokens.extend(healed.entries.into_iter().map(|entry| entry.token));
            }
            // The others' entries do not wait for this one.
            Err(error) => drop(trouble.get_or_insert(error)),
        }
    }
    let healed = tokens.len();
    if healed > 0 {
        tracing::info!(keys = healed, "healed dirty keys");
    }
    let settled = settle(shared, moving, authority, tokens).await;
    trouble.map_or(settled, Err)?;
    Ok(Gone { healed, failed, is_stuck })
}

/// Forgets what transactions did to these tables and no journal knows any more: what was healed, or never committed. What
/// they did to tables of another move is that one's.
async fn settle(
    shared: &Shared,
    moving: &[MovingTable],
    authority: Side,
    mut tokens: Vec<u64>,
) -> Result<(), WorkError> {
    const AT_ONCE: usize = 1_000;
    tokens.extend(shared.dirty.tokens(&names(moving), Until::Healed, 2 * MIN_AGE).into_iter().take(AT_ONCE));
    tokens.sort_unstable();
    tokens.dedup();
    if tokens.is_empty() {
        return Ok(());
    }
    let mut noted = HashSet::new();
    for journal in heal::journals(moving, authority) {
        noted.extend(heal::noted(moving, &journal, &tokens).await?);
    }
    let names = names(moving);
    for token in tokens.into_iter().filter(|token| !noted.contains(token)) {
        shared.dirty.remove_of(token, &names);
    }
    Ok(())
}

/// Waits for the streams to bring over what only they can name. Until then the authority answers.
pub(in crate::control) async fn await_streams_always(control: Arc<Control>) {
    const AT_ONCE: usize = 1_000;
    let shared = &control.shared;
    let Some(mut queue) = shared.followed.take_queue() else { return };
    let mut waiting: Vec<Left> = Vec::new();
    loop {
        if waiting.is_empty() && queue.recv_many(&mut waiting, AT_ONCE).await == 0 {
            return;
        }
        let Some(move_name) = waiting.first().map(|left| left.move_name.clone()) else { continue };
        let (of_move, rest): (Vec<Left>, Vec<Left>) =
            waiting.into_iter().partition(|left| left.move_name == move_name);
        waiting = rest;
        match catch_up_streams(shared, &move_name).await {
            Ok(()) => {
                for left in &of_move {
                    shared.dirty.remove(left.token);
                    shared.followed.settle(left);
                }
            }
            Err(error) => {
                tracing::warn!(%error, r#move = move_name, "what was left to the stream is not there yet");
                tokio::time::sleep(HEAL_EVERY).await;
                // A switch that has drained the streams has forgotten the tokens.
                let (known, forgotten): (Vec<Left>, Vec<Left>) =
                    of_move.into_iter().partition(|left| shared.dirty.knows(left.token));
                forgotten.iter().for_each(|left| shared.followed.settle(left));
                waiting.extend(known);
            }
        }
        shared.note_again(&move_name);
    }
}

async fn catch_up_streams(shared: &Shared, move_name: &str) -> Result<(), WorkError> {
    let tails = shared.followed.of(move_name);
    if tails.is_empty() {
        return Err(WorkError::Stopped("no stream is followed".into()));
    }
    for tail in tails {
        tail.catch_up().await?;
    }
    Ok(())
}

/// Empties journals of what both sides have, many entries at a time.
pub(in crate::control) async fn forget_always(control: Arc<Control>) {
    const AT_ONCE: usize = 500;
    let Some(mut queue) = control.shared.take_forgotten() else { return };
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, AT_ONCE).await > 0 {
        while let Some((journal, _)) = batch.first().cloned() {
            let tokens: Vec<u64> =
                batch.iter().filter(|(of, _)| *of == journal).map(|(_, token)| *token).collect();
            batch.retain(|(of, _)| *of != journal);
            let removed = async {
                let mut connection = connection::connect(&journal.server).await?;
                connection.query_drop(connection::NO_GAPS).await?;
                connection.query_drop(dirty::forget(&journal.database, &tokens)).await?;
                connection.disconnect().await
            };
            // A server that says nothing keeps nobody from emptying the journals of others.
            if let Err(error) = answer_within(removed).await {
                tracing::debug!(%error, "journal entries stay until they are healed");
            }
        }
    }
}

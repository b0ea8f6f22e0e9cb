//! Running shadow reads: on both sides of their move, a few at once, until their answers have met or have held still.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shardway_migration::checkpoint::answers::{Answer, Seen, Verdict};
use shardway_migration::converge::Converge as _;
use shardway_migration::phase::Phase;
use shardway_migration::report::ShadowSample;
use shardway_migration::tables::WorkError;
use shardway_routing::lex::{self, Lexed};
use shardway_routing::plan::comparable::{self, Order};
use shardway_routing::topology::{Side, Topology};
use tokio::sync::Semaphore;

use super::ask::{BothSides, Question, Unanswered};
use super::equal::{CatchUp, Repairs};
use super::{find, on_their_way};
use crate::control::Control;
use crate::shadow::{Offer, Ran};

/// Statements that run at the same time.
const AT_ONCE: usize = 4;
/// Of one statement on one side.
const TIME_MAX: Duration = Duration::from_secs(10);
/// How long the other side may take to catch up. Shorter than a change of the rules waits for repairs, which wait too.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
/// How long connections are kept when nothing is offered.
const REST: Duration = Duration::from_secs(60);
/// Of the rows that a report shows.
const SAMPLE_ROWS: usize = 3;
const SAMPLE_BYTES: usize = 500;

/// Runs what sessions offer, for as long as the process lives.
pub(in crate::control) async fn shadow_always(control: Arc<Control>) {
    let Some(mut queue) = control.shared.shadow.take_queue() else { return };
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut sides: HashMap<String, (u64, Arc<BothSides>)> = HashMap::new();
    loop {
        let offer = match tokio::time::timeout(REST, queue.recv()).await {
            Ok(Some(offer)) => offer,
            Ok(None) => return,
            Err(_) => {
                sides.clear();
                continue;
            }
        };
        let snapshot = control.shared.snapshot();
        if snapshot.topology.version != offer.version {
            offer.tally.skip("the rules have changed");
            continue;
        }
        sides.retain(|_, (version, _)| *version == offer.version);
        let both = match sides.get(&offer.move_name) {
            Some((_, both)) => Arc::clone(both),
            None => {
                let Ok((by, _)) = find(&snapshot.topology, &offer.move_name) else { continue };
                let both = Arc::new(BothSides::of(&snapshot.topology, by, control.shared.server_version()));
                sides.insert(offer.move_name.clone(), (offer.version, Arc::clone(&both)));
                both
            }
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let control = Arc::clone(&control);
        tokio::spawn(async move {
            if let Err(why) = run(&control, &snapshot.topology, &both, &offer).await {
                offer.tally.skip(&why);
            }
            drop(place);
        });
    }
}

/// Runs a read on both sides and notes how it went; or tells why it was not compared.
async fn run(control: &Control, topology: &Topology, both: &BothSides, offer: &Offer) -> Result<(), String> {
    let sql = offer.sql.as_bytes();
    let mut lexed = Lexed::default();
    lex::lex(sql, offer.quoting, &mut lexed);
    let order = comparable::order(sql, &lexed, topology, &offer.tables);
    let order = order.map_err(|why| format!("not comparable: {why}"))?;
    let (ran, took) = compared(control, topology, both, offer, order).await?;
    offer.tally.note(&comparable::fingerprint(sql, &lexed), ran, took);
    Ok(())
}

/// How a read went, and how long the authority and the other side took at first.
async fn compared(
    control: &Control,
    topology: &Topology,
    both: &BothSides,
    offer: &Offer,
    order: Order,
) -> Result<(Ran, (Duration, Duration)), String> {
    let known = control.moves.of(&offer.move_name);
    if !matches!(known.state.phase(), Phase::Synced | Phase::ReverseSync) {
        return Err("the sides are not in step".to_owned());
    }
    if !known.carried.is_empty() {
        return Err("the move carries some rows only".to_owned());
    }
    let (by, of) = find(topology, &offer.move_name)?;
    let moving = on_their_way(topology, by).map_err(|_| "a server is away".to_owned())?;
    let converge = CatchUp { moves: &control.moves, moving: &moving, of, repairs: Repairs::Unlocked };
    let question = Question::of_client(&offer.sql, &offer.database, offer.quoting, &offer.settings);
    let mut seen = Seen::of(order);
    let mut first = None;
    loop {
        let (authority, on_authority) = timed(both, of.writes, &question).await;
        let authority = authority.map_err(|error| match error {
            Failed::Skipped(why) => why.to_owned(),
            // Its words may hold values.
            Failed::Told(_) => "the authority fails".to_owned(),
        })?;
        let (other, on_other) = timed(both, of.writes.other(), &question).await;
        let took = *first.get_or_insert((on_authority, on_other));
        let other = match other {
            Ok(other) => other,
            Err(Failed::Skipped(TOO_SLOW)) => return Err("too slow on the other side alone".to_owned()),
            Err(Failed::Skipped(why)) => return Err(why.to_owned()),
            Err(Failed::Told(error)) => return Ok((Ran::Broken(sample(offer, &authority, error)), took)),
        };
        seen.read(authority, other);
        match (seen.decide(), seen.last()) {
            (Verdict::Equal, _) => return Ok((Ran::Equal, took)),
            (Verdict::Differs, Some((authority, other))) => {
                return Ok((Ran::Different(sample(offer, authority, told(other))), took));
            }
            (Verdict::Moving, _) | (Verdict::Differs, None) => return Err("changing all the time".to_owned()),
            (Verdict::Again, _) => {
                let caught_up = tokio::time::timeout(CATCH_UP_MAX, converge.converge()).await;
                if !matches!(caught_up, Ok(Ok(()))) {
                    return Err("the other side does not catch up".to_owned());
                }
            }
        }
    }
}

const TOO_SLOW: &str = "too slow";

/// Why one side has not answered.
enum Failed {
    /// That says nothing about the statement; why.
    Skipped(&'static str),
    Told(String),
}

async fn timed(both: &BothSides, side: Side, question: &Question<'_>) -> (Result<Answer, Failed>, Duration) {
    let began = Instant::now();
    let answer = match tokio::time::timeout(TIME_MAX, both.answer(side, question)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Unanswered::TooLarge)) => Err(Failed::Skipped("too large")),
        Ok(Err(Unanswered::Failed(error))) => Err(failed(error)),
        Err(_) => Err(Failed::Skipped(TOO_SLOW)),
    };
    (answer, began.elapsed())
}

fn failed(error: WorkError) -> Failed {
    /// MariaDB and MySQL say that a statement's time is over.
    const TIME_OVER: [u16; 2] = [1969, 3024];
    match error {
        WorkError::Server(mysql_async::Error::Server(error)) if TIME_OVER.contains(&error.code) => {
            Failed::Skipped(TOO_SLOW)
        }
        error if error.is_away() => Failed::Skipped("a server is away"),
        WorkError::Refused(refusal) => Failed::Told(refusal.to_string()),
        error => Failed::Told(error.to_string()),
    }
}

fn sample(offer: &Offer, authority: &Answer, other: String) -> ShadowSample {
    ShadowSample { sql: shortened(&offer.sql), authority: told(authority), other }
}

/// The first rows, for people.
fn told(answer: &Answer) -> String {
    let value = |value: &Option<Vec<u8>>| match value {
        None => "NULL".to_owned(),
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    };
    let row = |row: &Vec<Option<Vec<u8>>>| row.iter().map(value).collect::<Vec<_>>().join(", ");
    // The columns come with them.
    let rows: Vec<String> = answer.iter().take(SAMPLE_ROWS + 1).map(row).collect();
    let more =
        if answer.len() > SAMPLE_ROWS + 1 { format!(" … of {}", answer.len() - 1) } else { String::new() };
    format!("{}{more}", shortened(&rows.join("; ")))
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SAMPLE_BYTES).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

//! Some rows compared while nobody writes: what differs then differs for good.
//!
//! Every physical table is asked once, all servers at the same time. Nothing is waited for and nothing is read twice, so
//! whoever calls answers for both sides lying still.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use shardway_routing::topology::{Server, Side};

use super::judge::{Copy, judge};
use super::keys::Settled;
use super::read::{authoritative, copies_of};
use super::report::{Report, TableReport};
use super::walk::Walked;
use super::{now_s, summed, told};
use crate::image::Key;
use crate::lately::Keys;
use crate::pool::Pool;
use crate::tables::{MovingTable, WorkError};

/// How such a comparison is called in reports.
pub const MODE: &str = "touched";

/// Physical tables that one server is asked for at a time.
const PER_SERVER: usize = 4;

/// One table, and the keys that are looked at.
type Asked = (MovingTable, Vec<Key>);

/// A physical table to be asked: which of the tables, on which side, at which place there.
type Question = (usize, Side, usize);

/// Compares the rows under these keys. `authority` is the side that is right by definition.
///
/// # Errors
/// When a server cannot be asked, or no shard takes a row: nothing is known then.
pub async fn at_rest(tables: &[MovingTable], authority: Side, keys: &Keys) -> Result<Report, WorkError> {
    let (started_at, clock) = (now_s(), Instant::now());
    let asked: Vec<Asked> = tables
        .iter()
        .filter_map(|table| Some((table, keys.get(&table.name).filter(|keys| !keys.is_empty())?)))
        .flat_map(|(table, keys)| {
            let keys: Vec<Key> = keys.iter().cloned().collect();
            table.by_copy(authority).into_iter().map(move |table| (table, keys.clone()))
        })
        .collect();
    let pool = Arc::new(Pool::default());
    let mut read = Vec::new();
    for (_, questions) in questions(&asked) {
        let mut answers = Vec::new();
        for question in questions {
            answers.push(answer(&pool, &asked, question));
        }
        read.push(stream::iter(answers).buffer_unordered(PER_SERVER).try_collect::<Vec<_>>());
    }
    let mut found: Vec<[Vec<Copy>; 2]> = asked.iter().map(|_| Default::default()).collect();
    for ((at, side, _), copies) in try_join_all(read).await?.into_iter().flatten() {
        found[at][usize::from(side != authority)].extend(copies);
    }
    // Nobody is kept waiting for goodbyes.
    tokio::spawn(async move { pool.close().await });
    let reports: Result<Vec<TableReport>, WorkError> =
        asked.iter().zip(found).map(|((table, keys), copies)| one(table, authority, keys, copies)).collect();
    Ok(summed(MODE, authority, reports?, (started_at, clock)))
}

/// What each server is asked.
fn questions(asked: &[Asked]) -> Vec<(Server, Vec<Question>)> {
    let mut servers: Vec<(Server, Vec<Question>)> = Vec::new();
    for (at, (table, _)) in asked.iter().enumerate() {
        for side in [Side::Source, Side::Target] {
            for (place, end) in table.ends(side).iter().enumerate() {
                match servers.iter_mut().find(|(server, _)| server.is_same_process(&end.server)) {
                    Some((_, questions)) => questions.push((at, side, place)),
                    None => servers.push((end.server.clone(), vec![(at, side, place)])),
                }
            }
        }
    }
    servers
}

async fn answer(
    pool: &Pool,
    asked: &[Asked],
    question: Question,
) -> Result<(Question, Vec<Copy>), WorkError> {
    let (at, side, place) = question;
    let (table, keys) = &asked[at];
    let copies = copies_of(pool, table, side, place, &table.shape.with_keys(keys), usize::MAX).await?;
    Ok((question, copies.expect("no rows take as much as that")))
}

/// Judges the copies of the authority and of the other side.
fn one(
    table: &MovingTable,
    authority: Side,
    keys: &[Key],
    copies: [Vec<Copy>; 2],
) -> Result<TableReport, WorkError> {
    let mut rows: HashMap<Key, [Vec<Copy>; 2]> = HashMap::new();
    for (of, copies) in copies.into_iter().enumerate() {
        for copy in copies {
            rows.entry(table.shape.key_of(&copy.1)).or_default()[of].push(copy);
        }
    }
    let mut settled = Settled::default();
    for (key, [here, there]) in rows {
        let faults = judge(&table.shape, authoritative(table, authority, &here)?, &there);
        settled.faults.extend(faults.into_iter().map(|fault| (key.clone(), fault)));
    }
    Ok(told(&table.name, Walked { settled, ..Walked::default() }, keys.len() as u64))
}

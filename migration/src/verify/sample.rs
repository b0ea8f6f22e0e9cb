//! Random keys of a table.
//!
//! Half of them are drawn from each side, so that a row too many can be met as well as a missing one. Where the primary
//! key is one integer, random numbers between its least and its greatest value each pick the next key: cheap, and
//! keys after gaps are picked more often. Any other key is drawn while the server walks the whole key once.

use std::collections::BTreeSet;

use mysql_async::prelude::FromValue as _;
use rand::Rng as _;
use shardway_routing::schema::ColumnKind;
use shardway_routing::topology::Side;

use super::read::Table;
use crate::image::{Key, Range};
use crate::tables::{End, WorkError};

/// Keys picked with one statement.
const AT_ONCE: usize = 100;

/// Draws about so many different keys.
pub(super) async fn draw(table: &Table<'_>, keys: u64) -> Result<Vec<Key>, WorkError> {
    let mut drawn = BTreeSet::new();
    for side in [Side::Source, Side::Target] {
        let ends = table.of.ends(side);
        let mut rows = Vec::new();
        for end in ends {
            rows.push(count(table, end).await?);
        }
        let total = rows.iter().sum::<u64>().max(1);
        for (end, rows) in ends.iter().zip(rows) {
            let share = (u128::from(keys.div_ceil(2)) * u128::from(rows)).div_ceil(u128::from(total));
            let share = u64::try_from(share).unwrap_or(u64::MAX);
            drawn.extend(of_end(table, end, rows, share).await?);
        }
    }
    Ok(drawn.into_iter().collect())
}

/// The condition of every row that is compared.
fn everything(table: &Table<'_>) -> String {
    table.of.shape.within(&Range::default())
}

async fn count(table: &Table<'_>, end: &End) -> Result<u64, WorkError> {
    let rows =
        table.ask(end, &format!("SELECT COUNT(*) FROM {} WHERE {}", end.table, everything(table))).await?;
    let count = rows.first().and_then(|row| row.as_ref(0)).cloned();
    Ok(count.and_then(|value| u64::from_value_opt(value).ok()).unwrap_or(0))
}

async fn of_end(table: &Table<'_>, end: &End, rows: u64, share: u64) -> Result<Vec<Key>, WorkError> {
    if rows <= share {
        return table.keys(end, &format!("WHERE {}", everything(table))).await;
    }
    match table.of.shape.primary() {
        [place] if matches!(table.of.shape.columns()[*place].1, ColumnKind::Integer { .. }) => {
            picked(table, end, share).await
        }
        _ => {
            // Per million, because a share of rows in digits is the same for every server.
            let share = (share * 1_000_000).div_ceil(rows);
            let rest = format!("WHERE {} AND RAND() * 1000000 < {share}", everything(table));
            table.keys(end, &rest).await
        }
    }
}

async fn picked(table: &Table<'_>, end: &End, share: u64) -> Result<Vec<Key>, WorkError> {
    let shape = &table.of.shape;
    let edge = async |order: &str| -> Result<Option<i128>, WorkError> {
        let keys = table.keys(end, order).await?;
        let number = keys.first().and_then(|key| std::str::from_utf8(&key.0[0]).ok()?.parse().ok());
        Ok(number)
    };
    let all = everything(table);
    let ascending = shape.ordered();
    let (Some(low), Some(high)) = (
        edge(&format!("WHERE {all} {ascending} LIMIT 1")).await?,
        edge(&format!("WHERE {all} {ascending} DESC LIMIT 1")).await?,
    ) else {
        return Ok(Vec::new());
    };
    let numbers: Vec<i128> = {
        let mut random = rand::rng();
        (0..share).map(|_| random.random_range(low - 1..high)).collect()
    };
    let mut keys = Vec::new();
    for numbers in numbers.chunks(AT_ONCE) {
        let pick = |number: &i128| {
            let range = Range { after: Some(Key(vec![number.to_string().into_bytes()])), up_to: None };
            let rest = format!("WHERE {} {ascending} LIMIT 1", shape.within(&range));
            format!("({})", shape.select_keys(crate::image::Reader::Engine, &end.table, None, &rest))
        };
        let picks: Vec<String> = numbers.iter().map(pick).collect();
        for row in table.ask(end, &picks.join(" UNION ALL ")).await? {
            keys.extend(shape.key(crate::image::Reader::Engine, crate::connection::fields(row)));
        }
    }
    Ok(keys)
}

//! Random keys of a table.
//!
//! Half of them are drawn from each side, so that a row too many can be met as well as a missing one. Where the primary
//! key is one integer, random numbers each pick the next key, which is cheap. Keys of the same kind that lie close together,
//! as numbers that were counted do, would hardly ever be picked beside others that lie far apart, as ids made from a clock
//! do: so the key is divided into strata of about equally many rows first, as the server estimates them. Any other key is
//! drawn while the server walks the whole key once, and so are keys of which too few different ones were picked.

mod strata;

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
            let picked = picked(table, end, share).await?;
            let different = picked.iter().collect::<BTreeSet<_>>().len() as u64;
            if different >= share / 2 { Ok(picked) } else { walked(table, end, rows, share).await }
        }
        _ => walked(table, end, rows, share).await,
    }
}

async fn walked(table: &Table<'_>, end: &End, rows: u64, share: u64) -> Result<Vec<Key>, WorkError> {
    // Per million, because a share of rows in digits is the same for every server.
    let share = (share * 1_000_000).div_ceil(rows);
    let rest = format!("WHERE {} AND RAND() * 1000000 < {share}", everything(table));
    table.keys(end, &rest).await
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
    let strata = strata::of(table, end, (low - 1, high), share).await?;
    let rows = strata.iter().map(|stratum| u128::from(stratum.rows)).sum::<u128>().max(1);
    let numbers: Vec<i128> = {
        let mut random = rand::rng();
        let drawn = |stratum: &strata::Stratum| {
            let picks = (u128::from(share) * u128::from(stratum.rows)).div_ceil(rows);
            (0..picks).map(|_| random.random_range(stratum.after..stratum.up_to)).collect::<Vec<_>>()
        };
        strata.iter().flat_map(drawn).collect()
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

//! An integer key divided so that each part has about equally many rows.

use super::Table;
use crate::image::{Key, Range};
use crate::tables::{End, WorkError};

/// Parts, at most. Each costs the server two looks into its index.
const MOST: u64 = 256;

/// Keys greater than one number, up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stratum {
    pub after: i128,
    pub up_to: i128,
    /// As estimated; one at least.
    pub rows: u64,
}

impl Stratum {
    fn may_be_halved(&self) -> bool {
        self.up_to - self.after > 1
    }
}

/// Halves the part with the most rows until there are many parts, or none that is much larger than the others.
pub(super) async fn of(
    table: &Table<'_>,
    end: &End,
    (after, up_to): (i128, i128),
    picks: u64,
) -> Result<Vec<Stratum>, WorkError> {
    let most = MOST.min(picks / 2);
    let mut strata = vec![estimated(table, end, after, up_to).await?];
    while (strata.len() as u64) < most {
        let all: u64 = strata.iter().map(|stratum| stratum.rows).sum();
        let parts = strata.iter().enumerate().filter(|(_, stratum)| stratum.may_be_halved());
        let Some((place, fullest)) = parts.max_by_key(|(_, stratum)| stratum.rows) else { break };
        if fullest.rows <= all.div_ceil((most / 4).max(1)) {
            break;
        }
        let Stratum { after, up_to, .. } = *fullest;
        let middle = after + (up_to - after) / 2;
        strata[place] = estimated(table, end, after, middle).await?;
        strata.push(estimated(table, end, middle, up_to).await?);
    }
    Ok(strata)
}

async fn estimated(table: &Table<'_>, end: &End, after: i128, up_to: i128) -> Result<Stratum, WorkError> {
    let key = |number: i128| Some(Key(vec![number.to_string().into_bytes()]));
    let shape = &table.of.shape;
    let within = shape.within(&Range { after: key(after), up_to: key(up_to) });
    let (of, by_key) = (&end.table, shape.by_key());
    let sql = format!("EXPLAIN FORMAT = TRADITIONAL SELECT 1 FROM {of} {by_key} WHERE {within}");
    let told = table.ask(end, &sql).await?;
    let rows = told.first().and_then(|row| row.get_opt::<Option<u64>, _>("rows")?.ok()?);
    Ok(Stratum { after, up_to, rows: rows.unwrap_or(1).max(1) })
}

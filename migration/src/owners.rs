//! The side that is right about a row: the one that owns its writes. Where keys are divided, each side is for some.

use std::collections::HashMap;

use shardway_routing::gray;
use shardway_routing::key::KeyValue;
use shardway_routing::topology::Side;

use crate::connection::images;
use crate::image::Key;
use crate::pool::Pool;
use crate::tables::{MovingTable, WorkError};

/// What the rows under one primary key say of who owns it.
#[derive(Debug, Default)]
struct Claims {
    /// Sides that have a row of their own there.
    owners: Vec<Side>,
    /// Whose a row is that is there at all.
    told: Option<Side>,
}

/// The sides that own the rows under primary keys, where those alone need not tell the shard key. `authority` owns what
/// nobody has. `None`: each side has a row of its own there, and a person must say which one goes.
///
/// # Errors
/// Whatever the servers report.
pub async fn of_keys(
    pool: &Pool,
    table: &MovingTable,
    keys: &[Key],
    authority: Side,
) -> Result<Vec<Option<Side>>, WorkError> {
    let Some(division) = table.division() else { return Ok(vec![Some(authority); keys.len()]) };
    let owner = |shard_key: &KeyValue| gray::owner(division.owners(), shard_key);
    let told: Option<Vec<KeyValue>> = keys.iter().map(|key| table.shard_key_of(key)).collect();
    if let Some(told) = told {
        return Ok(told.iter().map(|shard_key| Some(owner(shard_key))).collect());
    }
    let rest = table.shape.with_keys(keys);
    let mut claims: HashMap<Key, Claims> = HashMap::new();
    for side in [authority.other(), authority] {
        for end in table.origins(side) {
            let mut connection = pool.take(&end.server).await?;
            let rows = images(&mut connection, &table.shape, &end.table, &rest).await?;
            pool.give(&end.server, connection);
            for image in rows {
                let Some(owner) = table.shard_key(&image).map(|shard_key| owner(&shard_key)) else {
                    continue;
                };
                let claims = claims.entry(table.shape.key_of(&image)).or_default();
                if owner == side && !claims.owners.contains(&side) {
                    claims.owners.push(side);
                }
                claims.told = claims.told.or(Some(owner));
            }
        }
    }
    let settled = |key: &Key| match claims.get(key) {
        None => Some(authority),
        Some(Claims { owners, told }) => match owners.as_slice() {
            [] => told.or(Some(authority)),
            [owner] => Some(*owner),
            _ => None,
        },
    };
    Ok(keys.iter().map(settled).collect())
}

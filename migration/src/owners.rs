//! The side that is right about a row: the one that owns its writes. Where keys are divided, each side is for some.

use shardway_routing::gray;
use shardway_routing::key::KeyValue;
use shardway_routing::topology::{Owners, Side, TableId, Topology};

use crate::connection::images;
use crate::image::Key;
use crate::pool::Pool;
use crate::tables::{MovingTable, WorkError};

/// Which keys the target owns.
#[derive(Debug, Clone)]
pub(crate) struct Division {
    share: u16,
    always: Vec<KeyValue>,
    never: Vec<KeyValue>,
}

impl Division {
    /// That of a table. `None`: one side owns all keys.
    pub fn of(topology: &Topology, id: TableId) -> Option<Division> {
        let of = topology.move_of(topology.table_of(id).moving.as_ref()?.by);
        match of.owners() {
            Owners::One(_) => None,
            Owners::Divided { share, always, never } => {
                Some(Division { share, always: always.to_vec(), never: never.to_vec() })
            }
        }
    }

    pub fn owner(&self, key: &KeyValue) -> Side {
        gray::owner(Owners::Divided { share: self.share, always: &self.always, never: &self.never }, key)
    }
}

/// The side that owns the row under a primary key, where that alone need not tell the shard key. `authority` owns what nobody
/// has. `None`: each side has a row of its own there, and a person must say which one goes.
///
/// # Errors
/// Whatever the servers report.
pub async fn of_key(
    pool: &Pool,
    table: &MovingTable,
    key: &Key,
    authority: Side,
) -> Result<Option<Side>, WorkError> {
    let Some(division) = table.division() else { return Ok(Some(authority)) };
    if let Some(shard_key) = table.shard_key_of(key) {
        return Ok(Some(division.owner(&shard_key)));
    }
    let rest = table.shape.with_keys(std::slice::from_ref(key));
    let (mut told, mut owners) = (None, Vec::new());
    for side in [authority.other(), authority] {
        for end in table.origins(side) {
            let mut connection = pool.take(&end.server).await?;
            let rows = images(&mut connection, &table.shape, &end.table, &rest).await?;
            pool.give(&end.server, connection);
            for shard_key in rows.iter().filter_map(|image| table.shard_key(image)) {
                let owner = division.owner(&shard_key);
                if owner == side {
                    owners.push(side);
                }
                told = told.or(Some(owner));
            }
        }
    }
    Ok(match owners.as_slice() {
        [] => told.or(Some(authority)),
        [owner, others @ ..] => others.iter().all(|other| other == owner).then_some(*owner),
    })
}

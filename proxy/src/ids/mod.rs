//! Ids of new rows of sharded tables, which no shard can count by itself.

mod snowflake;

use std::sync::Arc;

use dashmap::DashMap;
use shardway_migration::sequence::{self, Floor};
use shardway_routing::refusal;
use shardway_routing::topology::{Generator, IdColumn, TableId, Topology};
use tokio::sync::Mutex;

use self::snowflake::Snowflakes;
use crate::config::Config;
use crate::session::Failure;

/// Ids that a sequence gives this process at once.
const BLOCK: u64 = 1_000;

/// See the module.
#[derive(Debug)]
pub struct Ids {
    snowflakes: Snowflakes,
    /// By full table name.
    sequences: DashMap<String, Arc<Mutex<Block>>>,
}

/// Ids of a sequence that nobody else gives.
#[derive(Debug, Default)]
struct Block {
    next: u64,
    end: u64,
    /// Of the rules it was taken under: others may have let somebody else count in between.
    version: u64,
}

impl Ids {
    #[must_use]
    pub fn new(config: &Config) -> Ids {
        Ids { snowflakes: Snowflakes::new(&config.state_dir, config.node), sequences: DashMap::new() }
    }

    /// New ids for rows of a table, in ascending order.
    ///
    /// # Errors
    /// When the state folder or a backend does not let any be reserved.
    pub async fn take(
        &self,
        topology: &Topology,
        table: TableId,
        id: &IdColumn,
        count: usize,
    ) -> Result<Vec<u64>, Failure> {
        match id.generator {
            Generator::Snowflake => self.snowflakes.take(count).map_err(|error| {
                tracing::error!(%error, "no snowflake ids can be reserved in the state folder");
                refusal::IDS_NOT_RESERVED.because("the state folder").into()
            }),
            Generator::Sequence => {
                let block = self.block(topology, table);
                let mut block = block.lock().await;
                let mut ids = Vec::with_capacity(count);
                while ids.len() < count {
                    if block.next >= block.end || block.version != topology.version {
                        let floor =
                            if block.version == topology.version { Floor::At(1) } else { Floor::Rows };
                        *block = reserved(topology, table, id, floor).await?;
                    }
                    ids.push(block.next);
                    block.next += 1;
                }
                Ok(ids)
            }
        }
    }

    /// A client gives a row this id itself: a sequence must not give it again.
    ///
    /// # Errors
    /// When the sequence's backend does not answer.
    pub async fn given(
        &self,
        topology: &Topology,
        table: TableId,
        id: &IdColumn,
        greatest: u64,
    ) -> Result<(), Failure> {
        if id.generator == Generator::Snowflake {
            return Ok(());
        }
        let block = self.block(topology, table);
        let mut block = block.lock().await;
        // Ids of a block are nobody else's, whatever rules it was taken under.
        if greatest < block.end {
            block.next = block.next.max(greatest + 1);
            return Ok(());
        }
        *block = reserved(topology, table, id, Floor::At(greatest.saturating_add(1))).await?;
        // Whatever else has counted under older rules has not been looked at.
        block.version = 0;
        Ok(())
    }

    fn block(&self, topology: &Topology, table: TableId) -> Arc<Mutex<Block>> {
        Arc::clone(&self.sequences.entry(topology.full_name(table)).or_default())
    }
}

async fn reserved(
    topology: &Topology,
    table: TableId,
    id: &IdColumn,
    floor: Floor,
) -> Result<Block, Failure> {
    match sequence::reserve(topology, table, id, BLOCK, floor).await {
        Ok(block) => Ok(Block { next: block.start, end: block.end, version: topology.version }),
        Err(error) => {
            tracing::error!(%error, table = topology.full_name(table), "no ids can be reserved");
            Err(refusal::IDS_NOT_RESERVED.because(error.to_string()).into())
        }
    }
}

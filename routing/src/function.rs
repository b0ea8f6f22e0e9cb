//! Shard functions: from a key to its shard, and from a condition to the shards that can satisfy it.

use crate::key::KeyValue;
use crate::topology::ShardId;

/// How a key names its shard. Every function is total over the keys it accepts.
#[derive(Debug, Clone, PartialEq)]
pub enum ShardFunction {
    /// The mathematical remainder, never negative.
    Mod { shards: u32 },
    /// `slot = xxh3_64(canonical key bytes) % slots`; `owners[slot]` is the shard. `hash` has 4,096 slots in equal ranges.
    Slots { owners: Box<[u32]> },
    /// Shard `i` holds keys below `bounds[i]`, the last shard the rest.
    Range { bounds: Box<[KeyValue]> },
    /// Shard `i` holds the values of `values[i]`; the rest goes to `default`, or is refused.
    List { values: Vec<(KeyValue, u32)>, shards: u32, default: Option<u32> },
}

impl ShardFunction {
    #[must_use]
    pub fn shards(&self) -> u32 {
        unimplemented!()
    }

    /// `None`: no shard takes this key (a list without default).
    #[must_use]
    pub fn shard(&self, key: &KeyValue) -> Option<ShardId> {
        let _ = key;
        unimplemented!()
    }

    /// The shards that can hold keys of the inclusive interval; an open end is `None`.
    #[must_use]
    pub fn shards_between(&self, low: Option<&KeyValue>, high: Option<&KeyValue>) -> Vec<ShardId> {
        let _ = (low, high);
        unimplemented!()
    }
}

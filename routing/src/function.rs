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
    /// `hash`: 4,096 slots, dealt to the shards in equal ranges.
    #[must_use]
    pub fn hash(shards: u32) -> ShardFunction {
        let owners = (0..HASH_SLOTS).map(|slot| slot * shards / HASH_SLOTS).collect();
        ShardFunction::Slots { owners }
    }

    #[must_use]
    pub fn shards(&self) -> u32 {
        match self {
            ShardFunction::Mod { shards } | ShardFunction::List { shards, .. } => *shards,
            ShardFunction::Slots { owners } => owners.iter().max().map_or(0, |last| last + 1),
            ShardFunction::Range { bounds } => u32::try_from(bounds.len()).unwrap_or(u32::MAX - 1) + 1,
        }
    }

    /// `None`: no shard takes this key (a list without default, text under `mod` or `range`).
    #[must_use]
    pub fn shard(&self, key: &KeyValue) -> Option<ShardId> {
        match (self, key) {
            (ShardFunction::Mod { shards }, KeyValue::Integer(value)) => {
                u32::try_from(value.rem_euclid(i128::from(*shards))).ok().map(ShardId)
            }
            (ShardFunction::Mod { .. }, KeyValue::Text(_)) => None,
            (ShardFunction::Slots { owners }, _) => {
                let slots = u64::try_from(owners.len()).ok()?;
                let slot = usize::try_from(hash(key, SLOT_SEED) % slots).ok()?;
                Some(ShardId(owners[slot]))
            }
            (ShardFunction::Range { bounds }, KeyValue::Integer(_)) => {
                u32::try_from(bounds.partition_point(|bound| bound <= key)).ok().map(ShardId)
            }
            (ShardFunction::Range { .. }, KeyValue::Text(_)) => None,
            (ShardFunction::List { values, default, .. }, _) => {
                let found = values.iter().find(|(value, _)| value == key).map(|(_, shard)| *shard);
                found.or(*default).map(ShardId)
            }
        }
    }

    /// The shards that can hold keys of the inclusive interval of integers; an open end is `None`.
    #[must_use]
    pub fn shards_between(&self, low: Option<&KeyValue>, high: Option<&KeyValue>) -> Vec<ShardId> {
        let all = || (0..self.shards()).map(ShardId).collect::<Vec<_>>();
        match (self, low, high) {
            (_, Some(low), Some(high)) if low > high => Vec::new(),
            (ShardFunction::Range { .. }, _, _) => {
                let first = low.and_then(|low| self.shard(low)).map_or(0, |shard| shard.0);
                let last = high.and_then(|high| self.shard(high)).map_or(self.shards() - 1, |shard| shard.0);
                (first..=last).map(ShardId).collect()
            }
            (_, Some(KeyValue::Integer(low)), Some(KeyValue::Integer(high))) if high - low < ENUMERATED => {
                let keys = (*low..=*high).map(KeyValue::Integer);
                let mut shards: Vec<ShardId> = keys.filter_map(|key| self.shard(&key)).collect();
                shards.sort_unstable();
                shards.dedup();
                shards
            }
            _ => all(),
        }
    }
}

/// Slots of `kind = "hash"`.
const HASH_SLOTS: u32 = 4096;
/// Seeds differ so that a key's gray bucket says nothing about its shard. Part of the data's layout.
const SLOT_SEED: u64 = 0;
/// Intervals of up to so many keys are looked at key by key.
const ENUMERATED: i128 = 64;

/// XXH3 (64 bits) of the key's canonical bytes.
pub(crate) fn hash(key: &KeyValue, seed: u64) -> u64 {
    let mut bytes = Vec::with_capacity(32);
    key.canonical(&mut bytes);
    xxhash_rust::xxh3::xxh3_64_with_seed(&bytes, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(function: &ShardFunction, key: i128) -> u32 {
        function.shard(&KeyValue::Integer(key)).unwrap().0
    }

    #[test]
    fn mod_is_the_mathematical_remainder() {
        let function = ShardFunction::Mod { shards: 4 };
        assert_eq!([-5, -4, -1, 0, 1, 4, 7].map(|key| shard(&function, key)), [3, 0, 3, 0, 1, 0, 3]);
    }

    #[test]
    fn hashed_keys_never_move_between_releases() {
        let function = ShardFunction::hash(4);
        assert_eq!(function.shards(), 4);
        assert_eq!([0, 1, 2, 3, 1001, -7].map(|key| shard(&function, key)), GOLDEN);
    }

    const GOLDEN: [u32; 6] = [0, 1, 3, 3, 1, 0];

    #[test]
    fn ranges_end_before_their_bound() {
        let bounds = [10, 20].map(KeyValue::Integer).into();
        let function = ShardFunction::Range { bounds };
        assert_eq!([-1, 9, 10, 19, 20, 99].map(|key| shard(&function, key)), [0, 0, 1, 1, 2, 2]);
        let between = |low, high| {
            function.shards_between(Some(&KeyValue::Integer(low)), Some(&KeyValue::Integer(high)))
        };
        assert_eq!(between(5, 10), [ShardId(0), ShardId(1)]);
        assert_eq!(between(10, 5), []);
        assert_eq!(function.shards_between(Some(&KeyValue::Integer(15)), None), [ShardId(1), ShardId(2)]);
    }

    #[test]
    fn a_list_without_default_takes_only_its_values() {
        let text = |text: &str| KeyValue::Text(text.as_bytes().to_vec());
        let values = vec![(text("eu"), 0), (text("us"), 1)];
        let function = ShardFunction::List { values: values.clone(), shards: 2, default: None };
        assert_eq!(function.shard(&text("us")), Some(ShardId(1)));
        assert_eq!(function.shard(&text("cn")), None);
        let function = ShardFunction::List { values, shards: 2, default: Some(1) };
        assert_eq!(function.shard(&text("cn")), Some(ShardId(1)));
    }

    #[test]
    fn every_key_of_an_interval_lies_on_a_shard_named_for_it() {
        for function in [ShardFunction::Mod { shards: 7 }, ShardFunction::hash(5)] {
            for low in -20..20_i128 {
                for high in low..low + 90 {
                    let named = function
                        .shards_between(Some(&KeyValue::Integer(low)), Some(&KeyValue::Integer(high)));
                    let there = (low..=high).all(|key| named.contains(&ShardId(shard(&function, key))));
                    assert!(there, "{low}..={high}");
                }
            }
        }
    }
}

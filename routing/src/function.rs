//! Shard functions: from a key to its shard, and from a condition to the shards that can satisfy it.

mod split;

use crate::day::{Day, Unit};
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
    /// Shard `i` holds the days of the `i`-th unit from that of `from` on; other days are refused.
    Time { unit: Unit, from: Day, shards: u32 },
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
            ShardFunction::Mod { shards }
            | ShardFunction::List { shards, .. }
            | ShardFunction::Time { shards, .. } => *shards,
            ShardFunction::Slots { owners } => owners.iter().max().map_or(0, |last| last + 1),
            ShardFunction::Range { bounds } => u32::try_from(bounds.len()).unwrap_or(u32::MAX - 1) + 1,
        }
    }

    /// `None`: no shard takes this key (a list without default, a day of no unit, text under `mod` or `range`).
    #[must_use]
    pub fn shard(&self, key: &KeyValue) -> Option<ShardId> {
        match (self, key) {
            (ShardFunction::Mod { shards }, KeyValue::Integer(value)) => {
                u32::try_from(value.rem_euclid(i128::from(*shards))).ok().map(ShardId)
            }
            (ShardFunction::Mod { .. }, KeyValue::Text(_) | KeyValue::Day(_)) => None,
            (ShardFunction::Slots { owners }, _) => {
                let slots = u64::try_from(owners.len()).ok()?;
                let slot = usize::try_from(hash(key, SLOT_SEED) % slots).ok()?;
                Some(ShardId(owners[slot]))
            }
            (ShardFunction::Range { bounds }, KeyValue::Integer(_)) => {
                u32::try_from(bounds.partition_point(|bound| bound <= key)).ok().map(ShardId)
            }
            (ShardFunction::Range { .. }, KeyValue::Text(_) | KeyValue::Day(_)) => None,
            (ShardFunction::List { values, default, .. }, _) => {
                let found = values.iter().find(|(value, _)| value == key).map(|(_, shard)| *shard);
                found.or(*default).map(ShardId)
            }
            (ShardFunction::Time { unit, from, shards }, KeyValue::Day(day)) => {
                let place = u32::try_from(unit.place(*day) - unit.place(*from)).ok()?;
                (place < *shards).then_some(ShardId(place))
            }
            (ShardFunction::Time { .. }, KeyValue::Integer(_) | KeyValue::Text(_)) => None,
        }
    }

    /// Of `time`: the first day of a shard, and the first one that is no more in it; `None`, where the calendar ends.
    #[must_use]
    pub fn days(&self, shard: ShardId) -> Option<(Day, Option<Day>)> {
        let ShardFunction::Time { unit, from, .. } = self else { return None };
        let place = unit.place(*from).checked_add(i32::try_from(shard.0).ok()?)?;
        Some((unit.first_day(place)?, unit.first_day(place + 1)))
    }

    /// The shards that can hold keys of the inclusive interval of integers or days; an open end is `None`.
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
            (ShardFunction::Time { unit, from, shards }, _, _) => {
                let place = |key: Option<&KeyValue>| match key {
                    Some(KeyValue::Day(day)) => Some(i64::from(unit.place(*day) - unit.place(*from))),
                    _ => None,
                };
                let last = i64::from(*shards) - 1;
                let found = place(low).unwrap_or(0).max(0)..=place(high).unwrap_or(last).min(last);
                found.filter_map(|shard| u32::try_from(shard).ok()).map(ShardId).collect()
            }
            (_, Some(KeyValue::Integer(low)), Some(KeyValue::Integer(high)))
                if high.checked_sub(*low).is_some_and(|width| width < ENUMERATED) =>
            {
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
    use proptest::prelude::*;

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
    fn the_widest_interval_asks_every_shard() {
        let ends = [i128::MIN, i128::MAX].map(KeyValue::Integer);
        let shards = ShardFunction::Mod { shards: 4 }.shards_between(Some(&ends[0]), Some(&ends[1]));
        assert_eq!(shards.len(), 4);
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

    fn day(year: u16, month: u8, day: u8) -> Day {
        Day::of(year, month, day).unwrap()
    }

    #[test]
    fn time_takes_the_days_of_its_units_and_no_others() {
        let function = ShardFunction::Time { unit: Unit::Month, from: day(2023, 12, 1), shards: 3 };
        let of = |at| function.shard(&KeyValue::Day(at)).map(|shard| shard.0);
        assert_eq!(of(day(2023, 11, 30)), None);
        assert_eq!([of(day(2023, 12, 1)), of(day(2023, 12, 31))], [Some(0); 2]);
        assert_eq!([of(day(2024, 2, 1)), of(day(2024, 2, 29))], [Some(2); 2]);
        assert_eq!(of(day(2024, 3, 1)), None);
        assert_eq!(function.shard(&KeyValue::Integer(20_240_101)), None);
        assert_eq!(function.days(ShardId(1)), Some((day(2024, 1, 1), Some(day(2024, 2, 1)))));
        let last = ShardFunction::Time { unit: Unit::Year, from: day(9999, 1, 1), shards: 1 };
        assert_eq!(last.days(ShardId(0)), Some((day(9999, 1, 1), None)));
    }

    proptest! {
        #[test]
        fn time_is_what_a_table_of_its_first_days_says(
            from in 0_i32..30_000,
            shards in 1_u32..40,
            keys in prop::collection::vec(-500_i32..40_000, 1..20),
            named in 0_usize..4,
        ) {
            let unit = Unit::NAMED[named].1;
            let from = unit.first_day(unit.place(Day::at(from).unwrap())).unwrap();
            let function = ShardFunction::Time { unit, from, shards };
            let mut firsts = vec![from];
            while firsts.len() <= shards as usize {
                let mut next = firsts[firsts.len() - 1];
                while unit.place(next) == unit.place(firsts[firsts.len() - 1]) {
                    next = next.next().unwrap();
                }
                firsts.push(next);
            }
            let model = |key: Day| (0..shards).find(|shard| {
                (firsts[*shard as usize]..firsts[*shard as usize + 1]).contains(&key)
            });
            let keys: Vec<Day> = keys.into_iter().map(|key| Day::at(key).unwrap()).collect();
            for key in &keys {
                prop_assert_eq!(function.shard(&KeyValue::Day(*key)).map(|shard| shard.0), model(*key));
            }
            let (low, high) = (keys[0].min(keys[keys.len() - 1]), keys[0].max(keys[keys.len() - 1]));
            let ends = (KeyValue::Day(low), KeyValue::Day(high));
            let within: Vec<u32> = (0..shards)
                .filter(|shard| firsts[*shard as usize] <= high && firsts[*shard as usize + 1] > low)
                .collect();
            let found = |low, high| -> Vec<u32> {
                function.shards_between(low, high).into_iter().map(|shard| shard.0).collect()
            };
            prop_assert_eq!(found(Some(&ends.0), Some(&ends.1)), within);
            prop_assert_eq!(found(None, None), (0..shards).collect::<Vec<u32>>());
        }
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

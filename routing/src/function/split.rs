//! Whether a layout splits another one in place: no key comes to a shard that was not there before.

use super::ShardFunction;
use crate::key::KeyValue;
use crate::topology::ShardId;

impl ShardFunction {
    /// Is every key of `shard` one that `older` has on `place`? What cannot be proved is not so.
    #[must_use]
    pub fn is_within(&self, shard: ShardId, older: &ShardFunction, place: ShardId) -> bool {
        match (self, older) {
            _ if place.0 >= older.shards() => false,
            (ShardFunction::Mod { shards }, ShardFunction::Mod { shards: before }) => {
                shards.is_multiple_of(*before) && shard.0 % before == place.0
            }
            (ShardFunction::Range { bounds }, ShardFunction::Range { bounds: before }) => {
                let (low, high) = ends(bounds, shard);
                let (least, most) = ends(before, place);
                let is_above = least.is_none_or(|least| low.is_some_and(|low| low >= least));
                is_above && most.is_none_or(|most| high.is_some_and(|high| high <= most))
            }
            (ShardFunction::List { values, default, .. }, ShardFunction::List { values: before, .. }) => {
                let was_there = |key: &KeyValue| older.shard(key) == Some(place);
                let own = values.iter().filter(|(_, of)| *of == shard.0);
                let rest_was_there = || {
                    let ShardFunction::List { default: rest, .. } = older else { return false };
                    let elsewhere = before.iter().filter(|(_, of)| *of != place.0);
                    let is_named = |key: &KeyValue| values.iter().any(|(named, _)| named == key);
                    *rest == Some(place.0) && elsewhere.into_iter().all(|(key, _)| is_named(key))
                };
                own.into_iter().all(|(key, _)| was_there(key))
                    && (*default != Some(shard.0) || rest_was_there())
            }
            (ShardFunction::Time { .. }, ShardFunction::Time { .. }) => {
                let (Some((first, end)), Some((least, most))) = (self.days(shard), older.days(place)) else {
                    return false;
                };
                first >= least && most.is_none_or(|most| end.is_some_and(|end| end <= most))
            }
            _ => false,
        }
    }
}

/// From where on a shard of `range` has keys, and before which it ends.
fn ends(bounds: &[KeyValue], shard: ShardId) -> (Option<&KeyValue>, Option<&KeyValue>) {
    let shard = shard.0 as usize;
    (shard.checked_sub(1).and_then(|below| bounds.get(below)), bounds.get(shard))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::day::{Day, Unit};

    fn list(values: &[(i128, u32)], default: Option<u32>) -> ShardFunction {
        let values = values.iter().map(|(key, shard)| (KeyValue::Integer(*key), *shard)).collect();
        ShardFunction::List { values, shards: 4, default }
    }

    fn range(bounds: &[i128]) -> ShardFunction {
        ShardFunction::Range { bounds: bounds.iter().copied().map(KeyValue::Integer).collect() }
    }

    #[test]
    fn a_doubling_keeps_half_of_every_shard() {
        let (new, old) = (ShardFunction::Mod { shards: 4 }, ShardFunction::Mod { shards: 2 });
        let within: Vec<(u32, u32)> = (0..4)
            .flat_map(|shard| (0..2).map(move |place| (shard, place)))
            .filter(|(shard, place)| new.is_within(ShardId(*shard), &old, ShardId(*place)))
            .collect();
        assert_eq!(within, [(0, 0), (1, 1), (2, 0), (3, 1)]);
        assert!(!ShardFunction::Mod { shards: 3 }.is_within(ShardId(0), &old, ShardId(0)));
        assert!(!old.is_within(ShardId(0), &new, ShardId(0)));
    }

    #[test]
    fn months_are_within_their_year() {
        let time = |unit, shards| ShardFunction::Time { unit, from: Day::of(2024, 1, 1).unwrap(), shards };
        let (months, years) = (time(Unit::Month, 24), time(Unit::Year, 2));
        assert!(months.is_within(ShardId(11), &years, ShardId(0)));
        assert!(!months.is_within(ShardId(12), &years, ShardId(0)));
        assert!(!years.is_within(ShardId(0), &months, ShardId(0)));
    }

    #[test]
    fn slots_prove_nothing() {
        let (new, old) = (ShardFunction::hash(4), ShardFunction::hash(2));
        assert!(!new.is_within(ShardId(0), &old, ShardId(0)));
    }

    fn some_function() -> impl Strategy<Value = ShardFunction> {
        prop_oneof![
            (1_u32..7).prop_map(|shards| ShardFunction::Mod { shards }),
            prop::collection::btree_set(0_i128..12, 1..4)
                .prop_map(|bounds| range(&bounds.into_iter().collect::<Vec<_>>())),
            (prop::collection::btree_map(0_i128..12, 0_u32..3, 0..8), prop::option::of(0_u32..3))
                .prop_map(|(values, rest)| list(&values.into_iter().collect::<Vec<_>>(), rest)),
        ]
    }

    proptest! {
        #[test]
        fn no_key_comes_to_a_shard_that_is_within(
            new in some_function(), old in some_function(), shard in 0_u32..6, place in 0_u32..6,
        ) {
            let (shard, place) = (ShardId(shard), ShardId(place));
            if shard.0 < new.shards() && new.is_within(shard, &old, place) {
                for key in (-30..40).map(KeyValue::Integer) {
                    prop_assert!(new.shard(&key) != Some(shard) || old.shard(&key) == Some(place), "{}", key);
                }
            }
        }
    }
}

//! Which side serves a key's reads while its table moves, and which owns its writes where both own some: the same key,
//! always the same side.

use crate::key::KeyValue;
use crate::topology::{DoubleWrite, Move, Owners, Side};

/// Buckets of gray percentages: hundredths of a percent.
pub const BUCKETS: u16 = 10_000;

/// Another seed than the shards' hash has. Changing it would flip users between sides.
const BUCKET_SEED: u64 = 0x6772_6179;

/// The stable bucket of a key, independent of its shard.
#[must_use]
pub fn bucket(key: &KeyValue) -> u16 {
    u16::try_from(crate::function::hash(key, BUCKET_SEED) % u64::from(BUCKETS))
        .expect("buckets fit in 16 bits")
}

/// The side that serves a plain read of this key when nothing forces the authority. `never` is stronger than `always`,
/// as the safe side of a mistake.
#[must_use]
pub fn side(of: &Move, key: &KeyValue) -> Side {
    grouped(of.reads, &of.always, &of.never, key)
}

fn grouped(share: u16, always: &[KeyValue], never: &[KeyValue], key: &KeyValue) -> Side {
    if never.contains(key) {
        Side::Source
    } else if always.contains(key) || bucket(key) < share {
        Side::Target
    } else {
        Side::Source
    }
}

/// The side that owns a key's writes.
#[must_use]
pub fn owner(owners: Owners<'_>, key: &KeyValue) -> Side {
    match owners {
        Owners::One(side) => side,
        Owners::Divided { share, always, never } => grouped(share, always, never, key),
    }
}

/// May a read be answered by the side that is not the authority?
#[must_use]
pub fn divides(of: &Move) -> bool {
    match of.writes {
        Side::Source => of.reads > 0 || !of.always.is_empty(),
        Side::Target => {
            // The way back is only as good as the double write that keeps the source current; old rows hardly change.
            let by_key = of.double_write != DoubleWrite::Off && (of.reads < BUCKETS || !of.never.is_empty());
            by_key || of.history.is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_stable_and_even() {
        assert_eq!([1, 2, 1001].map(|key| bucket(&KeyValue::Integer(key))), GOLDEN);
        let low = (0..100_000).filter(|key| bucket(&KeyValue::Integer(*key)) < BUCKETS / 4).count();
        assert!((24_000..26_000).contains(&low), "{low} of 100000 keys in a quarter of the buckets");
    }

    const GOLDEN: [u16; 3] = [7828, 8478, 2635];

    #[test]
    fn a_key_that_the_target_serves_stays_there_as_the_share_grows() {
        let mut of = crate::topology::Move::idle("m");
        for key in (0..2_000).map(KeyValue::Integer) {
            let mut was = Side::Source;
            for reads in (0..=BUCKETS).step_by(500) {
                of.reads = reads;
                let now = side(&of, &key);
                assert!(was == Side::Source || now == Side::Target);
                was = now;
            }
            assert_eq!(was, Side::Target);
        }
    }

    #[test]
    fn every_key_of_a_division_has_one_owner_and_lists_are_stronger_than_the_share() {
        let mut of = crate::topology::Move::idle("m");
        let key = |key| KeyValue::Integer(key);
        assert_eq!(owner(of.owners(), &key(1)), Side::Source);
        let owned = |of: &Move| [1, 2, 1001].map(|number| owner(of.owners(), &key(number)));
        of.divided = Some(GOLDEN[0] + 1);
        assert_eq!(owned(&of), [Side::Target, Side::Source, Side::Target]);
        (of.always, of.never) = (vec![key(2)], vec![key(1001)]);
        assert_eq!(owned(&of), [Side::Target, Side::Target, Side::Source]);
        of.divided = Some(0);
        assert_eq!(owned(&of), [Side::Source, Side::Target, Side::Source], "the list alone");
    }

    #[test]
    fn never_is_stronger_than_always() {
        let mut of = crate::topology::Move::idle("m");
        let key = KeyValue::Integer(7);
        of.always.push(key.clone());
        assert_eq!(side(&of, &key), Side::Target);
        of.never.push(key.clone());
        of.reads = BUCKETS;
        assert_eq!(side(&of, &key), Side::Source);
    }
}

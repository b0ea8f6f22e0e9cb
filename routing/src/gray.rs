//! Which side serves a key's reads while its table moves: the same key, always the same side.

use crate::key::KeyValue;
use crate::topology::{Move, Side};

/// Buckets of gray percentages: hundredths of a percent.
pub const BUCKETS: u16 = 10_000;

/// The stable bucket of a key, independent of its shard.
#[must_use]
pub fn bucket(key: &KeyValue) -> u16 {
    let _ = key;
    unimplemented!()
}

/// The side that serves a plain read of this key when nothing forces the authority.
#[must_use]
pub fn side(of: &Move, key: &KeyValue) -> Side {
    let _ = (of, key);
    unimplemented!()
}

//! Whether a row lies on the shard that routing names, asked in SQL where the shard function can be said in it.
//!
//! Pure.

use shardway_routing::topology::{Placement, ShardId};

use crate::image::{ImageShape, quoted};

/// How a server tells whether a row of one node belongs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtHome {
    /// Every row does.
    Always,
    /// By a condition.
    Condition(String),
    /// It cannot; whoever knows the key's column can.
    ByKey { column: String },
}

/// The condition under which a row belongs on the node at `place`.
#[must_use]
pub fn at_home(placement: &Placement, shape: &ImageShape, place: usize) -> AtHome {
    let Placement::Sharded(layout) = placement else { return AtHome::Always };
    let column = shape.columns().iter().find(|(name, _)| name.eq_ignore_ascii_case(&layout.key));
    let shard = u32::try_from(place).ok().map(ShardId);
    match column.zip(shard).and_then(|((name, kind), shard)| layout.at_home(&quoted(name), kind, shard)) {
        Some(condition) => AtHome::Condition(condition),
        None => AtHome::ByKey { column: layout.key.clone() },
    }
}

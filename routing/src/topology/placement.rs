//! Where the rows of a table are: on one node, on every node, or on the shard of their key.

use std::sync::Arc;

use super::{BackendId, ShardId};
use crate::function::ShardFunction;
use crate::key::{KeyType, KeyValue};
use crate::schema::Length;

/// Where the rows of a table are.
#[derive(Debug, Clone, PartialEq)]
pub enum Placement {
    /// Whole, on one node.
    Single(Node),
    /// A full copy on every node.
    Broadcast(Vec<Node>),
    /// Each row on the shard that the function names for its key.
    Sharded(Arc<Layout>),
}

/// A shard key, its function, and the node of every shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The shard-key column, as written in the rules.
    pub key: String,
    /// How the key's column compares; assumed until the table's schema has been attached.
    pub key_type: KeyType,
    /// The smallest and the largest key that an integer column can hold; `None` for others, and until it is known.
    pub range: Option<(i128, i128)>,
    /// The longest key that a column of text or bytes can hold; `None` likewise.
    pub longest: Option<Length>,
    pub function: ShardFunction,
    /// One node per shard, in shard order.
    pub nodes: Vec<Node>,
    /// Shards whose node belongs to the older layout of a move as well, which this one splits in place: rows that have
    /// left them are there too, until a cleanup removes them.
    pub shared: Vec<ShardId>,
    /// Tables of the same group have the same function over the same backends in the same order, so a join on
    /// their shard keys never leaves a shard.
    pub group: u32,
}

/// A physical table on a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub backend: BackendId,
    pub table: String,
}

impl Placement {
    /// Every node, in shard order where there are shards.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        match self {
            Placement::Single(node) => std::slice::from_ref(node),
            Placement::Broadcast(nodes) => nodes,
            Placement::Sharded(layout) => &layout.nodes,
        }
    }
}

impl Layout {
    /// A layout as the rules alone tell it.
    #[must_use]
    pub fn new(key: String, function: ShardFunction, nodes: Vec<Node>, group: u32) -> Layout {
        Layout {
            key,
            key_type: KeyType::assumed(&function),
            range: None,
            longest: None,
            function,
            nodes,
            shared: Vec::new(),
            group,
        }
    }

    /// Does the column store this key as it is? A server that is not strict, or was told to `IGNORE`, stores a number
    /// or a text that does not fit as another one, which belongs to another shard.
    #[must_use]
    pub fn holds(&self, key: &KeyValue) -> bool {
        match key {
            KeyValue::Integer(key) => self.range.is_none_or(|(least, most)| (least..=most).contains(key)),
            KeyValue::Text(text) => self.longest.is_none_or(|longest| is_within(text, longest)),
            KeyValue::Day(_) => true,
        }
    }
}

fn is_within(text: &[u8], longest: Length) -> bool {
    let (length, most) = match longest {
        Length::Bytes(most) => (text.len(), most),
        Length::Digits(most) => (text.len(), most.into()),
        // Every byte of UTF-8 but those that go on begins a character.
        Length::Characters(most) => (text.iter().filter(|byte| **byte & 0xC0 != 0x80).count(), most),
    };
    length as u64 <= most
}

//! Where rows are, in words that mean the same in every version of the rules.

use crate::topology::{Node, Placement, Side, Table, Topology};

/// Where a table's rows are written, in words that mean the same in every version.
pub(super) fn authority(topology: &Topology, table: &Table) -> Option<String> {
    let side = table.moving.as_ref().map_or(Side::Target, |moving| topology.move_of(moving.by).writes);
    Some(described(topology, table.placement(side)))
}

pub(super) fn described(topology: &Topology, placement: &Placement) -> String {
    let nodes = |placement: &Placement| {
        let node = |node: &Node| format!("{}.{}", topology.backend(node.backend).name, node.table);
        placement.nodes().iter().map(node).collect::<Vec<_>>().join(", ")
    };
    match placement {
        Placement::Single(_) => nodes(placement),
        Placement::Broadcast(_) => format!("copies on {}", nodes(placement)),
        Placement::Sharded(layout) => {
            format!("{:?} of {} over {}", layout.function, layout.key, nodes(placement))
        }
    }
}

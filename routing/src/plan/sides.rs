//! Where each side of a statement runs.

use super::conditions::Shardings;
use super::names::Target;
use super::parse::Parsed;
use super::scopes::Scopes;
use super::{ByKey, Keys, RoutePlan};
use crate::refusal::{self, Refusal};
use crate::topology::{BackendId, Layout, Node, Placement, Side, TableId, Topology};
use std::sync::Arc;

/// A statement's tables, as one side places them.
pub(super) struct Placed<'a> {
    pub topology: &'a Topology,
    pub side: Side,
    /// Backends that unsharded tables fix.
    fixed: Vec<BackendId>,
    broadcast: Vec<&'a [Node]>,
    sharded: Vec<&'a Arc<Layout>>,
    /// By instance.
    keys: Vec<Option<String>>,
}

impl<'a> Placed<'a> {
    pub fn new(topology: &'a Topology, scopes: &Scopes, side: Side) -> Placed<'a> {
        let mut placed = Placed {
            topology,
            side,
            fixed: Vec::new(),
            broadcast: Vec::new(),
            sharded: Vec::new(),
            keys: vec![None; scopes.instances.len()],
        };
        for (index, instance) in scopes.instances.iter().enumerate() {
            match instance.target {
                Target::Unnamed(database) => placed.fix(topology.database_of(database).default),
                Target::Whole(backend) => placed.fix(backend),
                Target::Named(table) => match topology.table_of(table).placement(side) {
                    Placement::Single(node) => placed.fix(node.backend),
                    Placement::Broadcast(nodes) => placed.broadcast.push(nodes),
                    Placement::Sharded(layout) => {
                        placed.sharded.push(layout);
                        placed.keys[index] = Some(layout.key.to_lowercase());
                    }
                },
            }
        }
        placed
    }

    fn fix(&mut self, backend: BackendId) {
        if !self.fixed.contains(&backend) {
            self.fixed.push(backend);
        }
    }

    /// Where a read of all these tables runs.
    pub fn read(
        &self,
        parsed: &Parsed<'_>,
        scopes: &Scopes,
        home: BackendId,
    ) -> Result<(RoutePlan, String), Refusal> {
        if let [first, ..] = self.sharded.as_slice() {
            // One that is split in place tells of it.
            let first = self.sharded.iter().find(|layout| !layout.shared.is_empty()).unwrap_or(first);
            return self.by_key(first, parsed, scopes);
        }
        let one = |backend| Ok((RoutePlan::Backend(backend), String::new()));
        match (self.fixed.as_slice(), self.broadcast.as_slice()) {
            ([], []) => one(home),
            ([backend], copies) => {
                self.copies_on(copies, &[*backend])?;
                one(*backend)
            }
            ([], [first, others @ ..]) => {
                let common: Vec<Node> = first
                    .iter()
                    .filter(|node| {
                        others.iter().all(|nodes| nodes.iter().any(|other| other.backend == node.backend))
                    })
                    .cloned()
                    .collect();
                if common.is_empty() {
                    return Err(refusal::CROSS_BACKEND.because("no backend has a copy of all of them"));
                }
                Ok((RoutePlan::AnyNode(common), String::new()))
            }
            ([one, other, ..], _) => Err(self.cross(*one, *other)),
        }
    }

    fn by_key(
        &self,
        first: &Arc<Layout>,
        parsed: &Parsed<'_>,
        scopes: &Scopes,
    ) -> Result<(RoutePlan, String), Refusal> {
        if self.sharded.iter().any(|layout| layout.group != first.group) {
            return Err(refusal::NOT_COLOCATED.because(""));
        }
        let mut backends: Vec<BackendId> = first.nodes.iter().map(|node| node.backend).collect();
        backends.sort_unstable();
        backends.dedup();
        if let Some(fixed) = self.fixed.iter().find(|fixed| backends.as_slice() != [**fixed]) {
            return Err(self.cross(*fixed, backends[0]));
        }
        self.copies_on(&self.broadcast, &backends)?;
        let mut groups = Shardings { parsed, scopes, keys: self.keys.clone() }.groups();
        let keys = groups.remove(0);
        let because =
            if keys == Keys::All { format!("no condition on {}", first.key) } else { String::new() };
        let by_key = ByKey { layout: Arc::clone(first), keys, also: groups, unchanged: None };
        Ok((RoutePlan::ByKey(by_key), because))
    }

    /// Where a write to one table runs, when the statement touches others or has a condition.
    pub fn write(
        &self,
        table: TableId,
        parsed: &Parsed<'_>,
        scopes: &Scopes,
        home: BackendId,
    ) -> Result<(RoutePlan, String), Refusal> {
        let Placement::Broadcast(nodes) = self.topology.table_of(table).placement(self.side) else {
            return self.read(parsed, scopes, home);
        };
        if scopes.instances.len() > 1 {
            return Err(refusal::WRITE_MIXED.because(""));
        }
        Ok((RoutePlan::EveryNode(nodes.clone()), String::new()))
    }

    /// The shard key of a table's occurrence, lower case, if this side shards it.
    pub fn key_of(&self, instance: usize) -> Option<&str> {
        self.keys[instance].as_deref()
    }

    /// The layout of a table, if this side shards it.
    pub fn layout(&self, table: TableId) -> Option<&'a Arc<Layout>> {
        match self.topology.table_of(table).placement(self.side) {
            Placement::Sharded(layout) => Some(layout),
            Placement::Single(_) | Placement::Broadcast(_) => None,
        }
    }

    fn copies_on(&self, copies: &[&[Node]], backends: &[BackendId]) -> Result<(), Refusal> {
        for nodes in copies {
            if let Some(missing) =
                backends.iter().find(|backend| nodes.iter().all(|node| node.backend != **backend))
            {
                let name = &self.topology.backend(*missing).name;
                return Err(refusal::CROSS_BACKEND
                    .because(format!("backend {name} has no copy of a broadcast table")));
            }
        }
        Ok(())
    }

    fn cross(&self, one: BackendId, other: BackendId) -> Refusal {
        let name = |id| &self.topology.backend(id).name;
        refusal::CROSS_BACKEND.because(format!("{} and {}", name(one), name(other)))
    }
}

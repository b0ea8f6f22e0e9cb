//! The rule file: as written, and checked into a [`crate::topology::Topology`].

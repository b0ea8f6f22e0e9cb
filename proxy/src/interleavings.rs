//! Every world that a model can come to, one step after the other. For the models of tests.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// How many worlds there are, or the first that is wrong.
pub(crate) fn explore<World: Clone + Eq + Hash>(
    first: World,
    next: impl Fn(&World) -> Vec<World>,
    is_wrong: impl Fn(&World) -> bool,
) -> Result<usize, World> {
    let mut seen = HashSet::new();
    let mut open = vec![first];
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        if is_wrong(&world) {
            return Err(world);
        }
        open.extend(next(&world));
    }
    Ok(seen.len())
}

/// Proves of every rule that it is one: without it some world is wrong.
pub(crate) fn each_harms<Mutant: Copy + Debug, World>(
    mutants: impl IntoIterator<Item = Mutant>,
    look: impl Fn(Mutant) -> Result<usize, World>,
) {
    for mutant in mutants {
        assert!(look(mutant).is_err(), "{mutant:?} harms nobody, so the rule proves nothing");
    }
}

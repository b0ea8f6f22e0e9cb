//! Changes of where tables are that no rule names.

use super::{ALL, Changes, Effect};
use crate::refusal;
use crate::topology::Topology;

impl Changes<'_> {
    pub(super) fn databases(&mut self) {
        if self.is_first() {
            return;
        }
        let named =
            |topology: &Topology| topology.databases.iter().map(|of| of.name.clone()).collect::<Vec<_>>();
        let mut names = named(self.old);
        names.extend(named(self.new).into_iter().filter(|name| self.old.database(name).is_none()));
        for name in names {
            self.home(
                &format!("databases.{name}.default"),
                &name,
                home(self.old, &name),
                home(self.new, &name),
            );
        }
        let others =
            |topology: &Topology| topology.other_databases.map(|id| topology.backend(id).name.clone());
        self.home("databases.\"*\".default", "*", others(self.old), others(self.new));
    }

    fn home(&mut self, rule: &str, name: &str, from: Option<String>, to: Option<String>) {
        if from == to {
            return;
        }
        let effect = match from {
            Some(_) => Effect::Refused(refusal::DATABASE_MOVED.because(name.to_owned())),
            None => Effect::Instant,
        };
        let share = if from.is_some() { ALL } else { 0 };
        self.add(rule, from.unwrap_or_default(), to.unwrap_or_default(), effect, share);
    }
}

/// The backend of a database's tables that no rule names.
pub(super) fn default_of<'a>(topology: &'a Topology, database: &str) -> Option<&'a str> {
    let named = topology.database(database).map(|id| topology.database_of(id).default);
    named.or(topology.other_databases).map(|id| topology.backend(id).name.as_str())
}

/// That backend, with the physical database where it has another name.
fn home(topology: &Topology, database: &str) -> Option<String> {
    let named = topology.database(database).map(|id| topology.database_of(id).default);
    let backend = named.or(topology.other_databases)?;
    let (name, physical) = (&topology.backend(backend).name, topology.physical_database(backend, database));
    Some(if physical == database { name.clone() } else { format!("{name}, as `{physical}`") })
}

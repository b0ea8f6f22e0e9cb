//! What backends tell after the rules are in force: columns that were not known, stored functions that came or went.

use shardway_routing::stored::StoredFunctions;

use super::RuleStore;
use crate::control::columns::Ask;
use crate::control::stored;

impl RuleStore {
    /// Reads the columns that could not be read when the rules came, and has those confirmed that somebody else told.
    pub async fn complete(&self) {
        let _changing = self.changing.lock().await;
        let mut topology = self.shared.snapshot().topology.clone();
        let unconfirmed = self.lock().unconfirmed.clone();
        let attached = self.columns.attach(&self.shared, &mut topology, &unconfirmed, Ask::Answering);
        // Somebody will ask again.
        let Ok(attached) = self.unless_emergency(attached).await else { return };
        self.announce(&attached);
        if attached.changed > 0 {
            self.shared.publish(topology);
        }
        let error = (!attached.problems.is_empty()).then(|| attached.problems.join("\n"));
        let mut state = self.lock();
        if error.is_some() && error != state.columns_error {
            tracing::error!(error, "the columns of a backend contradict the rules in force");
        }
        state.columns_error = error;
        state.unconfirmed = attached.unconfirmed;
    }

    /// Asks for the stored functions again: nobody tells when one is made.
    pub async fn refresh_functions(&self) {
        let before = self.shared.snapshot();
        let mut topology = before.topology.clone();
        topology.databases.iter_mut().for_each(|database| database.stored = StoredFunctions::default());
        self.stored.attach(&mut topology, stored::Ask::All).await;
        if topology.databases != before.topology.databases {
            let _changing = self.changing.lock().await;
            if self.shared.is_current(&before) {
                self.shared.publish(topology);
            }
        }
    }
}

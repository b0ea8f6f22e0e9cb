//! What is known of the rules: desired, in force, and what speaks against them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use shardway_migration::settings::Settings;

use super::{RuleStore, Version};

/// What the status says about the rules.
#[derive(Debug, Clone, serde::Serialize)]
pub struct RulesStatus {
    pub file: PathBuf,
    pub desired_version: u64,
    pub in_force_version: u64,
    pub last_error: Option<String>,
    /// Tables that are served by columns which their own backend has not told, because it does not answer.
    pub unconfirmed_columns: Vec<String>,
}

impl RuleStore {
    #[must_use]
    pub fn status(&self) -> RulesStatus {
        let state = self.lock();
        RulesStatus {
            file: self.shared.config.rules.clone(),
            desired_version: state.desired_version,
            in_force_version: self.shared.snapshot().topology.version,
            last_error: state.last_error.clone().or_else(|| state.columns_error.clone()),
            unconfirmed_columns: state.unconfirmed.iter().cloned().collect(),
        }
    }

    /// How rows travel and when somebody is told, under the version in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.lock().settings)
    }

    /// The versions that have been in force, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Version> {
        self.lock().history.all().to_vec()
    }

    /// Is something unknown, or not confirmed, that only a backend can tell?
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        let snapshot = self.shared.snapshot();
        let unknown = snapshot.topology.tables.iter().any(|table| table.schema.is_none());
        unknown || !self.lock().unconfirmed.is_empty() || !self.is_announced.load(Ordering::Acquire)
    }

    /// The version in force; `None` before the first.
    #[must_use]
    pub fn in_force(&self) -> Option<Version> {
        let version = self.shared.snapshot().topology.version;
        self.lock().history.last().filter(|last| last.version == version).cloned()
    }

    /// Is this the text of the rules in force?
    #[must_use]
    pub fn is_in_force(&self, text: &str) -> bool {
        let version = self.shared.snapshot().topology.version;
        let state = self.lock();
        version > 0 && state.history.last().is_some_and(|last| last.version == version && last.text == text)
    }
}

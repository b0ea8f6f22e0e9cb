//! `shardway.toml`, read again while the process runs.
//!
//! Users, the admin token, TLS, limits and the log's level hold from the next login, request or line on; sessions stay as
//! they have logged in. A file with a problem changes nothing. The rest waits for the next start, which the log says.

use std::sync::atomic::Ordering;

use super::Control;
use crate::config::{self, Config};
use crate::logging;

impl Control {
    /// Takes over what the file says now.
    ///
    /// # Errors
    /// Every problem of the file; what it said before stays.
    pub(super) fn renew(&self) -> Result<(), String> {
        let renewed = match config::load(&self.shared.config.file) {
            Ok(renewed) => renewed,
            Err(invalid) => {
                self.shared.metrics.config_refused.fetch_add(1, Ordering::Relaxed);
                let error = invalid.to_string();
                tracing::error!(error, "the configuration stays as it was");
                return Err(error);
            }
        };
        let waiting = at_next_start(&self.shared.config, &renewed);
        if !waiting.is_empty() {
            tracing::warn!(keys = waiting.join(", "), "these take effect when the process is started again");
        }
        if let Err(error) = logging::level(&renewed.log.level) {
            tracing::error!(error, "the log's level stays as it was");
        }
        self.shared.renewed(renewed);
        Ok(())
    }
}

fn at_next_start(begun: &Config, now: &Config) -> Vec<&'static str> {
    let differs = [
        ("rules", begun.rules != now.rules),
        ("listen", begun.listen != now.listen),
        ("workers", begun.workers != now.workers),
        ("node", begun.node != now.node),
        ("server_version", begun.server_version != now.server_version),
        ("limits.held_statements", begun.limits.held_statements != now.limits.held_statements),
        ("log.format", begun.log.format != now.log.format),
        ("state.dir", begun.state_dir != now.state_dir),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

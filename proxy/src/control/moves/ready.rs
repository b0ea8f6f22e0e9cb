//! Before the first row and after the last: the preflight, the targets' tables and indexes.

use std::sync::Arc;

use shardway_migration::preflight::{self, Report};
use shardway_migration::prepare::{self, Indexes};
use shardway_migration::schema;
use shardway_migration::settings::{self, MoveSettings};
use shardway_migration::tables::{self, WorkError};
use shardway_routing::topology::{MoveId, Side, Topology};

use super::carried::conditions;
use super::counted::What;
use super::{Moves, find};
use crate::control_connection;

impl Moves {
    /// Looks for what speaks against a move.
    ///
    /// # Errors
    /// When a server cannot be asked.
    pub async fn findings(&self, name: &str) -> Result<Report, String> {
        let snapshot = self.shared.snapshot();
        let (by, _) = find(&snapshot.topology, name)?;
        let MoveSettings { waive, tune, .. } = self.settings(name);
        let tuned: Vec<String> = tune.into_keys().collect();
        let rules = preflight::Rules { waived: &waive, tuned: &tuned };
        preflight::run(&snapshot.topology, by, rules).await.map_err(|error| error.to_string())
    }

    pub(super) async fn preflight(&self, name: &str) -> Result<(), String> {
        let settings = self.settings(name);
        loop {
            let before = self.shared.snapshot();
            let (by, _) = find(&before.topology, name)?;
            conditions(&before.topology, by, &settings.copy)?;
            unchanged(&before.topology, by).await?;
            let report = self.findings(name).await?;
            // Under new rules the same facts may mean something else: rows that double write has brought, for one.
            if !self.shared.is_current(&before) {
                continue;
            }
            for finding in &report.findings {
                tracing::info!(r#move = name, %finding, "preflight");
            }
            let refusals: Vec<String> = report.refusals().map(ToString::to_string).collect();
            return if refusals.is_empty() { Ok(()) } else { Err(refusals.join("\n")) };
        }
    }

    pub(super) async fn prepare(
        self: &Arc<Self>,
        name: &str,
        topology: &Topology,
        by: MoveId,
    ) -> Result<(), String> {
        let settings = self.settings(name);
        let indexes = match settings.copy.indexes {
            settings::Indexes::Now => Indexes::Now,
            settings::Indexes::AfterCopy => Indexes::AfterCopy,
        };
        let done = prepare::structures(topology, by, indexes).await.map_err(|error| error.to_string())?;
        for done in done {
            tracing::info!(r#move = name, backend = done.backend, object = done.object, what = ?done.what, "prepared");
        }
        self.tune(name, topology, by).await.map_err(|error| error.to_string())
    }

    /// Adds the indexes that are lacking, and gives the servers their own parameters back.
    pub(super) async fn indexes(&self, name: &str, topology: &Topology, by: MoveId) -> Result<(), WorkError> {
        // Whatever the rules say by now: they may have said something else when the tables were made.
        prepare::indexes_after(topology, by, &self.count(name, What::Indexing)).await?;
        self.restore(name, topology, by).await
    }
}

/// Rows are read by the columns that were there when the rules came. A column that came later would be left behind
/// without a word.
async fn unchanged(topology: &Topology, by: MoveId) -> Result<(), String> {
    let moving = tables::of_move(topology, by).map_err(|refusal| refusal.to_string())?;
    for table in &moving {
        let Some(origin) = table.origins(Side::Source).first() else { continue };
        let read = async {
            let mut connection = control_connection::connect(&origin.server).await?;
            let schema = schema::read(&mut connection, &origin.database, &origin.name).await?;
            connection.disconnect().await?;
            Ok::<_, mysql_async::Error>(schema)
        };
        let now = read.await.map_err(|error| format!("reading the columns of {}: {error}", origin.table))?;
        let known = topology.table_of(table.id).schema.as_deref();
        // A table that is gone is the preflight's to tell.
        if now.is_some() && now.as_ref() != known {
            return Err(format!(
                "the columns of {} have changed since the rules were read; save the rule file with any change, so \
                 that they are read again, then start the move again",
                table.name
            ));
        }
    }
    Ok(())
}

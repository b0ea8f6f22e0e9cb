//! `move cleanup`: which tables a finished move leaves behind, whether they may go, and putting them aside or dropping
//! them. What [`shardway_migration::cleanup`] promises of a table holds here for a move.
//!
//! One call puts aside what is still there, or drops what has been aside for long enough, never both. A stage
//! that a crash cut short is ended when the process starts again.

mod emptying;
mod split;

use std::sync::Arc;

use mysql_async::Conn;
use shardway_migration::apply::progress;
use shardway_migration::cleanup::{
    self, CleanupLine, CleanupReport, EVIDENCE, Grace, Holder, Leftover, Next, Spent, Stage, There, Triggers,
    WORKING,
};
use shardway_migration::phase::Phase;
use shardway_routing::topology::Topology;

use super::find;
use super::leftovers::{Record, connect, other_move, routed, told};
use crate::control::Control;
use crate::control::steps::{Step, reached};
use crate::control::store::now_s;
use crate::utc::{compact_date, rfc3339};

/// Whether anything is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CleanupRun {
    Real,
    Dry,
}

/// Cleans up after a move, as far as may be now.
///
/// # Errors
/// Why nothing may be removed, or what failed. What has been done stays done, and the next call goes on.
pub async fn cleanup(
    control: &Arc<Control>,
    name: &str,
    run: CleanupRun,
    grace: Grace,
) -> Result<CleanupReport, String> {
    let moves = &control.moves;
    let snapshot = control.shared.snapshot();
    if find(&snapshot.topology, name).is_ok() && moves.of(name).state.phase() != Phase::Done {
        return Err(format!(
            "the way back of {name} is open, or it is under way: `shardway move finish {name}` comes first"
        ));
    }
    if moves.cleanups.of(name).is_none() {
        return Err(format!("nothing is known of a finished move `{name}`"));
    }
    // On its own: whoever asked may go away, and half of it would be left.
    let (control, name) = (Arc::clone(control), name.to_owned());
    let task = tokio::spawn(async move { Work::begin(&control, &name, run, grace).await });
    task.await.map_err(|error| format!("the cleanup ended unexpectedly: {error}"))?
}

/// Ends the stages that an earlier process had begun.
pub(in crate::control) async fn resume_cleanups(control: Arc<Control>) {
    let begun = |record: &Record| record.leftovers.iter().any(Leftover::is_under_way);
    for name in control.moves.cleanups.names(begun) {
        tracing::info!(r#move = name, "going on with a cleanup");
        if let Err(error) = cleanup(&control, &name, CleanupRun::Real, Grace::Kept).await {
            tracing::error!(r#move = name, error, "the cleanup waits for `shardway move cleanup`");
        }
    }
}

/// One cleanup.
struct Work<'a> {
    control: &'a Control,
    name: &'a str,
    topology: &'a Topology,
    run: CleanupRun,
    grace: Grace,
    record: Record,
    report: CleanupReport,
}

impl Work<'_> {
    async fn begin(
        control: &Control,
        name: &str,
        run: CleanupRun,
        grace: Grace,
    ) -> Result<CleanupReport, String> {
        let _one_at_a_time = control.moves.cleanups.running.lock().await;
        let snapshot = control.shared.snapshot();
        let record = control.moves.cleanups.of(name).unwrap_or_default();
        let report = CleanupReport::default();
        let mut work = Work { control, name, topology: &snapshot.topology, run, grace, record, report };
        work.all().await?;
        Ok(work.report)
    }

    async fn all(&mut self) -> Result<(), String> {
        let open = self.record.leftovers.iter().filter(|of| !of.is_gone());
        let routed: Vec<String> = open.filter_map(|of| routed(self.topology, self.name, of)).collect();
        if !routed.is_empty() {
            return Err(routed.join("\n"));
        }
        let now = now_s();
        let next: Vec<Next> = self.record.leftovers.iter().map(|of| of.next(now, self.grace)).collect();
        let puts_aside = next.contains(&Next::PutAside);
        for (index, next) in next.into_iter().enumerate() {
            let is_split = self.record.leftovers[index].only.is_some();
            match next {
                Next::PutAside if is_split => self.leave_rows(index).await?,
                Next::PutAside => self.put_aside(index).await?,
                Next::Drop if puts_aside => self.waits(index),
                Next::Drop if is_split => self.delete_rows(index).await?,
                Next::Drop => self.drop(index).await?,
                Next::Wait(_) => self.waits(index),
                Next::Nothing => {}
            }
        }
        if puts_aside {
            self.own_tables(&WORKING).await?;
        }
        if self.record.leftovers.iter().all(Leftover::is_gone) {
            self.own_tables(&WORKING).await?;
            self.own_tables(&EVIDENCE).await?;
        }
        Ok(())
    }

    async fn put_aside(&mut self, index: usize) -> Result<(), String> {
        let of = self.record.leftovers[index].clone();
        let mut connection = self.connect(&of.holder).await?;
        let to = match &of.stage {
            Stage::Renaming { to } => to.clone(),
            _ => self.free_name(&mut connection, &of).await?,
        };
        let database = of.holder.database.as_str();
        let is_done = cleanup::there(&mut connection, database, &to).await.map_err(told)? == There::Yes;
        if !is_done {
            match cleanup::count(&mut connection, database, &of.table, None).await.map_err(told)? {
                None => {
                    self.say(&of, "is not there any more");
                    return self.reach_stage(index, Stage::Dropped { at: now_s(), grace: Grace::Kept });
                }
                Some(rows) if of.rows.is_some_and(|before| rows > before) => {
                    return Err(format!(
                        "{}.{} has {rows} rows and had {} when the way back closed: somebody still writes there; \
                         nothing was removed",
                        of.holder,
                        of.table,
                        of.rows.unwrap_or_default()
                    ));
                }
                Some(rows) if self.run == CleanupRun::Dry => {
                    self.say(&of, &format!("would be put aside as {to} ({rows} rows)"));
                    return Ok(());
                }
                Some(_) => {}
            }
        }
        if self.run == CleanupRun::Dry {
            self.say(&of, &format!("has been put aside as {to}"));
            return Ok(());
        }
        self.reach_stage(index, Stage::Renaming { to: to.clone() })?;
        reached(Step::PutAside).await;
        cleanup::rename(&mut connection, &of, &to).await.map_err(told)?;
        reached(Step::Aside).await;
        let rows =
            cleanup::count(&mut connection, database, &to, None).await.map_err(told)?.unwrap_or_default();
        let since = now_s();
        let keep_until = cleanup::keep_until(since, self.control.moves.settings(self.name).cleanup.grace);
        self.say(&of, &format!("put aside as {to} ({rows} rows) until {}", rfc3339(keep_until)));
        self.keep_until(keep_until);
        self.reach_stage(index, Stage::Aside { name: to, since, rows, keep_until })
    }

    async fn free_name(&self, connection: &mut Conn, of: &Leftover) -> Result<String, String> {
        let date = compact_date(now_s());
        let is_ours = |name: &str| {
            let same = |known: &&Leftover| known.holder == of.holder && known.table != of.table;
            self.record.leftovers.iter().filter(same).any(|known| known.name() == name)
        };
        for number in 0..1_000 {
            let name = cleanup::old_name(&of.table, &date, number);
            let there = cleanup::there(connection, &of.holder.database, &name).await.map_err(told)?;
            if there == There::No && !is_ours(&name) {
                return Ok(name);
            }
        }
        Err(format!("{}: there are too many tables put aside under the name of {}", of.holder, of.table))
    }

    async fn drop(&mut self, index: usize) -> Result<(), String> {
        let of = self.record.leftovers[index].clone();
        let name = of.name().to_owned();
        let mut connection = self.connect(&of.holder).await?;
        let database = of.holder.database.as_str();
        let rows = cleanup::count(&mut connection, database, &name, None).await.map_err(told)?;
        if let (Stage::Aside { rows: before, .. }, Some(rows)) = (&of.stage, rows)
            && rows != *before
        {
            return Err(format!(
                "{}.{name} has {rows} rows and had {before} when it was put aside: somebody uses it; it stays",
                of.holder
            ));
        }
        if self.run == CleanupRun::Dry {
            self.say(&of, &format!("would be dropped as {name} ({} rows)", rows.unwrap_or_default()));
            return Ok(());
        }
        let grace = match of.stage {
            Stage::Dropping { grace, .. } => grace,
            _ => self.grace,
        };
        self.reach_stage(index, Stage::Dropping { name: name.clone(), grace })?;
        if rows.is_some()
            && cleanup::triggers(&mut connection, database, &name).await.map_err(told)? == Triggers::None
        {
            self.empty(&mut connection, &of, rows.unwrap_or_default()).await?;
        }
        cleanup::drop_table(&mut connection, &of.holder, &name).await.map_err(told)?;
        reached(Step::Gone).await;
        let skipped = if grace == Grace::Skipped { ", its grace time skipped by a person" } else { "" };
        self.say(&of, &format!("dropped as {name}{skipped}"));
        self.reach_stage(index, Stage::Dropped { at: now_s(), grace })
    }

    fn waits(&mut self, index: usize) {
        let of = self.record.leftovers[index].clone();
        if let Stage::Aside { name, keep_until, .. } = &of.stage {
            let what = match of.only {
                Some(_) => format!("rows that have left it stay until {}", rfc3339(*keep_until)),
                None => format!("is aside as {name} until {}", rfc3339(*keep_until)),
            };
            self.say(&of, &what);
            self.keep_until(*keep_until);
        }
    }

    /// Removes tables that moves keep for themselves, where no other move has some.
    async fn own_tables(&mut self, tables: &[&str]) -> Result<(), String> {
        for holder in self.record.holders.clone() {
            let other = other_move(self.topology, self.name, &holder);
            let mut connection = self.connect(&holder).await?;
            for table in tables {
                let spent = cleanup::spent(&mut connection, &holder.database, table).await.map_err(told)?;
                let what = match (&other, spent, self.run) {
                    (_, Spent::Gone, _) => continue,
                    (Some(other), ..) => format!("stays: {other} has rows there"),
                    (None, Spent::Needed, _) => "stays: parameters of the server are not back yet".to_owned(),
                    (None, Spent::Yes, CleanupRun::Dry) => "would be dropped".to_owned(),
                    (None, Spent::Yes, CleanupRun::Real) => {
                        cleanup::drop_table(&mut connection, &holder, table).await.map_err(told)?;
                        "dropped".to_owned()
                    }
                };
                if other.is_some() && *table == progress::TABLE && self.run == CleanupRun::Real {
                    let forget = progress::forget(&holder.database, self.name);
                    cleanup::run_on(&mut connection, &holder, &forget).await.map_err(told)?;
                }
                let line = CleanupLine {
                    backend: holder.backend.clone(),
                    table: format!("{}.{table}", holder.database),
                    what,
                };
                self.report.lines.push(line);
            }
        }
        Ok(())
    }

    fn say(&mut self, of: &Leftover, what: &str) {
        tracing::info!(r#move = self.name, holder = %of.holder, table = of.table, what, "cleanup");
        let table = format!("{}.{}", of.holder.database, of.table);
        self.report.lines.push(CleanupLine {
            backend: of.holder.backend.clone(),
            table,
            what: what.to_owned(),
        });
    }

    fn keep_until(&mut self, until: u64) {
        self.report.keep_until = self.report.keep_until.max(Some(until));
    }

    fn reach_stage(&mut self, index: usize, stage: Stage) -> Result<(), String> {
        if self.run == CleanupRun::Dry {
            return Ok(());
        }
        self.record.leftovers[index].stage = stage;
        self.control.moves.cleanups.save(self.name, &self.record)
    }

    async fn connect(&self, holder: &Holder) -> Result<Conn, String> {
        connect(self.topology, holder).await
    }
}

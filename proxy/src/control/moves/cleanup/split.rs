//! Rows that have left a table split in place. The table is in use, so nothing is renamed: the rows stay for the grace
//! time, seen by no statement, and are deleted then, some at a time.

use shardway_migration::cleanup::{self, Grace, Leftover, Stage, Triggers};

use super::super::leftovers::told;
use super::{CleanupRun, Work};
use crate::control::steps::{Step, reached};
use crate::control::store::now_s;
use crate::utc::rfc3339;

impl Work<'_> {
    /// Begins the grace time.
    pub(super) async fn leave_rows(&mut self, index: usize) -> Result<(), String> {
        let of = self.record.leftovers[index].clone();
        let rows = self.rows_that_left(&of).await?;
        if rows == 0 {
            return self.nothing_left(index, &of);
        }
        if of.rows.is_some_and(|before| rows > before) {
            return Err(format!(
                "{}.{} has {rows} rows that have left it and had {} when the way back closed: somebody still writes \
                 there; nothing was removed",
                of.holder,
                of.table,
                of.rows.unwrap_or_default()
            ));
        }
        if self.run == CleanupRun::Dry {
            self.say(&of, &format!("{rows} rows that have left it would be deleted after the grace time"));
            return Ok(());
        }
        let since = now_s();
        let keep_until = cleanup::keep_until(since, self.control.moves.settings(self.name).cleanup.grace);
        self.say(&of, &format!("{rows} rows that have left it stay until {}", rfc3339(keep_until)));
        self.keep_until(keep_until);
        self.reach_stage(index, Stage::Aside { name: of.table, since, rows, keep_until })
    }

    /// Deletes the rows.
    pub(super) async fn delete_rows(&mut self, index: usize) -> Result<(), String> {
        let of = self.record.leftovers[index].clone();
        let rows = self.rows_that_left(&of).await?;
        if rows == 0 {
            return self.nothing_left(index, &of);
        }
        if let Stage::Aside { rows: before, .. } = &of.stage
            && rows != *before
        {
            return Err(format!(
                "{}.{} has {rows} rows that have left it and had {before} before: somebody uses them; they stay",
                of.holder, of.table
            ));
        }
        if self.run == CleanupRun::Dry {
            self.say(&of, &format!("{rows} rows that have left it would be deleted"));
            return Ok(());
        }
        let mut connection = self.connect(&of.holder).await?;
        let database = of.holder.database.as_str();
        if cleanup::triggers(&mut connection, database, &of.table).await.map_err(told)? == Triggers::Some {
            return Err(format!(
                "{}.{} has triggers, which must not fire for rows that have left; drop them, or delete the rows \
                 yourself: DELETE FROM {} WHERE {}",
                of.holder,
                of.table,
                of.table,
                of.only.unwrap_or_default()
            ));
        }
        let grace = match of.stage {
            Stage::Dropping { grace, .. } => grace,
            _ => self.grace,
        };
        self.reach_stage(index, Stage::Dropping { name: of.table.clone(), grace })?;
        self.empty(&mut connection, &of, rows).await?;
        reached(Step::Gone).await;
        let left = self.rows_that_left(&of).await?;
        if left > 0 {
            return Err(format!("{}.{} still has {left} rows that have left it", of.holder, of.table));
        }
        let skipped = if grace == Grace::Skipped { ", their grace time skipped by a person" } else { "" };
        self.say(&of, &format!("{rows} rows that have left it deleted{skipped}"));
        self.reach_stage(index, Stage::Dropped { at: now_s(), grace })
    }

    /// They never were, a person has deleted them, or a crash came after the last of them.
    fn nothing_left(&mut self, index: usize, of: &Leftover) -> Result<(), String> {
        self.say(of, "no row that has left it is there");
        self.reach_stage(index, Stage::Dropped { at: now_s(), grace: Grace::Kept })
    }

    /// How many there are; none where the table is gone.
    async fn rows_that_left(&self, of: &Leftover) -> Result<u64, String> {
        let mut connection = self.connect(&of.holder).await?;
        let only = of.only.as_deref();
        let counted = cleanup::count(&mut connection, &of.holder.database, &of.table, only).await;
        Ok(counted.map_err(told)?.unwrap_or_default())
    }
}

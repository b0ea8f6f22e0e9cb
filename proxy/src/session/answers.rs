//! Answers the session gives itself, and what every answer must say about it.

use std::sync::atomic::Ordering;

use mysql_common::constants::{ColumnType, StatusFlags};
use shardway_routing::plan::Autocommit;

use super::held::Branch;
use super::transaction::Start;
use super::{Failure, Session, UserAccess};
use crate::execute::finish;
use crate::session_info::Running;
use crate::wire::command::Command;
use crate::wire::parse::{ErrPacket, OkPacket};
use crate::wire::reply::{self, NewColumn, OkReply};

impl Session {
    /// The status flags of an answer of ours.
    #[must_use]
    pub fn status(&self) -> u16 {
        let mut flags = StatusFlags::empty();
        if self.autocommit == Autocommit::On {
            flags |= StatusFlags::SERVER_STATUS_AUTOCOMMIT;
        }
        if self.transaction.is_some() {
            flags |= StatusFlags::SERVER_STATUS_IN_TRANS;
        }
        flags.bits()
    }

    pub(super) fn answer_ok(&mut self) -> Result<(), Failure> {
        let status = self.status();
        self.client.ok(&OkReply { status, ..OkReply::default() });
        Ok(())
    }

    pub(super) fn answer_eof(&mut self) -> Result<(), Failure> {
        let status = self.status();
        let client = &mut self.client;
        reply::eof(status, 0, &mut client.seq, &mut client.out);
        Ok(())
    }

    /// Answers a write that the proxy has run on several connections.
    pub fn answer_written(&mut self, ok: &OkPacket) -> Result<(), Failure> {
        if ok.last_insert_id != 0 {
            self.last_insert_id = ok.last_insert_id;
        }
        let status = self.status();
        self.client.ok(&OkReply {
            affected: ok.affected,
            last_insert_id: ok.last_insert_id,
            status,
            warnings: ok.warnings,
            info: &ok.info,
        });
        Ok(())
    }

    /// Answers with a small table of text.
    pub(super) fn answer_table(
        &mut self,
        columns: &[&str],
        rows: &[Vec<Option<String>>],
    ) -> Result<(), Failure> {
        let columns: Vec<NewColumn<'_>> = columns
            .iter()
            .map(|name| NewColumn { name, column_type: ColumnType::MYSQL_TYPE_VAR_STRING })
            .collect();
        self.answer_rows(&columns, rows)
    }

    /// Answers with one number.
    pub(super) fn answer_number(&mut self, column: &str, value: u64) -> Result<(), Failure> {
        let column = NewColumn { name: column, column_type: ColumnType::MYSQL_TYPE_LONGLONG };
        self.answer_rows(&[column], &[vec![Some(value.to_string())]])
    }

    fn answer_rows(
        &mut self,
        columns: &[NewColumn<'_>],
        rows: &[Vec<Option<String>>],
    ) -> Result<(), Failure> {
        let status = self.status();
        let client = &mut self.client;
        reply::new_columns(columns, client.capabilities, &mut client.seq, &mut client.out);
        for row in rows {
            let fields: Vec<Option<&[u8]>> =
                row.iter().map(|field| field.as_deref().map(str::as_bytes)).collect();
            reply::text_row(&fields, &mut client.seq, &mut client.out);
        }
        reply::end_of_rows(status, 0, client.capabilities, &mut client.seq, &mut client.out);
        Ok(())
    }

    pub(super) fn statistics(&mut self) -> Result<(), Failure> {
        let shared = &self.worker.shared;
        let text = format!(
            "Uptime: {}  Threads: {}  Questions: {}  Slow queries: 0  Opens: 0  Open tables: 0  Queries per second avg: 0.000",
            shared.started.elapsed().as_secs(),
            shared.sessions.len(),
            shared.metrics.statements.load(Ordering::Relaxed),
        );
        self.client.packet(text.as_bytes());
        Ok(())
    }

    pub fn remember_error(&mut self, error: ErrPacket) {
        self.last_error = Some(error);
    }

    #[must_use]
    pub fn last_error(&self) -> Option<&ErrPacket> {
        self.last_error.as_ref()
    }

    #[must_use]
    pub fn user_access(&self) -> &UserAccess {
        &self.access
    }

    /// Marks a connection as running this session's statement, for `KILL`.
    pub fn watch(&self, place: usize) -> Running {
        let held = &self.held[place].checkout;
        Running::new(&self.info, held.pool().server.clone(), held.connection.id)
    }

    /// After an error inside a transaction: is there still one? A deadlock ends it on the server.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn after_error(&mut self, place: usize) -> Result<(), Failure> {
        if self.transaction.is_none() || self.held[place].branch != Branch::Open {
            return Ok(());
        }
        let ok = self.at(place).simple(Command::Ping, b"").await?;
        let explicit = self.transaction.as_ref().is_some_and(|open| open.start != Start::Implicit);
        if explicit && ok.status & StatusFlags::SERVER_STATUS_IN_TRANS.bits() == 0 {
            self.held[place].branch = Branch::None;
            finish::rollback(self).await?;
        }
        Ok(())
    }

    /// After a statement: a transaction that its server has ended (an implicit commit inside a procedure) is over here too.
    ///
    /// # Errors
    /// When the other branches cannot be ended.
    pub async fn transaction_goes_on(&mut self, place: usize, status: u16) -> Result<(), Failure> {
        let explicit = self.transaction.as_ref().is_some_and(|open| open.start != Start::Implicit);
        let open = status & StatusFlags::SERVER_STATUS_IN_TRANS.bits() != 0;
        if explicit && !open && self.held[place].branch == Branch::Open {
            self.held[place].branch = Branch::None;
            finish::commit(self).await?;
        }
        Ok(())
    }
}

//! Answers the session gives itself, and what every answer must say about it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use mysql_common::constants::{ColumnType, StatusFlags};
use shardway_routing::bind::Facts;
use shardway_routing::plan::{Autocommit, Characteristics, Pin};

use super::held::{Begun, Branch};
use super::transaction::{Start, Transaction};
use super::{Failure, Part, Session};
use crate::execute::finish;
use crate::session_info::Running;
use crate::wire::command::Command;
use crate::wire::parse::{ErrPacket, OkPacket};
use crate::wire::reply::{self, More, NewColumn, OkReply};

impl Session {
    /// The status flags of an answer of ours.
    #[must_use]
    pub fn status(&self) -> u16 {
        let mut flags = StatusFlags::empty();
        if self.autocommit == Autocommit::On {
            flags |= StatusFlags::SERVER_STATUS_AUTOCOMMIT;
        }
        if self.is_inside() {
            flags |= StatusFlags::SERVER_STATUS_IN_TRANS;
        }
        if self.more_follows() == More::Follows {
            flags |= StatusFlags::SERVER_MORE_RESULTS_EXISTS;
        }
        flags.bits()
    }

    /// Does another statement of the same packet come after this one?
    #[must_use]
    pub fn more_follows(&self) -> More {
        if self.part == Part::Followed { More::Follows } else { More::Nothing }
    }

    pub(super) fn answer_ok(&mut self) -> Result<(), Failure> {
        let status = self.status();
        self.row_count = 0;
        self.client.ok(&OkReply { status, ..OkReply::default() });
        Ok(())
    }

    /// The same, with the number of the warnings that have been listed for the statement.
    pub(super) fn answer_ok_with_warnings(&mut self) -> Result<(), Failure> {
        let listed = self.listed_warnings.as_ref().map_or(0, |listed| listed.rows.len());
        let warnings = u16::try_from(listed).unwrap_or(u16::MAX);
        self.answer_written(&OkPacket { warnings, ..OkPacket::default() })
    }

    /// The end of an answer that has no number of rows: EOF, or OK in its place.
    pub(super) fn answer_end(&mut self) -> Result<(), Failure> {
        let status = self.status();
        let client = &mut self.client;
        reply::end_of_rows(status, 0, client.capabilities, &mut client.seq, &mut client.out);
        Ok(())
    }

    /// Answers a write that the proxy has run on several connections.
    pub fn answer_written(&mut self, ok: &OkPacket) -> Result<(), Failure> {
        let last_insert_id = match self.numbered {
            Some(ids) if ok.affected > 0 => ids.first,
            Some(_) => 0,
            None => ok.last_insert_id,
        };
        if last_insert_id != 0 {
            self.last_insert_id = last_insert_id;
        }
        self.row_count = i64::try_from(ok.affected).unwrap_or(i64::MAX);
        let status = self.status();
        self.client.ok(&OkReply {
            affected: ok.affected,
            last_insert_id,
            status,
            warnings: ok.warnings,
            info: &ok.info,
        });
        Ok(())
    }

    /// What functions about the session answer now.
    #[must_use]
    pub fn facts<'a>(&self, database: Option<&'a str>, account: &'a str) -> Facts<'a> {
        Facts {
            last_insert_id: self.last_insert_id,
            row_count: self.row_count,
            found_rows: self.found_rows,
            connection_id: self.info.id,
            database,
            account,
        }
    }

    /// Notes that the last answer was a table.
    pub fn answered_rows(&mut self, rows: u64) {
        self.row_count = -1;
        self.found_rows = rows;
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

    pub(super) fn answer_rows(
        &mut self,
        columns: &[NewColumn<'_>],
        rows: &[Vec<Option<String>>],
    ) -> Result<(), Failure> {
        self.answered_rows(rows.len() as u64);
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
        self.errors += 1;
        self.tell(&error);
        self.last_error = Some(error);
    }

    /// Notes in the log that a statement has failed, if that is news.
    pub(super) fn tell(&self, error: &ErrPacket) {
        if self.worker.told.is_news(error.code, Instant::now()) {
            let refused = error.message.split_once(':').map(|(id, _)| id).filter(|id| id.starts_with("SHD"));
            tracing::info!(
                session = self.info.id,
                code = error.code,
                refused,
                "a statement failed, the first with this code in a minute"
            );
        }
    }

    /// Lists the warnings of a connection before another statement runs on it.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn list_warnings(&mut self, place: usize) -> Result<(), Failure> {
        let more = self.at(place).rows(b"SHOW WARNINGS").await?;
        match &mut self.listed_warnings {
            Some(listed) => listed.rows.extend(more.rows),
            None => self.listed_warnings = Some(more),
        }
        Ok(())
    }

    #[must_use]
    pub fn last_error(&self) -> Option<&ErrPacket> {
        self.last_error.as_ref()
    }

    /// The name that the client logged in with.
    #[must_use]
    pub fn user(&self) -> &str {
        self.account.rsplit_once('@').map_or("", |(user, _)| user)
    }

    /// Marks a connection as running this session's statement, for `KILL`.
    pub fn watch(&self, place: usize) -> Running {
        let held = &self.held[place].checkout;
        Running::new(&self.info, held.pool().server.clone(), held.connection.id)
    }

    /// After an error inside a transaction: is there still one? A deadlock ends it on the server, and so all of it. A
    /// procedure that failed may have begun one.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn after_error(&mut self, place: usize, code: u16) -> Result<(), Failure> {
        const DEADLOCK: u16 = 1213;
        let held = &self.held[place];
        let may_have_begun = self.transaction.is_none() && held.pin == Pin::Procedure;
        if !may_have_begun && (self.transaction.is_none() || held.branch != Branch::Open) {
            return Ok(());
        }
        let was_begun = held.begun == Begun::Yes || code == DEADLOCK;
        let ok = self.at(place).simple(Command::Ping, b"").await?;
        if may_have_begun {
            self.adopt(place, ok.status);
            return Ok(());
        }
        self.saw(place, ok.status);
        let explicit = self.transaction.as_ref().is_some_and(|open| open.start != Start::Implicit);
        if (explicit || was_begun) && ok.status & StatusFlags::SERVER_STATUS_IN_TRANS.bits() == 0 {
            self.held[place].branch = Branch::None;
            finish::rollback(self).await?;
            self.next_transaction = Characteristics::default();
        }
        Ok(())
    }

    /// After a statement: a transaction that its server has ended (an implicit commit inside a procedure) is over here too.
    ///
    /// # Errors
    /// When the other branches cannot be ended.
    pub async fn transaction_goes_on(&mut self, place: usize, status: u16) -> Result<(), Failure> {
        self.saw(place, status);
        if self.transaction.is_none() {
            self.adopt(place, status);
            return Ok(());
        }
        let explicit = self.transaction.as_ref().is_some_and(|open| open.start != Start::Implicit);
        let open = status & StatusFlags::SERVER_STATUS_IN_TRANS.bits() != 0;
        if explicit && !open && self.held[place].branch == Branch::Open {
            self.held[place].branch = Branch::None;
            finish::commit(self).await?;
            self.next_transaction = Characteristics::default();
        }
        Ok(())
    }

    /// A transaction that a procedure has begun and left open is the client's from here on.
    fn adopt(&mut self, place: usize, status: u16) {
        if status & StatusFlags::SERVER_STATUS_IN_TRANS.bits() != 0 {
            let start = Start::Explicit(b"BEGIN".to_vec());
            self.transaction = Some(Transaction::new(start));
            self.held[place].branch = Branch::Open;
        }
    }
}

//! Statements that come as text.

use std::mem;
use std::rc::Rc;

use mysql_common::constants::CapabilityFlags;
use shardway_routing::bind::{self, Hint, Values};
use shardway_routing::key::Literal;
use shardway_routing::lex::{self, Lexed};
use shardway_routing::merge::RowProtocol;
use shardway_routing::plan::{DataPlan, Plan, SessionCommand, explain};

use super::number::{Form, GivenIds, WithIds};
use super::{Failure, Part, Session};
use crate::execute::{self, Ran, Request};
use crate::worker::View;

impl Session {
    /// Answers `COM_QUERY`: its statements one after the other, up to the first that fails. Each is read under the
    /// `sql_mode` that those before it have left.
    pub(super) async fn query(&mut self, packet: &[u8]) -> Result<(), Failure> {
        let mut rest = packet;
        let mut last = Part::Only;
        loop {
            let cut = if self.takes_several() { lex::several(rest, self.quoting) } else { None };
            let Some(cut) = cut else {
                self.part = last;
                let result = self.statement(rest).await;
                self.part = Part::Only;
                return result;
            };
            let errors = self.errors;
            self.part = Part::Followed;
            let result = self.statement(&rest[..cut.end]).await;
            self.part = Part::Only;
            result?;
            if self.errors > errors || self.info.is_killed() {
                return Ok(());
            }
            rest = &rest[cut.next..];
            last = Part::Last;
        }
    }

    /// May the client send several statements in one packet?
    fn takes_several(&self) -> bool {
        self.client.capabilities & CapabilityFlags::CLIENT_MULTI_STATEMENTS.bits() != 0
    }

    async fn statement(&mut self, sql: &[u8]) -> Result<(), Failure> {
        self.info.starts(sql);
        self.worker.shared.metrics.statement();
        let mut lexed = mem::take(&mut self.lexed);
        let result = self.text(sql, &mut lexed).await;
        self.lexed = lexed;
        self.settle();
        result
    }

    async fn text(&mut self, written: &[u8], lexed: &mut Lexed) -> Result<(), Failure> {
        let server = self.worker.shared.server_version();
        let expanded = lex::expand_executable_comments(written, self.quoting, server);
        let sql = expanded.as_deref().unwrap_or(written);
        lex::lex(sql, self.quoting, lexed);
        let hint = self.hint(sql, lexed)?;
        loop {
            let view = self.worker.view();
            let plan = self.planned(&view, sql, lexed, RowProtocol::Text);
            match &*plan {
                Plan::Session(SessionCommand::Empty) => return self.empty(written).await,
                Plan::Session(command) => return self.session_command(command, sql).await,
                Plan::Refused(refusal) => return Err(refusal.clone().into()),
                Plan::Data(data) => {
                    self.forget_diagnostics();
                    let values = self.values(sql, lexed, &[]);
                    let ran = match self.number(&view, data, values, Form::Literals).await? {
                        None => {
                            execute::run(self, &view, data, Request { values, execute: None, hint }).await?
                        }
                        Some(with_ids) => self.run_with_ids(&view, &with_ids, hint).await?,
                    };
                    if ran == Ran::Answered {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Runs an `INSERT` that has got its ids.
    async fn run_with_ids(&mut self, view: &View, of: &WithIds, hint: Hint) -> Result<Ran, Failure> {
        let sql = &of.numbered.sql;
        let mut lexed = Lexed::default();
        lex::lex(sql, self.quoting, &mut lexed);
        let plan = self.planned(view, sql, &mut lexed, RowProtocol::Text);
        let data = execute::data(&plan)?;
        let request = Request { values: self.values(sql, &lexed, &[]), execute: None, hint };
        self.run_numbered(view, data, request, &of.ids).await
    }

    /// Runs a statement with these ids in it: the first is what the session has inserted last.
    pub(super) async fn run_numbered(
        &mut self,
        view: &View,
        plan: &DataPlan,
        request: Request<'_>,
        ids: &[u64],
    ) -> Result<Ran, Failure> {
        self.numbered = ids.first().map(|first| GivenIds { first: *first, rows: ids.len() });
        let ran = execute::run(self, view, plan, request).await;
        let given = self.numbered.take();
        if let (Ok(Ran::Answered), Some(GivenIds { first, .. })) = (&ran, given)
            && self.row_count != 0
        {
            self.last_insert_id = first;
        }
        ran
    }

    /// The plan of a statement as this session reads it.
    pub(super) fn planned(
        &self,
        view: &View,
        sql: &[u8],
        lexed: &mut Lexed,
        protocol: RowProtocol,
    ) -> Rc<Plan> {
        let server = self.worker.shared.server_version();
        view.plan(sql, lexed, self.database.as_deref(), self.quoting, server, protocol)
    }

    /// A statement with what is needed to read its values.
    pub(super) fn values<'a>(
        &self,
        sql: &'a [u8],
        lexed: &'a Lexed,
        parameters: &'a [Literal<'a>],
    ) -> Values<'a> {
        let (quoting, characters) = (self.quoting, self.characters);
        let fractions = self.fractions;
        Values { sql, regions: &lexed.regions, parameters, quoting, characters, fractions }
    }

    /// The statement's `/* shardway: … */` hint.
    pub(super) fn hint(&self, sql: &[u8], lexed: &Lexed) -> Result<Hint, Failure> {
        Ok(bind::hint(sql, lexed)?)
    }

    /// Runs a statement of the session's own making and keeps its plan out of the answer: `EXPLAIN ROUTE`.
    /// The statement begins at `from`; a hint may stand before it.
    pub(super) fn explained(&self, whole: &[u8], from: usize) -> Result<String, Failure> {
        let mut lexed = Lexed::default();
        lex::lex(whole, self.quoting, &mut lexed);
        let hint = lexed.hint_in(whole);
        let sql = &whole[from..];
        lex::lex(sql, self.quoting, &mut lexed);
        let view = self.worker.view();
        let plan = self.planned(&view, sql, &mut lexed, RowProtocol::Text);
        if let Plan::Data(data) = &*plan {
            self.access.may_run(&data.needs, self.characters)?;
        }
        Ok(explain::under_hint(hint, &explain::explain(&plan, &view.snapshot.topology)))
    }
}

/// Is there nothing, not even a comment?
pub(super) fn is_blank(sql: &[u8]) -> bool {
    sql.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b';')
}

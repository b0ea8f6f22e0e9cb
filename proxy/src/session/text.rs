//! Statements that come as text.

use std::mem;
use std::rc::Rc;

use shardway_routing::bind::{self, Hint, Values};
use shardway_routing::lex::{self, Lexed};
use shardway_routing::plan::Plan;

use super::{Failure, Session};
use crate::execute::{self, Ran, Request};

impl Session {
    /// Answers `COM_QUERY`.
    pub(super) async fn query(&mut self, sql: &[u8]) -> Result<(), Failure> {
        self.worker.shared.metrics.statement();
        let mut lexed = mem::take(&mut self.lexed);
        let result = self.text(sql, &mut lexed).await;
        self.lexed = lexed;
        self.settle();
        result
    }

    async fn text(&mut self, sql: &[u8], lexed: &mut Lexed) -> Result<(), Failure> {
        let server = self.worker.shared.server_version();
        let expanded = lex::expand_executable_comments(sql, self.quoting, server);
        let sql = expanded.as_deref().unwrap_or(sql);
        lex::lex(sql, self.quoting, lexed);
        let hint = self.hint(sql, lexed)?;
        loop {
            let view = self.worker.view();
            let plan = view.plan(sql, lexed, self.database.as_deref(), self.quoting, server);
            match &*plan {
                Plan::Session(command) => return self.session_command(command, sql).await,
                Plan::Refused(refusal) => return Err(refusal.clone().into()),
                Plan::Data(data) => {
                    self.forget_diagnostics();
                    let values =
                        Values { sql, regions: &lexed.regions, parameters: &[], quoting: self.quoting };
                    let request = Request { values, execute: None, hint };
                    if execute::run(self, &view, data, request).await? == Ran::Answered {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The statement's `/* shardway: … */` hint.
    pub(super) fn hint(&self, sql: &[u8], lexed: &Lexed) -> Result<Hint, Failure> {
        let Some((start, end)) = lexed.hint else { return Ok(Hint::None) };
        Ok(bind::hint(&sql[start as usize..end as usize])?)
    }

    /// Runs a statement of the session's own making and keeps its plan out of the answer: `EXPLAIN ROUTE`.
    pub(super) fn explained(&self, sql: &[u8]) -> Result<String, Failure> {
        let mut lexed = Lexed::default();
        lex::lex(sql, self.quoting, &mut lexed);
        let view = self.worker.view();
        let server = self.worker.shared.server_version();
        let plan: Rc<Plan> = view.plan(sql, &mut lexed, self.database.as_deref(), self.quoting, server);
        Ok(shardway_routing::plan::explain::explain(&plan, &view.snapshot.topology))
    }
}

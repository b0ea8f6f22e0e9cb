//! Prepared statements: real ones, prepared on each backend connection that runs them, under one id for the client.
//!
//! The plan is made once; the shards are found from the bound values at every execution. Types are remembered, because
//! clients send them only once.

use std::mem;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt as _};
use shardway_routing::bind::{self, Reads, Values};
use shardway_routing::lex::{self, Lexed};
use shardway_routing::plan::{DataPlan, Gather, Plan, SessionCommand};
use shardway_routing::refusal;

use super::{Failure, MySqlError, Session};
use crate::execute::send::Prepared;
use crate::execute::{self, Ran, Request};
use crate::wire::prepared::{Execute, ParameterType};
use crate::wire::reply;
use crate::worker::View;

/// Statements a client may have prepared at once, as MySQL's `max_prepared_stmt_count` has it.
const LIMIT: usize = 16_382;

/// The client's prepared statements.
#[derive(Debug, Default)]
pub(super) struct PreparedStatements {
    known: Option<HashMap<u32, Statement>>,
    last_id: u32,
}

#[derive(Debug)]
struct Statement {
    sql: Rc<[u8]>,
    lexed: Lexed,
    parameters: u16,
    types: Vec<ParameterType>,
    /// By parameter, from `COM_STMT_SEND_LONG_DATA`.
    long_data: Vec<(u16, Vec<u8>)>,
}

impl Session {
    /// Answers `COM_STMT_PREPARE`.
    pub(super) async fn prepare(&mut self, sql: &[u8]) -> Result<(), Failure> {
        let result = self.prepare_statement(sql).await;
        self.settle();
        result
    }

    async fn prepare_statement(&mut self, sql: &[u8]) -> Result<(), Failure> {
        let server = self.worker.shared.server_version();
        let sql = lex::expand_executable_comments(sql, self.quoting, server).unwrap_or_else(|| sql.to_vec());
        let mut lexed = Lexed::default();
        lex::lex(&sql, self.quoting, &mut lexed);
        let view = self.worker.view();
        let plan = view.plan(&sql, &mut lexed, self.database.as_deref(), self.quoting, server);
        let (prepared, hidden) = match &*plan {
            Plan::Refused(refusal) => return Err(refusal.clone().into()),
            Plan::Session(command) => (preparable(command)?, 0),
            Plan::Data(data) => self.prepare_on_a_backend(&view, data, &sql, &lexed).await?,
        };
        self.register(sql, lexed, prepared, hidden)
    }

    fn register(
        &mut self,
        sql: Vec<u8>,
        lexed: Lexed,
        prepared: Prepared,
        hidden: usize,
    ) -> Result<(), Failure> {
        let parameters = u16::try_from(prepared.parameters.len()).unwrap_or(u16::MAX);
        let known = self.prepared.known.get_or_insert_with(HashMap::new);
        if known.len() >= LIMIT {
            return Err(refusal::TOO_MANY_PREPARED.because(format!("{LIMIT} at once")).into());
        }
        self.prepared.last_id = self.prepared.last_id.wrapping_add(1);
        let id = self.prepared.last_id;
        let statement =
            Statement { sql: sql.into(), lexed, parameters, types: Vec::new(), long_data: Vec::new() };
        known.insert(id, statement);
        let visible = prepared.columns.len().saturating_sub(hidden);
        let status = self.status();
        let client = &mut self.client;
        let answer = reply::PrepareReply {
            statement_id: id,
            parameters: &prepared.parameters,
            columns: &prepared.columns[..visible],
            warnings: prepared.warnings,
            status,
        };
        reply::prepared(&answer, client.capabilities, &mut client.seq, &mut client.out);
        Ok(())
    }

    /// Asks one shard for the metadata; any would say the same.
    async fn prepare_on_a_backend(
        &mut self,
        view: &View,
        plan: &DataPlan,
        sql: &[u8],
        lexed: &Lexed,
    ) -> Result<(Prepared, usize), Failure> {
        let values = Values { sql, regions: &lexed.regions, parameters: &[], quoting: self.quoting };
        let route = bind::any_route(plan, &view.snapshot.topology, Reads::Authority)?;
        let leg = &route.legs[0];
        let mut text = Vec::with_capacity(sql.len() + 64);
        bind::render(plan, &view.snapshot.topology, values, &route, leg, self.last_insert_id, &mut text)?;
        // Metadata needs no transaction, and preparing must not open one.
        let transaction = self.transaction.take();
        let place = self.connection(view, leg.backend).await;
        self.transaction = transaction;
        let place = place?;
        let prepared = execute::send::prepare(self.at(place), &text).await?;
        let hidden = match bind::side_plan(plan, route.side).map(|side| &side.gather) {
            Some(Gather::Merge { hidden, .. }) if route.legs.len() > 1 => usize::from(*hidden),
            _ => 0,
        };
        Ok((prepared, hidden))
    }

    /// Answers `COM_STMT_EXECUTE`.
    pub(super) async fn execute_prepared(&mut self, argument: &[u8]) -> Result<(), Failure> {
        self.worker.shared.metrics.statement();
        let id = statement_id(argument, "mysqld_stmt_execute")?;
        let known = self.prepared.known.as_mut().and_then(|known| known.remove(&id));
        let Some(mut statement) = known else { return Err(unknown(id, "mysqld_stmt_execute")) };
        let result = self.run_prepared(&mut statement, argument).await;
        statement.long_data.clear();
        self.prepared.known.get_or_insert_with(HashMap::new).insert(id, statement);
        self.settle();
        result
    }

    async fn run_prepared(&mut self, statement: &mut Statement, argument: &[u8]) -> Result<(), Failure> {
        let long_data = mem::take(&mut statement.long_data);
        let execute = Execute::parse(argument, statement.parameters, &statement.types, &long_data)
            .map_err(|error| Failure::Own(MySqlError::WrongArguments, error.to_string()))?;
        statement.types.clone_from(execute.types());
        self.info.starts(&statement.sql);
        let sql = Rc::clone(&statement.sql);
        let literals = execute.literals();
        let hint = self.hint(&sql, &statement.lexed)?;
        let server = self.worker.shared.server_version();
        loop {
            let view = self.worker.view();
            let (database, quoting) = (self.database.as_deref(), self.quoting);
            let plan = view.plan(&sql, &mut statement.lexed, database, quoting, server);
            match &*plan {
                Plan::Refused(refusal) => return Err(refusal.clone().into()),
                Plan::Session(command) => return self.run_prepared_command(command, &sql).await,
                Plan::Data(data) => {
                    self.forget_diagnostics();
                    let values = Values {
                        sql: &sql,
                        regions: &statement.lexed.regions,
                        parameters: &literals,
                        quoting: self.quoting,
                    };
                    let request = Request { values, execute: Some(&execute), hint };
                    if execute::run(self, &view, data, request).await? == Ran::Answered {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// A command without a result set runs as if it had come as text.
    async fn run_prepared_command(&mut self, command: &SessionCommand, sql: &[u8]) -> Result<(), Failure> {
        preparable(command)?;
        self.session_command(command, sql).await
    }

    /// `COM_STMT_CLOSE` has no answer.
    pub(super) async fn close_prepared(&mut self, argument: &[u8]) -> Result<(), Failure> {
        if let Some(known) = &mut self.prepared.known {
            known.remove(&statement_id(argument, "mysqld_stmt_close").unwrap_or_default());
        }
        Ok(())
    }

    pub(super) fn reset_prepared(&mut self, argument: &[u8]) -> Result<(), Failure> {
        let id = statement_id(argument, "mysqld_stmt_reset")?;
        let statement = self.prepared.known.as_mut().and_then(|known| known.get_mut(&id));
        statement.ok_or_else(|| unknown(id, "mysqld_stmt_reset"))?.long_data.clear();
        self.answer_ok()
    }

    /// `COM_STMT_SEND_LONG_DATA` has no answer, not even for an error.
    pub(super) fn long_data(&mut self, argument: &[u8]) -> Result<(), Failure> {
        let (Some((id, rest)), Some(known)) = (argument.split_first_chunk(), &mut self.prepared.known) else {
            return Ok(());
        };
        let Some((parameter, data)) = rest.split_first_chunk() else { return Ok(()) };
        let parameter = u16::from_le_bytes(*parameter);
        let Some(statement) = known.get_mut(&u32::from_le_bytes(*id)) else { return Ok(()) };
        match statement.long_data.iter_mut().find(|(known, _)| *known == parameter) {
            Some((_, collected)) => collected.extend_from_slice(data),
            None => statement.long_data.push((parameter, data.to_vec())),
        }
        Ok(())
    }

    pub(super) fn clear_prepared(&mut self) {
        self.prepared.known = None;
    }
}

/// Commands with a result set would need it in the binary protocol; those without are prepared as nothing.
fn preparable(command: &SessionCommand) -> Result<Prepared, Failure> {
    match command {
        SessionCommand::Begin(_)
        | SessionCommand::Commit(_)
        | SessionCommand::Rollback(_)
        | SessionCommand::Savepoint
        | SessionCommand::Use { .. }
        | SessionCommand::Set(_)
        | SessionCommand::Kill { .. } => {
            Ok(Prepared { id: 0, warnings: 0, parameters: Vec::new(), columns: Vec::new() })
        }
        SessionCommand::ShowWarnings
        | SessionCommand::ShowErrors
        | SessionCommand::ShowProcesslist
        | SessionCommand::ExplainRoute { .. }
        | SessionCommand::LastInsertId { .. }
        | SessionCommand::CurrentDatabase { .. }
        | SessionCommand::ConnectionId { .. }
        | SessionCommand::ShowDatabases => {
            let message = "This command is not supported in the prepared statement protocol yet";
            Err(Failure::Own(MySqlError::NotPreparable, message.into()))
        }
    }
}

fn statement_id(argument: &[u8], command: &str) -> Result<u32, Failure> {
    argument.first_chunk().map(|id| u32::from_le_bytes(*id)).ok_or_else(|| unknown(0, command))
}

fn unknown(id: u32, command: &str) -> Failure {
    let message = format!("Unknown prepared statement handler ({id}) given to {command}");
    Failure::Own(MySqlError::UnknownStatement, message)
}

//! Statements about the session itself.

use std::rc::Rc;

use shardway_routing::plan::{Autocommit, Begin, Completion, KillScope, SessionCommand};

use super::transaction::{Start, Transaction};
use super::{Failure, MySqlError, Session};
use crate::execute::finish;
use crate::wire::command::Command;

impl Session {
    pub(super) async fn session_command(
        &mut self,
        command: &SessionCommand,
        sql: &[u8],
    ) -> Result<(), Failure> {
        match command {
            SessionCommand::ShowWarnings | SessionCommand::ShowErrors => {
                return self.show_warnings(command, sql).await;
            }
            _ => self.forget_diagnostics(),
        }
        match command {
            SessionCommand::Begin(begin) => self.begin(*begin, sql).await,
            SessionCommand::Commit(completion) => {
                let start = self.transaction.as_ref().map(|open| (open.start.clone(), open.access));
                finish::commit(self).await?;
                self.complete(*completion, start)
            }
            SessionCommand::Rollback(completion) => {
                let start = self.transaction.as_ref().map(|open| (open.start.clone(), open.access));
                finish::rollback(self).await?;
                self.complete(*completion, start)
            }
            SessionCommand::Savepoint => self.savepoint(sql).await,
            SessionCommand::Use { database } => self.use_database(database),
            SessionCommand::Set(assignments) => self.set(assignments, sql).await,
            SessionCommand::ShowProcesslist => self.show_processlist(),
            SessionCommand::Kill { query_only, id } => self.kill(*id, *query_only).await,
            SessionCommand::ExplainRoute { offset } => {
                let text = self.explained(&sql[*offset as usize..])?;
                let rows: Vec<_> = text.lines().map(|line| vec![Some(line.to_owned())]).collect();
                self.answer_table(&["route"], &rows)
            }
            SessionCommand::LastInsertId { column } => self.answer_number(column, self.last_insert_id),
            SessionCommand::ConnectionId { column } => self.answer_number(column, self.info.id),
            SessionCommand::CurrentDatabase { column } => {
                let database = self.database.as_deref().map(str::to_owned);
                self.answer_table(&[column], &[vec![database]])
            }
            SessionCommand::ShowDatabases => self.show_databases(),
            SessionCommand::ShowWarnings | SessionCommand::ShowErrors => unreachable!("answered above"),
        }
    }

    async fn begin(&mut self, begin: Begin, sql: &[u8]) -> Result<(), Failure> {
        // A BEGIN inside a transaction commits it.
        finish::commit(self).await?;
        let mut statements: Vec<Vec<u8>> = self.next_transaction.take().into_iter().collect();
        statements.push(sql.to_vec());
        self.transaction = Some(Transaction::new(Start::Explicit(statements), begin.access));
        self.answer_ok()
    }

    fn complete(
        &mut self,
        completion: Completion,
        before: Option<(Start, shardway_routing::plan::TransactionAccess)>,
    ) -> Result<(), Failure> {
        match completion {
            Completion::Plain => self.answer_ok(),
            Completion::Chain => {
                if let Some((start, access)) = before {
                    self.transaction = Some(Transaction::new(start, access));
                }
                self.answer_ok()
            }
            Completion::Release => {
                self.answer_ok()?;
                self.info.kill();
                Ok(())
            }
        }
    }

    /// On every branch, and noted for the branches to come.
    async fn savepoint(&mut self, sql: &[u8]) -> Result<(), Failure> {
        self.begin_implicitly();
        for place in self.branches() {
            self.at(place).simple(Command::Query, sql).await?;
        }
        if let Some(open) = &mut self.transaction {
            open.savepoints.push(sql.to_vec());
        }
        self.answer_ok()
    }

    pub(super) fn use_database(&mut self, name: &str) -> Result<(), Failure> {
        self.may_use(name)?;
        let view = self.worker.view();
        if !view.snapshot.topology.serves(name) {
            return Err(Failure::Own(MySqlError::UnknownDatabase, format!("Unknown database '{name}'")));
        }
        self.database = Some(Rc::from(name));
        self.info.uses(name);
        self.answer_ok()
    }

    /// Refuses a database that the user's entry in the configuration does not list.
    pub fn may_use(&self, database: &str) -> Result<(), Failure> {
        if self.access.databases.allow(database) || shardway_routing::topology::is_system(database) {
            return Ok(());
        }
        let (user, host) = (&self.info.user(), self.info.peer.ip());
        let message = format!("Access denied for user '{user}'@'{host}' to database '{database}'");
        Err(Failure::Own(MySqlError::AccessDenied, message))
    }

    fn show_databases(&mut self) -> Result<(), Failure> {
        let view = self.worker.view();
        let mut names: Vec<String> =
            view.snapshot.topology.databases.iter().map(|database| database.name.clone()).collect();
        names.retain(|name| self.may_use(name).is_ok());
        names.push("information_schema".to_owned());
        names.sort();
        let rows: Vec<_> = names.into_iter().map(|name| vec![Some(name)]).collect();
        self.answer_table(&["Database"], &rows)
    }

    async fn show_warnings(&mut self, command: &SessionCommand, sql: &[u8]) -> Result<(), Failure> {
        if let Some(place) = self.with_warnings() {
            return self.relay_on(place, sql).await;
        }
        let rows = self.last_error().map(|error| {
            vec![Some("Error".to_owned()), Some(error.code.to_string()), Some(error.message.clone())]
        });
        debug_assert!(matches!(command, SessionCommand::ShowWarnings | SessionCommand::ShowErrors));
        self.answer_table(&["Level", "Code", "Message"], &rows.into_iter().collect::<Vec<_>>())
    }

    fn show_processlist(&mut self) -> Result<(), Failure> {
        let columns = ["Id", "User", "Host", "db", "Command", "Time", "State", "Info"];
        let shared = &self.worker.shared;
        let mut sessions: Vec<_> = shared.sessions.iter().map(|entry| entry.value().describe()).collect();
        sessions.sort_by_key(|session| session.id);
        let mine = self.info.user();
        let rows: Vec<_> = sessions
            .into_iter()
            .filter(|session| session.user == mine)
            .map(|session| {
                vec![
                    Some(session.id.to_string()),
                    Some(session.user),
                    Some(session.peer),
                    session.database,
                    Some(session.command.to_owned()),
                    Some(session.seconds.to_string()),
                    Some(String::new()),
                    session.statement,
                ]
            })
            .collect();
        self.answer_table(&columns, &rows)
    }

    pub(super) async fn process_kill(&mut self, argument: &[u8]) -> Result<(), Failure> {
        let id = argument.first_chunk().map(|bytes| u64::from(u32::from_le_bytes(*bytes)));
        self.kill(id.unwrap_or_default(), KillScope::Connection).await
    }

    async fn kill(&mut self, id: u64, scope: KillScope) -> Result<(), Failure> {
        let target = self.worker.shared.sessions.get(&id).map(|entry| std::sync::Arc::clone(entry.value()));
        let Some(target) = target.filter(|target| target.user() == self.info.user()) else {
            return Err(Failure::Own(MySqlError::NoSuchThread, format!("Unknown thread id: {id}")));
        };
        target.kill_query();
        if scope == KillScope::Connection {
            target.kill();
        }
        self.answer_ok()
    }

    /// `COM_RESET_CONNECTION`: a new session of the same user, without a new login.
    pub(super) async fn reset(&mut self) -> Result<(), Failure> {
        finish::rollback(self).await?;
        self.drop_pinned();
        self.autocommit = Autocommit::On;
        self.quoting = shardway_routing::lex::Quoting::default();
        self.vars = Rc::new(crate::backend::vars::Vars::default());
        self.next_transaction = None;
        self.last_insert_id = 0;
        self.forget_diagnostics();
        self.clear_prepared();
        self.answer_ok()
    }

    /// Closes connections that hold state of the session.
    pub(super) fn drop_pinned(&mut self) {
        for mut held in self.held.drain(..) {
            if held.pin != shardway_routing::plan::Pin::None {
                held.checkout.connection.spoil();
            }
            held.checkout.give_back();
        }
    }
}

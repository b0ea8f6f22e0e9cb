//! Statements about the session itself.

use std::rc::Rc;

use mysql_common::constants::ColumnType;
use shardway_routing::lex::{self, Flavour};
use shardway_routing::plan::{Autocommit, Characteristics, Completion, KillScope, Savepoint, SessionCommand};
use shardway_routing::refusal;
use shardway_routing::topology::is_system;

use super::transaction::{Start, Transaction};
use super::{Failure, MySqlError, Session, text};
use crate::execute::finish;
use crate::wire::command::Command;
use crate::wire::reply::NewColumn;

/// What `SHOW DATABASES` lists, in UTF-8 whatever character set the client has.
const DATABASES: &[u8] =
    b"SELECT CAST(CONVERT(SCHEMA_NAME USING utf8mb4) AS BINARY) FROM information_schema.SCHEMATA";

impl Session {
    pub(super) async fn session_command(
        &mut self,
        command: &SessionCommand,
        sql: &[u8],
    ) -> Result<(), Failure> {
        match command {
            SessionCommand::ShowWarnings(_)
            | SessionCommand::ShowErrors(_)
            | SessionCommand::CountWarnings
            | SessionCommand::CountErrors => {
                return self.show_warnings(command, sql).await;
            }
            _ => self.forget_diagnostics(),
        }
        match command {
            SessionCommand::Begin => self.begin(sql).await,
            SessionCommand::Commit(completion) => {
                let before = self.transaction.as_ref().map(|open| open.start.clone());
                let ended = finish::commit(self).await;
                self.complete(*completion, before, ended)
            }
            SessionCommand::Rollback(completion) => {
                let before = self.transaction.as_ref().map(|open| open.start.clone());
                let ended = finish::rollback(self).await;
                self.complete(*completion, before, ended)
            }
            SessionCommand::Savepoint(what) => self.savepoint(what, sql).await,
            SessionCommand::Use { database } => self.use_database(database),
            SessionCommand::Set(set) => {
                self.access.may_run(&set.needs, self.characters)?;
                self.set(set, sql).await
            }
            SessionCommand::NextTransaction(next) => self.set_next_transaction(*next).await,
            SessionCommand::Malformed => self.malformed(sql).await,
            SessionCommand::Empty => self.answer_ok(),
            SessionCommand::ShowProcesslist => self.show_processlist(),
            SessionCommand::Kill { query_only, id } => self.kill(*id, *query_only).await,
            SessionCommand::ExplainRoute { offset } => {
                let text = self.explained(sql, *offset as usize)?;
                let rows: Vec<_> = text.lines().map(|line| vec![Some(line.to_owned())]).collect();
                self.answer_table(&["route"], &rows)
            }
            SessionCommand::LastInsertId { column } => self.answer_number(column, self.last_insert_id),
            SessionCommand::ConnectionId { column } => self.answer_number(column, self.info.id),
            SessionCommand::CurrentDatabase { column } => {
                let database = self.database.as_deref().map(str::to_owned);
                self.answer_table(&[column], &[vec![database]])
            }
            SessionCommand::ShowDatabases => self.show_databases().await,
            SessionCommand::ShowWarnings(_)
            | SessionCommand::ShowErrors(_)
            | SessionCommand::CountWarnings
            | SessionCommand::CountErrors => unreachable!("answered above"),
        }
    }

    async fn begin(&mut self, sql: &[u8]) -> Result<(), Failure> {
        // A BEGIN inside a transaction commits it.
        let is_inside = self.transaction.is_some();
        finish::commit(self).await?;
        if is_inside && self.worker.shared.server_version().flavour == Flavour::MariaDb {
            // MySQL lets what SET TRANSACTION has said go on.
            self.next_transaction = Characteristics::default();
        }
        self.transaction = Some(Transaction::new(Start::Explicit(sql.to_vec())));
        self.answer_ok()
    }

    /// After the end of a transaction, or where there was none.
    fn complete(
        &mut self,
        completion: Completion,
        before: Option<Start>,
        ended: Result<(), Failure>,
    ) -> Result<(), Failure> {
        if completion != Completion::Chain || ended.is_err() {
            self.next_transaction = Characteristics::default();
        }
        ended?;
        match completion {
            Completion::Plain => self.answer_ok(),
            Completion::Chain => {
                let begun = || Start::Explicit(b"BEGIN".to_vec());
                let start = before.filter(|start| *start != Start::Implicit).unwrap_or_else(begun);
                self.transaction = Some(Transaction::new(start));
                self.answer_ok()
            }
            Completion::Release => {
                self.answer_ok()?;
                self.info.kill();
                Ok(())
            }
        }
    }

    /// What no server takes: a backend says why, in its own words.
    pub(super) async fn malformed(&mut self, sql: &[u8]) -> Result<(), Failure> {
        let place = self.ask_home(sql).await?;
        self.at(place).spoil();
        Err(refusal::UNSUPPORTED.because("an unknown form of a statement about transactions").into())
    }

    /// A text without words. Whether its comments are complete, a backend says.
    pub(super) async fn empty(&mut self, sql: &[u8]) -> Result<(), Failure> {
        self.forget_diagnostics();
        if text::is_blank(sql) {
            return Err(Failure::Own(MySqlError::EmptyQuery, "Query was empty".to_owned()));
        }
        let server = self.worker.shared.server_version();
        // What is executable there is not for this server.
        if lex::expand_executable_comments(sql, self.quoting, server).is_none() {
            self.ask_home(sql).await?;
        }
        self.answer_ok()
    }

    /// Runs a statement without a result set where statements without tables run, outside of the transaction.
    async fn ask_home(&mut self, sql: &[u8]) -> Result<usize, Failure> {
        let view = self.worker.view();
        let home = view.snapshot.topology.home(self.database.as_deref())?;
        let place = self.connection_aside(&view, home).await?;
        self.at(place).run(sql).await?;
        Ok(place)
    }

    /// On every branch, and noted for the branches to come.
    async fn savepoint(&mut self, what: &Savepoint, sql: &[u8]) -> Result<(), Failure> {
        self.begin_implicitly();
        let at = |name: &str| {
            let open = self.transaction.as_ref()?;
            open.savepoints.iter().position(|(set, _)| set.to_lowercase() == name.to_lowercase())
        };
        // A branch that joins later makes the savepoints that there are, and no others; so their names are known here.
        let known = match what {
            Savepoint::Set(name) => at(name),
            Savepoint::RollbackTo(name) | Savepoint::Release(name) => Some(at(name).ok_or_else(|| {
                let message = format!("SAVEPOINT {name} does not exist");
                Failure::Own(MySqlError::NoSavepoint, message)
            })?),
        };
        for place in self.branches() {
            self.at(place).simple(Command::Query, sql).await?;
        }
        if let Some(open) = &mut self.transaction {
            match (what, known) {
                (Savepoint::Set(name), known) => {
                    known.map(|at| open.savepoints.remove(at));
                    open.savepoints.push((name.clone(), sql.to_vec()));
                }
                (Savepoint::RollbackTo(_), Some(at)) => open.savepoints.truncate(at + 1),
                (Savepoint::Release(_), Some(at)) => open.savepoints.truncate(at),
                (Savepoint::RollbackTo(_) | Savepoint::Release(_), None) => {}
            }
        }
        self.answer_ok()
    }

    pub(super) fn use_database(&mut self, name: &str) -> Result<(), Failure> {
        if name.is_empty() {
            return Err(Failure::Own(MySqlError::NoDatabase, "No database selected".to_owned()));
        }
        self.access.may_use(name)?;
        let view = self.worker.view();
        if !view.snapshot.topology.serves(name) {
            return Err(Failure::Own(MySqlError::UnknownDatabase, format!("Unknown database '{name}'")));
        }
        self.database = Some(Rc::from(name));
        self.info.uses(name);
        self.answer_ok()
    }

    /// Those that the rules name, and of a server's own list those that it is asked for under the same name; in the order
    /// of servers, by bytes.
    async fn show_databases(&mut self) -> Result<(), Failure> {
        let view = self.worker.view();
        let topology = &view.snapshot.topology;
        let backend = topology.other_databases.map_or_else(|| topology.home(None), Ok)?;
        let place = self.connection_aside(&view, backend).await?;
        let listed = self.at(place).rows(DATABASES).await?;
        let names = listed.rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
        let mut names: Vec<String> = names.filter_map(|name| String::from_utf8(name).ok()).collect();
        let carriers: Vec<&str> = topology.carriers_beside(backend).collect();
        names.retain(|name| {
            is_system(name) || topology.other_databases.is_some() && !carriers.contains(&name.as_str())
        });
        names.extend(topology.databases.iter().map(|database| database.name.clone()));
        names.retain(|name| self.access.may_use(name).is_ok());
        names.sort();
        names.dedup();
        let rows: Vec<_> = names.into_iter().map(|name| vec![Some(name)]).collect();
        self.answer_table(&["Database"], &rows)
    }

    async fn show_warnings(&mut self, command: &SessionCommand, sql: &[u8]) -> Result<(), Failure> {
        if let Some(place) = self.with_warnings() {
            return self.relay_on(place, sql).await;
        }
        let text =
            |field: &Option<Vec<u8>>| field.as_ref().map(|text| String::from_utf8_lossy(text).into_owned());
        let listed = self.listed_warnings.as_ref().map(|listed| listed.rows.as_slice()).unwrap_or_default();
        let mut rows: Vec<Vec<Option<String>>> =
            listed.iter().map(|row| row.iter().map(text).collect()).collect();
        rows.extend(self.last_error().map(|error| {
            vec![Some("Error".to_owned()), Some(error.code.to_string()), Some(error.message.clone())]
        }));
        let errors_only = matches!(command, SessionCommand::ShowErrors(_) | SessionCommand::CountErrors);
        rows.retain(|row| !errors_only || row.first() == Some(&Some("Error".to_owned())));
        let count = rows.len() as u64;
        match command {
            SessionCommand::CountWarnings => self.answer_number("@@session.warning_count", count),
            SessionCommand::CountErrors => self.answer_number("@@session.error_count", count),
            SessionCommand::ShowWarnings(shown) | SessionCommand::ShowErrors(shown) => {
                let number = |count| usize::try_from(count).unwrap_or(usize::MAX);
                let rows: Vec<_> =
                    rows.into_iter().skip(number(shown.skip)).take(number(shown.take)).collect();
                self.answer_diagnostics(&rows)
            }
            _ => unreachable!("the others are not about warnings"),
        }
    }

    fn answer_diagnostics(&mut self, rows: &[Vec<Option<String>>]) -> Result<(), Failure> {
        let column = |name, column_type| NewColumn { name, column_type };
        let columns = [
            column("Level", ColumnType::MYSQL_TYPE_VAR_STRING),
            column("Code", ColumnType::MYSQL_TYPE_LONG),
            column("Message", ColumnType::MYSQL_TYPE_VAR_STRING),
        ];
        self.answer_rows(&columns, rows)
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
        match scope {
            KillScope::Query => target.kill_query(),
            KillScope::Connection => target.kill_connection(),
        }
        self.answer_ok()
    }

    /// `COM_RESET_CONNECTION`: a new session of the same user, without a new login.
    pub(super) async fn reset(&mut self) -> Result<(), Failure> {
        finish::rollback(self).await?;
        self.drop_pinned();
        self.autocommit = Autocommit::On;
        self.quoting = shardway_routing::lex::Quoting::default();
        self.fractions = shardway_routing::key::Fractions::default();
        self.vars_are(Rc::clone(&self.login_vars));
        self.next_transaction = Characteristics::default();
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

//! Prepared statements: real ones, prepared on each backend connection that runs them, under one id for the client.
//!
//! The plan is made once; the shards are found from the bound values at every execution. Types are remembered, because
//! clients send them only once.

use std::mem;
use std::rc::Rc;

use foldhash::{HashMap, HashMapExt as _};
use shardway_routing::bind::{self, Hint, Reads};
use shardway_routing::key::Literal;
use shardway_routing::lex::{self, Flavour, Lexed};
use shardway_routing::merge::RowProtocol;
use shardway_routing::plan::{DataPlan, Gather, Plan, SessionCommand};
use shardway_routing::refusal;

use super::long_data::{LongData, Room};
use super::number::{Form, WithIds};
use super::{Failure, MySqlError, Session, modes};
use crate::execute::names::Names;
use crate::execute::send::Prepared;
use crate::execute::{self, Ran, Request};
use crate::wire::cursor::Malformed;
use crate::wire::prepared::{Execute, ExecuteError, ParameterType};
use crate::wire::reply;
use crate::worker::View;

/// Statements a client may have prepared at once, as MySQL's `max_prepared_stmt_count` has it.
const LIMIT: usize = 16_382;

/// The client's prepared statements.
#[derive(Debug, Default)]
pub(super) struct PreparedStatements {
    known: Option<HashMap<u32, Statement>>,
    last_id: u32,
    /// What MariaDB's clients mean by the id -1: the last one prepared, unless that failed or it is closed.
    last: Option<u32>,
}

#[derive(Debug)]
struct Statement {
    sql: Rc<[u8]>,
    lexed: Lexed,
    /// It stays in this database, whatever the session's is later.
    database: Option<Rc<str>>,
    /// The `sql_mode` that its text was read under, as a literal, where that is known.
    mode: Option<String>,
    about: About,
    parameters: u16,
    types: Vec<ParameterType>,
    long_data: LongData,
}

/// What a client is told of a statement it prepares.
#[derive(Debug)]
struct Described {
    prepared: Prepared,
    /// Columns at the end of the result that clients do not see.
    hidden: usize,
    /// The `sql_mode` that a connection has without the session's saying.
    first_mode: Option<String>,
}

impl Described {
    fn alone(prepared: Prepared) -> Described {
        Described { prepared, hidden: 0, first_mode: None }
    }
}

/// Known by a statement's words alone, whatever the rules are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Session,
    Data,
}

impl Session {
    /// Answers `COM_STMT_PREPARE`.
    pub(super) async fn prepare(&mut self, sql: &[u8]) -> Result<(), Failure> {
        self.prepared.last = None;
        let result = self.prepare_statement(sql).await;
        self.settle();
        result
    }

    async fn prepare_statement(&mut self, sql: &[u8]) -> Result<(), Failure> {
        let server = self.worker.shared.server_version();
        let written = sql;
        let sql = lex::expand_executable_comments(sql, self.quoting, server).unwrap_or_else(|| sql.to_vec());
        let mut lexed = Lexed::default();
        lex::lex(&sql, self.quoting, &mut lexed);
        let view = self.worker.view();
        let plan = self.planned(&view, &sql, &mut lexed, RowProtocol::Binary);
        let described = match &*plan {
            Plan::Refused(refusal) => return Err(refusal.clone().into()),
            Plan::Session(SessionCommand::Malformed) => return self.malformed(&sql).await,
            Plan::Session(SessionCommand::Empty) => Described::alone(comments_only(written, server.flavour)?),
            Plan::Session(_) if lexed.placeholders > 0 => {
                return Err(refusal::UNSUPPORTED
                    .because("parameters in a statement about the session")
                    .into());
            }
            Plan::Session(command) => Described::alone(preparable(command)?),
            Plan::Data(data) => self.prepare_on_a_backend(&view, data, &sql, &lexed).await?,
        };
        let about = if matches!(&*plan, Plan::Data(_)) { About::Data } else { About::Session };
        let statement = Statement {
            sql: sql.into(),
            lexed,
            database: self.database.clone(),
            mode: self.vars.get("sql_mode").map(str::to_owned).or(described.first_mode),
            about,
            parameters: u16::try_from(described.prepared.parameters.len()).unwrap_or(u16::MAX),
            types: Vec::new(),
            long_data: LongData::default(),
        };
        self.register(statement, &described.prepared, described.hidden)
    }

    fn register(&mut self, statement: Statement, prepared: &Prepared, hidden: usize) -> Result<(), Failure> {
        let known = self.prepared.known.get_or_insert_with(HashMap::new);
        if known.len() >= LIMIT {
            return Err(refusal::TOO_MANY_PREPARED.because(format!("{LIMIT} at once")).into());
        }
        self.prepared.last_id = self.prepared.last_id.wrapping_add(1);
        let id = self.prepared.last_id;
        self.prepared.last = Some(id);
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
    ) -> Result<Described, Failure> {
        self.access.may_run(&plan.needs, self.characters)?;
        let values = self.values(sql, lexed, &[]);
        let route = bind::any_route(plan, &view.snapshot.topology, Reads::Authority)?;
        let leg = &route.legs[0];
        let mut text = Vec::with_capacity(sql.len() + 64);
        let facts = self.facts(self.database.as_deref(), &self.account);
        bind::render(plan, &view.snapshot.topology, values, &route, leg, &facts, &mut text)?;
        let place = self.connection_aside(view, leg.backend).await?;
        let mut prepared = execute::send::prepare(self.at(place), &text).await?;
        if let Some(names) = Names::of(plan, &view.snapshot.topology, route.side, leg) {
            for column in &mut prepared.columns {
                *column = names.column(column).map_err(|error| self.at(place).broken(error))?;
            }
        }
        let hidden = match bind::side_plan(plan, route.side).map(|side| &side.gather) {
            Some(Gather::Merge { hidden, .. }) if route.legs.len() > 1 => usize::from(*hidden),
            _ => 0,
        };
        Ok(Described { prepared, hidden, first_mode: Some(self.at(place).first_mode().to_owned()) })
    }

    /// Answers `COM_STMT_EXECUTE`.
    pub(super) async fn execute_prepared(&mut self, argument: &[u8]) -> Result<(), Failure> {
        self.worker.shared.metrics.statement();
        let id = self.statement_id(argument)?;
        // Flags and a count, before anything else is looked at.
        if argument.len() < 9 {
            return Err(malformed());
        }
        let known = self.prepared.known.as_mut().and_then(|known| known.remove(&id));
        let Some(mut statement) = known else { return Err(unknown(id, "mysqld_stmt_execute")) };
        let result = self.run_prepared(&mut statement, argument).await;
        self.prepared.known.get_or_insert_with(HashMap::new).insert(id, statement);
        self.settle();
        result
    }

    async fn run_prepared(&mut self, statement: &mut Statement, argument: &[u8]) -> Result<(), Failure> {
        let long_data = statement.long_data.take()?;
        let execute = Execute::parse(argument, statement.parameters, &statement.types, &long_data)?;
        statement.types.clone_from(execute.types());
        self.info.starts(&statement.sql);
        let sql = Rc::clone(&statement.sql);
        let literals = execute.literals();
        let hint = self.hint(&sql, &statement.lexed)?;
        if statement.about == About::Session {
            let plan = self.planned(&self.worker.view(), &sql, &mut statement.lexed, RowProtocol::Binary);
            return match &*plan {
                Plan::Session(command) => {
                    if matches!(command, SessionCommand::Set(_)) {
                        self.reads_as_prepared(statement)?;
                    }
                    self.run_prepared_command(command, &sql).await
                }
                other => execute::data(other).map(drop),
            };
        }
        self.reads_as_prepared(statement)?;
        let now = mem::replace(&mut self.database, statement.database.clone());
        let result = self.run_in_its_database(statement, &execute, &literals, hint).await;
        self.database = now;
        result
    }

    /// Backends would prepare the text anew, and read it by what the session has set since.
    fn reads_as_prepared(&self, statement: &Statement) -> Result<(), Failure> {
        let Some(now) = self.vars.get("sql_mode") else { return Ok(()) };
        if statement.mode.as_deref().is_some_and(|mode| modes::read_alike(mode, now)) {
            return Ok(());
        }
        let why = "a statement that was prepared under a sql_mode that reads it otherwise; prepare it again";
        Err(refusal::UNSUPPORTED.because(why).into())
    }

    async fn run_in_its_database(
        &mut self,
        statement: &mut Statement,
        execute: &Execute<'_>,
        literals: &[Literal<'_>],
        hint: Hint,
    ) -> Result<(), Failure> {
        let sql = Rc::clone(&statement.sql);
        loop {
            let view = self.worker.view();
            let plan = self.planned(&view, &sql, &mut statement.lexed, RowProtocol::Binary);
            let data = execute::data(&plan)?;
            self.forget_diagnostics();
            let values = self.values(&sql, &statement.lexed, literals);
            let ran = match self.number(&view, data, values, Form::Parameters).await? {
                None => {
                    let request = Request { values, execute: Some(execute), hint };
                    execute::run(self, &view, data, request).await?
                }
                Some(with_ids) => self.execute_with_ids(&view, &with_ids, execute, hint).await?,
            };
            if ran == Ran::Answered {
                return Ok(());
            }
        }
    }

    /// Runs an `INSERT` that has got its ids as further parameters.
    async fn execute_with_ids(
        &mut self,
        view: &View,
        of: &WithIds,
        execute: &Execute<'_>,
        hint: Hint,
    ) -> Result<Ran, Failure> {
        let sql = &of.numbered.sql;
        let mut lexed = Lexed::default();
        lex::lex(sql, self.quoting, &mut lexed);
        let plan = self.planned(view, sql, &mut lexed, RowProtocol::Binary);
        let data = execute::data(&plan)?;
        let packed: Vec<[u8; 8]> = of.ids.iter().map(|id| id.to_le_bytes()).collect();
        let execute = execute.with_numbers(&of.numbered.parameters, &packed);
        let literals = execute.literals();
        let request = Request { values: self.values(sql, &lexed, &literals), execute: Some(&execute), hint };
        self.run_numbered(view, data, request, &of.ids).await
    }

    /// A command without a result set runs as if it had come as text.
    async fn run_prepared_command(&mut self, command: &SessionCommand, sql: &[u8]) -> Result<(), Failure> {
        preparable(command)?;
        self.session_command(command, sql).await
    }

    /// `COM_STMT_CLOSE` has no answer.
    pub(super) async fn close_prepared(&mut self, argument: &[u8]) -> Result<(), Failure> {
        let Ok(id) = self.statement_id(argument) else { return Ok(()) };
        if let Some(known) = &mut self.prepared.known {
            known.remove(&id);
        }
        self.prepared.last = self.prepared.last.filter(|last| *last != id);
        Ok(())
    }

    pub(super) fn reset_prepared(&mut self, argument: &[u8]) -> Result<(), Failure> {
        let id = self.statement_id(argument)?;
        let statement = self.prepared.known.as_mut().and_then(|known| known.get_mut(&id));
        statement.ok_or_else(|| unknown(id, "mysqld_stmt_reset"))?.long_data = LongData::default();
        self.answer_ok()
    }

    /// `COM_STMT_FETCH`: there are no cursors, as every answer comes at once.
    pub(super) fn fetch(&mut self, argument: &[u8]) -> Result<(), Failure> {
        let id = self.statement_id(argument)?;
        match self.prepared.known.as_ref().is_some_and(|known| known.contains_key(&id)) {
            true => {
                let message = format!("The statement ({id}) has no open cursor");
                Err(Failure::Own(MySqlError::NoCursor, message))
            }
            false => Err(unknown(id, "mysqld_stmt_fetch")),
        }
    }

    /// `COM_STMT_SEND_LONG_DATA` has no answer, not even for an error.
    pub(super) fn long_data(&mut self, argument: &[u8]) -> Result<(), Failure> {
        let Ok(id) = self.statement_id(argument) else { return Ok(()) };
        let Some((parameter, piece)) = argument.get(4..).and_then(|rest| rest.split_first_chunk()) else {
            return Ok(());
        };
        let max_packet = self.worker.shared.configured().limits.max_packet;
        let Some(known) = &mut self.prepared.known else { return Ok(()) };
        let all: usize = known.values().map(|statement| statement.long_data.len()).sum();
        let Some(statement) = known.get_mut(&id) else { return Ok(()) };
        let room = Room { others: all - statement.long_data.len(), max_packet };
        statement.long_data.add(u16::from_le_bytes(*parameter), piece, statement.parameters, room);
        Ok(())
    }

    pub(super) fn clear_prepared(&mut self) {
        self.prepared.known = None;
        self.prepared.last = None;
    }

    /// The statement that a packet begins with. To MariaDB's clients -1 is the one prepared last.
    fn statement_id(&self, argument: &[u8]) -> Result<u32, Failure> {
        let id = argument.first_chunk().map(|id| u32::from_le_bytes(*id)).ok_or_else(malformed)?;
        let means_last = id == u32::MAX && self.worker.shared.server_version().flavour == Flavour::MariaDb;
        Ok(self.prepared.last.filter(|_| means_last).unwrap_or(id))
    }
}

/// Commands with a result set would need it in the binary protocol; those without are prepared as nothing.
fn preparable(command: &SessionCommand) -> Result<Prepared, Failure> {
    match command {
        SessionCommand::Begin
        | SessionCommand::Commit(_)
        | SessionCommand::Rollback(_)
        | SessionCommand::Savepoint(_)
        | SessionCommand::Use { .. }
        | SessionCommand::Set(_)
        | SessionCommand::NextTransaction(_)
        | SessionCommand::Empty
        | SessionCommand::Kill { .. } => Ok(NOTHING),
        SessionCommand::ShowWarnings(_)
        | SessionCommand::ShowErrors(_)
        | SessionCommand::CountWarnings
        | SessionCommand::CountErrors
        | SessionCommand::ShowProcesslist
        | SessionCommand::ExplainRoute { .. }
        | SessionCommand::LastInsertId { .. }
        | SessionCommand::CurrentDatabase { .. }
        | SessionCommand::ConnectionId { .. }
        | SessionCommand::ShowDatabases
        | SessionCommand::Malformed => Err(not_preparable()),
    }
}

/// A statement without words: nothing at all, or comments, which are a statement to MariaDB.
fn comments_only(written: &[u8], flavour: Flavour) -> Result<Prepared, Failure> {
    match (super::text::is_blank(written), flavour) {
        (true, _) => Err(Failure::Own(MySqlError::EmptyQuery, "Query was empty".to_owned())),
        (false, Flavour::MariaDb) => Ok(NOTHING),
        (false, Flavour::MySql) => Err(not_preparable()),
    }
}

/// What a statement without an answer is prepared as.
const NOTHING: Prepared = Prepared { id: 0, warnings: 0, parameters: Vec::new(), columns: Vec::new() };

fn not_preparable() -> Failure {
    let message = "This command is not supported in the prepared statement protocol yet";
    Failure::Own(MySqlError::NotPreparable, message.to_owned())
}

fn malformed() -> Failure {
    Failure::Own(MySqlError::MalformedPacket, Malformed.to_string())
}

impl From<ExecuteError> for Failure {
    fn from(error: ExecuteError) -> Failure {
        let kind = match error {
            ExecuteError::Malformed(_) => MySqlError::MalformedPacket,
            ExecuteError::Arguments => MySqlError::WrongArguments,
        };
        Failure::Own(kind, error.to_string())
    }
}

fn unknown(id: u32, command: &str) -> Failure {
    let message = format!("Unknown prepared statement handler ({id}) given to {command}");
    Failure::Own(MySqlError::UnknownStatement, message)
}

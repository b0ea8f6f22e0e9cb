//! The events of a log as values, as far as they matter here. Pure.

use super::bytes::Bytes;
use super::error::StreamError;
use super::gtid::Gtid;
use super::row::{Head, Rows, Verb};
use super::table::TableMap;

/// An event as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawEvent<'a> {
    pub kind: u8,
    /// Of the server that made it.
    pub server: u32,
    /// The place behind it in the log's file; 0 for events that are not in the file.
    pub end: u32,
    pub flags: u16,
    pub place: Place,
    pub data: &'a [u8],
}

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Log,
    /// In a compressed transaction.
    Payload,
}

/// What an event says.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// The log goes on in another file.
    Rotate {
        file: String,
        offset: u64,
    },
    /// A file begins, and perhaps a server.
    FileBegins,
    /// MariaDB: a transaction begins.
    Gtid(GtidEvent),
    Query(Query<'a>),
    /// A commit.
    Commit,
    Prepare {
        one_phase: bool,
        xid: Xid,
    },
    TableMap(TableMap<'a>),
    Rows(Rows<'a>),
    /// Rows of which only a part of a JSON document is logged.
    PartialRows {
        table: u64,
    },
    /// A compressed transaction; its events follow.
    Payload,
    Heartbeat,
    Gap,
    /// Nothing that matters.
    Other,
}

/// How MariaDB begins a transaction.
#[derive(Debug)]
pub(super) struct GtidEvent {
    pub gtid: Gtid,
    pub standing: Standing,
    /// Set for both phases of XA.
    pub xid: Option<Xid>,
}

/// Does a group of events end by itself, or with an event that says so?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Alone,
    Transaction,
}

/// A statement in the log.
#[derive(Debug)]
pub(super) struct Query<'a> {
    /// The session's database.
    pub database: String,
    pub text: &'a [u8],
}

/// Names an XA transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Xid {
    pub format: u32,
    pub global: Vec<u8>,
    pub branch: Vec<u8>,
}

impl std::fmt::Display for Xid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex = crate::image::hex;
        write!(f, "X'{}',X'{}',{}", hex(&self.global), hex(&self.branch), self.format)
    }
}

/// Set on events that a reader may pass over when it does not know them.
const IGNORABLE: u16 = 0x80;

impl<'a> Event<'a> {
    pub fn read(raw: RawEvent<'a>) -> Result<Event<'a>, StreamError> {
        let mut rest = Bytes(raw.data);
        let rows = |verb, head| Rows::read(verb, head, raw.data).map(Event::Rows);
        Ok(match raw.kind {
            2 => Event::Query(query(raw.data, 0)?),
            // A file that was loaded as a statement: the statement, behind thirteen bytes about the file.
            18 => Event::Query(query(raw.data, 13)?),
            4 => {
                Event::Rotate { offset: rest.number(8)?, file: String::from_utf8_lossy(rest.0).into_owned() }
            }
            15 => Event::FileBegins,
            16 => Event::Commit,
            19 => Event::TableMap(TableMap::read(raw.data)?),
            23 => rows(Verb::Insert, Head::Plain)?,
            24 => rows(Verb::Update, Head::Plain)?,
            25 => rows(Verb::Delete, Head::Plain)?,
            30 => rows(Verb::Insert, Head::Extended)?,
            31 => rows(Verb::Update, Head::Extended)?,
            32 => rows(Verb::Delete, Head::Extended)?,
            39 => Event::PartialRows { table: rest.number(6)? },
            26 => Event::Gap,
            27 | 41 => Event::Heartbeat,
            38 => Event::Prepare { one_phase: rest.byte()? != 0, xid: prepared(&mut rest)? },
            40 => Event::Payload,
            162 => Event::Gtid(maria_db(raw.server, &mut rest)?),
            165..=171 => return Err(compressed()),
            // The end of a server, variables of statements, statements in words, numbers of transactions.
            3 | 5 | 9 | 13 | 14 | 17 | 28 | 29 | 33..=37 | 42 | 160 | 161 | 163 | 164 => Event::Other,
            _ if raw.flags & IGNORABLE != 0 => Event::Other,
            kind => return Err(StreamError::Unknown { kind }),
        })
    }
}

/// The refusal of MariaDB's compressed logs.
pub(super) fn compressed() -> StreamError {
    StreamError::NotSupported {
        what: "a compressed log".to_owned(),
        remedy: "set log_bin_compress = OFF on the source, flush its logs, and begin the move anew",
    }
}

fn query(data: &[u8], further: usize) -> Result<Query<'_>, StreamError> {
    let mut rest = Bytes(data);
    let _thread_and_duration = rest.take(8)?;
    let database_length = rest.size(1)?;
    let _error = rest.take(2)?;
    let variables = rest.size(2)?;
    rest.take(further)?;
    rest.take(variables)?;
    let database = rest.text(database_length)?;
    rest.byte()?;
    Ok(Query { database, text: rest.0 })
}

fn prepared(rest: &mut Bytes<'_>) -> Result<Xid, StreamError> {
    let format = u32::try_from(rest.number(4)?).unwrap_or(u32::MAX);
    let (global, branch) = (rest.size(4)?, rest.size(4)?);
    Ok(Xid { format, global: rest.take(global)?.to_vec(), branch: rest.take(branch)?.to_vec() })
}

fn maria_db(server: u32, rest: &mut Bytes<'_>) -> Result<GtidEvent, StreamError> {
    const ALONE: u8 = 1;
    const GROUP_COMMIT: u8 = 2;
    const XA: u8 = 0x40 | 0x80;
    let sequence = rest.number(8)?;
    let domain = u32::try_from(rest.number(4)?).unwrap_or(u32::MAX);
    let flags = rest.byte()?;
    let standing = if flags & ALONE == 0 { Standing::Transaction } else { Standing::Alone };
    if flags & GROUP_COMMIT != 0 {
        rest.take(8)?;
    }
    let xid = if flags & XA == 0 {
        None
    } else {
        let format = u32::try_from(rest.number(4)?).unwrap_or(u32::MAX);
        let (global, branch) = (rest.size(1)?, rest.size(1)?);
        Some(Xid { format, global: rest.take(global)?.to_vec(), branch: rest.take(branch)?.to_vec() })
    };
    Ok(GtidEvent { gtid: Gtid::MariaDb { domain, server, sequence }, standing, xid })
}

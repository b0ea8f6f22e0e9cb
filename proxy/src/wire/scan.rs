//! Finding the end of an answer without decoding its rows.
//!
//! [`Scanner::advance`] says how many bytes may be passed on as they are; it looks at packet headers and decodes only
//! what ends a result. [`Scanner::next`] hands out whole packets, for answers that are merged.

use mysql_common::constants::StatusFlags;

use super::cursor::{Cursor, Malformed};
use super::frame::{self, HEADER, PIECE};
use super::parse::{self, ErrPacket, OkPacket};

/// Reads one answer, of one or several results.
#[derive(Debug)]
pub struct Scanner {
    deprecates_eof: bool,
    state: State,
    /// Bytes of the current piece that have not come yet.
    skip: usize,
    /// The current packet goes on in the next piece.
    continued: bool,
    rows: u64,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first packet of a result.
    Start,
    Columns(u64),
    ColumnsEnd,
    Rows,
    Done,
}

/// What has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes from the front of the buffer that belong to the answer and can be passed on.
    pub forward: usize,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    NotYet,
    Done,
}

/// How the last result ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub kind: OutcomeKind,
    pub status: u16,
    pub warnings: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutcomeKind {
    Ok { affected: u64, last_insert_id: u64 },
    Rows { rows: u64 },
    Error(ErrPacket),
}

/// A packet of an answer.
#[derive(Debug)]
pub enum Event {
    ColumnCount(u64),
    Column(Payload),
    EndOfColumns,
    Row(Payload),
    /// The result is over, or was no more than an OK.
    End,
    Error(Payload),
}

/// The payload of a packet in the buffer.
#[derive(Debug)]
pub struct Payload {
    start: usize,
    end: usize,
    /// A payload of several pieces, put together.
    joined: Option<Vec<u8>>,
}

/// Why an answer cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Frame(#[from] frame::FrameError),
    #[error("the server asks for a local file")]
    LocalInfile,
}

impl End {
    #[must_use]
    pub fn is_done(self) -> bool {
        self == End::Done
    }
}

impl Payload {
    /// The bytes, out of the buffer that the event came from.
    #[must_use]
    pub fn of<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        self.joined.as_deref().unwrap_or(&buffer[self.start..self.end])
    }
}

impl Scanner {
    /// Of an answer to `COM_QUERY`.
    #[must_use]
    pub fn query(capabilities: u32) -> Scanner {
        Scanner {
            deprecates_eof: parse::deprecates_eof(capabilities),
            state: State::Start,
            skip: 0,
            continued: false,
            rows: 0,
            outcome: Outcome { kind: OutcomeKind::Rows { rows: 0 }, status: 0, warnings: 0 },
        }
    }

    /// Of an answer to `COM_STMT_EXECUTE`: the same packets, as rows are not looked into.
    #[must_use]
    pub fn execute(capabilities: u32) -> Scanner {
        Scanner::query(capabilities)
    }

    /// Are the next packets rows, or their end?
    #[must_use]
    pub fn is_at_rows(&self) -> bool {
        self.state == State::Rows
    }

    /// Has the whole answer gone by?
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }

    /// Looks at what has come. The caller drops `forward` bytes before the next call.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn advance(&mut self, buffer: &[u8]) -> Result<Progress, ScanError> {
        let mut at = 0;
        loop {
            let step = self.skip.min(buffer.len() - at);
            at += step;
            self.skip -= step;
            if self.state == State::Done && self.skip == 0 {
                return Ok(Progress { forward: at, end: End::Done });
            }
            let Some(header) = buffer.get(at..at + HEADER).filter(|_| self.skip == 0) else {
                return Ok(Progress { forward: at, end: End::NotYet });
            };
            let length = frame::length(header);
            if self.continued || !self.is_decided(buffer.get(at + HEADER).copied(), length) {
                self.pass(length);
                at += HEADER;
                continue;
            }
            // What decides is passed on once it is there as a whole.
            let Some(payload) = buffer.get(at + HEADER..at + HEADER + length) else {
                return Ok(Progress { forward: at, end: End::NotYet });
            };
            self.decide(payload)?;
            at += HEADER + length;
        }
    }

    /// The next packet, with the bytes it took; `None`: it has not all come.
    ///
    /// # Errors
    /// See [`ScanError`].
    pub fn next(&mut self, buffer: &[u8]) -> Result<Option<(Event, usize)>, ScanError> {
        let Some(taken) = frame::take(buffer, usize::MAX)? else { return Ok(None) };
        let consumed = taken.consumed;
        let payload = match taken.payload {
            std::borrow::Cow::Borrowed(piece) => {
                Payload { start: HEADER, end: HEADER + piece.len(), joined: None }
            }
            std::borrow::Cow::Owned(all) => Payload { start: 0, end: 0, joined: Some(all) },
        };
        let bytes = payload.of(buffer);
        let before = self.state;
        if before == State::Done {
            return Err(Malformed.into());
        }
        if !self.is_decided(bytes.first().copied(), bytes.len()) {
            self.pass(bytes.len().min(PIECE - 1));
            self.skip = 0;
            return Ok(Some((
                if before == State::Rows { Event::Row(payload) } else { Event::Column(payload) },
                consumed,
            )));
        }
        let failed = bytes.first() == Some(&0xFF);
        self.decide(bytes)?;
        let event = match (failed, before, self.state) {
            (true, ..) => Event::Error(payload),
            (_, State::ColumnsEnd, _) => Event::EndOfColumns,
            (_, State::Start, State::Columns(count)) => Event::ColumnCount(count),
            _ => Event::End,
        };
        Ok(Some((event, consumed)))
    }

    /// Must this packet be decoded? Without its first byte nobody can say, so it must come first.
    fn is_decided(&self, first: Option<u8>, length: usize) -> bool {
        match (self.state, first) {
            (State::Start | State::ColumnsEnd | State::Done, _) | (State::Rows, None) => true,
            (State::Columns(_) | State::Rows, Some(0xFF)) | (State::Columns(_), None) => true,
            (State::Columns(_), Some(_)) => false,
            (State::Rows, Some(0xFE)) => length < if self.deprecates_eof { PIECE } else { 9 },
            (State::Rows, Some(_)) => false,
        }
    }

    /// A row or a column definition goes by.
    fn pass(&mut self, length: usize) {
        self.skip = length;
        if !std::mem::replace(&mut self.continued, length == PIECE) {
            match self.state {
                State::Rows => self.rows += 1,
                State::Columns(left) => {
                    self.state = if left > 1 { State::Columns(left - 1) } else { self.after_columns() }
                }
                State::Start | State::ColumnsEnd | State::Done => {}
            }
        }
    }

    fn after_columns(&self) -> State {
        if self.deprecates_eof { State::Rows } else { State::ColumnsEnd }
    }

    fn decide(&mut self, payload: &[u8]) -> Result<(), ScanError> {
        match (self.state, payload.first()) {
            (_, Some(0xFF)) => {
                let error = parse::err(payload)?;
                self.outcome = Outcome { kind: OutcomeKind::Error(error), status: 0, warnings: 0 };
                self.state = State::Done;
            }
            (State::ColumnsEnd, Some(0xFE)) => self.state = State::Rows,
            (State::Rows, Some(0xFE)) => {
                let end = if self.deprecates_eof { parse::ok(payload)? } else { parse::eof(payload)? };
                let kind = OutcomeKind::Rows { rows: self.rows };
                self.ended(kind, &end);
            }
            (State::Start, Some(0x00)) => {
                let ok = parse::ok(payload)?;
                let kind = OutcomeKind::Ok { affected: ok.affected, last_insert_id: ok.last_insert_id };
                self.ended(kind, &ok);
            }
            (State::Start, Some(0xFB)) => return Err(ScanError::LocalInfile),
            (State::Start, Some(_)) => {
                let count = Cursor(payload).length()?;
                self.rows = 0;
                self.state = if count == 0 { self.after_columns() } else { State::Columns(count) };
            }
            _ => return Err(Malformed.into()),
        }
        Ok(())
    }

    fn ended(&mut self, kind: OutcomeKind, ok: &OkPacket) {
        self.outcome = Outcome { kind, status: ok.status, warnings: ok.warnings };
        let more = ok.status & StatusFlags::SERVER_MORE_RESULTS_EXISTS.bits() != 0;
        self.state = if more { State::Start } else { State::Done };
    }
}

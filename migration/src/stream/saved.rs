//! Rows of log files that were saved: the same as a stream yields while the log is there, from one place up to another.
//!
//! What cannot be carried exactly ends the reading with the reason, as in a stream. Both places must be ends of events,
//! and no transaction may be open at the second: a file that is too short, or of another server, does not pass.
//! A mover's transactions count here: its rows are the source's as any other.

use std::io::BufRead;

use mysql_async::Conn;
use mysql_common::binlog::consts::{BinlogVersion, EventType};
use mysql_common::binlog::events::{Event, TransactionPayloadEvent};
use mysql_common::binlog::{BinlogFileHeader, EventStreamReader};

use super::assemble::Assembler;
use super::change::{Item, RowChange, Watched};
use super::error::StreamError;
use super::link;
use crate::position::Position;

/// Where a file's events begin.
const BEGIN: u64 = BinlogFileHeader::LEN as u64;

/// Does somebody still want what is read?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Yes,
    No,
}

/// Has the place been met from which on events count?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Yes,
    No,
}

/// A log that is read file by file, in their order.
#[derive(Debug)]
pub struct Saved {
    assembler: Assembler,
}

impl Saved {
    /// A log that is read from a place on. The connection is to a server that has the watched tables in a database named
    /// `columns_of`, as they were when the log was written.
    ///
    /// # Errors
    /// What the server reports.
    pub async fn open(
        connection: &mut Conn,
        watched: &Watched,
        columns_of: &str,
        from: &Position,
    ) -> Result<Saved, StreamError> {
        let targets = link::targets(connection, watched, Some(columns_of)).await?;
        Ok(Saved { assembler: Assembler::new(targets.with_movers(), from) })
    }

    /// Reads one file from an offset, or its beginning, up to another, or its end. Changes go to `give` in their order,
    /// those of a large transaction in several parts; it says whether somebody still wants them.
    ///
    /// # Errors
    /// [`StreamError`], after which the log is of no use.
    pub fn read(
        &mut self,
        mut file: impl BufRead,
        from: Option<u64>,
        to: Option<u64>,
        give: &mut dyn FnMut(Vec<RowChange>) -> Wanted,
    ) -> Result<(), StreamError> {
        let (from, mut at, mut begun) = (from.unwrap_or(BEGIN), BEGIN, Begun::No);
        BinlogFileHeader::read(&mut file).map_err(|error| unreadable(at, &error))?;
        let mut reader = EventStreamReader::new(BinlogVersion::Version4);
        loop {
            if at == from {
                begun = Begun::Yes;
            }
            if to.is_some_and(|to| at >= to) {
                break;
            }
            let event = reader.read(&mut file).map_err(|error| unreadable(at, &error))?;
            let Some(event) = event else { break };
            at += u64::from(event.header().event_size());
            if begun == Begun::No {
                continue;
            }
            self.feed(&mut reader, &event)?;
            while let Some(item) = self.assembler.pop() {
                if let Item::Changes(changes) = item
                    && give(changes) == Wanted::No
                {
                    return Ok(());
                }
            }
        }
        if begun == Begun::No {
            return Err(StreamError::Garbled(format!("no event of the file begins at {from}")));
        }
        match to {
            Some(to) if at != to => {
                Err(StreamError::Garbled(format!("no event of the file ends at {to}, but one at {at}")))
            }
            Some(to) if self.assembler.is_open() => {
                Err(StreamError::Garbled(format!("a transaction is open at {to}")))
            }
            Some(_) => Ok(()),
            None => self.assembler.file_ends(),
        }
    }

    fn feed(&mut self, reader: &mut EventStreamReader, event: &Event) -> Result<(), StreamError> {
        link::feed(&mut self.assembler, event)?;
        if event.header().event_type_raw() != EventType::TRANSACTION_PAYLOAD_EVENT as u8 {
            return Ok(());
        }
        let packed = |error: std::io::Error| {
            StreamError::Garbled(format!("a compressed transaction cannot be unpacked: {error}"))
        };
        let payload: TransactionPayloadEvent<'_> = event.read_event().map_err(packed)?;
        let mut inside = payload.decompressed().map_err(packed)?;
        while let Some(event) = reader.read_decompressed(&mut inside).map_err(packed)? {
            link::feed(&mut self.assembler, &event)?;
        }
        Ok(())
    }
}

fn unreadable(at: u64, error: &std::io::Error) -> StreamError {
    StreamError::Garbled(format!("the file cannot be read at {at}: {error}"))
}

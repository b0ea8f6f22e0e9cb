//! Transactions from events: what a stream yields, decided event by event. Pure.
//!
//! - A transaction is a mover's when its first rows are notes of progress; nothing of it is yielded but its end.
//! - Rows are yielded while their transaction is still being read: servers log transactions when they commit. Where
//!   that does not hold (XA, or a rollback over tables without transactions) rows wait, or the stream ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::change::{Change, Item, RowChange};
use super::error::StreamError;
use super::event::{Event, GtidEvent, Place, Query, RawEvent, Standing, Xid};
use super::gtid::{Gtid, Gtids};
use super::row::Rows;
use super::statement::{Statement, excerpt, meaning};
use super::table::{Layout, Mapped, Owner, TableMap, Targets};
use super::xa::{Prepared, fits, weight};
use crate::mark::Token;
use crate::position::Position;

/// Rows and bytes of one part of a transaction.
const PART_ROWS: usize = 1_000;
const PART_BYTES: usize = 4 << 20;

/// Turns events into items.
#[derive(Debug)]
pub(super) struct Assembler {
    targets: Targets,
    /// Whose log it is.
    server: Option<String>,
    file: String,
    /// The end of the last whole transaction; 0 on a server that has taken over, see [`Position::offset`].
    offset: u64,
    gtids: Gtids,
    /// The number of the transaction that is being read.
    number: Option<Gtid>,
    tables: HashMap<u64, Mapped>,
    /// Table maps as they were read last, so that repeated ones cost nothing.
    maps: HashMap<u64, Vec<u8>>,
    group: Option<Group>,
    /// Where the compressed transaction that is being read ends.
    payload_end: Option<u32>,
    prepared: Prepared,
    items: VecDeque<Item>,
}

/// A transaction that is being read.
#[derive(Debug, Default)]
struct Group {
    writer: Writer,
    rows: Vec<RowChange>,
    bytes: usize,
    /// Set for the first phase of XA.
    xid: Option<Xid>,
    given: Given,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// No rows so far.
    #[default]
    Unknown,
    Mover,
    Client,
}

/// Have rows of the transaction been yielded?
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Given {
    #[default]
    Nothing,
    Some,
}

impl Assembler {
    pub fn new(targets: Targets, from: &Position) -> Assembler {
        Assembler {
            targets,
            server: from.server.clone(),
            file: from.file.clone(),
            offset: from.offset,
            gtids: Gtids::read(from.gtids.as_deref()),
            number: None,
            tables: HashMap::new(),
            maps: HashMap::new(),
            group: None,
            payload_end: None,
            prepared: Prepared::default(),
            items: VecDeque::new(),
        }
    }

    pub fn pop(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Where a stream may be opened again without losing anything that has not been yielded.
    pub fn position(&self) -> Position {
        self.prepared.calm().cloned().unwrap_or_else(|| self.here())
    }

    fn here(&self) -> Position {
        let server = self.server.clone();
        Position { file: self.file.clone(), offset: self.offset, gtids: self.gtids.text(), server }
    }

    /// Is a transaction still being read?
    pub fn is_open(&self) -> bool {
        self.group.is_some() || self.payload_end.is_some()
    }

    /// A file of the log has no more events.
    pub fn file_ends(&mut self) -> Result<(), StreamError> {
        // A server that crashed leaves a transaction without end, which was never committed.
        self.abandon()?;
        self.tables.clear();
        self.maps.clear();
        Ok(())
    }

    /// Takes the next event.
    pub fn take(&mut self, raw: RawEvent<'_>) -> Result<(), StreamError> {
        if self.payload_end.is_some() && raw.place == Place::Log {
            // The library that unpacks says nothing when it cannot.
            return Err(StreamError::garbled("a compressed transaction cannot be unpacked"));
        }
        let end = self.payload_end.unwrap_or(raw.end);
        match Event::read(raw)? {
            Event::Rotate { file, offset } => self.rotate(raw, file, offset)?,
            Event::FileBegins | Event::Other => {}
            Event::Gtid(GtidEvent { gtid, standing, xid }) => {
                self.begins(Some(gtid))?;
                if standing == Standing::Transaction {
                    self.group = Some(Group { xid, ..Group::default() });
                }
            }
            Event::Query(query) => self.query(&query, end)?,
            Event::Commit => self.commit(end),
            Event::Prepare { one_phase: true, .. } => self.commit(end),
            Event::Prepare { one_phase: false, xid } => self.prepare(xid, end)?,
            Event::TableMap(map) => self.map(map, raw.data)?,
            Event::Rows(rows) => self.rows(rows)?,
            Event::PartialRows { table } => self.partial(table)?,
            Event::Payload => self.payload_end = Some(raw.end),
            Event::Heartbeat => self.items.push_back(Item::Position(self.position())),
            Event::Gap => return Err(StreamError::Gap),
        }
        Ok(())
    }

    /// A transaction begins. `None`: the server does not number it.
    pub fn begins(&mut self, number: Option<Gtid>) -> Result<(), StreamError> {
        self.abandon()?;
        if number.is_none() {
            // From here on the numbers would not tell everything.
            self.gtids = Gtids::Unknown;
        }
        self.number = number;
        Ok(())
    }

    fn rotate(&mut self, raw: RawEvent<'_>, file: String, offset: u64) -> Result<(), StreamError> {
        /// Made up by the server for the reader.
        const ARTIFICIAL: u16 = 0x20;
        /// Of a checksum, which nobody cuts off before the log's format is known.
        const CHECKSUM: usize = 4;
        let is_announcement = raw.end == 0 || raw.flags & ARTIFICIAL != 0;
        let name = raw.data.get(8..).unwrap_or_default();
        let beyond = name.strip_prefix(self.file.as_bytes()).map(<[u8]>::len);
        if is_announcement && (beyond == Some(0) || beyond == Some(CHECKSUM)) {
            return Ok(());
        }
        self.file_ends()?;
        if self.offset > 0 {
            self.file = file;
            self.offset = offset;
            self.items.push_back(Item::Position(self.position()));
        }
        Ok(())
    }

    fn query(&mut self, query: &Query<'_>, end: u32) -> Result<(), StreamError> {
        match meaning(query, &self.targets) {
            Statement::Begin => {
                self.group.get_or_insert_default();
            }
            Statement::Commit => self.commit(end),
            Statement::Rollback => {
                self.abandon()?;
                self.complete(end);
            }
            Statement::RollbackTo => {
                let touched = self
                    .group
                    .as_ref()
                    .is_some_and(|group| group.given == Given::Some || !group.rows.is_empty());
                if touched {
                    return Err(StreamError::RolledBack);
                }
            }
            Statement::XaStart(xid) => self.group.get_or_insert_default().xid = Some(xid),
            Statement::XaCommit(xid) => self.second_phase(&xid, end)?,
            Statement::XaRollback(xid) => {
                // Nothing is lost when it was prepared before the stream began.
                self.prepared.take(&xid);
                self.group = None;
                self.complete(end);
            }
            Statement::Definition => return Err(StreamError::Definition { statement: excerpt(query.text) }),
            Statement::Change => return Err(StreamError::Statement { statement: excerpt(query.text) }),
            Statement::Other if self.group.is_none() => self.complete(end),
            Statement::Other => {}
        }
        Ok(())
    }

    fn second_phase(&mut self, xid: &Xid, end: u32) -> Result<(), StreamError> {
        // One that commits in one phase is still being read.
        let rows = match self.prepared.take(xid) {
            Some(rows) => rows,
            None if self.group.as_ref().is_some_and(|group| group.xid.as_ref() == Some(xid)) => {
                self.commit(end);
                return Ok(());
            }
            None => return Err(StreamError::PreparedEarlier { xid: xid.to_string() }),
        };
        self.group = None;
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            self.items.push_back(Item::Changes(rows.by_ref().take(PART_ROWS).collect()));
        }
        self.complete(end);
        Ok(())
    }

    fn prepare(&mut self, xid: Xid, end: u32) -> Result<(), StreamError> {
        let before = self.here();
        let group = self.group.take().unwrap_or_default();
        let rows = if group.writer == Writer::Mover { Vec::new() } else { group.rows };
        self.prepared.add(xid, rows, before)?;
        self.complete(end);
        Ok(())
    }

    fn commit(&mut self, end: u32) {
        self.give();
        self.complete(end);
    }

    /// A transaction has ended.
    fn complete(&mut self, end: u32) {
        self.group = None;
        self.payload_end = None;
        let end = u64::from(end);
        // Offsets are logged in 32 bits: in a larger file the last place that can be named stays.
        let is_named = self.offset > 0 && end >= self.offset;
        if let Some(number) = self.number.take() {
            self.gtids.add(number);
        }
        if is_named {
            self.offset = end;
        }
        self.items.push_back(Item::Position(self.position()));
    }

    /// A transaction has no end, or was rolled back.
    fn abandon(&mut self) -> Result<(), StreamError> {
        self.number = None;
        match self.group.take() {
            Some(group) if group.given == Given::Some => Err(StreamError::RolledBack),
            _ => Ok(()),
        }
    }

    fn map(&mut self, map: TableMap<'_>, data: &[u8]) -> Result<(), StreamError> {
        let id = map.id;
        if self.maps.get(&id).is_some_and(|known| known == data) {
            return Ok(());
        }
        let mapped = match self.targets.owner(&map.database, &map.table) {
            Owner::Nobody => Mapped::Skipped,
            Owner::Progress => Mapped::Progress,
            Owner::Mark => Mapped::Mark(Arc::new(map.mark_layout()?)),
            Owner::Table(number) => {
                Mapped::Table(number, Arc::new(map.layout(&self.targets.tables[number])?))
            }
        };
        self.tables.insert(id, mapped);
        self.maps.insert(id, data.to_vec());
        Ok(())
    }

    fn rows(&mut self, rows: Rows<'_>) -> Result<(), StreamError> {
        /// Ends a statement whose last event had no rows.
        const NO_TABLE: u64 = 0xFF_FFFF;
        if rows.table == NO_TABLE {
            return Ok(());
        }
        let mapped = self.tables.get(&rows.table).cloned();
        let mapped = mapped.ok_or_else(|| StreamError::garbled("rows come without a table map"))?;
        let group = self.group.get_or_insert_default();
        if group.writer == Writer::Unknown {
            group.writer = if matches!(mapped, Mapped::Progress) { Writer::Mover } else { Writer::Client };
        }
        if group.writer == Writer::Mover {
            return Ok(());
        }
        match mapped {
            Mapped::Skipped | Mapped::Progress => Ok(()),
            Mapped::Mark(layout) => self.mark(rows, &layout),
            Mapped::Table(table, layout) => {
                let changes = rows.changes(&layout)?;
                let changes = changes.into_iter().map(|change| RowChange { table, change });
                for change in changes {
                    group.bytes += weight(&change);
                    group.rows.push(change);
                }
                if group.xid.is_some() {
                    return fits(group.bytes);
                }
                if group.rows.len() >= PART_ROWS || group.bytes >= PART_BYTES {
                    self.give();
                }
                Ok(())
            }
        }
    }

    /// Yields what has been read of a transaction.
    fn give(&mut self) {
        let Some(group) = &mut self.group else { return };
        if group.rows.is_empty() {
            return;
        }
        group.bytes = 0;
        group.given = Given::Some;
        let mut rows = std::mem::take(&mut group.rows);
        while rows.len() > PART_ROWS {
            let rest = rows.split_off(PART_ROWS);
            self.items.push_back(Item::Changes(std::mem::replace(&mut rows, rest)));
        }
        self.items.push_back(Item::Changes(rows));
    }

    fn mark(&mut self, rows: Rows<'_>, layout: &Layout) -> Result<(), StreamError> {
        self.give();
        for change in rows.changes(layout)? {
            let (Change::Insert(image) | Change::Update { after: image, .. }) = change else { continue };
            let number =
                |place: usize| -> Option<&str> { std::str::from_utf8(image.0[place].as_deref()?).ok() };
            let token = number(1).and_then(|digits| digits.parse().ok());
            let at_us = number(2).and_then(|digits| digits.parse().ok());
            let (Some(token), Some(at_us)) = (token, at_us) else {
                return Err(StreamError::garbled("a mark is not as it was written"));
            };
            self.items.push_back(Item::Mark { token: Token(token), at_us });
        }
        Ok(())
    }

    fn partial(&self, table: u64) -> Result<(), StreamError> {
        match self.tables.get(&table) {
            Some(Mapped::Table(_, layout) | Mapped::Mark(layout)) => {
                Err(StreamError::PartialImage { table: layout.table.clone() })
            }
            Some(Mapped::Skipped | Mapped::Progress) => Ok(()),
            None => Err(StreamError::garbled("rows come without a table map")),
        }
    }
}

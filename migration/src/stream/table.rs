//! Table maps: which table the rows that follow belong to, and how its columns become images. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use shardway_routing::schema::{ColumnKind, Sign};

use super::bytes::Bytes;
use super::change::Watched;
use super::error::StreamError;
use super::value::fits;
use super::wire::{Wire, unknown};
use crate::mark;

/// Does the server tell apart table names by their letter case?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LetterCase {
    Matters,
    DoesNot,
}

impl LetterCase {
    /// A name, so that equal names are equal text.
    pub fn fold(self, name: &str) -> String {
        match self {
            LetterCase::Matters => name.to_owned(),
            LetterCase::DoesNot => name.to_lowercase(),
        }
    }
}

/// The table of a mover's notes. It is written first in each of its transactions, which streams in the other direction
/// know by that.
const PROGRESS: &str = "shardway_progress";

/// Are transactions that a mover wrote wanted?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Movers {
    Followed,
    LeftOut,
}

/// Whose rows are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Table(usize),
    Mark,
    /// A mover's notes: their transaction is not to be followed.
    Progress,
    Nobody,
}

/// A column of a watched table, generated or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub name: String,
    /// Its place in images; generated columns have none.
    pub place: Option<usize>,
}

/// The tables that are wanted, by physical name.
#[derive(Debug)]
pub(super) struct Targets {
    letter_case: LetterCase,
    movers: Movers,
    owners: HashMap<(String, String), Owner>,
    pub tables: Vec<Target>,
}

/// A watched table.
#[derive(Debug)]
pub(super) struct Target {
    /// `database.table`, for messages.
    pub name: String,
    /// As its images hold them.
    columns: Vec<(String, ColumnKind)>,
    /// All columns, in the table's own order.
    known: Vec<Known>,
}

/// How rows of one table are read.
#[derive(Debug)]
pub(super) struct Layout {
    pub table: String,
    pub columns: Vec<Column>,
    /// Fields in an image.
    pub fields: usize,
}

/// A logged column.
#[derive(Debug)]
pub(super) struct Column {
    pub wire: Wire,
    /// Where it goes; generated columns go nowhere.
    pub goes: Option<(usize, ColumnKind)>,
}

impl Targets {
    /// `known` has all columns of each watched table.
    pub fn new(watched: &Watched, known: Vec<Vec<Known>>, letter_case: LetterCase) -> Targets {
        let mut owners = HashMap::new();
        let name = |database: &str, table: &str| (letter_case.fold(database), letter_case.fold(table));
        for database in &watched.mark_databases {
            owners.insert(name(database, mark::TABLE), Owner::Mark);
        }
        for (number, table) in watched.tables.iter().enumerate() {
            owners.insert(name(&table.database, &table.table), Owner::Table(number));
        }
        let target = |(table, known): (&super::WatchedTable, Vec<Known>)| Target {
            name: format!("{}.{}", table.database, table.table),
            columns: table.shape.columns().to_vec(),
            known,
        };
        let tables = watched.tables.iter().zip(known).map(target).collect();
        Targets { letter_case, movers: Movers::LeftOut, owners, tables }
    }

    /// The same, with what movers wrote.
    pub fn with_movers(self) -> Targets {
        Targets { movers: Movers::Followed, ..self }
    }

    /// Whose a table is.
    pub fn owner(&self, database: &str, table: &str) -> Owner {
        if table.eq_ignore_ascii_case(PROGRESS) && self.movers == Movers::LeftOut {
            return Owner::Progress;
        }
        let name = (self.letter_case.fold(database), self.letter_case.fold(table));
        self.owners.get(&name).copied().unwrap_or(Owner::Nobody)
    }

    /// Is any table of a database watched?
    pub fn watches_in(&self, database: &str) -> bool {
        let database = self.letter_case.fold(database);
        self.owners.iter().any(|((owned, _), owner)| *owned == database && matches!(owner, Owner::Table(_)))
    }
}

/// A table map, read as far as it is needed.
#[derive(Debug)]
pub(super) struct TableMap<'a> {
    pub id: u64,
    pub database: String,
    pub table: String,
    rest: Bytes<'a>,
}

impl<'a> TableMap<'a> {
    pub fn read(data: &'a [u8]) -> Result<TableMap<'a>, StreamError> {
        let mut rest = Bytes(data);
        let id = rest.number(6)?;
        let _flags = rest.take(2)?;
        let mut name = || {
            let length = rest.size(1)?;
            let name = rest.text(length)?;
            rest.byte().map(|_| name)
        };
        let (database, table) = (name()?, name()?);
        Ok(TableMap { id, database, table, rest })
    }

    /// How rows of a watched table are read.
    pub fn layout(self, target: &Target) -> Result<Layout, StreamError> {
        let (wires, names) = self.columns()?;
        let place_of = |name: &str| target.columns.iter().position(|(known, _)| known == name);
        let places: Vec<Option<usize>> = match names {
            Some(names) => names.iter().map(|name| place_of(name)).collect(),
            None => target.known.iter().map(|known| known.place).collect(),
        };
        let differs = |difference: String| StreamError::Layout { table: target.name.clone(), difference };
        if places.len() != wires.len() {
            return Err(differs(format!("{} columns in place of {}", wires.len(), places.len())));
        }
        let mut columns = Vec::with_capacity(wires.len());
        for (wire, place) in wires.into_iter().zip(places) {
            let goes = place.map(|place| (place, target.columns[place].1.clone()));
            if let Some((place, kind)) = &goes
                && !matches!(wire, Wire::Unknown(_))
                && !fits(wire, kind)
            {
                return Err(differs(format!("the column {} has another type", target.columns[*place].0)));
            }
            if let Wire::Unknown(code) = wire {
                return Err(unknown(code));
            }
            columns.push(Column { wire, goes });
        }
        for (place, (name, _)) in target.columns.iter().enumerate() {
            let times =
                columns.iter().filter(|column| matches!(column.goes, Some((goes, _)) if goes == place));
            if times.count() != 1 {
                return Err(differs(format!("the column {name} is missing")));
            }
        }
        Ok(Layout { table: target.name.clone(), columns, fields: target.columns.len() })
    }

    /// How marks are read: slot, token, moment.
    pub fn mark_layout(self) -> Result<Layout, StreamError> {
        let table = format!("{}.{}", self.database, self.table);
        let (wires, _) = self.columns()?;
        let integer = |sign| ColumnKind::Integer { bits: 64, sign };
        let kinds = [ColumnKind::Binary, integer(Sign::Unsigned), integer(Sign::Signed)];
        if wires.len() != kinds.len() || wires.iter().zip(&kinds).any(|(wire, kind)| !fits(*wire, kind)) {
            let difference = "its columns are not those of a marks' table".to_owned();
            return Err(StreamError::Layout { table, difference });
        }
        let columns = wires.into_iter().zip(kinds).enumerate();
        let columns = columns.map(|(place, (wire, kind))| Column { wire, goes: Some((place, kind)) });
        Ok(Layout { table, columns: columns.collect(), fields: 3 })
    }

    /// Types, and names where the server logs them.
    fn columns(self) -> Result<(Vec<Wire>, Option<Vec<String>>), StreamError> {
        let mut rest = self.rest;
        let count = rest.packed()?;
        let codes = rest.take(count)?;
        let length = rest.packed()?;
        let mut details = Bytes(rest.take(length)?);
        let mut wires = Vec::with_capacity(count);
        for code in codes {
            let wire = Wire::of(*code, &mut details)?;
            wires.push(wire);
            if let Wire::Unknown(code) = wire {
                return Err(unknown(code));
            }
        }
        let _nullable = rest.take(count.div_ceil(8))?;
        let names = column_names(rest)?;
        Ok((wires, names.filter(|names| names.len() == count)))
    }
}

/// The field of the optional part that holds the columns' names.
const NAMES: u8 = 4;

fn column_names(mut optional: Bytes<'_>) -> Result<Option<Vec<String>>, StreamError> {
    while !optional.is_empty() {
        let kind = optional.byte()?;
        let length = optional.packed()?;
        let mut field = Bytes(optional.take(length)?);
        if kind == NAMES {
            let mut names = Vec::new();
            while !field.is_empty() {
                let length = field.packed()?;
                names.push(field.text(length)?);
            }
            return Ok(Some(names));
        }
    }
    Ok(None)
}

/// What the stream remembers of a table's number in the log.
#[derive(Debug, Clone)]
pub(super) enum Mapped {
    Skipped,
    Progress,
    Mark(Arc<Layout>),
    Table(usize, Arc<Layout>),
}

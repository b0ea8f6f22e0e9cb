//! Many changes as the last state of every row they touch. Pure.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use shardway_routing::topology::Side;

use crate::image::write::Write;
use crate::image::{Image, ImageShape, Key};
use crate::stream::Change;
use crate::tables::{MovingTable, WorkError};

/// A physical table of the side that is written: which table of the move, and which of its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub table: usize,
    pub node: usize,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Put(Image),
    /// As `Put`, and whatever row keeps one of its unique values is out of date.
    Alone(Image),
    /// As `Put`, and nothing is there under its key yet.
    New(Image),
    /// With its shard key, where the primary key does not name it alone ([`MovingTable::told_by`]).
    Gone(Option<Field>),
    /// Rows of several shards were written under one primary key: what they leave is the authority's to say.
    Unsure,
}

/// A stored value.
pub type Field = Vec<u8>;

impl Fate {
    /// The value of a column that names rows, as far as the fate says.
    #[must_use]
    pub fn told(&self, column: usize) -> Option<&Field> {
        match self {
            Fate::Put(image) | Fate::Alone(image) | Fate::New(image) => image.0[column].as_ref(),
            Fate::Gone(told) => told.as_ref(),
            Fate::Unsure => None,
        }
    }

    /// What the row that it leaves weighs, as far as it says.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Fate::Put(image) | Fate::Alone(image) | Fate::New(image) => ImageShape::weight(image),
            Fate::Gone(_) | Fate::Unsure => 0,
        }
    }
}

/// The last state of every row that some changes touch.
#[derive(Debug, Default)]
pub struct Batch {
    fates: HashMap<Place, HashMap<Key, Fate>>,
    changes: usize,
    bytes: usize,
}

impl Batch {
    /// Takes a change of a row of `tables[table]` on the authority in.
    ///
    /// # Errors
    /// A row whose shard key no shard of the other side takes.
    pub fn add(
        &mut self,
        tables: &[MovingTable],
        table: usize,
        other: Side,
        change: Change,
    ) -> Result<(), WorkError> {
        self.changes += 1;
        let of = &tables[table];
        match change {
            Change::Insert(image) => self.put(of, table, other, image, Fate::Put),
            Change::Delete(image) => self.gone(of, table, other, &image),
            Change::Update { before, after } => {
                self.gone(of, table, other, &before)?;
                self.put(of, table, other, after, Fate::Put)
            }
        }
    }

    /// Takes in a row of `tables[table]` as the authority has it, where nobody knows what it was before: it is at home
    /// like this and on no other shard, unless its key says that it never was. No two rows taken in may share a unique
    /// value, so all that a batch sees of a table must have been so at one moment.
    ///
    /// # Errors
    /// See [`Batch::add`].
    pub fn see(
        &mut self,
        tables: &[MovingTable],
        table: usize,
        other: Side,
        image: Image,
    ) -> Result<(), WorkError> {
        self.changes += 1;
        let of = &tables[table];
        if of.told_by(other).is_some() && of.takes(other.other(), &image) {
            let (key, homes) = (of.shape.key_of(&image), of.homes(other, &image)?);
            for node in (0..of.ends(other).len()).filter(|node| !homes.contains(node)) {
                self.ends(of, Place { table, node }, other, &key, Fate::Gone(None));
            }
        }
        self.put(of, table, other, image, Fate::Alone)
    }

    fn put(
        &mut self,
        of: &MovingTable,
        table: usize,
        other: Side,
        image: Image,
        fate: fn(Image) -> Fate,
    ) -> Result<(), WorkError> {
        if !of.takes(other.other(), &image) {
            return Ok(());
        }
        self.bytes += ImageShape::weight(&image);
        let key = of.shape.key_of(&image);
        for node in of.arrives(other, &image)? {
            self.ends(of, Place { table, node }, other, &key, fate(image.clone()));
        }
        Ok(())
    }

    fn gone(&mut self, of: &MovingTable, table: usize, other: Side, image: &Image) -> Result<(), WorkError> {
        // A row that is not carried is not there.
        if !of.takes(other.other(), image) {
            return Ok(());
        }
        let key = of.shape.key_of(image);
        let told = of.told_by(other.other()).and_then(|column| image.0[column].clone());
        for node in of.arrives(other, image)? {
            self.ends(of, Place { table, node }, other, &key, Fate::Gone(told.clone()));
        }
        Ok(())
    }

    /// Takes a fate in. Where rows of several shards may have one primary key, changes of different rows have no order.
    fn ends(&mut self, of: &MovingTable, place: Place, other: Side, key: &Key, fate: Fate) {
        let fates = self.fates.entry(place).or_default();
        let is_another = of.told_by(other.other()).is_some_and(|column| {
            fates.get(key).is_some_and(|before| before.told(column) != fate.told(column))
        });
        fates.insert(key.clone(), if is_another { Fate::Unsure } else { fate });
    }

    /// Whoever wrote a row already leaves it out; the fate of one that is there nowhere becomes [`Fate::New`].
    pub fn sort(&mut self, place: Place, key: &Key, is: Sorted) {
        let Some(fates) = self.fates.get_mut(&place) else { return };
        match (is, fates.remove(key)) {
            (Sorted::New, Some(Fate::Put(image))) => drop(fates.insert(key.clone(), Fate::New(image))),
            (Sorted::New, Some(fate)) => drop(fates.insert(key.clone(), fate)),
            (Sorted::Written, _) | (_, None) => {}
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fates.is_empty()
    }

    /// Changes taken in, before they were folded together.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.changes
    }

    /// Bytes of the images taken in.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every key touched, with its table.
    pub fn keys(&self) -> impl Iterator<Item = (usize, &Key)> {
        self.fates.iter().flat_map(|(place, fates)| fates.keys().map(|key| (place.table, key)))
    }

    #[must_use]
    pub fn keys_of(&self, place: Place) -> Vec<Key> {
        self.fates.get(&place).map(|fates| fates.keys().cloned().collect()).unwrap_or_default()
    }

    #[must_use]
    pub fn fate(&self, place: Place, key: &Key) -> Option<&Fate> {
        self.fates.get(&place)?.get(key)
    }

    /// The rows by place.
    pub fn places(&self) -> impl Iterator<Item = (Place, &HashMap<Key, Fate>)> {
        self.fates.iter().map(|(place, fates)| (*place, fates))
    }
}

/// What is known of a row before its batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sorted {
    /// Nothing is there under its key.
    New,
    /// It has been brought in line.
    Written,
}

/// A statement of a batch, and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    Run(Write),
    /// Of rows that must be absent.
    Insert(Write),
    /// Its answer must be this number.
    Count(Vec<u8>, usize),
}

/// Statements of at most about so many bytes.
const STATEMENT_BYTES: usize = 1 << 20;
/// Fields of one statement: servers count their warnings up to 65535, and of a field they may have one.
const STATEMENT_FIELDS: usize = 60_000;
/// Keys of one `DELETE`.
const STATEMENT_KEYS: usize = 1_000;

/// The statements after which the rows of a physical table are as their fates say. Deletions come first: a key that
/// differs from another only by what the collation ignores names the same row. Where a column names rows beside the
/// primary key, no row with another value of it is touched.
#[must_use]
pub fn statements(
    shape: &ImageShape,
    table: &str,
    told_by: Option<usize>,
    fates: &[(&Key, &Fate)],
) -> Vec<Statement> {
    let mut statements = Vec::new();
    if let Some(column) = told_by {
        let there = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Put(_)));
        for rows in told(column, there).chunks(STATEMENT_KEYS) {
            let sql = shape.count_told(table, column, rows);
            statements.push(Statement::Count(sql.into_bytes(), rows.len()));
        }
    }
    let is_deleted = |fate: &Fate| match fate {
        Fate::Gone(_) => true,
        Fate::Alone(_) => false,
        Fate::Put(_) | Fate::New(_) | Fate::Unsure => shape.has_further_unique(),
    };
    let gone = fates.iter().filter(|(_, fate)| is_deleted(fate));
    let deletions: Vec<String> = match told_by {
        Some(column) => {
            let rows = told(column, gone);
            rows.chunks(STATEMENT_KEYS).map(|rows| shape.delete_told(table, column, rows)).collect()
        }
        None => {
            let keys: Vec<Key> = gone.map(|(key, _)| (*key).clone()).collect();
            keys.chunks(STATEMENT_KEYS).map(|keys| shape.delete(table, keys)).collect()
        }
    };
    statements.extend(deletions.into_iter().map(|sql| Statement::Run(sql.into())));
    let put = fates.iter().filter_map(|(_, fate)| match fate {
        Fate::Put(image) => Some(image),
        Fate::Alone(_) | Fate::New(_) | Fate::Gone(_) | Fate::Unsure => None,
    });
    statements.extend(slices(put).into_iter().map(|images| {
        Statement::Run(match shape.has_further_unique() {
            true => shape.insert_rows(table, images),
            false => shape.upsert(table, images),
        })
    }));
    let alone = fates.iter().filter_map(|(_, fate)| match fate {
        Fate::Alone(image) => Some(image),
        Fate::Put(_) | Fate::New(_) | Fate::Gone(_) | Fate::Unsure => None,
    });
    statements.extend(slices(alone).into_iter().map(|images| Statement::Run(shape.overwrite(table, images))));
    let new = fates.iter().filter_map(|(_, fate)| match fate {
        Fate::New(image) => Some(image),
        Fate::Put(_) | Fate::Alone(_) | Fate::Gone(_) | Fate::Unsure => None,
    });
    statements
        .extend(slices(new).into_iter().map(|images| Statement::Insert(shape.insert_rows(table, images))));
    statements
}

/// Keys with their value of the column that names rows beside them.
fn told<'a>(column: usize, fates: impl Iterator<Item = &'a (&'a Key, &'a Fate)>) -> Vec<(&'a Key, &'a [u8])> {
    fates.filter_map(|(key, fate)| fate.told(column).map(|field| (*key, field.as_slice()))).collect()
}

/// Images in groups that fit a statement.
pub(crate) fn slices<'a>(images: impl Iterator<Item = &'a Image>) -> Vec<Vec<&'a Image>> {
    let mut slices: Vec<Vec<&Image>> = Vec::new();
    let mut bytes = 0;
    for image in images {
        let weight = ImageShape::weight(image);
        match slices.last_mut() {
            Some(slice)
                if bytes + weight <= STATEMENT_BYTES
                    && (slice.len() + 1) * image.0.len() <= STATEMENT_FIELDS =>
            {
                slice.push(image);
            }
            _ => {
                slices.push(vec![image]);
                bytes = 0;
            }
        }
        bytes += weight;
    }
    slices
}

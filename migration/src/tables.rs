//! The tables of a move, with everything the workers need to know of each.

mod error;

pub use error::WorkError;

use std::ops::Range;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::gray;
use shardway_routing::key::{KeyType, KeyValue};
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::schema::ColumnKind;
use shardway_routing::topology::{BackendId, Move, MoveId, Node, Placement, Server, Side, TableId, Topology};

use crate::filter::Filter;
use crate::image::{Image, ImageShape, Key, quoted};
use crate::stream::Change;

/// A table on its way.
#[derive(Debug, Clone)]
pub struct MovingTable {
    pub id: TableId,
    /// Logical `database.table`, lower case.
    pub name: String,
    pub shape: ImageShape,
    /// Which of the source's rows are carried; all of them where there is none.
    filter: Option<Filter>,
    shard_key: Option<(String, KeyType)>,
    source: Ends,
    target: Ends,
    /// Places on the source and on the target that are one physical table, which is split in place.
    shared: Vec<(usize, usize)>,
    division: Option<Move>,
}

/// Where one side has its rows.
#[derive(Debug, Clone)]
struct Ends {
    placement: Placement,
    nodes: Vec<End>,
}

/// A physical table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    pub backend: BackendId,
    pub server: Server,
    /// The physical database.
    pub database: String,
    /// The physical table's name.
    pub name: String,
    /// `` `database`.`table` ``
    pub table: String,
}

impl End {
    /// How many rows its server believes it to have.
    pub(crate) async fn estimated_rows(&self, connection: &mut Conn) -> Result<u64, mysql_async::Error> {
        let rows: Option<Option<u64>> = connection
            .exec_first(
                "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
                (&self.database, &self.name),
            )
            .await?;
        Ok(rows.flatten().unwrap_or(0))
    }
}

/// The tables of a move.
///
/// # Errors
/// A table that cannot be carried exactly, or whose columns are not known.
pub fn of_move(topology: &Topology, by: MoveId) -> Result<Vec<MovingTable>, Refusal> {
    topology.move_of(by).tables.iter().map(|table| of_table(topology, *table)).collect()
}

/// One table of a move.
///
/// # Errors
/// See [`of_move`].
pub fn of_table(topology: &Topology, id: TableId) -> Result<MovingTable, Refusal> {
    let table = topology.table_of(id);
    let schema = table.schema.as_ref().ok_or_else(|| refusal::SCHEMA_UNKNOWN.because(table.name.clone()))?;
    let (source, target) = (ends(topology, id, Side::Source), ends(topology, id, Side::Target));
    let pairs = source.nodes.iter().enumerate().flat_map(|(here, one)| {
        let same = move |(_, other): &(usize, &End)| {
            one.server.is_same_process(&other.server) && one.table == other.table
        };
        target.nodes.iter().enumerate().filter(same).map(move |(there, _)| (here, there))
    });
    let shared = pairs.collect();
    Ok(MovingTable {
        id,
        name: topology.full_name(id),
        shape: ImageShape::of(schema)?,
        filter: None,
        shard_key: table.shard_key().map(str::to_owned).zip(table.key_type().cloned()),
        source,
        target,
        shared,
        division: division(topology, id),
    })
}

fn division(topology: &Topology, id: TableId) -> Option<Move> {
    let of = topology.move_of(topology.table_of(id).moving.as_ref()?.by);
    of.divided.is_some().then(|| of.clone())
}

fn ends(topology: &Topology, id: TableId, side: Side) -> Ends {
    let table = topology.table_of(id);
    let placement = table.placement(side).clone();
    let logical = &topology.database_of(table.database).name;
    let end = |node: &Node| {
        let database = topology.physical_database(node.backend, logical).to_owned();
        let table = format!("{}.{}", quoted(&database), quoted(&node.table));
        let server = topology.backend(node.backend).primary.clone();
        End { backend: node.backend, server, database, name: node.table.clone(), table }
    };
    let nodes = placement.nodes().iter().map(end).collect();
    Ends { placement, nodes }
}

impl MovingTable {
    fn side(&self, side: Side) -> &Ends {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// The same table, of which only some rows are carried.
    #[must_use]
    pub fn carrying(self, filter: Filter) -> MovingTable {
        MovingTable { shape: self.shape.seeing(filter.sql()), filter: Some(filter), ..self }
    }

    /// Is a row of the authority one that the other side must have? What the target owns is never held back: then the
    /// source has every row.
    #[must_use]
    pub fn takes(&self, authority: Side, image: &Image) -> bool {
        authority == Side::Target || self.compares(image)
    }

    /// Does a comparison of both sides look at the row?
    #[must_use]
    pub fn compares(&self, image: &Image) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.takes(image))
    }

    /// Every physical table of a side.
    #[must_use]
    pub fn ends(&self, side: Side) -> &[End] {
        &self.side(side).nodes
    }

    /// Where routing wants the rows of a side.
    #[must_use]
    pub fn placement(&self, side: Side) -> &Placement {
        &self.side(side).placement
    }

    /// Has some physical table both sides' rows, as when a layout doubles and half of every shard stays?
    #[must_use]
    pub fn is_split_in_place(&self) -> bool {
        !self.shared.is_empty()
    }

    /// The place on the other side of the physical table at a place of a side, if it is there too.
    #[must_use]
    pub fn place_across(&self, side: Side, place: usize) -> Option<usize> {
        let mut pairs = self.shared.iter().map(|(source, target)| match side {
            Side::Source => (*source, *target),
            Side::Target => (*target, *source),
        });
        pairs.find_map(|(here, across)| (here == place).then_some(across))
    }

    /// Are there rows at a place which are not the side's? The source has every row of a table split in place, the target
    /// those that have not left.
    #[must_use]
    pub fn has_others(&self, side: Side, place: usize) -> bool {
        side == Side::Target && self.place_across(side, place).is_some()
    }

    /// Is a row there one of the side's?
    #[must_use]
    pub fn owns(&self, side: Side, place: usize, image: &Image) -> bool {
        // One without a home is told of by whoever looks for it.
        !self.has_others(side, place) || self.home(side, image).map_or(true, |home| home == place)
    }

    /// The same of a key, where that tells the shard key. `None`: the row itself must be looked at.
    #[must_use]
    pub fn owns_key(&self, side: Side, place: usize, key: &Key) -> Option<bool> {
        if !self.has_others(side, place) {
            return Some(true);
        }
        let Placement::Sharded(layout) = self.placement(side) else { return None };
        let shard = layout.function.shard(&self.shard_key_of(key)?)?;
        Some(shard.0 as usize == place)
    }

    /// The nodes of a side that could have a row under that key: one where it tells the shard key.
    pub(crate) fn may_have(&self, side: Side, key: &Key) -> Range<usize> {
        let all = 0..self.ends(side).len();
        let Placement::Sharded(layout) = self.placement(side) else { return all };
        let told = self.shard_key_of(key).and_then(|key| layout.function.shard(&key));
        told.map_or(all, |shard| shard.0 as usize..shard.0 as usize + 1)
    }

    /// What a change at a place of a side changes of the rows that have their home there.
    #[must_use]
    pub fn own_change(&self, side: Side, place: usize, change: Change) -> Option<Change> {
        if !self.is_split_in_place() {
            return Some(change);
        }
        let owns = |image: &Image| self.owns(side, place, image);
        match change {
            Change::Insert(image) => owns(&image).then_some(Change::Insert(image)),
            Change::Delete(image) => owns(&image).then_some(Change::Delete(image)),
            Change::Update { before, after } => match (owns(&before), owns(&after)) {
                (true, true) => Some(Change::Update { before, after }),
                (true, false) => Some(Change::Delete(before)),
                (false, true) => Some(Change::Insert(after)),
                (false, false) => None,
            },
        }
    }

    /// Has a side changed a row that it does not own, past the proxy? Whoever owns the row is right about it.
    #[must_use]
    pub fn is_trespass(&self, side: Side, change: &Change) -> bool {
        let Some(of) = &self.division else { return false };
        let owns = |image: &Image| {
            self.shard_key(image).is_none_or(|shard_key| gray::owner(of.owners(), &shard_key) == side)
        };
        match change {
            Change::Insert(image) | Change::Delete(image) => !owns(image),
            Change::Update { before, after } => !owns(before) && !owns(after),
        }
    }

    /// Is the row at home on both sides in one physical table, so that nobody carries it?
    fn stays(&self, image: &Image) -> bool {
        self.is_split_in_place()
            && match (self.home(Side::Source, image), self.home(Side::Target, image)) {
                (Ok(here), Ok(there)) => self.shared.contains(&(here, there)),
                _ => false,
            }
    }

    /// Can rows be written over several connections at once? Not where two keys that differ as bytes may name the same
    /// row, nor where a further unique key ties rows together.
    #[must_use]
    pub fn is_divisible(&self) -> bool {
        let exact = |place: &usize| match &self.shape.columns()[*place].1 {
            ColumnKind::Text { collation, .. } => collation.ends_with("_bin"),
            _ => true,
        };
        !self.shape.has_further_unique() && self.shape.primary().iter().all(exact)
    }

    /// The physical tables from which a side's rows are read: of copies that are all the same, the first.
    #[must_use]
    pub fn origins(&self, side: Side) -> &[End] {
        let of = self.side(side);
        match of.placement {
            Placement::Broadcast(_) => &of.nodes[..1],
            Placement::Single(_) | Placement::Sharded(_) => &of.nodes,
        }
    }

    /// The same table with one copy on each side: of a side whose nodes are copies of each other, the authority keeps its
    /// first, and the other side is looked at copy by copy.
    #[must_use]
    pub fn by_copy(&self, authority: Side) -> Vec<MovingTable> {
        let alone = |of: &Ends| -> Vec<Ends> {
            let Placement::Broadcast(nodes) = &of.placement else { return vec![of.clone()] };
            let one = |(node, end): (&Node, &End)| Ends {
                placement: Placement::Single(node.clone()),
                nodes: vec![end.clone()],
            };
            nodes.iter().zip(&of.nodes).map(one).collect()
        };
        let (mut sources, mut targets) = (alone(&self.source), alone(&self.target));
        match authority {
            Side::Source => sources.truncate(1),
            Side::Target => targets.truncate(1),
        }
        let pairs = sources.iter().flat_map(|source| targets.iter().map(move |target| (source, target)));
        pairs
            .map(|(source, target)| MovingTable {
                source: source.clone(),
                target: target.clone(),
                ..self.clone()
            })
            .collect()
    }

    /// The nodes of a side that must hold a row: one, or all of those that are copies.
    ///
    /// # Errors
    /// When no shard takes its key.
    pub fn homes(&self, side: Side, image: &Image) -> Result<std::ops::Range<usize>, WorkError> {
        match self.side(side).placement {
            Placement::Broadcast(_) => Ok(0..self.side(side).nodes.len()),
            Placement::Single(_) | Placement::Sharded(_) => self.home(side, image).map(|home| home..home + 1),
        }
    }

    /// The nodes of a side to which a row must be carried from the other: those that must hold it, unless it stays where
    /// it is.
    ///
    /// # Errors
    /// When no shard takes its key.
    pub fn arrives(&self, side: Side, image: &Image) -> Result<std::ops::Range<usize>, WorkError> {
        let homes = self.homes(side, image)?;
        Ok(if self.stays(image) { 0..0 } else { homes })
    }

    /// Where on a side a row belongs; of copies, the first.
    ///
    /// # Errors
    /// When no shard takes its key.
    pub fn home(&self, side: Side, image: &Image) -> Result<usize, WorkError> {
        let of = self.side(side);
        let Placement::Sharded(layout) = &of.placement else { return Ok(0) };
        let key = self.shape.shard_key(image, &layout.key, &layout.key_type);
        let shard = key.and_then(|key| layout.function.shard(&key));
        shard.map(|shard| shard.0 as usize).ok_or_else(|| {
            let key = self.shape.key_of(image);
            let parts: Vec<String> =
                key.0.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
            WorkError::Homeless { table: self.name.clone(), key: parts.join("-") }
        })
    }

    /// The column that names a row of a side together with the primary key, where that alone does not: each of a side's
    /// shards may have a row of its own under one primary key without the shard key.
    #[must_use]
    pub fn told_by(&self, side: Side) -> Option<usize> {
        let Placement::Sharded(layout) = &self.side(side).placement else { return None };
        let is_key = |(name, _): &(String, ColumnKind)| name.eq_ignore_ascii_case(&layout.key);
        let place = self.shape.columns().iter().position(is_key)?;
        (!self.shape.primary().contains(&place)).then_some(place)
    }

    /// Several shards of the authority have a row under this primary key, and the other side has room for one.
    #[must_use]
    pub fn on_several(&self, key: &Key) -> WorkError {
        let parts: Vec<String> =
            key.0.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
        WorkError::OnSeveral { table: self.name.clone(), key: parts.join("-") }
    }

    /// The move, where each side owns some keys.
    pub(crate) fn division(&self) -> Option<&Move> {
        self.division.as_ref()
    }

    /// The shard key of a row, which gray reads look at.
    #[must_use]
    pub fn shard_key(&self, image: &Image) -> Option<KeyValue> {
        let (column, key_type) = self.shard_key.as_ref()?;
        self.shape.shard_key(image, column, key_type)
    }

    /// The same from the primary key, where that contains it: then no write can change it.
    #[must_use]
    pub fn shard_key_of(&self, key: &Key) -> Option<KeyValue> {
        let (column, key_type) = self.shard_key.as_ref()?;
        self.shape.shard_key_of(key, column, key_type)
    }
}

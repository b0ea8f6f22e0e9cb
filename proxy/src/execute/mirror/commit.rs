//! What the other side gets at commit, and what the journal says until it has it.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use shardway_migration::dirty::{self, Entry};
use shardway_migration::heal::Journal;
use shardway_migration::image::write::Write;
use shardway_migration::image::{Image, ImageShape, Key, Reader};
use shardway_migration::tables::{self, End, MovingTable};
use shardway_routing::key::KeyValue;
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::topology::{DoubleWrite, Seen, Side, TableId, Topology};

use super::other::{Committed, Others};
use super::rivals::{self, There, Under};
use super::{TouchedRow, garbled, text};
use crate::backend::connection::CommandError;
use crate::dirty::Until;
use crate::execute::behind::{Leaving, LeftRows};
use crate::execute::finish;
use crate::session::held::Branch;
use crate::session::{Failure, Session};
use crate::shared::Shared;
use crate::worker::View;

/// What one transaction does to the other side.
struct Mirroring {
    /// The strictest of its tables' moves.
    mode: DoubleWrite,
    token: u64,
    groups: Vec<Group>,
    /// Journal entries by the authority's journal, with the place of its branch.
    noted: Vec<(usize, Journal, Vec<Entry>)>,
    /// `None`: a key whose shard key is not known.
    keys: Vec<(String, Option<KeyValue>)>,
}

/// The rows of one physical table of the authority.
pub(super) struct Group {
    pub table: MovingTable,
    pub authority: Side,
    pub end: End,
    pub rows: Vec<Row>,
}

impl Group {
    /// Has the physical table at a place of the other side the rows by itself? One that is split in place has all of the
    /// source's, and of the target's those that were written there.
    fn is_there(&self, place: usize) -> bool {
        let across = self.table.place_across(self.authority.other(), place);
        across.is_some_and(|here| {
            self.authority == Side::Source || self.table.ends(self.authority)[here] == self.end
        })
    }
}

/// Commits a transaction that wrote moving rows: those it can name on both sides, the others on the authority.
pub(in crate::execute) async fn commit(
    session: &mut Session,
    touched: &[TouchedRow],
    left: Vec<LeftRows>,
) -> Result<(), Failure> {
    let shared = Arc::clone(&session.worker.shared);
    let mut leaving = Leaving::of(left);
    leaving.tell(&shared, &session.worker.view().snapshot.topology);
    let result = if touched.is_empty() {
        finish::commit_branches(session).await
    } else {
        on_both_sides(session, touched).await
    };
    leaving.leave(session);
    result
}

/// Commits a transaction that touched moving rows, on both sides.
async fn on_both_sides(session: &mut Session, touched: &[TouchedRow]) -> Result<(), Failure> {
    let view = session.worker.view();
    let mirroring = plan(session, &view, touched).await?;
    let strict = mirroring.mode == DoubleWrite::Strict;
    let applied = match mirroring.mode {
        // Healing brings the rows.
        DoubleWrite::Async => None,
        _ => match apply(session, &view, &mirroring).await {
            Ok(others) => Some(others),
            Err(why) => {
                not_taken(why, mirroring.mode)?;
                None
            }
        },
    };
    for (at, journal, entries) in &mirroring.noted {
        session.at(*at).run(&dirty::insert(&journal.database, entries)).await?;
    }
    let shared = Arc::clone(&session.worker.shared);
    shared.dirty.add(mirroring.token, mirroring.keys.clone(), Until::Healed);
    remember(&shared, &view.snapshot.topology, &mirroring.groups);
    // If it fails, whether it took place is what the journal will tell; until then the keys stay dirty.
    finish::commit_branches(session).await?;
    let committed = match applied {
        Some(others) => others.commit().await,
        None => Committed::Unknown,
    };
    if committed == Committed::Yes {
        shared.dirty.remove(mirroring.token);
        for (_, journal, _) in mirroring.noted {
            shared.forget(journal, mirroring.token);
        }
        Ok(())
    } else if strict {
        Err(refusal::MIRROR_UNCERTAIN.because("").into())
    } else {
        shared.dirty.awaits_healing.notify_one();
        Ok(())
    }
}

/// The other side did not take the rows: may the authority have them nevertheless?
fn not_taken(why: NotTaken, mode: DoubleWrite) -> Result<(), Failure> {
    // A branch that lost a lock may be rolled back, so nothing of the transaction may be committed.
    if let NotTaken::Branch(failure) = why {
        return Err(failure);
    }
    let strict = mode == DoubleWrite::Strict;
    tracing::warn!(error = %why, strict, "the other side did not take a double write");
    match why {
        _ if !strict => Ok(()),
        NotTaken::Rival(table) => Err(refusal::KEY_ON_SHARDS.because(table).into()),
        NotTaken::Error(_) | NotTaken::Silent | NotTaken::Branch(_) => {
            Err(refusal::MIRROR_FAILED.because("").into())
        }
    }
}

/// What no stream will tell a switch of, double write does.
fn remember(shared: &Shared, topology: &Topology, groups: &[Group]) {
    for group in groups {
        let Some(moving) = &topology.table_of(group.table.id).moving else { continue };
        if topology.move_of(moving.by).capture.seen(group.authority) == Seen::Not {
            let weight = |row: &Row| row.image.as_ref().map_or(0, ImageShape::weight);
            let rows = group.rows.iter().map(|row| (&row.key, weight(row)));
            shared.lately.wrote(&group.table.name, rows);
        }
    }
}

/// Reads the touched rows as they are now, under their locks, and decides what the other side gets.
async fn plan(session: &mut Session, view: &View, touched: &[TouchedRow]) -> Result<Mirroring, Failure> {
    let topology = &view.snapshot.topology;
    let mut mirroring = Mirroring {
        mode: DoubleWrite::Async,
        token: text::token(),
        groups: Vec::new(),
        noted: Vec::new(),
        keys: Vec::new(),
    };
    let mut rest = touched.to_vec();
    while let Some(first) = rest.first().cloned() {
        let same = |row: &TouchedRow| {
            (&row.name, &row.table, &row.backend) == (&first.name, &first.table, &first.backend)
        };
        let mut keys: Vec<Key> = rest.iter().filter(|row| same(row)).map(|row| row.key.clone()).collect();
        rest.retain(|row| !same(row));
        keys.sort();
        keys.dedup();
        let (table, authority, mode) = moving(topology, &first.name)?;
        mirroring.mode = mirroring.mode.max(mode);
        let is_it =
            |end: &&End| end.table == first.table && topology.backend(end.backend).name == first.backend;
        let end = table.ends(authority).iter().find(is_it);
        let end = end.ok_or_else(|| Failure::Unknown("the rules changed under a transaction".into()))?;
        let pool = view.pool(end.backend);
        let at = session
            .held
            .iter()
            .position(|held| held.branch == Branch::Open && Rc::ptr_eq(held.checkout.pool(), pool))
            .ok_or_else(|| Failure::Unknown("a branch of the transaction is gone".into()))?;
        let sql = table.shape.select(
            Reader::Client,
            &end.table,
            &format!("{} FOR UPDATE", table.shape.with_keys(&keys)),
        );
        let found = session.at(at).rows(sql.as_bytes()).await?;
        let image = |row| table.shape.image(Reader::Client, row);
        let images: Option<Vec<Image>> = found.rows.into_iter().map(image).collect();
        let images = images.ok_or_else(|| garbled(&table))?;
        let mut images: HashMap<Key, Image> =
            images.into_iter().map(|image| (table.shape.key_of(&image), image)).collect();
        let row = |key| {
            let image = images.remove(&key);
            let homes = image.as_ref().map_or(Ok(0..0), |image| table.homes(authority.other(), image));
            homes.map(|homes| Row { key, image, homes })
        };
        let rows: Vec<Row> = keys.into_iter().map(row).collect::<Result<_, _>>().map_err(|error| {
            tracing::warn!(%error, "a row has no home on the other side");
            Failure::Refused(refusal::NO_SHARD_FOR_KEY.because(""))
        })?;
        let keys = rows.iter().map(|row| (table.name.clone(), shard_key(&table, row)));
        mirroring.keys.extend(keys);
        let noted = rows.iter().map(|row| entry(mirroring.token, &table, row)).collect();
        let journal = Journal { server: end.server.clone(), database: end.database.clone() };
        mirroring.noted.push((at, journal, noted));
        let end = end.clone();
        mirroring.groups.push(Group { table, authority, end, rows });
    }
    Ok(mirroring)
}

fn moving(topology: &Topology, name: &str) -> Result<(MovingTable, Side, DoubleWrite), Refusal> {
    let ids = (0..topology.tables.len()).filter_map(|id| u32::try_from(id).ok()).map(TableId);
    let id = ids.into_iter().find(|id| topology.full_name(*id) == name);
    let found = id
        .and_then(|id| topology.table_of(id).moving.as_ref().map(|moving| (id, topology.move_of(moving.by))));
    let (id, of) = found.ok_or_else(|| refusal::UNTOUCHABLE.because("the table has left its move"))?;
    Ok((tables::of_table(topology, id)?, of.writes, of.double_write))
}

/// A touched row as it is now.
pub(super) struct Row {
    pub key: Key,
    /// `None`: it is gone.
    pub image: Option<Image>,
    /// Where the other side's routing wants it.
    homes: Range<usize>,
}

fn shard_key(table: &MovingTable, row: &Row) -> Option<KeyValue> {
    let now = row.image.as_ref().and_then(|image| table.shard_key(image));
    now.or_else(|| table.shard_key_of(&row.key))
}

fn entry(token: u64, table: &MovingTable, row: &Row) -> Entry {
    let mut shard_keys = Vec::new();
    if let Some(value) = shard_key(table, row) {
        let mut canonical = Vec::new();
        value.canonical(&mut canonical);
        shard_keys.push(canonical);
    }
    Entry { token, table: table.name.clone(), key: row.key.clone(), shard_keys }
}

/// Why the other side did not take the rows.
#[derive(Debug)]
pub(super) enum NotTaken {
    Error(String),
    /// It did not answer in time.
    Silent,
    /// It has the row of another shard under the primary key, in this table.
    Rival(String),
    /// The authority could not be asked in the transaction itself.
    Branch(Failure),
}

impl From<CommandError> for NotTaken {
    fn from(error: CommandError) -> NotTaken {
        NotTaken::Error(error.to_string())
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotTaken::Error(error) => f.write_str(error),
            NotTaken::Silent => f.write_str("it did not answer in time"),
            NotTaken::Branch(_) => f.write_str("the authority could not be asked"),
            NotTaken::Rival(table) => {
                write!(f, "{table}: another shard has a row under the same primary key")
            }
        }
    }
}

/// What a node of the other side gets.
fn decide(group: &Group, place: usize, there: Option<&There>) -> Result<Vec<Write>, NotTaken> {
    let Group { table, authority, rows, .. } = group;
    let end = &table.ends(authority.other())[place];
    let (mut written, mut new, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let under = there.map(|there| there.under(&row.key));
        match &row.image {
            Some(image) if row.homes.contains(&place) => match under {
                Some(Under::Rival) => return Err(NotTaken::Rival(table.name.clone())),
                // Whoever puts a row under its key meanwhile must not be overwritten.
                Some(Under::Nothing) => new.push(image),
                Some(Under::Own) | None => written.push(image.clone()),
            },
            // Where the shard key is part of the primary key the row can only ever have been at home.
            Some(_) if table.shard_key_of(&row.key).is_some() => {}
            _ => match under {
                Some(Under::Own) | None => gone.push(row.key.clone()),
                Some(Under::Rival | Under::Nothing) => {}
            },
        }
    }
    let mut statements = table.shape.replace(&end.table, &written);
    if !new.is_empty() {
        statements.push(table.shape.insert_rows(&end.table, new));
    }
    if !gone.is_empty() {
        statements.push(table.shape.delete(&end.table, &gone).into());
    }
    Ok(statements)
}

/// Writes to the other side, in transactions that are still open afterwards.
async fn apply(session: &mut Session, view: &View, mirroring: &Mirroring) -> Result<Others, NotTaken> {
    let mut nodes: Vec<(&Group, usize)> = Vec::new();
    for group in &mirroring.groups {
        let places = 0..group.table.ends(group.authority.other()).len();
        nodes.extend(places.filter(|place| !group.is_there(*place)).map(|place| (group, place)));
    }
    // In one order for everybody: who has a connection or a row waits for later ones only.
    let end = |(group, place): &(&Group, usize)| group.table.ends(group.authority.other())[*place].clone();
    nodes.sort_by_cached_key(|node| (end(node).backend.0, end(node).table));
    let mut others = Others::new(mirroring.groups.iter().map(|group| group.rows.len()).sum());
    for (group, place) in nodes {
        to_node(session, view, group, place, &mut others).await?;
    }
    Ok(others)
}

/// Writes a group's rows to a node of the other side.
async fn to_node(
    session: &mut Session,
    view: &View,
    group: &Group,
    place: usize,
    others: &mut Others,
) -> Result<(), NotTaken> {
    let there = match group.table.told_by(group.authority) {
        Some(_) => Some(rivals::there(session, view, group, place, others).await?),
        None => None,
    };
    let end = &group.table.ends(group.authority.other())[place];
    for statement in decide(group, place, there.as_ref())? {
        others.write(session, view, end, &statement).await?;
    }
    Ok(())
}

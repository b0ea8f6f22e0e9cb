//! Writing to both sides of a key while it moves.
//!
//! - The authority answers: the client sees its rows, warnings and affected count.
//! - The other side receives row images, not statements, at commit and while the authority's row locks are still held;
//!   so the order of two writes to a row is the same on both sides.
//! - Every touched key is noted as dirty in the authority's own transaction, and forgotten only once the other side
//!   has committed too. A difference nobody recorded is the one outcome this module must not produce.
//!
//! The pair is not atomic; a crash between the commits leaves a difference and its record, and healing follows the
//! record. `strict` and `sync` differ in what the client hears when the other side refuses.

use std::rc::Rc;

use shardway_migration::dirty::{self, Entry};
use shardway_migration::heal::Journal;
use shardway_migration::image::{Image, Key, SESSION};
use shardway_migration::tables::{self, End, MovingTable};
use shardway_routing::bind::{self, Leg};
use shardway_routing::key::KeyValue;
use shardway_routing::plan::{Operand, Sides, Touch, TouchHow};
use shardway_routing::refusal::{self, Refusal};
use shardway_routing::topology::{DoubleWrite, Side, TableId, Topology};

use super::touch::{self, condition_text, key_text};
use super::{Job, finish, write};
use crate::backend::vars::Vars;
use crate::backend::{Checkout, Class, Purpose};
use crate::session::held::Branch;
use crate::session::{Failure, Session};
use crate::wire::parse::OkPacket;
use crate::worker::View;

/// Rows that one transaction may touch under double write.
const ROWS_MAX: usize = 10_000;

/// A row that the transaction has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchedRow {
    /// Logical `database.table`, lower case: table numbers change with the rules.
    name: String,
    /// The authority's backend, and the physical table there.
    backend: String,
    table: String,
    key: Key,
}

/// Runs a write on the authority and answers the client; the other side follows at commit.
pub(super) async fn write(session: &mut Session, job: &Job<'_>) -> Result<(), Failure> {
    let own = write::begin(session);
    let result = touching(session, job).await;
    let ok = match (own, result) {
        (write::Own::No, result) => result?,
        (write::Own::Yes, Ok(ok)) => {
            finish::commit(session).await?;
            ok
        }
        (write::Own::Yes, Err(failure)) => {
            finish::rollback(session).await?;
            return Err(failure);
        }
    };
    session.answer_written(&ok)
}

async fn touching(session: &mut Session, job: &Job<'_>) -> Result<OkPacket, Failure> {
    let Sides::Moving(moving) = &job.plan.sides else { unreachable!("only moving tables are mirrored") };
    let touch = match &moving.touch {
        Some(Ok(touch)) => touch,
        Some(Err(refusal)) => return Err(refusal.clone().into()),
        None => return Err(refusal::UNTOUCHABLE.because("").into()),
    };
    let table = tables::of_table(job.topology(), touch.table)?;
    let mut rows = Vec::new();
    if let TouchHow::Select { .. } = &touch.how {
        for leg in &job.route.legs {
            let sql = selected(session, job, &table, touch, leg)?;
            rows.extend(keys(session, job, &table, leg, &sql).await?);
        }
    }
    let ok = write::run(session, job).await?;
    match &touch.how {
        TouchHow::Select { .. } if ok.affected > rows.len() as u64 => {
            // The condition found other rows the second time: what it touched is not known.
            return Err(refusal::UNTOUCHABLE
                .because("its condition does not always find the same rows")
                .into());
        }
        TouchHow::Select { .. } => {}
        TouchHow::Keys(operands) => {
            let wanted = named(session, job, &table, touch.table, operands, &ok)?;
            for leg in &job.route.legs {
                let sql = table.shape.select_keys(
                    &place(job, touch.table, leg),
                    None,
                    &format!("{wanted} FOR UPDATE"),
                );
                rows.extend(keys(session, job, &table, leg, &sql).await?);
            }
        }
    }
    let Some(open) = &mut session.transaction else { unreachable!("a mirrored write runs in a transaction") };
    open.touched.extend(rows);
    if open.touched.len() > ROWS_MAX {
        return Err(refusal::UNTOUCHABLE
            .because(format!("more than {ROWS_MAX} rows in one transaction"))
            .into());
    }
    Ok(ok)
}

fn place(job: &Job<'_>, table: TableId, leg: &Leg) -> String {
    bind::full_table(job.topology(), table, job.route.side, leg)
}

/// The statement's own condition, asked for the keys it will write.
fn selected(
    session: &Session,
    job: &Job<'_>,
    table: &MovingTable,
    touch: &Touch,
    leg: &Leg,
) -> Result<String, Failure> {
    let condition = condition_text(session, job, touch)?;
    let TouchHow::Select { table_alias, .. } = &touch.how else { unreachable!("asked for selects only") };
    let logical = &job.topology().table_of(touch.table).name;
    let alias = table_alias.as_ref().unwrap_or(logical);
    Ok(table.shape.select_keys(
        &place(job, touch.table, leg),
        Some(alias),
        &format!("{condition} FOR UPDATE"),
    ))
}

/// `WHERE` the keys that an insert gives.
fn named(
    session: &Session,
    job: &Job<'_>,
    table: &MovingTable,
    id: TableId,
    operands: &[Vec<Operand>],
    ok: &OkPacket,
) -> Result<String, Failure> {
    let schema =
        job.topology().table_of(id).schema.as_ref().expect("a table without schema is not written to");
    let counted = schema.auto_increment().map(|column| column.name.as_str());
    let mut rows = Vec::with_capacity(operands.len());
    for row in operands {
        let mut values = Vec::with_capacity(row.len());
        for (operand, column) in row.iter().zip(&schema.primary) {
            let text = key_text(session, job, operand)?;
            let by_server = counted == Some(column) && matches!(text.as_str(), "NULL" | "0" | "");
            if by_server && operands.len() > 1 {
                return Err(refusal::UNTOUCHABLE.because("several rows numbered by the server").into());
            }
            values.push(if by_server { ok.last_insert_id.to_string() } else { text });
        }
        rows.push(format!("({})", values.join(", ")));
    }
    let names: Vec<String> =
        schema.primary.iter().map(|name| shardway_migration::image::quoted(name)).collect();
    debug_assert!(!table.name.is_empty());
    Ok(format!("WHERE ({}) IN ({})", names.join(", "), rows.join(", ")))
}

async fn keys(
    session: &mut Session,
    job: &Job<'_>,
    table: &MovingTable,
    leg: &Leg,
    sql: &str,
) -> Result<Vec<TouchedRow>, Failure> {
    let at = session.connection(job.view, leg.backend).await?;
    let found = match session.at(at).rows(sql.as_bytes()).await {
        Ok(found) => found,
        Err(error) => {
            let failure = Failure::from(error);
            session.after_error(at).await?;
            return Err(failure);
        }
    };
    let of = |row: Vec<Option<Vec<u8>>>| TouchedRow {
        name: table.name.clone(),
        backend: job.topology().backend(leg.backend).name.clone(),
        table: place(job, table.id, leg),
        key: Key(row.into_iter().map(Option::unwrap_or_default).collect()),
    };
    Ok(found.rows.into_iter().map(of).collect())
}

/// What one transaction does to the other side.
struct Mirroring {
    mode: DoubleWrite,
    token: u64,
    /// Statements by the other side's backend.
    work: Vec<(End, Vec<String>)>,
    /// Journal entries by the authority's journal, with the place of its branch.
    noted: Vec<(usize, Journal, Vec<Entry>)>,
    /// `None`: a key whose shard key is not known.
    keys: Vec<(String, Option<KeyValue>)>,
}

/// Commits a transaction that touched moving rows, on both sides.
pub(super) async fn commit(session: &mut Session, touched: &[TouchedRow]) -> Result<(), Failure> {
    let view = session.worker.view();
    let mirroring = plan(session, &view, touched).await?;
    let mut others = Vec::new();
    let applied = apply(session, &view, &mirroring, &mut others).await;
    let strict = mirroring.mode == DoubleWrite::Strict;
    if let Err(error) = &applied {
        others.clear();
        tracing::warn!(error, strict, "the other side did not take a double write");
        if strict {
            return Err(refusal::MIRROR_FAILED.because("").into());
        }
    }
    for (at, journal, entries) in &mirroring.noted {
        session.at(*at).run(&dirty::insert(&journal.database, entries)).await?;
    }
    let shared = std::sync::Arc::clone(&session.worker.shared);
    shared.dirty.add(mirroring.token, mirroring.keys.clone());
    // If it fails, whether it took place is what the journal will tell; until then the keys stay dirty.
    finish::commit_branches(session).await?;
    let mut settled = applied.is_ok();
    for mut other in others {
        if other.connection.run("COMMIT").await.is_ok() {
            other.give_back();
        } else {
            settled = false;
        }
    }
    if settled {
        shared.dirty.remove(mirroring.token);
        for (_, journal, _) in mirroring.noted {
            shared.forget(journal, mirroring.token);
        }
        Ok(())
    } else if strict {
        Err(refusal::MIRROR_UNCERTAIN.because("").into())
    } else {
        Ok(())
    }
}

/// Reads the touched rows as they are now, under their locks, and decides what the other side gets.
async fn plan(session: &mut Session, view: &View, touched: &[TouchedRow]) -> Result<Mirroring, Failure> {
    let topology = &view.snapshot.topology;
    let mut mirroring = Mirroring {
        mode: DoubleWrite::Sync,
        token: touch::token(),
        work: Vec::new(),
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
        if mode == DoubleWrite::Strict {
            mirroring.mode = mode;
        }
        let end = table.ends(authority).iter().find(|end| end.table == first.table);
        let end = end.ok_or_else(|| Failure::Unknown("the rules changed under a transaction".into()))?;
        let pool = view.pool(end.backend);
        let at = session
            .held
            .iter()
            .position(|held| held.branch == Branch::Open && Rc::ptr_eq(held.checkout.pool(), pool))
            .ok_or_else(|| Failure::Unknown("a branch of the transaction is gone".into()))?;
        let sql = table.shape.select(&end.table, &format!("{} FOR UPDATE", table.shape.with_keys(&keys)));
        let found = session.at(at).rows(sql.as_bytes()).await?;
        let images: Vec<Image> = found.rows.into_iter().map(Image).collect();
        decide(&mut mirroring, &table, authority, &keys, &images)?;
        let noted = keys.iter().map(|key| entry(mirroring.token, &table, key, &images)).collect();
        let journal = Journal { server: end.server.clone(), database: end.database.clone() };
        mirroring.noted.push((at, journal, noted));
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

fn shard_key(table: &MovingTable, key: &Key, images: &[Image]) -> Option<KeyValue> {
    let image = images.iter().find(|image| table.shape.key_of(image) == *key);
    image.and_then(|image| table.shard_key(image)).or_else(|| table.shard_key_of(key))
}

fn entry(token: u64, table: &MovingTable, key: &Key, images: &[Image]) -> Entry {
    let mut shard_keys = Vec::new();
    if let Some(value) = shard_key(table, key, images) {
        let mut canonical = Vec::new();
        value.canonical(&mut canonical);
        shard_keys.push(canonical);
    }
    Entry { token, table: table.name.clone(), key: key.clone(), shard_keys }
}

fn decide(
    mirroring: &mut Mirroring,
    table: &MovingTable,
    authority: Side,
    keys: &[Key],
    images: &[Image],
) -> Result<(), Failure> {
    let other = authority.other();
    let ends = table.ends(other);
    let mut homes: Vec<Vec<Image>> = vec![Vec::new(); ends.len()];
    let mut gone: Vec<Vec<Key>> = vec![Vec::new(); ends.len()];
    for key in keys {
        let image = images.iter().find(|image| table.shape.key_of(image) == *key);
        let home = match image {
            Some(image) => Some(table.home(other, image).map_err(|error| {
                tracing::warn!(%error, "a row has no home on the other side");
                Failure::Refused(refusal::NO_SHARD_FOR_KEY.because(""))
            })?),
            None => None,
        };
        for (place, gone) in gone.iter_mut().enumerate() {
            // Where the shard key is part of the primary key the row can only ever have been at home.
            if home != Some(place) && (image.is_none() || table.shard_key_of(key).is_none()) {
                gone.push(key.clone());
            }
        }
        if let (Some(home), Some(image)) = (home, image) {
            homes[home].push(image.clone());
        }
        mirroring.keys.push((table.name.clone(), shard_key(table, key, images)));
    }
    for ((end, images), gone) in ends.iter().zip(homes).zip(gone) {
        let mut statements = table.shape.upsert(&end.table, &images);
        if !gone.is_empty() {
            statements.push(table.shape.delete(&end.table, &gone));
        }
        if !statements.is_empty() {
            mirroring.work.push((end.clone(), statements));
        }
    }
    Ok(())
}

/// Writes to the other side, in transactions that are still open afterwards.
async fn apply(
    session: &Session,
    view: &View,
    mirroring: &Mirroring,
    others: &mut Vec<Checkout>,
) -> Result<(), String> {
    let class = Class { capabilities: session.class().capabilities, purpose: Purpose::Engine };
    let vars = Rc::new(Vars::of(&SESSION));
    for (end, statements) in &mirroring.work {
        let pool = view.pool(end.backend);
        let known = others.iter().position(|other| Rc::ptr_eq(other.pool(), pool));
        let at = match known {
            Some(at) => at,
            None => {
                let mut other = pool.checkout(class).await.map_err(|refusal| refusal.to_string())?;
                let prepared = async {
                    other.connection.prepare_for(&vars, None).await?;
                    other.connection.run("BEGIN").await
                };
                prepared.await.map_err(|error| error.to_string())?;
                others.push(other);
                others.len() - 1
            }
        };
        for statement in statements {
            others[at].connection.run(statement).await.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

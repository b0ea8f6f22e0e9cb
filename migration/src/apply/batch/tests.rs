//! A batch leaves what its changes leave one by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use shardway_routing::rules;
use shardway_routing::schema::{Column, Generation, TableSchema};
use shardway_routing::topology::{MoveId, TableId};

use super::*;
use crate::filter::Filter;
use crate::image::example::integers;

const RULES: &str = r#"
[backends.legacy]
primary = "mysql://u@127.0.0.1:1/d"
[backends.s0]
primary = "mysql://u@127.0.0.1:2/d"
[backends.s1]
primary = "mysql://u@127.0.0.1:3/d"
[databases.d]
default = "legacy"
[tables.t]
shard_key = "k"
function = { kind = "mod", shards = 4 }
nodes = "s{0..1}.t_{0..3}"
[moves.m]
tables = ["t"]
from = "legacy"
"#;

fn table() -> MovingTable {
    let mut topology = rules::load(RULES, &|_| None, 1).unwrap();
    rules::attach(&mut topology, TableId(0), Arc::new(integers(["id", "k"]))).unwrap();
    crate::tables::of_move(&topology, MoveId(0)).unwrap().remove(0)
}

fn image(id: u8, shard_key: u8) -> Image {
    Image(vec![Some(id.to_string().into_bytes()), Some(shard_key.to_string().into_bytes())])
}

/// Rows by node, as they are after a batch.
fn written(batches: &[Batch]) -> BTreeMap<(usize, Key), Image> {
    let mut rows = BTreeMap::new();
    for (place, fates) in batches.iter().flat_map(Batch::places) {
        for (key, fate) in fates {
            match fate {
                Fate::Put(image) | Fate::Alone(image) => {
                    rows.insert((place.node, key.clone()), image.clone())
                }
                Fate::Gone(_) => rows.remove(&(place.node, key.clone())),
                Fate::New(_) | Fate::Unsure => panic!("one node of the authority has all rows"),
            };
        }
    }
    rows
}

/// Changes that a table could really show: `(id, Some(shard key))` writes, `(id, None)` deletes.
fn history(writes: &[(u8, Option<u8>)]) -> (Vec<Change>, BTreeMap<u8, u8>) {
    let (mut rows, mut changes) = (BTreeMap::new(), Vec::new());
    for (id, write) in writes {
        let before = match write {
            Some(shard_key) => rows.insert(*id, *shard_key),
            None => rows.remove(id),
        };
        match (before, write) {
            (None, Some(after)) => changes.push(Change::Insert(image(*id, *after))),
            (Some(before), Some(after)) => {
                changes.push(Change::Update { before: image(*id, before), after: image(*id, *after) });
            }
            (Some(before), None) => changes.push(Change::Delete(image(*id, before))),
            (None, None) => {}
        }
    }
    (changes, rows)
}

fn batch(changes: &[Change]) -> Batch {
    batch_of(&table(), changes)
}

fn batch_of(table: &MovingTable, changes: &[Change]) -> Batch {
    let mut batch = Batch::default();
    for change in changes {
        batch.add(std::slice::from_ref(table), 0, Side::Target, change.clone()).unwrap();
    }
    batch
}

proptest! {
    #[test]
    fn a_batch_is_its_changes_one_by_one(writes in prop::collection::vec((0..4_u8, prop::option::of(0..8_u8)), 0..30), cut in 0..30_usize) {
        let (changes, rows) = history(&writes);
        let expected: BTreeMap<(usize, Key), Image> = rows
            .iter()
            .map(|(id, key)| ((usize::from(key % 4), Key(vec![id.to_string().into_bytes()])), image(*id, *key)))
            .collect();
        let cut = cut.min(changes.len());
        let one_by_one: Vec<Batch> = changes.iter().map(|change| batch(std::slice::from_ref(change))).collect();
        prop_assert_eq!(&written(&one_by_one), &expected);
        prop_assert_eq!(&written(&[batch(&changes)]), &expected);
        // Any suffix may be applied again.
        prop_assert_eq!(&written(&[batch(&changes), batch(&changes[cut..])]), &expected);
    }
}

proptest! {
    #[test]
    fn a_batch_has_the_rows_that_are_carried(writes in prop::collection::vec((0..4_u8, prop::option::of(0..8_u8)), 0..30), cut in 0..30_usize) {
        let table = table();
        let filter = Filter::of("k BETWEEN 2 AND 5", &table.shape).unwrap();
        let table = table.carrying(filter);
        let (changes, rows) = history(&writes);
        let expected: BTreeMap<(usize, Key), Image> = rows
            .iter()
            .filter(|(_, key)| (2..=5).contains(*key))
            .map(|(id, key)| ((usize::from(key % 4), Key(vec![id.to_string().into_bytes()])), image(*id, *key)))
            .collect();
        let cut = cut.min(changes.len());
        let one_by_one: Vec<Batch> =
            changes.iter().map(|change| batch_of(&table, std::slice::from_ref(change))).collect();
        prop_assert_eq!(&written(&one_by_one), &expected);
        let all = batch_of(&table, &changes);
        prop_assert_eq!(&written(std::slice::from_ref(&all)), &expected);
        prop_assert_eq!(&written(&[all, batch_of(&table, &changes[cut..])]), &expected);
    }
}

proptest! {
    #[test]
    fn rows_seen_now_and_then_end_where_they_are(looks in prop::collection::vec(prop::collection::btree_map(0..4_u8, 0..8_u8, 0..4), 1..8), cut in 0..8_usize) {
        let table = table();
        let mut batches: Vec<Batch> = Vec::new();
        let mut expected = BTreeMap::new();
        for rows in &looks {
            let mut batch = Batch::default();
            for (id, key) in rows {
                batch.see(std::slice::from_ref(&table), 0, Side::Target, image(*id, *key)).unwrap();
                let key_of = Key(vec![id.to_string().into_bytes()]);
                expected.retain(|(_, known), _| *known != key_of);
                expected.insert((usize::from(key % 4), key_of), image(*id, *key));
            }
            batches.push(batch);
        }
        prop_assert_eq!(&written(&batches), &expected);
        batches.drain(..cut.min(batches.len() - 1));
        let last = written(&batches);
        prop_assert!(last.iter().all(|(place, image)| expected.get(place) == Some(image)));
    }
}

#[test]
fn a_row_seen_takes_its_unique_values_from_others() {
    let mut table = table();
    let column = table.shape.columns().to_vec();
    let schema = TableSchema {
        columns: column
            .into_iter()
            .map(|(name, kind)| Column {
                name,
                kind,
                nullable: false,
                generation: Generation::Stored,
                longest: None,
            })
            .collect(),
        primary: vec!["id".into()],
        unique: vec![shardway_routing::schema::UniqueKey { name: "k".into(), columns: vec!["k".into()] }],
        ..TableSchema::default()
    };
    table.shape = ImageShape::of(&schema).unwrap();
    let (key, fate) = (Key(vec![b"2".to_vec()]), Fate::Alone(image(2, 3)));
    let written = statements(&table.shape, "t", None, &[(&key, &fate)]);
    assert_eq!(written, [Statement::Run(b"REPLACE INTO t (`id`, `k`) VALUES (2, 3)".to_vec().into())]);
}

#[test]
fn deletions_are_written_before_rows() {
    let table = table();
    let (gone, put) = (Key(vec![b"1".to_vec()]), Key(vec![b"2".to_vec()]));
    let fate = Fate::Put(image(2, 3));
    let statements = statements(&table.shape, "t", None, &[(&put, &fate), (&gone, &Fate::Gone(None))]);
    let [Statement::Run(delete), Statement::Run(upsert)] = statements.as_slice() else {
        panic!("{statements:?}")
    };
    assert_eq!(delete.sql(), b"DELETE t FROM t FORCE INDEX (`PRIMARY`) WHERE (`id`) IN ((1))");
    assert!(upsert.sql().starts_with(b"INSERT INTO t (`id`, `k`) VALUES (2, 3) ON DUPLICATE"));
}

#[test]
fn a_row_of_a_shard_is_written_over_no_other_shards_row() {
    let table = table();
    let column = table.told_by(Side::Target);
    assert_eq!((column, table.told_by(Side::Source)), (Some(1), None));
    let mut batch = Batch::default();
    let changes = [
        Change::Insert(image(1, 0)),
        Change::Delete(image(2, 1)),
        // The row of one shard comes, that of another goes: their order says nothing.
        Change::Insert(image(3, 2)),
        Change::Delete(image(3, 1)),
    ];
    for change in changes {
        batch.add(std::slice::from_ref(&table), 0, Side::Source, change).unwrap();
    }
    let key = |id: u8| Key(vec![id.to_string().into_bytes()]);
    let place = Place { table: 0, node: 0 };
    assert_eq!(batch.fate(place, &key(3)), Some(&Fate::Unsure));
    batch.sort(place, &key(3), Sorted::Written);
    let (_, fates) = batch.places().next().unwrap();
    let mut fates: Vec<(&Key, &Fate)> = fates.iter().collect();
    fates.sort_by_key(|(key, _)| (*key).clone());
    let statements = statements(&table.shape, "t", column, &fates);
    let sql = |sql: &str| sql.as_bytes().to_vec();
    assert_eq!(
        statements[..2],
        [
            Statement::Count(
                sql(
                    "SELECT COUNT(*) FROM t FORCE INDEX (`PRIMARY`) WHERE (`id`, `k`) IN ((1, 0)) FOR UPDATE"
                ),
                1
            ),
            Statement::Run(
                sql("DELETE t FROM t FORCE INDEX (`PRIMARY`) WHERE (`id`, `k`) IN ((2, 1))").into()
            ),
        ]
    );
    batch.sort(place, &key(1), Sorted::New);
    assert_eq!(batch.fate(place, &key(1)), Some(&Fate::New(image(1, 0))));
}

#[test]
fn a_row_without_a_home_is_an_error() {
    let mut nowhere = image(1, 1);
    nowhere.0[1] = None;
    let added = Batch::default().add(&[table()], 0, Side::Target, Change::Insert(nowhere));
    assert!(matches!(added, Err(WorkError::Homeless { .. })), "{added:?}");
}

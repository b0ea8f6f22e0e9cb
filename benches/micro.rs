//! What one statement costs before it is sent: `cargo bench -p shardway-benches`.

use divan::{Bencher, black_box};
use shardway_benches::{STATEMENTS, shop};
use shardway_routing::bind::{self, Characters, Facts, Hint, Reads, Sides, Values};
use shardway_routing::key::{Fractions, KeyValue};
use shardway_routing::lex::{self, Flavour, Lexed, Quoting, ServerVersion};
use shardway_routing::merge::{ColumnType, Merger, RowProtocol, Unsigned};
use shardway_routing::plan::{self, Comparison, Context, Direction, Plan, SortKey};
use shardway_routing::topology::{Move, TableId, Topology};

fn main() {
    divan::main();
}

fn lexed(sql: &str) -> Lexed {
    let mut out = Lexed::default();
    lex::lex(sql.as_bytes(), Quoting::default(), &mut out);
    out
}

fn context(topology: &Topology) -> Context<'_> {
    let server = ServerVersion { flavour: Flavour::MySql, number: 80_000 };
    Context {
        topology,
        database: Some("shop"),
        quoting: Quoting::default(),
        server,
        protocol: RowProtocol::Text,
    }
}

/// A known shape: take it apart.
#[divan::bench(args = STATEMENTS)]
fn lex_statement(bencher: Bencher<'_, '_>, sql: &str) {
    let mut out = Lexed::default();
    bencher.bench_local(|| lex::lex(black_box(sql.as_bytes()), Quoting::default(), &mut out));
}

/// A new shape: plan it.
#[divan::bench(args = STATEMENTS)]
fn plan_new_shape(bencher: Bencher<'_, '_>, sql: &str) {
    let topology = shop();
    let lexed = lexed(sql);
    bencher.bench_local(|| plan::plan(black_box(sql.as_bytes()), &lexed, context(&topology)));
}

struct Authority;

impl Sides for Authority {
    fn reads(&self) -> Reads {
        Reads::ByKey
    }

    fn is_dirty(&self, _: TableId, _: &KeyValue) -> bool {
        false
    }

    fn any_dirty(&self, _: TableId) -> bool {
        false
    }

    fn is_behind(&self, _: &Move) -> bool {
        false
    }

    fn numbered(&self) -> usize {
        0
    }

    fn account(&self) -> &str {
        ""
    }
}

/// A known shape: its shard and its bytes.
#[divan::bench(args = STATEMENTS)]
fn route_and_render(bencher: Bencher<'_, '_>, sql: &str) {
    let topology = shop();
    let lexed = lexed(sql);
    let Plan::Data(plan) = plan::plan(sql.as_bytes(), &lexed, context(&topology)) else {
        panic!("not planned: {sql}")
    };
    let values = Values {
        sql: sql.as_bytes(),
        regions: &lexed.regions,
        parameters: &[],
        quoting: Quoting::default(),
        characters: Characters::Utf8,
        fractions: Fractions::Unknown,
    };
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        let route = bind::route(&plan, &topology, values, Hint::None, &Authority).expect("routed");
        bind::render(&plan, &topology, values, &route, &route.legs[0], &Facts::default(), &mut out)
            .expect("rendered");
    });
}

/// One row of a merge: read its key, compare, cut the hidden column off.
#[divan::bench]
fn merge_row(bencher: Bencher<'_, '_>) {
    let order = [SortKey { column: 0, direction: Direction::Ascending, compare: Comparison::ByType }];
    let integer = ColumnType::Integer { width: 8, unsigned: Unsigned::No };
    let merger =
        Merger::new(&order, &[ColumnType::Bytes, integer], RowProtocol::Text, 1).expect("a known order");
    let row = b"\x0asome value\x045017";
    let other = merger.sort_values(b"\x0asome value\x045018").expect("a row");
    let mut out = Vec::new();
    bencher.bench_local(|| {
        out.clear();
        let values = merger.sort_values(black_box(row)).expect("a row");
        merger.strip_hidden(row, &mut out).expect("a row");
        merger.compare(&values, &other)
    });
}

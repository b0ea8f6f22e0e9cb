//! Following a server's log: what is stored is what comes out, once, in order, or the stream says why not.

mod heir;
pub(super) mod kinds;
mod order;
mod stops;
mod xa;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_migration::image::{Image, ImageShape, Key};
use shardway_migration::mark::{self, Slot, Token};
use shardway_migration::position::Position;
use shardway_migration::stream::{
    Change, Item, RowChange, Stream, StreamError, Watched, WatchedTable, current,
};
use shardway_migration::{connection, schema};
use shardway_routing::topology;
use shardway_tests::Server;
use tokio::sync::OnceCell;

/// A database of its own whose tables are followed.
struct Source {
    server: topology::Server,
    database: String,
    /// A session that reads and writes images.
    connection: Conn,
}

/// What one pass over the log has yielded.
#[derive(Debug, Default)]
struct Seen {
    changes: Vec<RowChange>,
    positions: Vec<Position>,
}

fn address(server: &Server) -> topology::Server {
    topology::Server {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        user: "shop".to_owned(),
        password: "shop".to_owned(),
        database: None,
        tls: topology::Tls::Off,
    }
}

impl Source {
    /// On the server that most of these tests share; none of them uses XA there.
    async fn open() -> Source {
        static SERVER: OnceCell<Server> = OnceCell::const_new();
        Source::on(SERVER.get_or_init(Server::start).await).await
    }

    async fn on(server: &Server) -> Source {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let database = format!("stream{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let server = address(server);
        let mut connection = connection::connect(&server).await.unwrap();
        connection.query_drop(format!("CREATE DATABASE {database} CHARACTER SET utf8mb4")).await.unwrap();
        connection.query_drop(format!("USE {database}")).await.unwrap();
        connection.query_drop(mark::create(&database)).await.unwrap();
        // Hostile values are truncated rather than refused.
        connection.query_drop("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'").await.unwrap();
        Source { server, database, connection }
    }

    async fn run(&mut self, sql: &str) {
        self.connection.query_drop(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    async fn here(&mut self) -> Position {
        current(&mut self.connection).await.unwrap()
    }

    async fn shape(&mut self, table: &str) -> ImageShape {
        let schema = schema::read(&mut self.connection, &self.database, table).await.unwrap().unwrap();
        ImageShape::of(&schema).unwrap()
    }

    async fn watched(&mut self, names: &[&str]) -> Watched {
        let mut tables = Vec::new();
        for name in names {
            let shape = self.shape(name).await;
            tables.push(WatchedTable { database: self.database.clone(), table: (*name).to_owned(), shape });
        }
        Watched { tables, mark_databases: vec![self.database.clone()] }
    }

    async fn follow(&mut self, from: &Position, names: &[&str]) -> Stream {
        let watched = self.watched(names).await;
        Stream::open(&self.server, from, watched).await.unwrap()
    }

    async fn mark(&mut self) -> Token {
        static NEXT: AtomicU64 = AtomicU64::new(u64::MAX / 2 + 1);
        let token = Token(NEXT.fetch_add(1, Ordering::Relaxed));
        let sql = mark::write(&self.database, &Slot("test".to_owned()), token);
        self.run(&sql).await;
        token
    }

    /// Everything up to a mark that is written now.
    async fn rest(&mut self, stream: &mut Stream) -> Seen {
        let token = self.mark().await;
        up_to(stream, token).await
    }

    async fn images(&mut self, table: &str) -> HashMap<Key, Image> {
        let shape = self.shape(table).await;
        let images = connection::images(&mut self.connection, &shape, table, "").await.unwrap();
        images.into_iter().map(|image| (shape.key_of(&image), image)).collect()
    }
}

async fn next(stream: &mut Stream) -> Result<Item, StreamError> {
    tokio::time::timeout(Duration::from_secs(120), stream.next())
        .await
        .expect("a stream is never silent for long")
}

async fn up_to(stream: &mut Stream, token: Token) -> Seen {
    let mut seen = Seen::default();
    loop {
        match next(stream).await.unwrap() {
            Item::Changes(changes) => seen.changes.extend(changes),
            Item::Position(position) => seen.positions.push(position),
            Item::Mark { token: other, at_us } => {
                assert!(at_us > 1_700_000_000_000_000, "{at_us} is no moment of this century");
                if token == other {
                    return seen;
                }
            }
        }
    }
}

/// What ends a stream.
async fn end(stream: &mut Stream) -> StreamError {
    loop {
        if let Err(error) = next(stream).await {
            return error;
        }
    }
}

/// Plays changes, which must fit what is there.
fn play(rows: &mut HashMap<Key, Image>, shape: &ImageShape, changes: &[RowChange]) {
    for RowChange { change, .. } in changes {
        match change {
            Change::Insert(image) => assert_eq!(rows.insert(shape.key_of(image), image.clone()), None),
            Change::Delete(image) => assert_eq!(rows.remove(&shape.key_of(image)).as_ref(), Some(image)),
            Change::Update { before, after } => {
                assert_eq!(rows.remove(&shape.key_of(before)).as_ref(), Some(before));
                assert_eq!(rows.insert(shape.key_of(after), after.clone()), None);
            }
        }
    }
}

/// Compares rows field by field, so that a failure names the column.
fn check(shape: &ImageShape, played: &HashMap<Key, Image>, selected: &HashMap<Key, Image>) {
    assert_eq!(played.len(), selected.len());
    for (key, expected) in selected {
        for (place, (name, kind)) in shape.columns().iter().enumerate() {
            let text = |image: &Image| {
                image.0[place].as_ref().map(|field| String::from_utf8_lossy(field).into_owned())
            };
            assert_eq!(
                played[key].0[place],
                expected.0[place],
                "{name} {kind:?}: {:?} came, {:?} is stored",
                text(&played[key]),
                text(expected)
            );
        }
    }
}

//! The shop: users, their orders, the items of those, and regions that stay where they are.
//!
//! Rows are made by the server itself from MariaDB's sequence tables, which takes seconds. Tables that are there
//! already are dropped first.

use std::time::Instant;

use mysql_async::prelude::Queryable as _;

use crate::{Servers, connect, page};

pub const USERS: u64 = 10_000;
const ORDERS: u64 = 100_000;
const ITEMS: u64 = 150_000;

/// Orders of the client have ids above this one.
pub const FIRST_NEW_ORDER: u64 = 1_000_000;

/// The user of an order that was there before the client came: spread over all users.
const USER_OF: &str = "7919 % 10000";

const TABLES: [(&str, &str); 3] = [
    (
        "users",
        "id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(60) NOT NULL, email VARCHAR(80), region_id INT NOT NULL, \
         orders_placed INT NOT NULL DEFAULT 0, joined DATE",
    ),
    (
        "orders",
        "id BIGINT NOT NULL PRIMARY KEY, user_id BIGINT NOT NULL, amount DECIMAL(10,2) NOT NULL, \
         status ENUM('new','paid','sent') NOT NULL DEFAULT 'new', taken_by INT NOT NULL DEFAULT 0, \
         placed_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), KEY (user_id)",
    ),
    (
        "order_items",
        "id BIGINT NOT NULL PRIMARY KEY, order_id BIGINT NOT NULL, user_id BIGINT NOT NULL, product VARCHAR(40) NOT NULL, \
         quantity INT NOT NULL, price DECIMAL(10,2) NOT NULL, KEY (user_id, order_id)",
    ),
];

const REGIONS: &str = "INSERT INTO regions VALUES (1, 'North'), (2, 'South'), (3, 'East'), (4, 'West')";

/// Makes the tables everywhere and fills those of the legacy server.
pub async fn load(servers: &Servers) -> anyhow::Result<()> {
    page::step("A small shop");
    let started = Instant::now();
    let mut legacy = database(servers.legacy).await?;
    for (table, columns) in TABLES {
        create(&mut legacy, table, columns).await?;
    }
    create(&mut legacy, "regions", "id INT NOT NULL PRIMARY KEY, name VARCHAR(40) NOT NULL").await?;
    for fill in fillings() {
        legacy.query_drop(fill).await?;
    }
    page::seen(
        "legacy",
        &format!(
            "{} users, {} orders, {} order items, 4 regions on 127.0.0.1:{}, loaded in {:.1} s",
            page::count(USERS),
            page::count(ORDERS),
            page::count(ITEMS),
            servers.legacy,
            started.elapsed().as_secs_f64()
        ),
    );
    for (place, port) in servers.shards.into_iter().enumerate() {
        let mut shard = database(port).await?;
        let numbers = [2 * place, 2 * place + 1];
        for (number, (table, columns)) in numbers.into_iter().flat_map(|n| TABLES.map(|table| (n, table))) {
            create(&mut shard, &format!("{table}_{number}"), columns).await?;
        }
        let [one, two] = numbers;
        page::seen(
            &servers.name(port),
            &format!("empty tables users_{one}, users_{two}, orders_{one}, … on 127.0.0.1:{port}"),
        );
        shard.disconnect().await?;
    }
    legacy.disconnect().await?;
    Ok(())
}

async fn database(port: u16) -> anyhow::Result<mysql_async::Conn> {
    let mut connection = connect(port, "shop", "").await?;
    connection.query_drop("CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4").await?;
    connection.query_drop("USE shop").await?;
    Ok(connection)
}

async fn create(connection: &mut mysql_async::Conn, table: &str, columns: &str) -> anyhow::Result<()> {
    connection.query_drop(format!("DROP TABLE IF EXISTS {table}")).await?;
    connection.query_drop(format!("CREATE TABLE {table} ({columns})")).await?;
    Ok(())
}

fn fillings() -> [String; 4] {
    [
        format!(
            "INSERT INTO users SELECT seq, CONCAT('user ', seq), CONCAT('user', seq, '@example.com'), 1 + seq % 4, 0, \
             DATE '2020-01-01' + INTERVAL seq % 1500 DAY FROM seq_1_to_{USERS}"
        ),
        format!(
            "INSERT INTO orders SELECT seq, 1 + seq * {USER_OF}, 1 + seq % 500 + seq % 100 / 100, 1 + seq % 3, 0, \
             TIMESTAMP '2023-01-01 00:00:00' + INTERVAL seq * 7 MINUTE FROM seq_1_to_{ORDERS}"
        ),
        format!(
            "INSERT INTO order_items SELECT seq, 1 + seq % {ORDERS}, 1 + (1 + seq % {ORDERS}) * {USER_OF}, \
             CONCAT('product ', seq % 700), 1 + seq % 4, 1 + seq % 90 FROM seq_1_to_{ITEMS}"
        ),
        REGIONS.to_owned(),
    ]
}

//! Connections to the side that clients are about to go to.

use mysql_async::prelude::Queryable as _;
use shardway_tests::Shop;

const CLIENTS: u64 = 6;

fn open(shop: &Shop, backend: &str) -> u64 {
    let status = shop.proxy.status();
    let of = status["backends"].as_array().unwrap().iter().find(|of| of["name"] == backend).unwrap();
    of["open_connections"].as_u64().unwrap()
}

#[tokio::test]
async fn a_switch_holds_no_statements_while_connections_are_made_for_them() {
    let shop = Shop::open_moving().await;
    let mut clients = Vec::new();
    for id in 0..CLIENTS {
        let mut client = shop.connect().await;
        for sql in ["BEGIN", &format!("INSERT INTO users (id, name) VALUES ({id}, 'a')")] {
            client.query_drop(sql).await.unwrap();
        }
        clients.push(client);
    }
    for client in &mut clients {
        client.query_drop("COMMIT").await.unwrap();
    }
    shop.carry_over().await;
    shop.in_step().await;
    assert!(open(&shop, "legacy") >= CLIENTS);
    assert_eq!([open(&shop, "s0"), open(&shop, "s1")], [0, 0]);
    shop.proxy.stop_at("Hold");
    let desired = shop.proxy.status()["rules"]["desired_version"].as_u64().unwrap();
    shop.proxy.save_rules(&shop.moving_rules("hold_ms = 20000\nwrites = \"target\"\nreads = 100"));
    shop.proxy.is_at("Hold", 1).await;
    for backend in ["s0", "s1"] {
        assert!(open(&shop, backend) >= CLIENTS, "{backend}");
    }
    shop.proxy.go_on();
    assert_eq!(shop.proxy.settled(desired + 1).await, None);
    for (id, client) in clients.iter_mut().enumerate() {
        client.query_drop(format!("UPDATE users SET name = 'b' WHERE id = {id}")).await.unwrap();
    }
    assert_eq!(shop.on_shard(0, "SELECT name FROM users_1 WHERE id = 1").await, ["b"]);
}

//! A connection to a server is cut around a commit, so that nobody is told whether it took place: the client hears that the
//! connection was lost, and whatever became of the commit, both sides are equal in the end and no write is there twice.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_tests::relay::{At, Cut};
use shardway_tests::{Server, Shop, rows, server_error, until};

const CUTS: [Cut; 2] = [Cut::Before, Cut::After];

/// How a write is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Text,
    Prepared,
}

/// What is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Statement,
    Transaction,
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Text, Protocol::Prepared];
const FORMS: [Form; 2] = [Form::Statement, Form::Transaction];

/// Counts up a user's balance, which tells how often that was done, and gives the user a name.
async fn count_up(
    connection: &mut Conn,
    protocol: Protocol,
    id: u64,
    name: &str,
) -> Result<(), mysql_async::Error> {
    let update = "UPDATE users SET balance = balance + 1, name = ? WHERE id = ?";
    match protocol {
        Protocol::Text => {
            let sql = update.replacen('?', &format!("'{name}'"), 1).replacen('?', &id.to_string(), 1);
            connection.query_drop(sql).await
        }
        Protocol::Prepared => connection.exec_drop(update, (name, id)).await,
    }
}

/// The same by itself or with an order of the user.
async fn write(
    connection: &mut Conn,
    (protocol, form): (Protocol, Form),
    id: u64,
    name: &str,
) -> Result<(), mysql_async::Error> {
    if form == Form::Statement {
        return count_up(connection, protocol, id, name).await;
    }
    connection.query_drop("BEGIN").await?;
    count_up(connection, protocol, id, name).await?;
    let insert = format!("INSERT INTO orders (id, user_id, amount, note) VALUES ({id}, {id}, 1, '{name}')");
    connection.query_drop(insert).await?;
    connection.query_drop("COMMIT").await
}

/// How often that was done, in the user and in the order.
async fn done(shop: &Shop, id: u64) -> [String; 2] {
    let mut connection = shop.connect().await;
    let user = format!("SELECT CAST(balance AS SIGNED) FROM users WHERE id = {id}");
    let order = format!("SELECT COUNT(*) FROM orders WHERE user_id = {id}");
    let [user, order] = [
        rows(&mut connection, &user).await.unwrap().remove(0),
        rows(&mut connection, &order).await.unwrap().remove(0),
    ];
    [user, order]
}

/// Users whose balance is 0.
async fn users(shop: &Shop, count: u64) {
    let rows: Vec<String> = (1..=count).map(|id| format!("({id}, 'old')")).collect();
    let insert = format!("INSERT INTO users (id, name) VALUES {}", rows.join(", "));
    shop.connect().await.query_drop(insert).await.unwrap();
}

/// As the driver tells it when the server hangs up.
fn is_lost(error: &mysql_async::Error) -> bool {
    !matches!(error, mysql_async::Error::Server(_))
}

async fn ends_equal(shop: &Shop) {
    until("dirty keys are healed", Duration::from_secs(30), async || {
        (shop.of_move()["dirty_keys"] == 0).then_some(())
    })
    .await;
    shop.run(&["move", "verify", "shop", "--mode", "exact"]);
}

#[tokio::test]
async fn under_double_write_a_commit_of_the_source_that_is_lost_is_lost_to_the_client() {
    for lines in both_captures("sync").into_iter().chain(both_captures("strict")) {
        let shop = carried_over(&lines).await;
        let mut cut = 0;
        for protocol in PROTOCOLS {
            for form in FORMS {
                for around in CUTS {
                    cut += 1;
                    let name = format!("cut {cut}");
                    shop.cluster.legacy.relay().arm(&name, At::Commit, around);
                    let case = format!("{lines}: {protocol:?} {form:?} {around:?}");
                    let mut connection = shop.connect().await;
                    let told = write(&mut connection, (protocol, form), cut, &name).await.unwrap_err();
                    assert!(is_lost(&told), "{case}: {told}");
                    shop.cluster.legacy.relay().was_cut(cut).await;
                    // The target has it later than the source: readers are sent where it is known.
                    let times = u64::from(around == Cut::After).to_string();
                    let orders = if form == Form::Transaction { times.clone() } else { "0".to_owned() };
                    assert_eq!(done(&shop, cut).await, [times, orders], "{case}");
                }
            }
        }
        ends_equal(&shop).await;
    }
}

/// The server gets no `COMMIT`, and nobody is told.
#[tokio::test]
async fn under_double_write_a_commit_of_the_target_that_is_never_answered_is_made_good() {
    for mode in ["sync", "strict"] {
        let shop = carried_over(&format!("double_write = \"{mode}\"")).await;
        let target = shop.cluster.shards[1].relay();
        target.arm("unanswered", At::Commit, Cut::Silence);
        let mut connection = shop.connect().await;
        let update = "UPDATE users SET name = 'unanswered' WHERE id = 2";
        let told = tokio::time::timeout(Duration::from_secs(60), connection.query_drop(update)).await;
        match told.expect("an answer") {
            Ok(()) => assert_eq!(mode, "sync"),
            Err(error) => {
                let (_, message) = server_error(&error);
                assert!(mode == "strict" && message.starts_with("SHD1423"), "{mode}: {message}");
            }
        }
        target.was_cut(1).await;
        ends_equal(&shop).await;
        assert_eq!(shop.on_shard(1, "SELECT name FROM users_2 WHERE id = 2").await, ["unanswered"]);
    }
}

#[tokio::test]
async fn under_double_write_a_commit_of_the_target_that_is_lost_is_made_good() {
    for (mode, lines) in
        ["sync", "strict"].into_iter().flat_map(|mode| both_captures(mode).map(|lines| (mode, lines)))
    {
        let shop = carried_over(&lines).await;
        let target = &shop.cluster.shards[1];
        let mut cut = 0;
        for protocol in PROTOCOLS {
            for form in FORMS {
                for around in CUTS {
                    cut += 1;
                    // On the second shard server.
                    let (id, name) = (4 * cut + 2, format!("cut {cut}"));
                    target.relay().arm(&name, At::Commit, around);
                    let case = format!("{lines}: {protocol:?} {form:?} {around:?}");
                    let mut connection = shop.connect().await;
                    let told = write(&mut connection, (protocol, form), id, &name).await;
                    match told {
                        Ok(()) => assert_eq!(mode, "sync", "{case}"),
                        Err(error) => {
                            let (_, message) = server_error(&error);
                            assert!(mode == "strict" && message.starts_with("SHD1423"), "{case}: {message}");
                        }
                    }
                    target.relay().was_cut(cut).await;
                    let orders = u64::from(form == Form::Transaction).to_string();
                    assert_eq!(done(&shop, id).await, ["1".to_owned(), orders], "{case}");
                }
            }
        }
        ends_equal(&shop).await;
    }
}

/// With a stream beside double write, and with nothing but the journal.
fn both_captures(mode: &str) -> [String; 2] {
    ["binlog", "none"].map(|capture| format!("capture = \"{capture}\"\ndouble_write = \"{mode}\""))
}

/// A shop whose users are on both sides, and are read on the target.
async fn carried_over(lines: &str) -> Shop {
    let shop = Shop::open_moving_relayed().await;
    users(&shop, 40).await;
    shop.save(lines).await;
    shop.carry_over().await;
    shop.save(&format!("{lines}\nreads = 100")).await;
    shop
}

#[tokio::test]
async fn a_commit_over_several_shards_that_is_lost_is_told_as_what_is_known_of_it() {
    let shop = Shop::open_relayed().await;
    users(&shop, 70).await;
    let relay = |shard: usize| shop.cluster.shards[shard].relay();
    let mut cuts = [0, 0];
    for protocol in PROTOCOLS {
        for around in CUTS {
            for (shard, form) in
                [(0, Form::Statement), (0, Form::Transaction), (1, Form::Statement), (1, Form::Transaction)]
            {
                cuts[shard] += 1;
                let first = 4 * (cuts[0] + cuts[1]);
                let (ids, name) = ([first, first + 2], format!("cut {first}"));
                relay(shard).arm(&name, At::Commit, around);
                let mut connection = shop.connect().await;
                let told = over_both(&mut connection, (protocol, form), ids, &name).await.unwrap_err();
                let case = format!("{protocol:?} {form:?} {shard} {around:?}: {told}");
                relay(shard).was_cut(cuts[shard]).await;
                let is_done = usize::from(around == Cut::After);
                // The first shard commits first; whatever it says, the second waits for it.
                let expected = if shard == 0 { [is_done, 0] } else { [1, is_done] };
                if shard == 0 {
                    assert!(is_lost(&told), "{case}");
                } else {
                    let (code, message) = server_error(&told);
                    assert!(code == 2013 && message.starts_with("SHD1307"), "{case}");
                    assert!(message.contains("committed on s0, unknown on s1"), "{case}");
                }
                for (id, times) in ids.into_iter().zip(expected) {
                    assert_eq!(done(&shop, id).await[0], times.to_string(), "{case}");
                }
            }
        }
    }
    let log = shop.proxy.log();
    assert_eq!(log.matches("nobody knows whether a transaction over several backends").count(), 8, "{log}");
}

/// Counts up a user of each shard server in one transaction.
async fn over_both(
    connection: &mut Conn,
    (protocol, form): (Protocol, Form),
    ids: [u64; 2],
    name: &str,
) -> Result<(), mysql_async::Error> {
    if form == Form::Statement {
        let [one, other] = ids;
        let update = "UPDATE users SET balance = balance + 1, name = ? WHERE id IN (?, ?)";
        let text =
            format!("UPDATE users SET balance = balance + 1, name = '{name}' WHERE id IN ({one}, {other})");
        return match protocol {
            Protocol::Text => connection.query_drop(text).await,
            Protocol::Prepared => connection.exec_drop(update, (name, one, other)).await,
        };
    }
    connection.query_drop("BEGIN").await?;
    for id in ids {
        count_up(connection, protocol, id, name).await?;
    }
    connection.query_drop("COMMIT").await
}

#[tokio::test]
async fn a_write_on_one_shard_that_is_lost_is_not_sent_again() {
    let shop = Shop::open_relayed().await;
    users(&shop, 40).await;
    let relay = shop.cluster.shards[0].relay();
    let mut cut = 0;
    for protocol in PROTOCOLS {
        for around in CUTS {
            for (form, at) in [(Form::Statement, At::Statement), (Form::Transaction, At::Commit)] {
                cut += 1;
                let (id, name) = (4 * cut, format!("cut {cut}"));
                relay.arm(&name, at, around);
                let case = format!("{protocol:?} {form:?} {around:?}");
                let mut connection = shop.connect().await;
                let told = write(&mut connection, (protocol, form), id, &name).await.unwrap_err();
                assert!(is_lost(&told), "{case}: {told}");
                relay.was_cut(cut).await;
                let times = u64::from(around == Cut::After).to_string();
                assert_eq!(done(&shop, id).await[0], times, "{case}");
                // The next client has nothing to do with it.
                let mut next = shop.connect().await;
                count_up(&mut next, protocol, id + 1, "next").await.unwrap();
                assert_eq!(done(&shop, id + 1).await[0], "1", "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_copy_and_a_stream_whose_commits_are_lost_bring_every_row_over() {
    let shop = Shop::open_moving_relayed().await;
    users(&shop, 40).await;
    let target: &Server = &shop.cluster.shards[1];
    let mut connection = shop.connect().await;
    count_up(&mut connection, Protocol::Text, 2, "copied").await.unwrap();
    target.relay().arm("copied", At::Commit, Cut::After);
    shop.carry_over().await;
    target.relay().was_cut(1).await;
    for (cut, around) in (2..).zip(CUTS) {
        let name = format!("streamed {cut}");
        target.relay().arm(&name, At::Commit, around);
        for id in 1..=40 {
            count_up(&mut connection, Protocol::Text, id, &name).await.unwrap();
        }
        target.relay().was_cut(cut).await;
        shop.in_step().await;
        shop.run(&["move", "verify", "shop", "--mode", "exact"]);
    }
}

//! What is measured of a replica, where transactions have numbers and where they have not.

use shardway_migration::replication::{Asked, Unmeasured};
use shardway_tests::Flavour;

use super::*;

const TABLE: &str = "CREATE TABLE measured.t (id INT PRIMARY KEY)";

async fn asked(server: &Server) -> Asked {
    Asked::over(server.connect("").await).await.unwrap()
}

/// Servers that do not number transactions, where there are such.
fn options() -> &'static [&'static str] {
    match Flavour::chosen() {
        Flavour::MariaDb => &[],
        Flavour::MySql => &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"],
    }
}

async fn follow(replica: &Server, primary: &Server) {
    if Flavour::chosen() == Flavour::MariaDb {
        return replica.follow(primary).await;
    }
    let at = rows(&mut primary.connect("").await, "SHOW BINARY LOG STATUS").await.unwrap();
    let (file, place) = at[0].split_once('|').unwrap();
    let place = place.split('|').next().unwrap();
    replica
        .run(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'shop', \
             SOURCE_PASSWORD = 'shop', SOURCE_LOG_FILE = '{file}', SOURCE_LOG_POS = {place}, GET_SOURCE_PUBLIC_KEY = 1",
            primary.port()
        ))
        .await;
    replica.replica("START").await;
}

fn why<T: std::fmt::Debug>(told: Result<T, Unmeasured>) -> String {
    told.unwrap_err().to_string()
}

#[tokio::test]
async fn a_replica_has_what_was_logged_once_it_has_applied_it() {
    let primary = Server::start_with(options()).await;
    let own = |id: &'static str| [&[id, "--read-only=ON"], options()].concat();
    let replica = Server::start_with(&own("--server-id=31")).await;
    follow(&replica, &primary).await;
    let (mut of_primary, mut of_replica) = (asked(&primary).await, asked(&replica).await);
    primary.run("CREATE DATABASE measured").await;
    primary.run(TABLE).await;
    let has_all = async |of_primary: &mut Asked, of_replica: &mut Asked| {
        let logged = of_primary.logged().await.unwrap();
        until("the replica has it", LIMIT, async || {
            let applied = of_replica.applied().await.unwrap();
            (applied.fits(&logged).is_ok() && applied.has(&logged)).then_some(())
        })
        .await;
    };
    has_all(&mut of_primary, &mut of_replica).await;
    let before = of_primary.logged().await.unwrap();
    replica.replica("STOP SQL_THREAD").await;
    primary.run("INSERT INTO measured.t VALUES (1)").await;
    let logged = of_primary.logged().await.unwrap();
    let applied = of_replica.applied().await.unwrap();
    assert!(applied.has(&before) && !applied.has(&logged), "{applied:?} {logged:?}");
    replica.replica("START SQL_THREAD").await;
    has_all(&mut of_primary, &mut of_replica).await;
    assert_eq!(rows(&mut replica.connect("").await, "SELECT id FROM measured.t").await.unwrap(), ["1"]);
    assert_eq!(why(of_replica.logged().await), "its primary is read-only");
    assert_eq!(why(of_primary.applied().await), "it is not read-only");
    let stranger = Server::start_with(&own("--server-id=32")).await;
    let applied = asked(&stranger).await.applied().await.unwrap();
    assert!(why(applied.fits(&logged)).contains("does not replicate from its primary"));
}

#[tokio::test]
async fn a_replica_that_leaves_rows_out_is_unfit() {
    let primary = Server::start().await;
    let options = ["--server-id=31", "--read-only=ON", "--replicate-ignore-table=measured.t"];
    let replica = Server::start_with(&options).await;
    replica.follow(&primary).await;
    let told = why(asked(&replica).await.applied().await);
    assert!(told.contains("it leaves out a part of the rows: Replicate_Ignore_Table = measured.t"), "{told}");
}

//! One legacy server and two shard servers, shared by all tests of a process; every test has databases of its own.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

use mysql_async::prelude::Queryable as _;
use tokio::sync::OnceCell;

use crate::proxy::Proxy;
use crate::server::Server;

/// The servers.
#[derive(Debug)]
pub struct Cluster {
    pub legacy: Server,
    pub shards: [Server; 2],
    /// What the rules say of each beside its URL.
    pub line: String,
}

/// Where a shop's users and orders are at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    OnShards,
    OnLegacy,
}

/// Whose servers a shop is on.
#[derive(Debug)]
pub enum Servers {
    Shared(&'static Cluster),
    /// Of this shop alone: they may be killed.
    Own(Box<Cluster>),
}

impl Deref for Servers {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        match self {
            Servers::Shared(cluster) => cluster,
            Servers::Own(cluster) => cluster,
        }
    }
}

/// A shop of one test: users and their orders sharded, regions copied, everything else on the legacy server.
#[derive(Debug)]
pub struct Shop {
    /// Ends before its servers do: the last lines of its log are about what the test did.
    pub proxy: Proxy,
    pub cluster: Servers,
    /// The database, on every server and through the proxy.
    pub name: String,
}

impl Cluster {
    /// The servers, started by the first test that asks.
    pub async fn get() -> &'static Cluster {
        static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
        CLUSTER.get_or_init(Cluster::start).await
    }

    async fn start() -> Cluster {
        Cluster::start_with(&[]).await
    }

    /// With these options for all of them.
    async fn start_all_with(options: &[&str]) -> Cluster {
        let start = || Server::start_with(options);
        let (legacy, s0, s1) = tokio::join!(start(), start(), start());
        Cluster { legacy, shards: [s0, s1], line: String::new() }
    }

    /// With these options for the legacy server.
    async fn start_with(legacy: &[&str]) -> Cluster {
        let (legacy, s0, s1) = tokio::join!(Server::start_with(legacy), Server::start(), Server::start());
        Cluster { legacy, shards: [s0, s1], line: String::new() }
    }

    /// With each of them behind a relay.
    async fn start_relayed() -> Cluster {
        let Cluster { legacy, shards: [s0, s1], line } = Cluster::start().await;
        Cluster { legacy: legacy.relayed(), shards: [s0.relayed(), s1.relayed()], line }
    }

    /// A database name that nobody else has.
    #[must_use]
    pub fn new_name(&self, prefix: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        format!("{prefix}{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn servers(&self) -> [&Server; 3] {
        [&self.legacy, &self.shards[0], &self.shards[1]]
    }
}

const USERS: &str = "id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(60) NOT NULL, email VARCHAR(80), region_id INT NOT NULL DEFAULT 1, \
     balance DECIMAL(12,2) NOT NULL DEFAULT 0, born DATE";
const ORDERS: &str = "id BIGINT NOT NULL PRIMARY KEY, user_id BIGINT NOT NULL, amount DECIMAL(10,2) NOT NULL, \
     status ENUM('new','paid','sent') NOT NULL DEFAULT 'new', placed_at DATETIME(3) NOT NULL DEFAULT '2024-01-01', \
     note VARCHAR(100), KEY (user_id)";
const REGIONS: &str = "id INT NOT NULL PRIMARY KEY, name VARCHAR(40) NOT NULL";
const SETTINGS: &str =
    "id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) NOT NULL UNIQUE, value TEXT";

/// Every logical table, for a plain server.
#[must_use]
pub fn tables() -> Vec<(&'static str, &'static str)> {
    vec![("users", USERS), ("orders", ORDERS), ("regions", REGIONS), ("settings", SETTINGS)]
}

impl Shop {
    /// Makes the databases and starts a proxy on them.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn open() -> Shop {
        Shop::open_with("").await
    }

    /// A shop whose users and orders are on the legacy server, about to move to the shards.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn open_moving() -> Shop {
        Shop::make(Servers::Shared(Cluster::get().await), "", Rows::OnLegacy).await
    }

    /// The same on servers of its own.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn open_moving_alone() -> Shop {
        Shop::make(Servers::Own(Box::new(Cluster::start().await)), "", Rows::OnLegacy).await
    }

    /// The same, with these options for the legacy server.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn open_moving_with(legacy: &[&str]) -> Shop {
        let cluster = Cluster::start_with(legacy).await;
        Shop::make(Servers::Own(Box::new(cluster)), "", Rows::OnLegacy).await
    }

    /// A shop on servers of its own with these options, whose rules have this line for each of them.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn open_moving_inside(options: &[&str], line: &str) -> Shop {
        let mut cluster = Cluster::start_all_with(options).await;
        cluster.line = format!("{line}\n");
        Shop::make(Servers::Own(Box::new(cluster)), "", Rows::OnLegacy).await
    }

    /// A shop like that of [`Shop::open`], on servers of its own.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn open_alone() -> Shop {
        Shop::make(Servers::Own(Box::new(Cluster::start().await)), "", Rows::OnShards).await
    }

    /// A shop like that of [`Shop::open_moving`], on servers of its own that connections are cut to.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn open_moving_relayed() -> Shop {
        Shop::make(Servers::Own(Box::new(Cluster::start_relayed().await)), "", Rows::OnLegacy).await
    }

    /// The same like that of [`Shop::open`].
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn open_relayed() -> Shop {
        Shop::make(Servers::Own(Box::new(Cluster::start_relayed().await)), "", Rows::OnShards).await
    }

    /// Its servers, to be killed and started again.
    ///
    /// # Panics
    /// When they are everybody's.
    pub fn own(&mut self) -> &mut Cluster {
        match &mut self.cluster {
            Servers::Own(cluster) => cluster,
            Servers::Shared(_) => panic!("these servers are everybody's"),
        }
    }

    /// The rule file of a shop that moves, under these lines of its move.
    #[must_use]
    pub fn moving_rules(&self, lines: &str) -> String {
        moving_rules(&self.cluster, &self.name, lines)
    }

    /// The same as [`Shop::open`], with more lines for `shardway.toml`.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn open_with(config: &str) -> Shop {
        Shop::make(Servers::Shared(Cluster::get().await), config, Rows::OnShards).await
    }

    async fn make(cluster: Servers, config: &str, begin: Rows) -> Shop {
        let name = cluster.new_name("shop");
        for (place, server) in cluster.servers().into_iter().enumerate() {
            let mut connection = server.connect("").await;
            let made = connection
                .query_drop(format!(
                    "CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
                ))
                .await;
            made.expect("a new database");
            connection.query_drop(format!("USE {name}")).await.expect("the new database");
            let mut create = Vec::new();
            if place == 0 {
                create.push(format!("settings ({SETTINGS})"));
                if begin == Rows::OnLegacy {
                    create.push(format!("users ({USERS})"));
                    create.push(format!("orders ({ORDERS})"));
                }
            } else {
                for number in [2 * place - 2, 2 * place - 1] {
                    create.push(format!("users_{number} ({USERS})"));
                    create.push(format!("orders_{number} ({ORDERS})"));
                }
                create.push(format!("regions ({REGIONS})"));
            }
            for table in create {
                connection.query_drop(format!("CREATE TABLE {table}")).await.expect("a new table");
            }
        }
        let rules = match begin {
            Rows::OnShards => rules(&cluster, &name),
            Rows::OnLegacy => moving_rules(&cluster, &name, ""),
        };
        let proxy = Proxy::start_with(&rules, config).await;
        Shop { cluster, name, proxy }
    }

    /// The rule file.
    #[must_use]
    pub fn rules(&self) -> String {
        rules(&self.cluster, &self.name)
    }

    /// Rows of a shard's own table.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn on_shard(&self, shard: usize, sql: &str) -> Vec<String> {
        let mut connection = self.cluster.shards[shard].connect(&self.name).await;
        crate::rows(&mut connection, sql).await.expect("the shard answers")
    }

    /// A connection through the proxy.
    pub async fn connect(&self) -> mysql_async::Conn {
        self.proxy.connect(&self.name).await
    }

    /// Connections that the proxy has open to any server, and how many of them clients hold.
    ///
    /// # Panics
    /// When the status is not as documented.
    #[must_use]
    pub fn backend_connections(&self) -> (u64, u64) {
        let status = self.proxy.status();
        let backends = status["backends"].as_array().expect("a list of backends");
        let sum = |of: &str| backends.iter().map(|backend| backend[of].as_u64().expect("a number")).sum();
        (sum("open_connections"), sum("connections_in_use"))
    }
}

fn moving_rules(cluster: &Cluster, name: &str, lines: &str) -> String {
    let rules = rules(cluster, name);
    format!("{rules}[moves.shop]\ntables = [\"users\", \"orders\"]\nfrom = \"legacy\"\n{lines}\n")
}

fn rules(cluster: &Cluster, name: &str) -> String {
    let backend = |backend: &str, server: &Server| {
        let (port, line) = (server.port(), &cluster.line);
        format!("[backends.{backend}]\nprimary = \"mysql://shop:shop@127.0.0.1:{port}/{name}\"\n{line}")
    };
    format!(
        "{}{}{}[databases.{name}]\ndefault = \"legacy\"\n\
         [tables.users]\nshard_key = \"id\"\nfunction = {{ kind = \"mod\", shards = 4 }}\nnodes = \"s{{0..1}}.users_{{0..3}}\"\n\
         [tables.orders]\nshard_key = \"user_id\"\nwith = \"users\"\nnodes = \"s{{0..1}}.orders_{{0..3}}\"\n\
         [tables.regions]\nkind = \"broadcast\"\nnodes = \"s{{0..1}}\"\n",
        backend("legacy", &cluster.legacy),
        backend("s0", &cluster.shards[0]),
        backend("s1", &cluster.shards[1]),
    )
}

//! Two servers with binary logs and the rules of a move between them, without a proxy: what the migration engine's own
//! tests need.

use mysql_async::prelude::Queryable as _;

use crate::server::Server;

/// The source has the database `shop`; the target's two backends are its databases `shop0` and `shop1`, which it has not
/// got at first.
#[derive(Debug)]
pub struct Pair {
    pub source: Server,
    pub target: Server,
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Source,
    Target,
}

impl Pair {
    /// Starts both, with more options for the source.
    ///
    /// # Panics
    /// When a server refuses.
    pub async fn start(options: &[&str]) -> Pair {
        let rows = ["--log-bin=bin", "--binlog-format=ROW", "--server-id=1"];
        let of_source = [&rows, options].concat();
        let of_target = ["--log-bin=bin", "--binlog-format=ROW", "--server-id=2"];
        let (source, target) = tokio::join!(Server::start_with(&of_source), Server::start_with(&of_target));
        let pair = Pair { source, target };
        pair.run(On::Source, "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci").await;
        pair
    }

    #[must_use]
    pub fn server(&self, on: On) -> &Server {
        match on {
            On::Source => &self.source,
            On::Target => &self.target,
        }
    }

    /// Runs a statement as `shop`, which may do everything.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn run(&self, on: On, sql: &str) {
        let mut connection = self.server(on).connect("").await;
        connection.query_drop(sql).await.unwrap_or_else(|error| panic!("{on:?}: {sql}: {error}"));
    }

    /// The rows of an answer as text.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn rows(&self, on: On, sql: &str) -> Vec<String> {
        let mut connection = self.server(on).connect("").await;
        crate::rows(&mut connection, sql).await.unwrap_or_else(|error| panic!("{on:?}: {sql}: {error}"))
    }

    /// A rule file with the backends, the database and these lines.
    #[must_use]
    pub fn rules(&self, lines: &str) -> String {
        self.rules_as("shop:shop", lines)
    }

    /// The same with another user for the source.
    #[must_use]
    pub fn rules_as(&self, user: &str, lines: &str) -> String {
        let (source, target) = (self.source.port(), self.target.port());
        format!(
            "[backends.legacy]\nprimary = \"mysql://{user}@127.0.0.1:{source}/shop\"\n\
             [backends.s0]\nprimary = \"mysql://shop:shop@127.0.0.1:{target}/shop0\"\n\
             [backends.s1]\nprimary = \"mysql://shop:shop@127.0.0.1:{target}/shop1\"\n\
             [databases.shop]\ndefault = \"legacy\"\n{lines}"
        )
    }
}

//! What the client was told: every write that was acknowledged, with its last value.
//!
//! It lives in the client's memory only, apart from everything it is compared with.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::shop::FIRST_NEW_ORDER;
use crate::{Servers, connect};

/// An order as it was last acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub user: u64,
    pub amount: String,
    pub status: &'static str,
}

/// Acknowledged writes.
#[derive(Debug, Default)]
pub struct Journal {
    pub orders: BTreeMap<u64, Order>,
    /// Users by their number of new orders.
    pub placed: BTreeMap<u64, u64>,
}

/// Orders and users as servers have them.
#[derive(Debug, Default)]
struct Found {
    orders: BTreeMap<u64, (u64, String, String)>,
    placed: BTreeMap<u64, u64>,
}

impl Journal {
    pub fn writes(&self) -> u64 {
        u64::try_from(self.orders.len() + self.placed.len()).unwrap_or(u64::MAX)
    }

    /// Compares with what the proxy, the legacy server and the shards have. The client must have stopped.
    pub async fn check(&self, servers: &Servers, proxy: u16) -> anyhow::Result<()> {
        let mut through = Found::default();
        through.read(&mut connect(proxy, "app", "shop").await?, "").await?;
        self.compare(&through).context("through the proxy")?;
        let mut legacy = Found::default();
        legacy.read(&mut connect(servers.legacy, "shop", "shop").await?, "").await?;
        self.compare(&legacy).context("on the legacy server")?;
        let mut shards = Found::default();
        for (place, port) in servers.shards.into_iter().enumerate() {
            let mut connection = connect(port, "shop", "shop").await?;
            for number in [2 * place, 2 * place + 1] {
                shards.read(&mut connection, &format!("_{number}")).await?;
            }
        }
        self.compare(&shards).context("on the shards")
    }

    fn compare(&self, found: &Found) -> anyhow::Result<()> {
        for (id, order) in &self.orders {
            let row = found.orders.get(id);
            let (user, amount, status) =
                row.with_context(|| format!("order {id} was acknowledged and is lost"))?;
            ensure!(
                *user == order.user && *amount == order.amount && status == order.status,
                "order {id} is user {user}, {amount}, {status}, but was acknowledged as {order:?}"
            );
        }
        ensure!(
            found.orders.len() == self.orders.len(),
            "{} orders are there, {} were acknowledged",
            found.orders.len(),
            self.orders.len()
        );
        ensure!(
            found.placed == self.placed,
            "the users' numbers of orders are not those that were acknowledged last"
        );
        Ok(())
    }
}

impl Found {
    /// Adds the rows of tables whose names end so.
    async fn read(&mut self, connection: &mut Conn, suffix: &str) -> anyhow::Result<()> {
        let orders: Vec<(u64, u64, String, String)> = connection
            .query(format!(
                "SELECT id, user_id, amount, status FROM orders{suffix} WHERE id > {FIRST_NEW_ORDER}"
            ))
            .await?;
        self.orders.extend(orders.into_iter().map(|(id, user, amount, status)| (id, (user, amount, status))));
        let users: Vec<(u64, u64)> = connection
            .query(format!("SELECT id, orders_placed FROM users{suffix} WHERE orders_placed > 0"))
            .await?;
        self.placed.extend(users);
        Ok(())
    }
}

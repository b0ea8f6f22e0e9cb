//! How far a replica is, by what its primary and the replica say of themselves.
//!
//! - A primary tells what its log held; a replica tells what it has applied. The replica had everything that anybody
//!   could see on the primary at a moment when it has applied what was logged when the primary was asked thereafter.
//! - Rows are in the log before they can be seen. MySQL counts a transaction as executed only afterwards, so the
//!   numbers that transactions own are taken in too, and read first.
//! - What is not known is not told: there is no guess from clocks or from seconds that a replica counts itself.
//!
//! A server whose answers may differ from its primary's though it has the same rows is unfit: it can be written to, it
//! leaves out a part, or it is set otherwise.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Row};
use shardway_routing::lex::Flavour;

use crate::stream::gtid::Gtids;
use crate::stream::link::numbers_at;

/// Settings on which the answer to a plain `SELECT` depends.
const SETTINGS: [&str; 11] = [
    "sql_mode",
    "time_zone",
    "character_set_server",
    "collation_server",
    "lower_case_table_names",
    "div_precision_increment",
    "group_concat_max_len",
    "default_week_format",
    "lc_time_names",
    "max_sort_length",
    "sql_select_limit",
];

/// Why nothing is known.
#[derive(Debug, thiserror::Error)]
pub enum Unmeasured {
    #[error("{0}")]
    Server(#[from] Error),
    #[error("{0}")]
    Unfit(String),
}

/// A connection to ask over.
#[derive(Debug)]
pub struct Asked {
    connection: Conn,
    version: String,
    flavour: Flavour,
}

/// What a primary's log held when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    upto: Upto,
    /// MySQL's `server_uuid`, MariaDB's `server_id`.
    server: String,
    flavour: Flavour,
    settings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Upto {
    Numbers(Gtids),
    Place(Place),
}

/// A place in a primary's log: the file's number and the offset.
type Place = (u64, u64);

/// What a replica has applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    numbers: Gtids,
    /// Each server that it follows.
    followed: Vec<Followed>,
    flavour: Flavour,
    settings: Vec<String>,
}

/// A server whose log a replica applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Followed {
    server: String,
    /// As the replica calls it: `host:port`.
    address: String,
    file: String,
    offset: u64,
}

/// What a server says of itself in one row.
struct Told {
    is_read_only: bool,
    server: String,
    numbers: Gtids,
    settings: Vec<String>,
}

impl Asked {
    /// Asks over this connection.
    ///
    /// # Errors
    /// When the server does not say what it is.
    pub async fn over(mut connection: Conn) -> Result<Asked, Error> {
        let version: Option<String> =
            connection.query_first("SELECT CONVERT(VERSION() USING utf8mb4)").await?;
        let version = version.unwrap_or_default();
        let flavour = if version.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
        Ok(Asked { connection, version, flavour })
    }

    /// As the server says it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What a primary's log holds now.
    ///
    /// # Errors
    /// [`Unmeasured`], also when the server may not be written to or keeps no log.
    pub async fn logged(&mut self) -> Result<Logged, Unmeasured> {
        let owned = match self.flavour {
            Flavour::MariaDb => String::new(),
            Flavour::MySql => self.text("SELECT CONVERT(@@GLOBAL.gtid_owned USING utf8mb4)").await?,
        };
        let mut told = self.told("gtid_binlog_pos").await?;
        if told.is_read_only {
            return Err(unfit("its primary is read-only"));
        }
        told.numbers.own(&owned);
        let upto = match told.numbers {
            Gtids::Unknown if self.flavour == Flavour::MySql => Upto::Place(self.end_of_log().await?),
            Gtids::Unknown => return Err(unfit("its primary does not number transactions in a known way")),
            // Every server has what nobody has written.
            Gtids::Empty => return Err(unfit("its primary has logged nothing yet")),
            numbers => Upto::Numbers(numbers),
        };
        Ok(Logged { upto, server: told.server, flavour: self.flavour, settings: told.settings })
    }

    /// What a replica has applied by now.
    ///
    /// # Errors
    /// [`Unmeasured`], also when it may be written to or leaves out a part of what it follows.
    pub async fn applied(&mut self) -> Result<Applied, Unmeasured> {
        let told = self.told("gtid_slave_pos").await?;
        if !told.is_read_only {
            return Err(unfit("it is not read-only"));
        }
        let rows = self.replication().await?;
        if let Some(filter) = rows.iter().find_map(filter) {
            return Err(unfit(&format!("it leaves out a part of the rows: {filter}")));
        }
        let followed = rows.iter().filter_map(followed).collect();
        Ok(Applied { numbers: told.numbers, followed, flavour: self.flavour, settings: told.settings })
    }

    /// Does the replica follow this very server? MariaDB's `server_id` is given by hand, so two servers may have the
    /// same. The transactions before the place that the replica had reached in its log must be those that it had then.
    ///
    /// # Errors
    /// [`Unmeasured`], also when nothing proves it.
    pub async fn proves(&mut self, before: &Applied, now: &Applied) -> Result<(), Unmeasured> {
        let unproved = || unfit("nothing proves yet that it replicates from its primary");
        let own = self.told("gtid_binlog_pos").await?.server;
        let place = before.followed.iter().find(|of| of.server == own).ok_or_else(unproved)?;
        let there = numbers_at(&mut self.connection, &place.file, place.offset).await?;
        let there = Gtids::read(there.as_deref());
        let is_it =
            there != Gtids::Empty && before.numbers.is_within(&there) && there.is_within(&now.numbers);
        if is_it { Ok(()) } else { Err(unproved()) }
    }

    /// Ends the connection.
    pub async fn end(self) {
        // What was told is told, however the connection ends.
        let _ = self.connection.disconnect().await;
    }

    async fn text(&mut self, sql: &str) -> Result<String, Error> {
        let text: Option<Option<String>> = self.connection.query_first(sql).await?;
        Ok(text.flatten().unwrap_or_default())
    }

    /// `numbers` is the variable that MariaDB has them in.
    async fn told(&mut self, numbers: &str) -> Result<Told, Unmeasured> {
        let own: &[&str] = match self.flavour {
            Flavour::MariaDb => &["read_only", "server_id", numbers],
            Flavour::MySql => &["read_only", "server_uuid", "gtid_executed", "gtid_mode"],
        };
        let variable = |name: &&str| format!("CONVERT(@@GLOBAL.{name} USING utf8mb4)");
        let list: Vec<String> = own.iter().chain(&SETTINGS).map(variable).collect();
        let row: Option<Row> = self.connection.query_first(format!("SELECT {}", list.join(", "))).await?;
        let row = row.ok_or_else(|| unfit("it does not tell its variables"))?;
        let field = |at: usize| row.get_opt::<Option<String>, _>(at)?.ok().flatten();
        let field = |at: usize| field(at).unwrap_or_default();
        let numbers: String = field(2).split_whitespace().collect();
        let has_numbers = self.flavour == Flavour::MariaDb || field(3) == "ON";
        Ok(Told {
            is_read_only: !matches!(field(0).as_str(), "0" | "OFF"),
            server: field(1),
            numbers: Gtids::read(has_numbers.then_some(&numbers)),
            settings: (0..SETTINGS.len()).map(|at| field(own.len() + at)).collect(),
        })
    }

    async fn end_of_log(&mut self) -> Result<Place, Unmeasured> {
        let row: Option<Row> = self.first_of(["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"]).await?.pop();
        let place = row.and_then(|row| place(&row.get::<String, _>(0)?, row.get(1)?));
        place.ok_or_else(|| unfit("its primary keeps no binary log"))
    }

    async fn replication(&mut self) -> Result<Vec<Row>, Error> {
        match self.flavour {
            Flavour::MariaDb => self.connection.query("SHOW ALL SLAVES STATUS").await,
            Flavour::MySql => self.first_of(["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"]).await,
        }
    }

    /// The answer to the first of two statements, or to the second where the server does not know the first yet.
    async fn first_of(&mut self, [new, old]: [&str; 2]) -> Result<Vec<Row>, Error> {
        const SYNTAX: u16 = 1064;
        match self.connection.query(new).await {
            Err(Error::Server(error)) if error.code == SYNTAX => self.connection.query(old).await,
            other => other,
        }
    }
}

fn unfit(why: &str) -> Unmeasured {
    Unmeasured::Unfit(why.to_owned())
}

fn place(file: &str, offset: u64) -> Option<Place> {
    Some((file.rsplit('.').next()?.parse().ok()?, offset))
}

/// A column of a replication status by one of its names.
fn column(row: &Row, names: [&str; 2]) -> Option<String> {
    let columns = row.columns_ref();
    let at = columns.iter().position(|column| names.contains(&column.name_str().as_ref()))?;
    row.get_opt::<Option<String>, _>(at)?.ok().flatten()
}

fn followed(row: &Row) -> Option<Followed> {
    let server = column(row, ["Source_UUID", "Master_UUID"])
        .or_else(|| column(row, ["Source_Server_Id", "Master_Server_Id"]))?;
    let of = |names| column(row, names).unwrap_or_default();
    let offset = of(["Exec_Source_Log_Pos", "Exec_Master_Log_Pos"]).parse().unwrap_or(0);
    let file = of(["Relay_Source_Log_File", "Relay_Master_Log_File"]);
    Some(Followed { server, address: followed_address(row), file, offset })
}

/// Whom a row of a replication status follows: `host:port`.
pub(crate) fn followed_address(row: &Row) -> String {
    let of = |names| column(row, names).unwrap_or_default();
    format!("{}:{}", of(["Source_Host", "Master_Host"]), of(["Source_Port", "Master_Port"]))
}

fn filter(row: &Row) -> Option<String> {
    let columns = row.columns_ref();
    let named = |name: &str| {
        const FILTERS: [&str; 4] =
            ["Replicate_Do_", "Replicate_Ignore_", "Replicate_Wild_", "Replicate_Rewrite_"];
        FILTERS.iter().any(|filter| name.starts_with(filter)) && !name.ends_with("Server_Ids")
    };
    let mut filters = columns.iter().enumerate().filter(|(_, column)| named(&column.name_str()));
    filters.find_map(|(at, column)| {
        let value = row.get_opt::<Option<String>, _>(at)?.ok().flatten()?;
        (!value.is_empty()).then(|| format!("{} = {value}", column.name_str()))
    })
}

impl Applied {
    /// Would it answer as its primary does, once it has the same rows?
    ///
    /// # Errors
    /// Why not.
    pub fn fits(&self, primary: &Logged) -> Result<Follows, Unmeasured> {
        if self.flavour != primary.flavour {
            return Err(unfit("it is a server of another kind than its primary"));
        }
        // Numbers of MariaDB, and places of a log, are those of whom it follows; MySQL's are of the whole world.
        let is_worldwide = self.flavour == Flavour::MySql && matches!(primary.upto, Upto::Numbers(_));
        let followed = self.followed.iter().find(|of| of.server == primary.server);
        if !is_worldwide && followed.is_none() {
            return Err(unfit("it does not replicate from its primary itself"));
        }
        let mut pairs = SETTINGS.iter().zip(self.settings.iter().zip(&primary.settings));
        match pairs.find(|(_, (own, of_primary))| own != of_primary) {
            Some((name, (own, of_primary))) => {
                Err(unfit(&format!("its {name} is `{own}` and not `{of_primary}` as its primary's")))
            }
            None => Ok(match (self.flavour, followed) {
                (Flavour::MariaDb, Some(of)) => Follows::OneOfThatId(of.address.clone()),
                _ => Follows::ThatOne,
            }),
        }
    }

    /// Has it applied everything that was logged?
    #[must_use]
    pub fn has(&self, logged: &Logged) -> bool {
        match &logged.upto {
            Upto::Numbers(numbers) => numbers.is_within(&self.numbers),
            Upto::Place(place) => {
                let mut same = self.followed.iter().filter(|of| of.server == logged.server);
                same.any(|of| self::place(&of.file, of.offset).is_some_and(|reached| reached >= *place))
            }
        }
    }
}

/// How sure it is whom a replica follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follows {
    ThatOne,
    /// A server with its `server_id`, at that address as the replica calls it: to be proved.
    OneOfThatId(String),
}

/// What a primary had logged at moments, and a replica has not been seen to have.
#[derive(Debug)]
pub struct Awaited<M> {
    moments: VecDeque<(M, Logged)>,
    /// Every so many moments are kept, beside the last one.
    stride: u32,
    /// Moments noted in place of each other at the end.
    merged: u32,
}

/// Moments kept. Of a replica that is far behind they are farther apart, so that they reach as far back as it is.
const KEPT: usize = 64;

impl<M> Default for Awaited<M> {
    fn default() -> Awaited<M> {
        Awaited { moments: VecDeque::new(), stride: 1, merged: 0 }
    }
}

impl<M: Copy> Awaited<M> {
    /// `logged` was told after that moment.
    pub fn note(&mut self, at: M, logged: Logged) {
        match self.moments.back_mut() {
            Some((before, same)) if *same == logged => {
                *before = at;
                return;
            }
            // Another server has taken over, and its log means something else.
            Some((_, other)) if other.server != logged.server => self.moments.clear(),
            Some(last) if self.merged + 1 < self.stride => {
                *last = (at, logged);
                self.merged += 1;
                return;
            }
            _ => {}
        }
        if self.moments.len() >= KEPT {
            self.stride = self.stride.saturating_mul(2);
            let mut nth = 0;
            self.moments.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
        }
        self.merged = 0;
        self.moments.push_back((at, logged));
    }

    /// The last moment of which the replica has everything.
    pub fn reached(&mut self, applied: &Applied) -> Option<M> {
        let last = self.moments.iter().rposition(|(_, logged)| applied.has(logged))?;
        let reached = self.moments.drain(..=last).next_back().map(|(at, _)| at);
        if self.moments.len() < KEPT / 2 {
            self.stride = (self.stride / 2).max(1);
        }
        reached
    }
}

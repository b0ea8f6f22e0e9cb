//! One client of the proxy and one of a plain server, given the same statements: what they see must be the same.

use mysql_async::consts::ColumnFlags;
use mysql_async::prelude::{Protocol, Queryable as _};
use mysql_async::{BinaryProtocol, Column, Conn, Params, QueryResult, Row, TextProtocol};
use shardway_tests::{Proxy, Shop, tables, text};

/// What a client can see of an answer.
#[derive(Debug, PartialEq)]
pub enum Answer {
    Done {
        columns: Vec<String>,
        rows: Vec<String>,
        affected: u64,
        insert_id: Option<u64>,
        warnings: u16,
    },
    Error(u16, String),
    /// The proxy's own refusal, by its id.
    Refused(String),
}

/// A shop behind the proxy, and the same tables on one server.
pub struct Twins {
    pub shop: Shop,
    pub alone: Conn,
    pub proxied: Conn,
}

/// Tables beside the shop's: name, columns, and where their rows lie.
const WIDE: [(&str, &str, &str); 12] = [
    (
        "kinds",
        "id BIGINT UNSIGNED NOT NULL PRIMARY KEY, i TINYINT, u INT UNSIGNED, z INT(6) ZEROFILL, d DECIMAL(20,6), f FLOAT, g DOUBLE, \
         s VARCHAR(40), l VARCHAR(40) CHARACTER SET latin1, b VARCHAR(40) COLLATE utf8mb4_bin, vb VARBINARY(40), e ENUM('z','a','m'), \
         st SET('x','y','w'), bt BIT(10), dt DATE, t TIME(3), dtm DATETIME(6), tm TIMESTAMP NULL, y YEAR, tx TEXT",
        "shard_key = \"id\"\nfunction = { kind = \"hash\", shards = 4 }\nnodes = \"s{0..1}.kinds_{0..3}\"",
    ),
    (
        "words",
        "word VARCHAR(20) NOT NULL PRIMARY KEY, n INT NOT NULL DEFAULT 0",
        "shard_key = \"word\"\nfunction = { kind = \"hash\", shards = 4 }\nnodes = \"s{0..1}.words_{0..3}\"",
    ),
    (
        "codes",
        "code CHAR(20) COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, n INT NOT NULL DEFAULT 0",
        "shard_key = \"code\"\nfunction = { kind = \"hash\", shards = 4 }\nnodes = \"s{0..1}.codes_{0..3}\"",
    ),
    (
        "bytes",
        "b BINARY(4) NOT NULL PRIMARY KEY, n INT NOT NULL DEFAULT 0",
        "shard_key = \"b\"\nfunction = { kind = \"hash\", shards = 4 }\nnodes = \"s{0..1}.bytes_{0..3}\"",
    ),
    (
        "signed",
        "k BIGINT NOT NULL PRIMARY KEY, n INT NOT NULL DEFAULT 0",
        "shard_key = \"k\"\nfunction = { kind = \"mod\", shards = 4 }\nnodes = \"s{0..1}.signed_{0..3}\"",
    ),
    (
        "positive",
        "k BIGINT UNSIGNED NOT NULL PRIMARY KEY, n INT NOT NULL DEFAULT 0",
        "shard_key = \"k\"\nfunction = { kind = \"mod\", shards = 4 }\nnodes = \"s{0..1}.positive_{0..3}\"",
    ),
    (
        "numbered",
        "id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL DEFAULT 0",
        "shard_key = \"id\"\nfunction = { kind = \"mod\", shards = 4 }\nnodes = \"s{0..1}.numbered_{0..3}\"",
    ),
    (
        "tiny",
        "k TINYINT NOT NULL PRIMARY KEY, n INT NOT NULL DEFAULT 0",
        "shard_key = \"k\"\nfunction = { kind = \"range\", bounds = [-50, 0, 50] }\nnodes = \"s{0..1}.tiny_{0..3}\"",
    ),
    (
        "dates",
        "day DATE NOT NULL PRIMARY KEY, n INT NOT NULL DEFAULT 0",
        "shard_key = \"day\"\nfunction = { kind = \"time\", unit = \"month\", from = \"2023-12\" }\nnodes = \"s{0..1}.dates_{0..3}\"",
    ),
    (
        "ticks",
        "at DATETIME NOT NULL, n INT NOT NULL DEFAULT 0",
        "shard_key = \"at\"\nfunction = { kind = \"time\", unit = \"day\", from = \"2024-01-04\" }\nnodes = \"s{0..1}.ticks_{0..3}\"",
    ),
    (
        "visits",
        "id INT NOT NULL, at DATETIME(3) NOT NULL, n INT NOT NULL DEFAULT 0, PRIMARY KEY (id, at)",
        "shard_key = \"at\"\nfunction = { kind = \"time\", unit = \"week\", from = \"2024-W01\" }\nnodes = \"s{0..1}.visits_{0..3}\"",
    ),
    (
        "guests",
        "visit INT NOT NULL, at DATETIME(3) NOT NULL, name VARCHAR(20), PRIMARY KEY (visit, at)",
        "shard_key = \"at\"\nwith = \"visits\"\nnodes = \"s{0..1}.guests_{0..3}\"",
    ),
];

impl Twins {
    pub async fn open() -> Twins {
        let shop = Shop::open().await;
        let plain = format!("{}_plain", shop.name);
        let mut alone = shop.cluster.legacy.connect("").await;
        alone
            .query_drop(format!("CREATE DATABASE {plain} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"))
            .await
            .unwrap();
        alone.query_drop(format!("USE {plain}")).await.unwrap();
        for (name, columns) in tables() {
            alone.query_drop(format!("CREATE TABLE {name} ({columns})")).await.unwrap();
        }
        let proxied = shop.connect().await;
        Twins { shop, alone, proxied }
    }

    /// With the tables of [`WIDE`] besides.
    pub async fn open_wide() -> Twins {
        let mut twins = Twins::open().await;
        let rules = twins.rules();
        for (name, columns, _) in WIDE {
            twins.alone.query_drop(format!("CREATE TABLE {name} ({columns})")).await.unwrap();
            for (place, shard) in twins.shop.cluster.shards.iter().enumerate() {
                let mut shard = shard.connect(&twins.shop.name).await;
                for number in [2 * place, 2 * place + 1] {
                    shard.query_drop(format!("CREATE TABLE {name}_{number} ({columns})")).await.unwrap();
                }
            }
        }
        // Tables that a running proxy does not know might hold rows elsewhere: it would refuse them.
        twins.shop.proxy = Proxy::start(&rules).await;
        twins.proxied = twins.shop.connect().await;
        twins
    }

    /// The rule file of a wide shop.
    pub fn rules(&self) -> String {
        let tables = WIDE.map(|(name, _, rule)| format!("[tables.{name}]\n{rule}\n"));
        format!("{}{}", self.shop.rules(), tables.concat())
    }

    /// Sends the statement to both, as text, and demands the same answer and the same warnings.
    pub async fn same(&mut self, sql: &str) -> Answer {
        let expected = as_text(&mut self.alone, sql).await;
        let found = as_text(&mut self.proxied, sql).await;
        assert_eq!(found, expected, "{sql}");
        if matches!(found, Answer::Done { warnings: 1.., .. }) {
            let expected = as_text(&mut self.alone, "SHOW WARNINGS").await;
            let found = physical(as_text(&mut self.proxied, "SHOW WARNINGS").await);
            assert_eq!(found, expected, "the warnings of {sql}");
        }
        found
    }

    /// The same answer, whatever the number of warnings: a server warns for each row that it looks at.
    pub async fn same_rows(&mut self, sql: &str) -> Answer {
        same_rows(&mut self.alone, &mut self.proxied, sql).await
    }

    /// The same, prepared.
    pub async fn same_prepared(&mut self, sql: &str, values: impl Into<Params>) -> Answer {
        let values = values.into();
        let expected = unwarned(as_prepared(&mut self.alone, sql, values.clone()).await);
        let found = unwarned(as_prepared(&mut self.proxied, sql, values.clone()).await);
        assert_eq!(found, expected, "{sql} with {values:?}");
        found
    }

    /// The proxy must refuse the prepared statement under this id.
    pub async fn refused_prepared(&mut self, sql: &str, values: impl Into<Params>, id: &str) {
        let found = as_prepared(&mut self.proxied, sql, values.into()).await;
        assert_eq!(found, Answer::Refused(id.to_owned()), "{sql}");
    }

    /// The proxy must refuse the statement under this id.
    pub async fn refused(&mut self, sql: &str, id: &str) {
        assert_eq!(as_text(&mut self.proxied, sql).await, Answer::Refused(id.to_owned()), "{sql}");
    }
}

/// What a plain server and the proxy answer, which must be the same but for the number of warnings.
pub async fn same_rows(alone: &mut Conn, proxied: &mut Conn, sql: &str) -> Answer {
    let expected = unwarned(as_text(alone, sql).await);
    let found = unwarned(as_text(proxied, sql).await);
    assert_eq!(found, expected, "{sql}");
    found
}

pub async fn as_text(connection: &mut Conn, sql: &str) -> Answer {
    let result: Result<QueryResult<'_, 'static, TextProtocol>, _> = connection.query_iter(sql).await;
    seen(result, sql).await
}

pub async fn as_prepared(connection: &mut Conn, sql: &str, values: Params) -> Answer {
    let result: Result<QueryResult<'_, 'static, BinaryProtocol>, _> = connection.exec_iter(sql, values).await;
    seen(result, sql).await
}

async fn seen<P: Protocol>(
    result: Result<QueryResult<'_, 'static, P>, mysql_async::Error>,
    sql: &str,
) -> Answer {
    let mut result = match result {
        Ok(result) => result,
        Err(error) => return failed(error, sql),
    };
    let columns = result.columns_ref().iter().map(|column| described(column, sql)).collect();
    let rows: Vec<Row> = match result.collect().await {
        Ok(rows) => rows,
        Err(error) => return failed(error, sql),
    };
    let mut rows: Vec<String> = rows.into_iter().map(text).collect();
    if !sql.to_lowercase().contains("order by") {
        rows.sort();
    }
    Answer::Done {
        columns,
        rows,
        affected: result.affected_rows(),
        insert_id: result.last_insert_id(),
        warnings: result.warnings(),
    }
}

/// MySQL's messages name the shard's table.
fn physical(mut answer: Answer) -> Answer {
    if let Answer::Done { rows, .. } = &mut answer {
        for row in rows {
            for number in 0..4 {
                *row = row.replace(&format!("_{number}.PRIMARY"), ".PRIMARY");
            }
        }
    }
    answer
}

fn unwarned(mut answer: Answer) -> Answer {
    if let Answer::Done { warnings, .. } = &mut answer {
        *warnings = 0;
    }
    answer
}

/// A column as far as a server fixes it: flags about keys depend on how the optimizer runs a join, and the proxy's own
/// answers about the session have the right types, if not each server's own lengths.
fn described(column: &Column, sql: &str) -> String {
    let short = format!("{} {:?}", column.name_str(), column.column_type());
    if ["SHOW WARNINGS", "SHOW ERRORS", "SHOW COUNT", "SELECT DATABASE", "SELECT @@last_insert_id"]
        .iter()
        .any(|own| sql.starts_with(own))
    {
        return short;
    }
    let keys = ColumnFlags::PRI_KEY_FLAG
        | ColumnFlags::UNIQUE_KEY_FLAG
        | ColumnFlags::MULTIPLE_KEY_FLAG
        | ColumnFlags::PART_KEY_FLAG
        | ColumnFlags::NO_DEFAULT_VALUE_FLAG;
    let (charset, length) = (column.character_set(), column.column_length());
    let (flags, decimals) = (column.flags() - keys, column.decimals());
    format!("{short} {flags:?} charset={charset} length={length} decimals={decimals}")
}

fn failed(error: mysql_async::Error, sql: &str) -> Answer {
    match error {
        mysql_async::Error::Server(error) => match error.message.split_once(": ") {
            Some((id, _)) if id.starts_with("SHD") => Answer::Refused(id.to_owned()),
            _ => Answer::Error(error.code, error.state),
        },
        other => panic!("{sql}: {other}"),
    }
}

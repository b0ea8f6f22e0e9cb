//! What a logical backup consists of, as values: which tables of which server make one dump, where a dump says it stands
//! in the log, the statements of a dump, the changes of a log, and sums that tell whether rows came through. Running tools
//! and keeping files is for others.

pub mod replay;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde::{Deserialize, Serialize};
use shardway_routing::topology::{Server, Side};

use crate::connection::fields;
use crate::image::{ImageShape, Second, Seed, quoted};
use crate::position::Position;
use crate::tables::{MovingTable, WorkError};

/// Sums of backups are compared with each other only, so one seed does.
const SEED: Seed = Seed(1);

/// The tables of a move in one database of one server: one dump.
#[derive(Debug, Clone)]
pub struct Part {
    pub server: Server,
    pub database: String,
    /// Physical names, and how their rows look.
    pub tables: Vec<(String, ImageShape)>,
}

/// Rows of one table, added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    pub table: String,
    pub rows: u64,
    pub hash: String,
}

/// The dumps that a side of a move needs.
#[must_use]
pub fn parts(tables: &[MovingTable], side: Side) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for table in tables {
        for end in table.origins(side) {
            let named = (end.name.clone(), table.shape.clone());
            let is_there =
                |part: &&mut Part| part.server.is_same_process(&end.server) && part.database == end.database;
            match parts.iter_mut().find(is_there) {
                Some(part) => part.tables.push(named),
                None => parts.push(Part {
                    server: end.server.clone(),
                    database: end.database.clone(),
                    tables: vec![named],
                }),
            }
        }
    }
    parts
}

/// Adds up the rows of a part's tables as they are in `database`, as the connection sees them.
///
/// # Errors
/// Whatever the server reports.
pub async fn sums(connection: &mut Conn, part: &Part, database: &str) -> Result<Vec<Sum>, WorkError> {
    let mut sums = Vec::new();
    for (table, shape) in &part.tables {
        let digest = shape.digest(SEED, Second::Hex);
        let from = format!("{}.{}", quoted(database), quoted(table));
        let row: Option<mysql_async::Row> =
            connection.query_first(format!("SELECT COUNT(*), {digest} FROM {from}")).await?;
        let read = fields(row.ok_or_else(|| WorkError::Stopped(format!("{from} adds up to nothing")))?);
        let text = |at: usize| {
            let field = read.get(at).cloned().flatten().unwrap_or_else(|| b"0".to_vec());
            String::from_utf8_lossy(&field).into_owned()
        };
        let rows =
            text(0).parse().map_err(|_| WorkError::Stopped(format!("{from} has no number of rows")))?;
        sums.push(Sum { table: table.clone(), rows, hash: format!("{}/{}", text(1), text(2)) });
    }
    Ok(sums)
}

/// The position that a dump's head names, in the words of either kind of tool.
#[must_use]
pub fn position(head: &[u8]) -> Option<Position> {
    let head = String::from_utf8_lossy(head);
    let line = head.lines().find(|line| line.contains("LOG_FILE='") && line.ends_with(';'))?;
    let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest);
    let file = after("LOG_FILE='")?.split('\'').next()?.to_owned();
    let digits: String = after("LOG_POS=")?.chars().take_while(char::is_ascii_digit).collect();
    Some(Position { file, offset: digits.parse().ok()?, gtids: None, server: None })
}

/// Puts a dump's lines together to statements. Dump tools end every statement with its line, and write no line break
/// inside of a text.
#[derive(Debug, Default)]
pub struct Statements {
    open: Vec<u8>,
}

impl Statements {
    /// The next line, with its end; the statement that it completes.
    pub fn line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let is_note = line.starts_with(b"--") || line.starts_with(b"/*M!999999\\-");
        if self.open.is_empty() && (is_note || line.trim_ascii().is_empty()) {
            return None;
        }
        self.open.extend_from_slice(line);
        line.trim_ascii_end().ends_with(b";").then(|| std::mem::take(&mut self.open))
    }

    /// Is nothing left half-way?
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_tools_name_the_position() {
        for line in [
            "-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000002', MASTER_LOG_POS=1234;",
            "-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000002', SOURCE_LOG_POS=1234;",
        ] {
            let head = format!("-- Host\n\n{line}\nCREATE TABLE `a` (\n");
            let found = position(head.as_bytes()).unwrap();
            assert_eq!((found.file.as_str(), found.offset), ("binlog.000002", 1234));
            assert_eq!(position(&head.as_bytes()[..40]), None, "half a line is none");
        }
    }

    #[test]
    fn a_dump_is_read_statement_by_statement() {
        let dump = "/*M!999999\\- enable the sandbox mode */\n-- a note;\n\n/*!40101 SET NAMES utf8mb4 */;\n\
                    CREATE TABLE `t` (\n  `a` text COMMENT 'x;',\n  `b` int\n);\nINSERT INTO `t` VALUES\n('1;\\n',2),\n('-- ',3);\n";
        let mut statements = Statements::default();
        let found: Vec<String> = dump
            .split_inclusive('\n')
            .filter_map(|line| statements.line(line.as_bytes()))
            .map(|statement| String::from_utf8(statement).unwrap())
            .collect();
        assert!(statements.is_complete());
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[1].starts_with("CREATE TABLE") && found[2].ends_with("('-- ',3);\n"), "{found:?}");
        statements.line(b"INSERT INTO `t` VALUES\n");
        assert!(!statements.is_complete());
    }
}

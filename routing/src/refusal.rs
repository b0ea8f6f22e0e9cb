//! Every refusal the proxy can give, listed once.
//!
//! An entry has a stable id, the MySQL errno and SQL state that clients branch on, whether a retry can help, a
//! sentence safe for clients and a remedy for operators. `docs/errors.md` is written from this list by a test.

use std::borrow::Cow;

/// Can the same statement succeed later without a change?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    Never,
    Later,
}

/// One kind of refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// `SHD1207`; never reused.
    pub id: &'static str,
    pub errno: u16,
    pub sql_state: &'static str,
    /// What is refused, in a few words.
    pub title: &'static str,
    pub remedy: &'static str,
    pub retry: Retry,
}

/// A refusal of one statement or request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: &'static Kind,
    /// What exactly, in this case; never an address, a cause or somebody else's data.
    pub detail: Cow<'static, str>,
}

impl Kind {
    /// This refusal, about `detail`.
    pub fn because(&'static self, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { kind: self, detail: detail.into() }
    }
}

impl std::fmt::Display for Refusal {
    /// `SHD1207: what: detail (remedy)`, as clients see it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind.id, self.kind.title)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        write!(f, " ({})", self.kind.remedy)
    }
}

impl std::error::Error for Refusal {}

/// Declares the kinds and the list of all of them.
macro_rules! registry {
    ($($name:ident = $id:literal $errno:literal $state:literal $retry:ident $title:literal, $remedy:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Kind = Kind {
                id: $id, errno: $errno, sql_state: $state, title: $title, remedy: $remedy, retry: Retry::$retry,
            };
        )*
        /// Every kind, by id.
        pub static ALL: &[&Kind] = &[$(&$name),*];
    };
}

// 10xx connection and protocol, 11xx statements we cannot plan, 12xx statements we cannot route exactly,
// 13xx transactions, 14xx moves and double write, 15xx backends, 16xx rules, 17xx what accounts may do.
registry! {
    UNKNOWN_COMMAND = "SHD1001" 1047 "08S01" Never "unknown command", "use a MySQL client of version 5.7 or later";
    UNSAFE_CHARSET = "SHD1002" 1115 "42000" Never "a character set whose characters may contain a backslash byte", "use utf8mb4";
    BLANK_IN_NAME = "SHD1003" 1115 "42000" Never "a byte in a name that is a blank in some character sets", "put the name into backticks, or use utf8mb4";
    MULTIPLE_STATEMENTS = "SHD1101" 1064 "42000" Never "several statements in one packet", "connect with CLIENT_MULTI_STATEMENTS, or send them one by one; a prepared statement is always one";
    UNPARSED = "SHD1102" 1235 "42000" Never "the statement could not be understood", "rewrite it without the clause named, or run it on the backend itself";
    TOO_COMPLEX = "SHD1103" 1235 "42000" Never "the statement has too many terms", "split it";
    NO_DATABASE = "SHD1104" 1046 "3D000" Never "No database selected", "name one when connecting, or USE it";
    UNKNOWN_DATABASE = "SHD1105" 1049 "42000" Never "Unknown database", "add it to [databases] in the rule file, or add [databases.\"*\"]";
    NO_RULES = "SHD1106" 1105 "HY000" Later "no routing rules are in force", "correct the rule file; `shardway status` says what is wrong with it";
    UNSUPPORTED = "SHD1107" 1235 "42000" Never "the statement is not supported through the proxy", "run it on the backend itself";
    SET_MIXED = "SHD1108" 1235 "42000" Never "assignments that cannot be made together", "send them as separate statements";
    SET_GLOBAL = "SHD1109" 1227 "42000" Never "global variables belong to the backends", "set it on each backend itself";
    SET_VALUE = "SHD1110" 1231 "42000" Never "a value the proxy must understand and does not", "write it as a literal";
    UNKNOWN_HINT = "SHD1111" 1235 "42000" Never "unknown hint", "use shard=N, source, target, primary or replica";
    HIDES_WRITES = "SHD1112" 1227 "42000" Never "a setting that would keep writes out of the log that moves follow, or change what it says", "leave it as the server has it";
    CROSS_BACKEND = "SHD1201" 1235 "42000" Never "the tables of the statement live on different backends", "ask for them one by one, or place them together";
    CROSS_SHARD_JOIN = "SHD1202" 1235 "42000" Never "sharded tables that no equality on their shard keys ties together", "join them on their shard keys, or give every one of them the same key";
    NOT_COLOCATED = "SHD1203" 1235 "42000" Never "the tables are sharded in different ways", "shard one `with` the other, or ask for them one by one";
    SCATTERED_AGGREGATE = "SHD1204" 1235 "42000" Never "aggregation over several shards", "add a condition that names one shard key";
    SCATTERED_DISTINCT = "SHD1205" 1235 "42000" Never "DISTINCT over several shards", "add a condition that names one shard key";
    SCATTERED_WINDOW = "SHD1206" 1235 "42000" Never "a window function over several shards", "add a condition that names one shard key";
    SCATTERED_UNION = "SHD1207" 1235 "42000" Never "UNION, a derived table or a common table expression over several shards", "add a condition that names one shard key to every part";
    SCATTERED_OUTER_JOIN = "SHD1208" 1235 "42000" Never "an outer join with an unsharded table over several shards", "add a condition that names one shard key";
    SCATTERED_ORDER = "SHD1209" 1235 "42000" Never "this ORDER BY over several shards", "order by columns or their aliases, without literals and ordinals";
    SCATTERED_LIMIT = "SHD1210" 1235 "42000" Never "a LIMIT that several shards cannot share", "add a condition that names one shard key";
    SCATTERED_INTO = "SHD1211" 1235 "42000" Never "INTO, SQL_CALC_FOUND_ROWS or RETURNING over several shards", "add a condition that names one shard key";
    DEFINITION = "SHD1212" 1235 "42000" Never "definitions of tables that the rules name", "run it on every backend that has the table";
    INSERT_SELECT = "SHD1213" 1235 "42000" Never "INSERT … SELECT into a table that the rules name", "read the rows and insert them with VALUES";
    NO_SHARD_KEY = "SHD1214" 1235 "42000" Never "an INSERT without the shard key", "name the columns and give the shard key a literal or a parameter";
    SHARD_KEY_CHANGED = "SHD1215" 1235 "42000" Never "a statement that may change a shard key", "delete the row and insert it under the new key";
    NO_ID = "SHD1216" 1235 "42000" Never "AUTO_INCREMENT on a sharded table, where every shard would count by itself", "give the column a value";
    WRITE_MIXED = "SHD1218" 1235 "42000" Never "a write to a broadcast or moving table together with other tables", "write to one table at a time";
    TWO_MOVES = "SHD1219" 1235 "42000" Never "tables of different moves in one statement", "ask for them one by one";
    SCHEMA_UNKNOWN = "SHD1220" 1105 "HY000" Later "the columns of the table are not known yet", "bring its backend up; the proxy reads them from there";
    SCATTERED_GROUP = "SHD1221" 1235 "42000" Never "GROUP BY over several shards", "add a condition that names one shard key";
    SCATTERED_SUBQUERY = "SHD1222" 1235 "42000" Never "a sharded table in a subquery, or beside tables that are not sharded, over several shards", "add a condition that names one shard key";
    CATALOGUE = "SHD1223" 1235 "42000" Never "a list of tables that are on several backends", "use SHOW TABLES, SHOW COLUMNS, SHOW INDEX and SHOW CREATE TABLE, name a table that no rule names, or ask the backend itself";
    NULL_SHARD_KEY = "SHD1230" 1048 "23000" Never "a NULL shard key", "give it a value";
    INEXACT_SHARD_KEY = "SHD1231" 1235 "42000" Never "a shard key whose stored value cannot be told exactly", "write it as a literal of the column's type";
    NO_SHARD_FOR_KEY = "SHD1232" 1526 "HY000" Never "no shard takes this key", "add the value to the list, or give the list a default";
    NO_REPLICA = "SHD1233" 1105 "HY000" Later "no replica can answer this read now", "`shardway status` says what the replicas lack; without the hint the primary answers";
    HINT_ON_INSERT = "SHD1234" 1235 "42000" Never "a shard hint on an INSERT", "leave the hint out: every row goes where its key says";
    HINT_AGAINST_AUTHORITY = "SHD1235" 1235 "42000" Never "a hint that sends a write to the side that does not own writes", "leave the hint out";
    LIMIT_NOT_A_NUMBER = "SHD1236" 1210 "HY000" Never "a LIMIT that is not a whole number", "bind a whole number";
    NOT_FOR_REPLICAS = "SHD1237" 1235 "42000" Never "a replica hint on what only a primary answers", "leave the hint out: replicas answer plain SELECTs outside of transactions, on tables that no move has";
    NO_SHARD_FOR_DAY = "SHD1238" 1526 "HY000" Never "no shard holds this day", "append a node to the table for every unit of time up to that day; units before `from` have no shard";
    SPLIT_IN_PLACE = "SHD1239" 1235 "42000" Never "rows that have left a table split in place cannot be kept out of this statement", "name one shard key; or remove those rows with `shardway move finish` and `shardway move cleanup`, and take the move out of the rules";
    SHARDS_DISAGREE = "SHD1260" 1105 "HY000" Never "the shards' answers do not fit together", "bring the shards' table definitions in line";
    MERGE_TOO_LARGE = "SHD1261" 1105 "HY000" Never "rows to be merged inside a transaction are more than the proxy may buffer", "read them outside of the transaction, or ask for fewer";
    MERGE_ORDER = "SHD1262" 1235 "42000" Never "an order of several shards' rows that the proxy cannot compare", "order by a number, a date, or a column the rules name";
    ACROSS_SHARDS = "SHD1301" 1235 "42000" Never "a transaction over several backends", "keep it on one shard, or set across_shards = \"best_effort\"";
    PARTIAL_COMMIT = "SHD1302" 1105 "HY000" Never "the transaction was committed on some backends only", "look at the rows of the backends named, and complete or undo them";
    PINNED_SCATTER = "SHD1303" 1235 "42000" Never "connection state together with several shards", "add a condition that names one shard key";
    PINNED_ELSEWHERE = "SHD1304" 1235 "42000" Never "connection state that lives on another backend", "use it with tables of the backend where it was made";
    TOO_MANY_PREPARED = "SHD1305" 1461 "42000" Later "too many prepared statements", "close those that are not used";
    LONG_DATA = "SHD1306" 1153 "08S01" Never "more data sent ahead of executions than a session may have", "execute or reset the other statements first, or raise limits.max_packet";
    COMMIT_UNKNOWN = "SHD1307" 2013 "HY000" Never "a backend was lost while it committed, after others had", "look at the rows of the backends named, and complete or undo them";
    HELD_QUEUE_FULL = "SHD1401" 1205 "HY000" Later "too many statements wait for a rule change", "try again";
    UNTOUCHABLE = "SHD1410" 1235 "42000" Never "a write whose rows cannot be told, on a table under double write", "write to one table, by key or with a WHERE clause";
    UNIQUE_UPSERT = "SHD1411" 1235 "42000" Never "REPLACE or ON DUPLICATE KEY UPDATE under double write on a table with further unique keys", "INSERT, UPDATE or DELETE by primary key";
    MIRRORED_RETURNING = "SHD1412" 1235 "42000" Never "RETURNING under double write", "read the rows with a SELECT in the same transaction";
    NO_PRIMARY_KEY = "SHD1420" 1235 "HY000" Never "a moving table without a usable primary key", "give the table a primary key, or one unique key over NOT NULL columns, of integers, text or bytes";
    INEXACT_COLUMN = "SHD1421" 1235 "HY000" Never "a column that cannot be carried exactly", "leave the table out of the move";
    MIRROR_FAILED = "SHD1422" 1105 "HY000" Later "strict double write: the other side did not accept the write, and nothing was written", "try again; `shardway status` says which backend is down";
    MIRROR_UNCERTAIN = "SHD1423" 1105 "HY000" Never "strict double write: the write is committed, the other side will follow", "read the row before writing it again";
    INEXACT_FILTER = "SHD1424" 1235 "HY000" Never "a copy condition that cannot be evaluated exactly", "compare columns of whole numbers, days, times, bytes or _bin texts with constants, joined by AND and OR";
    KEY_ON_SHARDS = "SHD1440" 1062 "23000" Never "strict double write: another shard has a row under this primary key, and the other side has room for one; nothing was written", "give the row another primary key, or delete the other one first";
    MOVE_DRIFTED = "SHD1441" 1235 "HY000" Never "something has come that writes rows of a moving table on one side only, or makes the sides hold different rows", "undo what is named, compare both sides with `shardway move verify`, and save the file again";
    STORED_FUNCTION = "SHD1442" 1235 "42000" Never "a stored function that may read or write tables of several servers", "write what it does into the statement, or ask for its parts one by one";
    KEYS_DIVIDED = "SHD1443" 1235 "42000" Never "each side of the move owns the writes of some keys, and the statement is for keys of both or does not name them", "name shard keys that one side owns; what reads the keys of both is sent outside of transactions";
    WAY_BACK_CLOSED = "SHD1465" 1105 "HY000" Never "the way back of the move is closed", "the source lacks what was written since; restore from a backup: `shardway move rollback NAME --to POINT --restore`";
    PARTED = "SHD1466" 1105 "HY000" Never "the sides have parted in an emergency, and the target may have writes that the source lacks", "look at them with `shardway move gaps NAME` and `shardway move verify NAME`, copy what matters to the source, then `shardway move gaps NAME --close`";
    NO_POINT = "SHD1467" 1105 "HY000" Never "no rollback can lead there", "`shardway move points NAME` lists the points";
    DUMP_TOOL = "SHD1468" 1105 "HY000" Never "the server's dump tool cannot be used", "install the server's client programs, or name the tool: [moves.NAME.backup] dump = \"/path/to/mariadb-dump\"";
    BACKUP_UNUSABLE = "SHD1469" 1105 "HY000" Never "a backup cannot be used", "`shardway move backup NAME --list` shows which can; make another with `shardway move backup NAME`";
    SOURCE_REPLACED = "SHD1470" 1105 "HY000" Never "the address of a stream answers as another server, which cannot go on with its log", "let the address lead to a server that has every transaction of the one before and still logs those to come, then `shardway move start`; or take the move out of the rules and put it back, which begins it anew";
    BACKEND_DOWN = "SHD1501" 1105 "HY000" Later "a backend does not answer", "`shardway status` says which and why";
    POOL_EXHAUSTED = "SHD1502" 1040 "08004" Later "no free connection to a backend", "try again, or raise pool.max";
    BACKEND_LOST = "SHD1503" 2013 "HY000" Later "the connection to a backend was lost", "try again";
    IDS_NOT_RESERVED = "SHD1504" 1105 "HY000" Later "no ids can be had for new rows", "give them ids, or see to the backend or folder that is named";
    BACKEND_UNFIT = "SHD1505" 1105 "HY000" Later "a backend reads statements otherwise than the proxy, or does not commit by itself", "take ANSI_QUOTES and NO_BACKSLASH_ESCAPES out of its global sql_mode, and leave its autocommit on; clients may set either for themselves";
    ROWS_HIDDEN = "SHD1601" 1235 "HY000" Never "a rule would hide rows that are elsewhere", "carry them there with a move, or take the change back";
    LAYOUT_CHANGED = "SHD1602" 1235 "HY000" Never "a layout would change under its rows", "describe the change as a move from the old layout";
    BACKEND_MOVED = "SHD1603" 1235 "HY000" Never "a backend that owns rows would be another server", "add the other server under a new name and move the rows";
    DATABASE_MOVED = "SHD1604" 1235 "HY000" Never "the tables that no rule names would be sought elsewhere", "keep the database's default, or move its tables first";
    NOT_SYNCED = "SHD1605" 1235 "HY000" Later "the target has not got every row and every write", "`shardway move start` carries them over and follows; `shardway move status` says what it waits for";
    SOURCE_NOT_KEPT = "SHD1606" 1235 "HY000" Never "the source has not received the writes since the target owns them", "the way back is open while `shardway move status` shows a lag, or double write is on";
    GRAY_WITHOUT_DOUBLE_WRITE = "SHD1607" 1235 "HY000" Never "gray readers of the target would miss writes", "set reads to 0 and always to [] before double write goes off; with capture = \"timestamp\", switch it on before they come";
    NOT_PROVED = "SHD1608" 1235 "HY000" Later "under capture = \"timestamp\" the sides must be found equal while statements are held", "`shardway move repair` before the switch; raise hold_ms to the time that a comparison of every row takes, and repair.cap to the rows that are deleted meanwhile";
    ROWS_LEFT = "SHD1609" 1235 "HY000" Later "rows that have left a table split in place are still there, and would be seen twice", "`shardway move finish NAME`, then `shardway move cleanup NAME`; the move may leave the rules after that";
    NOT_COMPARED = "SHD1610" 1235 "HY000" Later "writes may not go over before a comparison has found both sides equal", "`shardway move verify NAME`, and `shardway move repair NAME` before that where rows differ; verify.max_age says how old it may be";
    NO_WAY_BACK = "SHD1611" 1235 "HY000" Later "the servers that writes would go to could not be written, or not be followed back", "set them up as the preflight of a source asks for: docs/preflight.md";
    INDIVISIBLE = "SHD1612" 1235 "HY000" Never "the keys of a move cannot be divided between its sides, as both could give the same unique key away", "let every unique key hold the shard key, or give the table ids of the proxy: id = { column = …, generator = \"snowflake\" }; or set writes to \"source\" or \"target\"";
    LATELY_UNEQUAL = "SHD1613" 1235 "HY000" Later "the rows that were written last must be found equal while statements are held", "`shardway move repair NAME` where rows differ, then save the file again; raise hold_ms where it took too long to tell";
    OTHER_DATABASE = "SHD1701" 1044 "42000" Never "Access denied to a database of which the account is not", "list it in `databases` of the account";
    READ_ONLY = "SHD1702" 1290 "HY000" Never "the account is read-only so it cannot execute this statement", "use an account without role = \"read_only\"";
    RESTRICTED = "SHD1703" 1227 "42000" Never "Access denied to a restricted account", "use an account without `databases` and role = \"read_only\", or run it on the backend itself";
    OTHERS_LISTED = "SHD1704" 1227 "42000" Never "a list that may tell of databases of which the account is not", "add a condition that names one of its databases alone: `table_schema = 'shop'`, `WHERE Db = 'shop'`";
    SERVER_FILES = "SHD1705" 1227 "42000" Never "Access denied to files of the server", "read and write them on the backend itself";
    SERVERS_OWN = "SHD1706" 1142 "42000" Never "Access denied to the server's own database with its accounts", "ask the backend itself";
    ADMINISTRATION = "SHD1707" 1227 "42000" Never "accounts, privileges and settings belong to each backend", "run it on each backend itself";
}

//! What a preflight can find, listed once, and one thing found.
//!
//! An entry has a stable id, a name that waivers may use instead, how grave it is, whether the operator may waive it,
//! a title and a remedy. `docs/preflight.md` is written from this list by a test.

use serde::Serialize;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The move does not begin.
    Refused,
    /// Worth knowing.
    Warning,
    /// Would refuse, and the operator has accepted it.
    Waived,
}

/// May the operator accept it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiver {
    /// No: rows would be lost, or the move could not work.
    Never,
    /// Yes: the operator may know better.
    Operator,
}

/// One kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// `PF101`; never reused.
    pub id: &'static str,
    /// The same for people.
    pub name: &'static str,
    pub severity: Severity,
    pub waiver: Waiver,
    /// What is wrong, in a few words.
    pub title: &'static str,
    pub remedy: &'static str,
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub id: &'static str,
    pub name: &'static str,
    pub severity: Severity,
    /// The backend or the table.
    pub subject: String,
    pub title: &'static str,
    /// What exactly, in this case.
    pub found: String,
    pub remedy: &'static str,
    pub waivable: bool,
}

impl Kind {
    /// This finding, about `subject`.
    pub fn of(&'static self, subject: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding {
            id: self.id,
            name: self.name,
            severity: self.severity,
            subject: subject.into(),
            title: self.title,
            found: found.into(),
            remedy: self.remedy,
            waivable: self.waiver == Waiver::Operator,
        }
    }
}

impl std::fmt::Display for Finding {
    /// `PF101 legacy: what: exactly (remedy)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.id, self.subject, self.title)?;
        if !self.found.is_empty() {
            write!(f, ": {}", self.found)?;
        }
        write!(f, " ({})", self.remedy)
    }
}

/// Declares the kinds and the list of all of them.
macro_rules! registry {
    ($($name:ident = $id:literal $slug:literal $severity:ident $waiver:ident $title:literal, $remedy:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Kind = Kind {
                id: $id, name: $slug, severity: Severity::$severity, waiver: Waiver::$waiver, title: $title, remedy: $remedy,
            };
        )*
        /// Every kind, by id.
        pub static ALL: &[&Kind] = &[$(&$name),*];
    };
}

// 1xx servers, 2xx tables, 3xx what surrounds the tables, 4xx moves.
registry! {
    BINLOG_OFF = "PF101" "binlog_off" Refused Never "the source writes no binary log", "start it with log_bin and a server_id, or choose another `capture`";
    BINLOG_FORMAT = "PF102" "binlog_format" Refused Never "the source's binary log does not hold rows", "SET GLOBAL binlog_format = 'ROW', and let its clients reconnect";
    BINLOG_IMAGE = "PF103" "binlog_image" Refused Never "the source's binary log does not hold whole rows", "SET GLOBAL binlog_row_image = 'FULL', and let its clients reconnect";
    PARTIAL_JSON = "PF104" "partial_json" Refused Never "the source's binary log holds parts of JSON documents", "SET GLOBAL binlog_row_value_options = '', and let its clients reconnect";
    BINLOG_COMPRESSED = "PF105" "binlog_compressed" Refused Never "the source compresses events of its binary log, which cannot be read", "SET GLOBAL log_bin_compress = OFF";
    TRANSACTIONS_COMPRESSED = "PF106" "transactions_compressed" Warning Never "the source compresses transactions of its binary log", "nothing must be done; reading them costs the mover more CPU time";
    COMMIT_ORDER = "PF107" "commit_order" Refused Never "the source may commit in another order than that of its binary log", "SET GLOBAL binlog_order_commits = ON";
    BINLOG_FILTERED = "PF108" "binlog_filtered" Refused Never "the source leaves a database out of its binary log", "start it without binlog_do_db and binlog_ignore_db";
    BINLOG_SHORT = "PF109" "binlog_retention" Refused Operator "the source may purge its binary log before the copy is done", "raise binlog_expire_logs_seconds on the source";
    NO_WAY_BACK = "PF110" "no_way_back" Warning Never "the target's binary log could not bring its writes back to the source", "give the target a binary log with whole rows before the switch, which asks for it";
    GRANTS = "PF111" "grants" Refused Never "the user lacks privileges", "grant them to the user in the backend's address";
    PREPARED_XA = "PF112" "prepared_xa" Refused Never "the source has prepared XA transactions", "commit or roll them back; XA RECOVER lists them";
    READ_ONLY = "PF113" "read_only" Refused Never "the server takes no writes", "SET GLOBAL read_only = OFF, or name the primary";
    PACKET_SMALL = "PF114" "max_allowed_packet" Refused Operator "the target's max_allowed_packet is too small", "SET GLOBAL max_allowed_packet to that of the source, and to 4 MiB at least";
    DISK_SMALL = "PF115" "disk" Refused Operator "the target's disk has too little space", "make room, or move to another server";
    DISK_UNKNOWN = "PF116" "disk_unknown" Warning Never "the target's free disk space cannot be read over SQL", "look at it; on MariaDB, INSTALL SONAME 'disks' and the FILE privilege make it readable";
    MIXED_FLAVOURS = "PF117" "mixed_servers" Warning Never "the servers are of different kinds", "try the move on a copy first; a definition that a target does not accept stops the preparation";
    SQL_MODE = "PF118" "sql_mode" Warning Never "the servers' sql_mode differs, so the same statement may mean something else after the switch", "give the target the source's sql_mode";
    NAME_CASE = "PF119" "name_case" Refused Operator "the servers treat upper and lower case in table names differently", "start them with the same lower_case_table_names";
    SERVER_ID = "PF120" "server_id" Refused Never "the source has no server_id, and gives its binary log to nobody", "SET GLOBAL server_id to a number that no other server has";
    REPLICA_UNLOGGED = "PF121" "replica_unlogged" Refused Never "the source does not log what it replicates from others", "start it with log_slave_updates (log_replica_updates), or end its replication with RESET REPLICA ALL";
    TUNE_UNKNOWN = "PF122" "tune_unknown" Refused Never "the target has no parameter of a name in `tune`", "correct the name, or take it out of `tune`";
    TABLE_MISSING = "PF201" "table_missing" Refused Never "the source has no such table", "correct `from` or the nodes in the rule file";
    NOT_INNODB = "PF202" "not_innodb" Refused Never "not an ordinary InnoDB table", "ALTER TABLE … ENGINE = InnoDB, or leave it out of the move";
    NO_PRIMARY_KEY = "PF203" "no_primary_key" Refused Never "no primary key, and no unique key without NULL in its place", "give the table a primary key, or one unique key over NOT NULL columns, of integers, text or bytes";
    INEXACT_PRIMARY_KEY = "PF204" "inexact_primary_key" Refused Never "a primary key whose values do not compare exactly", "give the table a primary key of whole columns of integers, text or bytes";
    UNSUPPORTED_COLUMN = "PF205" "unsupported_column" Refused Never "a column that cannot be carried exactly", "change its type, or leave the table out of the move";
    SHARD_KEY_ABSENT = "PF206" "shard_key_absent" Refused Never "the shard key is no column of the table that could be one", "name an integer, text or binary column in `shard_key`";
    SHARD_KEY_NULLABLE = "PF207" "shard_key_nullable" Refused Never "the shard key may be NULL, which no shard takes", "make the column NOT NULL";
    SHARD_KEY_OUTSIDE_PRIMARY = "PF208" "shard_key_outside_primary" Warning Never "the primary key does not contain the shard key", "nothing must be done; statements by primary key alone ask every shard, and the same id may come into being on two of them";
    UNIQUE_ACROSS_SHARDS = "PF209" "unique_across_shards" Refused Operator "a unique key without the shard key is no longer enforced across shards", "add the shard key to it, or waive this if the application keeps it unique";
    SCHEMA_DIFFERS = "PF210" "schema_differs" Refused Never "the definitions differ", "bring the tables in line, or drop the empty target and let the preparation create it";
    TARGET_NOT_EMPTY = "PF211" "target_not_empty" Refused Never "the target has rows that this move has not brought", "empty the table, or choose another";
    IDS_MERGED = "PF212" "ids_merged" Refused Operator "several sources number their rows by themselves, and would meet in one table", "renumber the rows, or waive this if the ids are unique over all sources";
    TIME_COLUMN = "PF213" "time_column" Refused Never "the column of `capture = \"timestamp\"` cannot tell what has changed", "name a NOT NULL column of type TIMESTAMP or DATETIME that every write sets";
    TIME_COLUMN_SLOW = "PF214" "time_column_slow" Refused Operator "no index begins with the column of `capture = \"timestamp\"`", "add one, or waive this for a small table: every look reads the whole table without it";
    TIME_COLUMN_KEPT = "PF215" "time_column_kept" Refused Operator "the server does not set the column of `capture = \"timestamp\"` at every write", "make it DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, or waive this if the application sets it at every write, by the source's clock";
    TIME_COLUMN_LAYOUT = "PF216" "time_column_layout" Refused Never "a table that cannot be followed by a time column", "use capture = \"binlog\"";
    DEGRADED = "PF217" "degraded" Warning Never "`capture = \"timestamp\"` sees no deletions, no writes that leave the time column as it was or set it back, and none that commit later than apply.overlap after their stamp", "nothing must be done: comparisons find them, and the switch waits for one under hold; raise hold_ms to the time that a comparison of every row takes";
    TABLES_STAY = "PF218" "tables_stay" Warning Never "tables that no rule names stay on the database's default backend", "nothing must be done; name them in the rules and in the move if they shall go too";
    OLDER_UUIDS = "PF219" "older_uuids" Refused Never "the table keeps its UUIDs in the form that MariaDB had before 10.11.5, which its log does not tell from the newer one", "build the table anew with ALTER TABLE … FORCE, on a server that is up to date";
    FOREIGN_KEY_CUT = "PF301" "foreign_key_cut" Refused Never "a foreign key ties rows that the move does not bring to the same place", "drop the constraint; the application must keep it from now on";
    FOREIGN_KEY_CASCADES = "PF302" "foreign_key_cascades" Refused Never "a foreign key changes rows by itself, which the binary log does not tell", "make it RESTRICT, or drop the constraint";
    FOREIGN_KEY_DROPPED = "PF303" "foreign_key_dropped" Warning Never "a foreign key is not carried to the target", "nothing must be done; the target does not enforce it";
    TRIGGER = "PF304" "trigger" Refused Operator "a trigger of the source stays behind", "drop it and let the application do its work, or waive this if it may end with the switch";
    TARGET_TRIGGER = "PF305" "target_trigger" Refused Never "a trigger of the target would fire for every row that is carried over", "drop it until the move is done";
    WRITTEN_BY = "PF306" "written_by" Refused Operator "a trigger or event names the table, and goes on to do so on the source after the switch", "drop it, or waive this if it does not write the table";
    VIEW = "PF307" "view" Refused Operator "a view shows the source's table, which is not written after the switch", "make the view anew where the rows go, or waive this";
    OTHER_MOVE = "PF401" "other_move" Refused Never "another move has the same table", "finish it, or take it out of the rules, first";
    OTHER_MOVER = "PF402" "other_mover" Refused Operator "another mover has left its position here", "finish its move with the rule file that began it, or waive this if it has ended for good";
    WAIVER_IDLE = "PF403" "waiver_idle" Warning Never "a waiver that waives nothing", "take it out of the list";
}

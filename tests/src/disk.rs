//! A disk that is full, for one server.
//!
//! No file of the server may become larger than the largest is: the kernel refuses that as it refuses to fill a disk, and
//! the server tells its clients the same. Nothing has to be mounted.

use std::path::Path;
use std::process::Command;

use mysql_async::prelude::Queryable as _;

use crate::server::Server;
use crate::server_error;

/// What the server says when a table cannot grow.
const FULL: u16 = 1114;

impl Server {
    /// What a server must be started with for its disk to be filled: all tables in one file, and no other that is much
    /// larger.
    pub const FILLABLE: [&str; 2] = ["--innodb-file-per-table=OFF", "--loose-innodb-log-file-size=8M"];

    /// Lets the server store no more rows, until [`Server::make_room`].
    ///
    /// # Panics
    /// When it goes on storing them.
    pub async fn fill_disk(&self) {
        self.limit_files(&largest(&self.data()).to_string());
        let mut connection = self.connect("").await;
        for sql in [
            "SET SESSION sql_log_bin = 0",
            "CREATE DATABASE ballast",
            "CREATE TABLE ballast.rows_of_it (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, v VARCHAR(4000))",
        ] {
            connection.query_drop(sql).await.expect(sql);
        }
        // Where many do not fit any more, some may.
        for rows in [1_000, 100, 10, 1] {
            let values = vec!["(REPEAT('x', 4000))"; rows].join(", ");
            let insert = format!("INSERT INTO ballast.rows_of_it (v) VALUES {values}");
            let mut stored = 0;
            loop {
                match connection.query_drop(&insert).await {
                    Ok(()) => stored += rows,
                    Err(error) => {
                        assert_eq!(server_error(&error).0, FULL, "{error}");
                        break;
                    }
                }
                assert!(stored < 100_000, "the disk does not become full");
            }
        }
    }

    /// Lets its files grow again.
    ///
    /// # Panics
    /// When `prlimit` cannot be run.
    pub fn make_room(&self) {
        self.limit_files("unlimited");
    }

    fn limit_files(&self, bytes: &str) {
        let process = self.process().to_string();
        let limit = format!("--fsize={bytes}:unlimited");
        let limited = Command::new("prlimit").args(["--pid", &process, &limit]).status();
        assert!(limited.expect("prlimit runs").success(), "the files of a server can be limited");
    }
}

/// Bytes of the largest file under a folder.
fn largest(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() => largest(&entry.path()),
        // One that has gone meanwhile is no longer among them.
        of => of.map_or(0, |of| of.len()),
    });
    sizes.max().unwrap_or(0)
}

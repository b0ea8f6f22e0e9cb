//! One database server in a throw-away directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use mysql_async::{Conn, OptsBuilder};
use tempfile::TempDir;

use crate::launch::{bound, free_port, launch};
use crate::proxy::until;

/// Which servers the tests run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    MariaDb,
    MySql,
}

impl Flavour {
    /// As the environment says.
    ///
    /// # Panics
    /// When it says something else.
    #[must_use]
    pub fn chosen() -> Flavour {
        match std::env::var("SHARDWAY_TEST_SERVER").as_deref() {
            Err(_) | Ok("mariadb") => Flavour::MariaDb,
            Ok("mysql") => Flavour::MySql,
            Ok(other) => panic!("SHARDWAY_TEST_SERVER is {other}, not mariadb or mysql"),
        }
    }
}

/// A running server. The user `shop` with the password `shop` may do everything.
#[derive(Debug)]
pub struct Server {
    process: Child,
    port: u16,
    _folder: TempDir,
}

const USERS: &str = "CREATE USER IF NOT EXISTS 'shop'@'%' IDENTIFIED BY 'shop';\nGRANT ALL ON *.* TO 'shop'@'%' WITH GRANT OPTION;\n";

impl Server {
    /// Starts a server on a copy of the template and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Server {
        let flavour = Flavour::chosen();
        let folder =
            tempfile::Builder::new().prefix("shardway-").tempdir_in(base(flavour)).expect("a folder");
        let data = folder.path().join("data");
        let copied =
            Command::new("cp").arg("-a").arg(template(flavour)).arg(&data).status().expect("cp runs");
        assert!(copied.success(), "copying the template");
        let port = free_port();
        let process = run(flavour, folder.path(), port);
        let server = Server { process, port, _folder: folder };
        until("the server answers", Duration::from_secs(60), async || server.try_connect("").await.ok())
            .await;
        server
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection as `shop`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn connect(&self, database: &str) -> Conn {
        self.try_connect(database).await.expect("the server accepts connections")
    }

    async fn try_connect(&self, database: &str) -> Result<Conn, mysql_async::Error> {
        let database = (!database.is_empty()).then_some(database);
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("shop"))
            .pass(Some("shop"))
            .db_name(database)
            .prefer_socket(false);
        Conn::new(options).await
    }

    /// Ends the server as a power cut would.
    pub fn kill9(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
    }
}

fn chroot() -> PathBuf {
    std::env::var_os("SHARDWAY_MYSQL_ROOT")
        .map_or_else(|| PathBuf::from("/opt/shardway-mysql"), PathBuf::from)
}

/// Where data directories may be.
fn base(flavour: Flavour) -> PathBuf {
    match flavour {
        Flavour::MariaDb => std::env::temp_dir(),
        Flavour::MySql => chroot().join("tmp"),
    }
}

/// A path as the server sees it.
fn inside(flavour: Flavour, path: &Path) -> PathBuf {
    match (flavour, path.strip_prefix(chroot())) {
        (Flavour::MySql, Ok(rest)) => Path::new("/").join(rest),
        _ => path.to_owned(),
    }
}

/// A data directory that was initialized once for all tests of this machine.
fn template(flavour: Flavour) -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let path = base(flavour).join(format!("shardway-template-{flavour:?}-3"));
        let lock = File::create(path.with_extension("lock")).expect("a lock file");
        lock.lock().expect("locking the template");
        if !path.exists() {
            let fresh = path.with_extension("new");
            let _ = fs::remove_dir_all(&fresh);
            fs::create_dir_all(&fresh).expect("a folder for the template");
            initialize(flavour, &fresh);
            fs::rename(&fresh, &path).expect("the template takes its place");
        }
        path
    })
}

fn initialize(flavour: Flavour, data: &Path) {
    let mut command = match flavour {
        Flavour::MariaDb => {
            let mut command = Command::new("mariadb-install-db");
            command.args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--user=root",
            ]);
            command
        }
        Flavour::MySql => {
            let mut command = Command::new("chroot");
            command.arg(chroot()).args([
                "mysqld",
                "--no-defaults",
                "--initialize-insecure",
                "--user=root",
                "--secure-file-priv=",
            ]);
            command
        }
    };
    command.arg(format!("--datadir={}", inside(flavour, data).display()));
    let output = command.output().expect("the server's initialization runs; `./test` installs what it needs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn run(flavour: Flavour, folder: &Path, port: u16) -> Child {
    fs::write(folder.join("users.sql"), USERS).expect("the folder is writable");
    let at = |name: &str| inside(flavour, &folder.join(name)).display().to_string();
    let mut command = match flavour {
        Flavour::MariaDb => bound("mariadbd"),
        Flavour::MySql => {
            let mut command = bound("chroot");
            command.arg(chroot()).arg("mysqld");
            command
        }
    };
    command.args([
        "--no-defaults",
        "--user=root",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--skip-log-bin",
    ]);
    command.args([
        "--innodb-buffer-pool-size=32M",
        "--innodb-flush-log-at-trx-commit=2",
        "--performance-schema=OFF",
    ]);
    command.args(["--max-allowed-packet=64M", "--secure-file-priv="]);
    if flavour == Flavour::MySql {
        command.args(["--mysqlx=OFF"]);
    }
    command.arg(format!("--datadir={}", at("data"))).arg(format!("--port={port}"));
    command.arg(format!("--socket={}", at("s.sock"))).arg(format!("--init-file={}", at("users.sql")));
    command.arg(format!("--pid-file={}", at("pid")));
    let log = File::create(folder.join("log")).expect("the folder is writable");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    launch(command).expect("the server starts; `./test` installs what it needs")
}

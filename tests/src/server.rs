//! One database server in a throw-away directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, SslOpts};
use tempfile::TempDir;

use crate::launch::{bound, free_port, launch};
use crate::proxy::until;
use crate::relay::Relay;

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
    flavour: Flavour,
    process: Child,
    port: u16,
    options: Vec<String>,
    tls: Option<SslOpts>,
    /// What whoever reads [`Server::port`] connects to instead.
    relay: Option<Relay>,
    folder: TempDir,
}

const USERS: &str = "CREATE USER IF NOT EXISTS 'shop'@'%' IDENTIFIED BY 'shop';\nGRANT ALL ON *.* TO 'shop'@'%' WITH GRANT OPTION;\n";

impl Server {
    /// The option with which a server lets nobody in without TLS.
    pub const REQUIRES_TLS: &str = "--require-secure-transport=ON";

    /// Starts a server on a copy of the template and waits until it answers.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Server {
        Server::start_with(&[]).await
    }

    /// The same with more options, which win over those that all servers have.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(options: &[&str]) -> Server {
        Server::start_as(Flavour::chosen(), options).await
    }

    /// The same of that flavour, beside those under test. MariaDB is there in every run.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_as(flavour: Flavour, options: &[&str]) -> Server {
        let folder =
            tempfile::Builder::new().prefix("shardway-").tempdir_in(base(flavour)).expect("a folder");
        let data = folder.path().join("data");
        copy(template(flavour), &data);
        // Each MySQL server makes up a UUID of its own.
        let _ = fs::remove_file(data.join("auto.cnf"));
        let port = free_port();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let process = run(flavour, folder.path(), port, &options);
        let requires = options.iter().any(|option| option == Server::REQUIRES_TLS);
        let tls = requires.then(|| SslOpts::default().with_danger_accept_invalid_certs(true));
        let server = Server { flavour, process, port, options, tls, relay: None, folder };
        server.answers().await;
        server
    }

    async fn answers(&self) {
        // After a kill it recovers first, on a machine that is busy.
        until("the server answers", Duration::from_secs(180), async || self.try_connect("").await.ok()).await;
    }

    /// Where the proxy finds it: behind its relay, if it has one.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.relay.as_ref().map_or(self.port, Relay::port)
    }

    /// Puts it behind a relay, for whoever asks for its port from now on.
    #[must_use]
    pub(crate) fn relayed(mut self) -> Server {
        self.relay = Some(Relay::start(self.port));
        self
    }

    /// The relay in front of it.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("a server behind a relay")
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
            .prefer_socket(false)
            .ssl_opts(self.tls.clone());
        Conn::new(options).await
    }

    /// How a client program of the servers under test is called: `dump` or `binlog`. Those of MySQL bring their own
    /// libraries.
    #[must_use]
    pub fn tool(name: &str) -> Vec<String> {
        match Flavour::chosen() {
            Flavour::MariaDb => vec![format!("mariadb-{name}")],
            Flavour::MySql => {
                let at = |path: &str| chroot().join(path).display().to_string();
                let libraries = [at("usr/lib/x86_64-linux-gnu"), at("lib/x86_64-linux-gnu")].join(":");
                let program = at(&format!("usr/bin/mysql{name}"));
                vec![at("lib64/ld-linux-x86-64.so.2"), "--library-path".to_owned(), libraries, program]
            }
        }
    }

    /// Ends the server at once. What it has handed to the system stays.
    pub fn kill9(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again after [`Server::kill9`], on the same data and the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        self.process = run(self.flavour, self.folder.path(), self.port, &self.options);
        self.answers().await;
    }

    /// Goes on at the port of another server, which has been killed.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn take_over(&mut self, from: &Server) {
        self.kill9();
        self.port = from.port;
        self.restart().await;
    }

    /// Lets the server replicate from another one, from the first transaction on.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn follow(&self, primary: &Server) {
        let port = primary.port();
        self.run(&match Flavour::chosen() {
            Flavour::MariaDb => format!(
                "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'shop', \
                 MASTER_PASSWORD = 'shop', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1"
            ),
            Flavour::MySql => format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'shop', \
                 SOURCE_PASSWORD = 'shop', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1"
            ),
        })
        .await;
        self.replica("START").await;
    }

    /// `START` or `STOP`, and perhaps a thread, for its replication.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn replica(&self, what: &str) {
        let word = if Flavour::chosen() == Flavour::MariaDb { "SLAVE" } else { "REPLICA" };
        let (verb, thread) = what.split_once(' ').unwrap_or((what, ""));
        self.run(&format!("{verb} {word} {thread}")).await;
    }

    /// Runs a statement on it.
    ///
    /// # Panics
    /// When it refuses.
    pub async fn run(&self, sql: &str) {
        let done = self.connect("").await.query_drop(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }

    /// Where its files are.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Lets the server stop answering while its connections stay, until [`Server::thaw`].
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "the server can be signalled");
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
pub(crate) fn base(flavour: Flavour) -> PathBuf {
    match flavour {
        Flavour::MariaDb => std::env::temp_dir(),
        Flavour::MySql => chroot().join("tmp"),
    }
}

/// A path as the server sees it.
pub(crate) fn inside(flavour: Flavour, path: &Path) -> PathBuf {
    match (flavour, path.strip_prefix(chroot())) {
        (Flavour::MySql, Ok(rest)) => Path::new("/").join(rest),
        _ => path.to_owned(),
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status();
    assert!(copied.expect("cp runs").success(), "copying {}", from.display());
}

/// A data directory that was initialized once for all tests of this machine.
fn template(flavour: Flavour) -> &'static Path {
    static MARIADB: OnceLock<PathBuf> = OnceLock::new();
    static MYSQL: OnceLock<PathBuf> = OnceLock::new();
    let template = match flavour {
        Flavour::MariaDb => &MARIADB,
        Flavour::MySql => &MYSQL,
    };
    template.get_or_init(|| {
        let path = base(flavour).join(format!("shardway-template-{flavour:?}-4"));
        let lock = File::create(path.with_extension("lock")).expect("a lock file");
        lock.lock().expect("locking the template");
        if !path.exists() {
            let fresh = path.with_extension("new");
            let _ = fs::remove_dir_all(&fresh);
            fs::create_dir_all(&fresh).expect("a folder for the template");
            initialize(flavour, &fresh);
            // Redo logs are full of zeros, which no copy needs to read then.
            let sparse = path.with_extension("sparse");
            let _ = fs::remove_dir_all(&sparse);
            copy(&fresh, &sparse);
            fs::remove_dir_all(&fresh).expect("the folder is writable");
            fs::rename(&sparse, &path).expect("the template takes its place");
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

fn run(flavour: Flavour, folder: &Path, port: u16, options: &[String]) -> Child {
    fs::write(folder.join("users.sql"), USERS).expect("the folder is writable");
    // A server that starts removes what looks like a temporary table in its folder for them, also another server's.
    fs::create_dir_all(folder.join("tmp")).expect("the folder is writable");
    let at = |name: &str| inside(flavour, &folder.join(name)).display().to_string();
    let mut command = bound("env");
    // A file that may not grow is a full disk to a server that is not killed for trying.
    command.arg("--ignore-signal=XFSZ");
    match flavour {
        Flavour::MariaDb => command.arg("mariadbd"),
        Flavour::MySql => command.arg("chroot").arg(chroot()).arg("mysqld"),
    };
    command.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    command.args([
        "--log-bin=binlog",
        "--server-id=1",
        "--sync-binlog=0",
        "--binlog-format=ROW",
        "--binlog-row-image=FULL",
    ]);
    // Tests end processes, never the machine: what the system has, it keeps.
    command.args([
        "--innodb-buffer-pool-size=32M",
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-flush-method=nosync",
        "--performance-schema=OFF",
        "--key-buffer-size=64K",
        // Several proxies and their tests share one.
        "--max-connections=1000",
    ]);
    command.args(["--max-allowed-packet=64M", "--secure-file-priv="]);
    match flavour {
        Flavour::MariaDb => command.arg("--aria-pagecache-buffer-size=1M"),
        // Copies load rows into MySQL, and write MariaDB statements, whose older mode of AUTO_INCREMENT is in the way.
        Flavour::MySql => command.args([
            "--mysqlx=OFF",
            "--gtid-mode=ON",
            "--enforce-gtid-consistency=ON",
            "--local-infile=ON",
        ]),
    };
    command.arg(format!("--datadir={}", at("data"))).arg(format!("--port={port}"));
    command.arg(format!("--socket={}", at("s.sock"))).arg(format!("--init-file={}", at("users.sql")));
    command.arg(format!("--pid-file={}", at("pid"))).arg(format!("--tmpdir={}", at("tmp"))).args(options);
    let log = File::create(folder.join("log")).expect("the folder is writable");
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    launch(command).expect("the server starts; `./test` installs what it needs")
}

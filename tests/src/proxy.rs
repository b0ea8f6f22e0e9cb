//! The proxy under test: the built binary, with its own files and ports.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mysql_async::{Conn, Opts, OptsBuilder};
use serde_json::Value;
use tempfile::TempDir;

use crate::launch::{bound, free_port, launch};

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    process: Child,
    port: u16,
    admin: u16,
    console: u16,
    folder: TempDir,
}

/// How much longer things may take where other work wants the same cores.
const SLOWER: u32 = 3;

/// Asks until there is an answer. The only place that waits for something a server does by itself. The limit is one of a
/// quiet machine.
///
/// # Panics
/// When there is none in time.
pub async fn until<T>(what: &str, limit: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let (started, limit) = (Instant::now(), limit * SLOWER);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        let waited = started.elapsed();
        assert!(waited < limit, "{what}: not within {limit:?}");
        // Who waits for long does not need to know at once, and every question costs a shared machine something.
        let pause = (waited / 8).clamp(Duration::from_millis(10), Duration::from_millis(60));
        tokio::time::sleep(pause).await;
    }
}

/// The built binary, beside this test's own.
fn binary() -> PathBuf {
    let exe = std::env::current_exe().expect("a running program has a path");
    let folder = exe.parent().and_then(|deps| deps.parent()).expect("tests run in target/*/deps");
    folder.join("shardway")
}

/// Runs the binary in a folder with these arguments and no others.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn run_in(folder: &Path, arguments: &[&str]) -> std::process::Output {
    Command::new(binary()).current_dir(folder).args(arguments).output().expect("the binary runs")
}

/// Runs a command of the binary against the proxy of this configuration, which may be killed meanwhile.
///
/// # Panics
/// When it cannot be run.
#[must_use]
pub fn command(config: &Path, arguments: &[&str]) -> std::process::Output {
    prepared(config, arguments).output().expect("the binary runs")
}

fn prepared(config: &Path, arguments: &[&str]) -> Command {
    let (command, rest) = arguments.split_first().expect("a command");
    let mut cli = Command::new(binary());
    cli.arg(command);
    if matches!(*command, "rules" | "move") {
        cli.arg(rest[0]).arg("--config").arg(config).args(&rest[1..]);
    } else {
        cli.arg("--config").arg(config).args(rest);
    }
    cli
}

impl Proxy {
    /// Starts the proxy with these rules and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(rules: &str) -> Proxy {
        Proxy::start_with(rules, "").await
    }

    /// The same, with more lines for `shardway.toml`.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start_with(rules: &str, more: &str) -> Proxy {
        let folder = tempfile::Builder::new().prefix("shardway-").tempdir().expect("a folder");
        let (port, admin, console) = (free_port(), free_port(), free_port());
        let config = format!(
            "rules = \"rules.toml\"\nworkers = 2\n[listen]\nmysql = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:{admin}\"\n\
             console = \"127.0.0.1:{console}\"\n[[users]]\nname = \"app\"\npassword = \"app\"\n[[users]]\nname = \"empty\"\npassword = \"\"\n\
             [[users]]\nname = \"report\"\npassword = \"report\"\nrole = \"read_only\"\n\
             [[users]]\nname = \"admin\"\npassword = \"admin\"\nrole = \"admin\"\n{more}\n"
        );
        fs::write(folder.path().join("shardway.toml"), config).expect("the folder is writable");
        fs::write(folder.path().join("rules.toml"), rules).expect("the folder is writable");
        let process = run(&folder);
        let proxy = Proxy { process, port, admin, console, folder };
        proxy.ready().await;
        proxy
    }

    async fn ready(&self) {
        until("the proxy is ready", Duration::from_secs(120), async || self.get("/readyz").ok()).await;
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where operators send SQL.
    #[must_use]
    pub fn console(&self) -> u16 {
        self.console
    }

    /// Where the admin interface listens.
    #[must_use]
    pub fn admin(&self) -> u16 {
        self.admin
    }

    /// The configuration file, for the command line.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("shardway.toml")
    }

    /// Runs a command of the binary against this proxy.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        command(&self.config(), arguments)
    }

    /// Begins the same and does not wait for its end.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = prepared(&self.config(), arguments);
        command.stdout(Stdio::null()).spawn().expect("the binary runs")
    }

    /// The same on a terminal of its own, whose output can be read.
    ///
    /// # Panics
    /// When it cannot be run.
    #[must_use]
    pub fn begin_on_a_terminal(&self, arguments: &[&str]) -> Child {
        let command = prepared(&self.config(), arguments);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        // Neither the paths nor the arguments of tests need quotes.
        let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut terminal = Command::new("script");
        terminal.args(["-qefc", &line, "/dev/null"]).stdin(Stdio::null()).stdout(Stdio::piped());
        terminal.spawn().expect("Debian has `script`")
    }

    #[must_use]
    pub fn options(&self, user: &str, password: &str, database: &str) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some(user))
            .pass(Some(password))
            .db_name((!database.is_empty()).then_some(database))
            .prefer_socket(false)
            .into()
    }

    /// A connection as `app`.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn connect(&self, database: &str) -> Conn {
        Conn::new(self.options("app", "app", database)).await.expect("the proxy accepts connections")
    }

    /// An answer of the admin interface; its error's text if it is none.
    ///
    /// # Errors
    /// What it said, or that nobody did.
    pub fn get(&self, path: &str) -> Result<String, String> {
        let mut answer = ureq::get(format!("http://127.0.0.1:{}{path}", self.admin))
            .call()
            .map_err(|error| error.to_string())?;
        answer.body_mut().read_to_string().map_err(|error| error.to_string())
    }

    /// The status and the body of an answer, whatever they are.
    ///
    /// # Panics
    /// When the admin interface does not answer.
    #[must_use]
    pub fn answer(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent
            .get(format!("http://127.0.0.1:{}{path}", self.admin))
            .call()
            .expect("the admin interface answers");
        let text = answer.body_mut().read_to_string().expect("the answer is text");
        (answer.status().as_u16(), text)
    }

    /// # Panics
    /// When the admin interface does not answer.
    #[must_use]
    pub fn status(&self) -> Value {
        let text = self.get("/api/status").expect("the admin interface answers");
        serde_json::from_str(&text).expect("the status is JSON")
    }

    /// Replaces the rule file, as an editor does.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn save_rules(&self, text: &str) {
        let file = self.folder.path().join("rules.toml");
        let beside = file.with_extension("swp");
        fs::write(&beside, text).expect("the folder is writable");
        fs::rename(&beside, &file).expect("the folder is writable");
    }

    /// Waits until the last saved rules are in force, or were refused: then the reason is returned.
    ///
    /// A change that holds statements waits up to ten seconds for repairs, and twice up to `hold_ms`.
    ///
    /// # Panics
    /// When neither comes.
    pub async fn settled(&self, version: u64) -> Option<String> {
        until("the rules settle", Duration::from_secs(90), async || {
            let rules = self.status()["rules"].clone();
            let (desired, in_force) =
                (rules["desired_version"].as_u64()?, rules["in_force_version"].as_u64()?);
            match rules["last_error"].as_str() {
                Some(error) if desired >= version => Some(Some(error.to_owned())),
                None if in_force >= version => Some(None),
                _ => None,
            }
        })
        .await
    }

    /// What the proxy has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends the proxy at once and starts it again on the same files.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn kill9_and_restart(&mut self) {
        self.kill9();
        self.restart().await;
    }

    /// Ends the proxy at once.
    pub fn kill9(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Starts it again on the same files.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn restart(&mut self) {
        self.process = run(&self.folder);
        self.ready().await;
    }

    /// Lets the proxy wait at a step of a move when it gets there, until it is told another. [`Proxy::is_at`] says that it
    /// does.
    ///
    /// # Panics
    /// When that cannot be told.
    pub fn stop_at(&self, step: &str) {
        // Written beside its place: half a name would be another step.
        let file = step_file(&self.folder);
        fs::write(file.with_extension("new"), step).expect("the folder is writable");
        fs::rename(file.with_extension("new"), file).expect("the folder is writable");
    }

    /// Lets it go on.
    pub fn go_on(&self) {
        self.stop_at("");
    }

    /// Waits until it waits at that step, for the `time`th time in its life.
    pub async fn is_at(&self, step: &str, time: usize) {
        let says = format!("holds this process at {step}\n");
        until(step, Duration::from_secs(60), async || {
            (self.log().matches(&says).count() >= time).then_some(())
        })
        .await;
    }

    /// What a file of the proxy's state says now.
    #[must_use]
    pub fn state_file(&self, path: &str) -> String {
        fs::read_to_string(self.folder.path().join("state").join(path)).unwrap_or_default()
    }

    /// Puts a file of the proxy's state in place of what is there.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_state_file(&self, path: &str, text: &str) {
        fs::write(self.folder.path().join("state").join(path), text).expect("the folder is writable");
    }

    /// Ends the proxy at once, starts it again on these rules, and returns why it would not serve.
    ///
    /// # Panics
    /// When it serves.
    pub async fn refuses_to_start_on(&mut self, rules: &str) -> String {
        self.kill9();
        self.save_rules(rules);
        let before = self.log().len();
        self.process = run(&self.folder);
        let status = until("the proxy ends", Duration::from_secs(30), async || {
            assert!(self.get("/readyz").is_err(), "rules that lose rows took effect over a restart");
            self.process.try_wait().expect("its state is known")
        })
        .await;
        assert!(!status.success());
        self.log()[before..].to_owned()
    }
}

fn step_file(folder: &TempDir) -> PathBuf {
    folder.path().join("step")
}

fn run(folder: &TempDir) -> Child {
    let mut command = bound(binary().to_str().expect("the path is text"));
    command.arg("serve").arg("--config").arg(folder.path().join("shardway.toml"));
    command.env("SHARDWAY_TEST_STEP", step_file(folder));
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.path().join("log"))
        .expect("the folder is writable");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    launch(command).expect("the binary is built: `cargo build` does that")
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("--- log of the proxy\n{}", self.log());
        }
    }
}

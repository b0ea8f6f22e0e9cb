//! The proxy that rehearses: a process of its own, with rules, state and ports of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mysql_async::{Opts, OptsBuilder};

use super::super::Remote;

const READY_MAX: Duration = Duration::from_secs(30);

/// A running proxy, which ends with this.
pub(super) struct Rehearsing {
    process: Child,
    port: u16,
    password: String,
    pub remote: Remote,
    pub rules: PathBuf,
    pub log: PathBuf,
}

impl Rehearsing {
    /// Starts a proxy on these rules in a folder, which is emptied before.
    pub fn start(folder: &Path, rules: &str) -> anyhow::Result<Rehearsing> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let (port, admin) = (free_port()?, free_port()?);
        let password = format!("{:032x}", rand::random::<u128>());
        let config = folder.join("shardway.toml");
        let text = format!(
            "rules = \"rules.toml\"\n[listen]\nmysql = \"127.0.0.1:{port}\"\nadmin = \"127.0.0.1:{admin}\"\n\
             console = \"off\"\n[[users]]\nname = \"rehearsal\"\npassword = \"{password}\"\n"
        );
        // The rules have the servers' passwords.
        private(&config, &text)?;
        let rules_file = folder.join("rules.toml");
        private(&rules_file, rules)?;
        let log = folder.join("log");
        let file = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let program = std::env::current_exe().context("finding this program")?;
        let mut serve = Command::new(program);
        serve
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        let process = serve.spawn().context("starting the rehearsing proxy")?;
        let remote = Remote { config: Some(config), admin: None };
        let mut rehearsing = Rehearsing { process, port, password, remote, rules: rules_file, log };
        rehearsing.ready(admin)?;
        Ok(rehearsing)
    }

    fn ready(&mut self, admin: u16) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            if ureq::get(format!("http://127.0.0.1:{admin}/readyz")).call().is_ok() {
                return Ok(());
            }
            let ended = self.process.try_wait()?.is_some();
            if ended || began.elapsed() > READY_MAX {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                anyhow::bail!("the rehearsing proxy does not get ready:\n{}", last.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How a client connects to it.
    pub fn options(&self, database: &str) -> Opts {
        OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("rehearsal"))
            .pass(Some(self.password.clone()))
            .db_name(Some(database))
            .prefer_socket(false)
            .into()
    }
}

impl Drop for Rehearsing {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn private(file: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(file);
    made.and_then(|mut made| made.write_all(text.as_bytes()))
        .with_context(|| format!("writing {}", file.display()))
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("finding a free port")?;
    Ok(listener.local_addr()?.port())
}

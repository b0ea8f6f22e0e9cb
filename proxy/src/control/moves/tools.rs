//! Running the servers' own dump and log tools, and their files: compressed, with a checksum.
//!
//! Passwords go by the environment, never by arguments, which every user of the machine may read. A tool that fails, or
//! whose output does not end as it should, leaves an error and no file that anybody counts on.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shardway_migration::backup::{self, Part, Statements};
use shardway_migration::position::Position;
use shardway_routing::refusal;
use shardway_routing::topology::{Server, Tls};
use tokio::sync::{mpsc, oneshot};

/// A dump names its position in its first lines.
const HEAD_MAX: usize = 1 << 20;
/// Every dump tool ends with this, unless it was cut off.
const END: &[u8] = b"-- Dump completed";

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub name: String,
    pub bytes: u64,
    pub sha256: String,
}

/// A tool, as it is called.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    words: Vec<String>,
    flavour: Flavour,
    version: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    MariaDb,
    MySql,
}

impl std::fmt::Display for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.words.join(" "), self.version)
    }
}

impl Tool {
    /// The dump tool of a server.
    ///
    /// # Errors
    /// SHD1468.
    pub(super) fn dump(configured: &[String], server_version: &str) -> Result<Tool, String> {
        Tool::find(configured, server_version, &["mariadb-dump", "mysqldump"], "mysqldump")
    }

    /// The tool that fetches logs.
    ///
    /// # Errors
    /// SHD1468.
    pub(super) fn log(configured: &[String], server_version: &str) -> Result<Tool, String> {
        Tool::find(configured, server_version, &["mariadb-binlog", "mysqlbinlog"], "mysqlbinlog")
    }

    fn find(
        configured: &[String],
        server_version: &str,
        maria: &[&str],
        mysql: &str,
    ) -> Result<Tool, String> {
        let is_maria = server_version.to_ascii_lowercase().contains("mariadb");
        let candidates: Vec<Vec<String>> = match configured {
            [] if is_maria => maria.iter().map(|name| vec![(*name).to_owned()]).collect(),
            [] => vec![vec![mysql.to_owned()]],
            words => vec![words.to_vec()],
        };
        let mut why = String::new();
        for words in candidates {
            let called = Command::new(&words[0]).args(&words[1..]).arg("--version").output();
            match called {
                Ok(output) if output.status.success() => {
                    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                    let flavour = if version.contains("MariaDB") { Flavour::MariaDb } else { Flavour::MySql };
                    if is_maria || flavour == Flavour::MySql {
                        return Ok(Tool { words, flavour, version });
                    }
                    why =
                        format!("{} is MariaDB's, and the server is MySQL {server_version}", words.join(" "));
                }
                Ok(output) => {
                    why = format!("{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
                }
                Err(error) => why = format!("{}: {error}", words.join(" ")),
            }
        }
        Err(refusal::DUMP_TOOL.because(why).to_string())
    }

    fn call(&self, server: &Server) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).arg("--no-defaults");
        command.arg(format!("--host={}", server.host)).arg(format!("--port={}", server.port));
        command.arg("--protocol=TCP").arg(format!("--user={}", server.user));
        command.args(tls(self.flavour, &server.tls));
        command.env("MYSQL_PWD", &server.password).stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

/// How a tool is told of TLS.
fn tls(flavour: Flavour, tls: &Tls) -> Vec<String> {
    let of_file = |ca: &Path| format!("--ssl-ca={}", ca.display());
    match (flavour, tls) {
        (_, Tls::Off) => Vec::new(),
        // This does without where a server offers no TLS; the proxy's own connection to it has just shown that it does.
        (Flavour::MariaDb, Tls::Required) => vec!["--ssl".to_owned()],
        (Flavour::MariaDb, Tls::VerifyIdentity(ca)) => {
            vec!["--ssl".to_owned(), of_file(ca), "--ssl-verify-server-cert".to_owned()]
        }
        (Flavour::MySql, Tls::Required) => vec!["--ssl-mode=REQUIRED".to_owned()],
        (Flavour::MySql, Tls::VerifyIdentity(ca)) => {
            vec!["--ssl-mode=VERIFY_IDENTITY".to_owned(), of_file(ca)]
        }
    }
}

/// A dump under way.
pub(super) struct Dump {
    begun: Option<oneshot::Receiver<()>>,
    run: tokio::task::JoinHandle<Result<(Position, File), String>>,
}

impl Dump {
    /// Returns once the tool has its snapshot, or has ended.
    pub(super) async fn has_begun(&mut self) {
        if let Some(begun) = self.begun.take() {
            // A tool that ended without a word says why at its end.
            let _ = begun.await;
        }
    }

    pub(super) async fn ended(self) -> Result<(Position, File), String> {
        self.run.await.map_err(|error| format!("the dump ended unexpectedly: {error}"))?
    }
}

/// Begins a dump into a file.
pub(super) fn dump(tool: &Tool, part: &Part, path: PathBuf) -> Dump {
    let mut command = tool.call(&part.server);
    command.args(["--single-transaction", "--quick", "--hex-blob", "--skip-triggers", "--no-tablespaces"]);
    command.args(["--skip-add-drop-table", "--skip-add-locks", "--default-character-set=utf8mb4"]);
    match tool.flavour {
        Flavour::MariaDb => command.arg("--master-data=2"),
        Flavour::MySql => command.args(["--source-data=2", "--set-gtid-purged=OFF"]),
    };
    command.arg(&part.database).args(part.tables.iter().map(|(table, _)| table));
    command.stdout(Stdio::piped());
    let (begin, begun) = oneshot::channel();
    let words = tool.words.join(" ");
    let run = tokio::task::spawn_blocking(move || {
        write_dump(command, &path, begin).map_err(|error| format!("{words}: {error}"))
    });
    Dump { begun: Some(begun), run }
}

fn write_dump(
    mut command: Command,
    path: &Path,
    begin: oneshot::Sender<()>,
) -> Result<(Position, File), String> {
    let told = |error: std::io::Error| error.to_string();
    let mut child = command.spawn().map_err(told)?;
    let complaints = complaints(&mut child);
    let written = child.stdout.take().map(|output| compress(output, path, Some(begin)));
    let status = child.wait().map_err(told)?;
    let complaints = complaints.and_then(|reader| reader.join().ok()).unwrap_or_default();
    if !status.success() {
        return Err(format!("{status}: {}", complaints.trim()));
    }
    let (head, tail, file) = written.ok_or("no output")?.map_err(told)?;
    let position = backup::position(&head).ok_or("the dump names no position in the log")?;
    if !tail.windows(END.len()).any(|window| window == END) {
        return Err(format!("the dump was cut off: {}", complaints.trim()));
    }
    Ok((position, file))
}

/// Reads what a tool complains of, so that it never waits for somebody to do so.
fn complaints(child: &mut Child) -> Option<std::thread::JoinHandle<String>> {
    let mut errors = child.stderr.take()?;
    Some(std::thread::spawn(move || {
        let mut text = Vec::new();
        // What could not be read of it is missing from a message.
        let _ = errors.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }))
}

/// Counts and adds up what goes through.
struct Summed<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

type Ends = (Vec<u8>, Vec<u8>, File);

/// Compresses everything into a file. Returns the head and the tail of what went in.
fn compress(mut input: impl Read, path: &Path, begin: Option<oneshot::Sender<()>>) -> std::io::Result<Ends> {
    const TAIL: usize = 200;
    let summed = Summed { inner: std::fs::File::create(path)?, hash: Sha256::new(), bytes: 0 };
    let mut output = GzEncoder::new(summed, Compression::fast());
    let (mut head, mut tail, mut begin) = (Vec::new(), Vec::new(), begin);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = input.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        output.write_all(&buffer[..read])?;
        if head.len() < HEAD_MAX && begin.is_some() {
            head.extend_from_slice(&buffer[..read]);
            if backup::position(&head).is_some()
                && let Some(begin) = begin.take()
            {
                // Nobody waits for it any more when the time to hold statements is over.
                let _ = begin.send(());
            }
        }
        tail.extend_from_slice(&buffer[..read]);
        tail.drain(..tail.len().saturating_sub(TAIL));
    }
    let summed = output.finish()?;
    summed.inner.sync_all()?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok((head, tail, File { name, bytes: summed.bytes, sha256: format!("{:x}", summed.hash.finalize()) }))
}

/// Fetches a server's logs from the file of one position to that of another, and compresses them.
///
/// # Errors
/// What the tool said.
pub(super) async fn log(
    tool: &Tool,
    server: &Server,
    from: &Position,
    to: &Position,
    folder: &Path,
) -> Result<Vec<File>, String> {
    let mut command = tool.call(server);
    command.args(["--read-from-remote-server", "--raw", "--to-last-log"]);
    // The tool puts the log's name behind this.
    let prefix = format!("{}-{}-", server.host, server.port);
    command.arg(format!("--result-file={}", folder.join(&prefix).display())).arg(&from.file);
    command.stdout(Stdio::null());
    let (folder, last, words) = (folder.to_owned(), format!("{prefix}{}", to.file), tool.words.join(" "));
    let run = tokio::task::spawn_blocking(move || {
        let told = |error: std::io::Error| format!("{words}: {error}");
        let mut child = command.spawn().map_err(told)?;
        let complaints = complaints(&mut child);
        let status = child.wait().map_err(told)?;
        let complaints = complaints.and_then(|reader| reader.join().ok()).unwrap_or_default();
        if !status.success() {
            return Err(format!("{words}: {status}: {}", complaints.trim()));
        }
        let mut files = Vec::new();
        let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)
            .map_err(told)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
            .collect();
        found.sort();
        if !found.iter().any(|path| path.file_name().is_some_and(|name| name.to_string_lossy() == last)) {
            return Err(format!("{words}: it did not fetch {last}: {}", complaints.trim()));
        }
        for raw in found {
            let input = std::fs::File::open(&raw).map_err(told)?;
            let packed = PathBuf::from(format!("{}.gz", raw.display()));
            files.push(compress(input, &packed, None).map_err(told)?.2);
            std::fs::remove_file(&raw).map_err(told)?;
        }
        Ok(files)
    });
    run.await.map_err(|error| format!("fetching logs ended unexpectedly: {error}"))?
}

/// Is a file still what was written?
///
/// # Errors
/// SHD1469.
pub(super) async fn is_whole(path: &Path, file: &File) -> Result<(), String> {
    let (path, expected) = (path.to_owned(), file.sha256.clone());
    let run = tokio::task::spawn_blocking(move || {
        let unusable = |why: String| refusal::BACKUP_UNUSABLE.because(why).to_string();
        let mut input =
            std::fs::File::open(&path).map_err(|error| unusable(format!("{}: {error}", path.display())))?;
        let mut hash = Sha256::new();
        std::io::copy(&mut input, &mut hash)
            .map_err(|error| unusable(format!("{}: {error}", path.display())))?;
        if format!("{:x}", hash.finalize()) == expected {
            return Ok(());
        }
        Err(unusable(format!("{} is not what was written: its checksum differs", path.display())))
    });
    run.await.map_err(|error| format!("reading a backup ended unexpectedly: {error}"))?
}

/// The statements of a compressed dump, in order.
pub(super) fn statements(path: PathBuf) -> mpsc::Receiver<Result<Vec<u8>, String>> {
    let (sender, statements) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let send = |item| sender.blocking_send(item).is_ok();
        let told = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) => {
                send(Err(told(error)));
                return;
            }
        };
        let mut lines = BufReader::new(GzDecoder::new(BufReader::new(file)));
        let (mut open, mut line) = (Statements::default(), Vec::new());
        loop {
            line.clear();
            match lines.read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    send(Err(told(error)));
                    return;
                }
            }
            if let Some(statement) = open.line(&line)
                && !send(Ok(statement))
            {
                return;
            }
        }
        if !open.is_complete() {
            send(Err(format!("{}: it ends inside of a statement", path.display())));
        }
    });
    statements
}

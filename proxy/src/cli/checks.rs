//! The five checks before a switch, with a line on standard error for as long as they run.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::Value;
use shardway_migration::checkpoint::report::CheckpointReport;

use super::Remote;
use super::api::Api;
use super::online::Form;
use super::show;
use crate::control::moves::{Checked, HowFar};

/// Between two looks at how far the checks are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs them. Succeeds only when all have passed.
pub(super) fn run(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let path = format!("/api/moves/{name}/check");
    let api = Api::new(remote)?;
    let (sender, answer) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Nobody listens any more only when this thread's answer has been taken.
            let _ = sender.send(api.post(&path, ""));
        });
        let shown = Shown::default();
        loop {
            match answer.recv_timeout(LOOK_EVERY) {
                Ok(report) => {
                    shown.end();
                    return print(&report?, form);
                }
                Err(RecvTimeoutError::Timeout) => {
                    // What cannot be told now may be in a second; the run itself says what is wrong.
                    let checked = api.get(&path).ok();
                    let checked = checked.and_then(|value| serde_json::from_value::<Checked>(value).ok());
                    if let Some(running) = checked.and_then(|checked| checked.running) {
                        shown.line(&running);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the checks ended without an answer"),
            }
        }
    })
}

/// Shows the last report again, and how far a run is.
pub(super) fn last(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let known = Api::new(remote)?.get(&format!("/api/moves/{name}/check"))?;
    let checked: Checked = serde_json::from_value(known.clone()).context("the proxy's answer is no check")?;
    if let Some(running) = &checked.running {
        eprintln!("running: {}", how_far(running));
    }
    let Some(last) = &checked.last else {
        anyhow::bail!("{name} has not been checked yet; `shardway move check {name}` does that");
    };
    if form == Form::Text {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        println!("finished {} ago", show::clock(now.saturating_sub(last.finished_at)));
    }
    print(&known["last"], form)
}

fn print(report: &Value, form: Form) -> anyhow::Result<ExitCode> {
    let read: CheckpointReport =
        serde_json::from_value(report.clone()).context("the proxy's answer is no report")?;
    match form {
        Form::Json => println!("{}", serde_json::to_string_pretty(report)?),
        Form::Text => print!("{read}"),
    }
    Ok(if read.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn how_far(of: &HowFar) -> String {
    match of.check.as_str() {
        "assertions" | "baseline" => of.check.clone(),
        _ => format!("{}: {} of about {} rows compared", of.check, of.rows_compared, of.rows_total),
    }
}

/// A line that is written over on a terminal; elsewhere nothing is shown.
struct Shown {
    is_terminal: bool,
}

impl Default for Shown {
    fn default() -> Shown {
        Shown { is_terminal: std::io::stderr().is_terminal() }
    }
}

impl Shown {
    fn line(&self, of: &HowFar) {
        if self.is_terminal {
            eprint!("\r\x1b[K{}", how_far(of));
            // A line that cannot be shown is not worth ending the checks for.
            let _ = std::io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

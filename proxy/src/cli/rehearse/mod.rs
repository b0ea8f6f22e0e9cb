//! `move rehearse`: the whole move, once, against a scratch target, by a proxy of its own.
//!
//! Against the real source it goes as far as both sides are equal, and changes nothing there but the engine's own
//! marks. Where copies of the sources are named it goes on: double write, gray reads, the checks, the switch, a
//! rollback, the switch again, the end. A client asks all the time, and writes where the source is a copy, so the
//! report has the stalls that clients would have had.

mod child;
mod probe;
mod report;
mod rules;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use mysql_async::Opts;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use shardway_migration::checkpoint::ALL;
use shardway_migration::checkpoint::report::CheckpointReport;
use shardway_migration::report::{MoveReport, Progress};

use self::child::Rehearsing;
use self::probe::{May, Probe};
use self::report::{Rehearsal, Step};
use self::rules::Rewritten;
use super::Remote;
use super::api::Api;
use super::online::{self, Form};
use crate::control::moves::rollback::{Ask, Rollback, StepState};
use crate::control::rule_file;
use crate::control::traffic::Wish;
use crate::durable;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is left of the scratch target afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scratch {
    Dropped,
    Kept,
}

/// How far a rehearsal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Until both sides are equal: the source is the real one.
    Equal,
    /// Over the switch and a rollback to the end.
    TheEnd,
}

/// What to rehearse with.
pub(super) struct Plan<'a> {
    pub name: &'a str,
    /// A server: `mysql://user:password@host:port`.
    pub scratch: &'a str,
    /// Copies of source backends: `backend=mysql://…/database`.
    pub sources: &'a [String],
    pub after: Scratch,
}

/// Succeeds only when every step does.
pub(super) fn rehearse(remote: &Remote, plan: &Plan<'_>, form: Form) -> anyhow::Result<ExitCode> {
    let config = remote.config()?;
    let text = std::fs::read_to_string(&config.rules)
        .with_context(|| format!("reading {}", config.rules.display()))?;
    let (topology, settings) = rule_file::load(&config.rules, &text, 1).map_err(anyhow::Error::msg)?;
    let mut sources = BTreeMap::new();
    for source in plan.sources {
        let (backend, url) = source.split_once('=').context("--source is BACKEND=mysql://…/DATABASE")?;
        sources.insert(backend.to_owned(), url.to_owned());
    }
    let schedule = settings.moves.get(plan.name).and_then(|of| of.schedule.as_ref());
    let steps = schedule.map(|schedule| schedule.steps.as_slice());
    let rewritten = rules::rewritten(&text, &topology, plan.name, plan.scratch, &sources, steps)
        .map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = Opts::from_url(plan.scratch).context("--scratch is mysql://user:password@host:port")?;
    runtime.block_on(must_be_new(&server, &rewritten))?;
    let folder = config.state_dir.join("rehearsal").join(plan.name);
    let rehearsing = Rehearsing::start(&folder, &rewritten.text)?;
    let reach = if sources.is_empty() { Reach::Equal } else { Reach::TheEnd };
    let mut course = Course::new(plan.name, &rehearsing, &rewritten, reach, form)?;
    let ended = course.run(reach);
    let log = rehearsing.log.display().to_string();
    let mut rehearsal = course.rehearsal;
    drop(rehearsing);
    rehearsal.log = log;
    rehearsal.passed = ended.is_ok();
    if plan.after == Scratch::Dropped {
        runtime.block_on(drop_all(&server, &rewritten))?;
    }
    durable::write(&folder.join("report.json"), &serde_json::to_vec_pretty(&rehearsal)?)?;
    match form {
        Form::Json => println!("{}", serde_json::to_string_pretty(&rehearsal)?),
        Form::Text => println!("{}", rehearsal.to_string().lines().last().unwrap_or_default()),
    }
    Ok(if rehearsal.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn must_be_new(server: &Opts, rewritten: &Rewritten) -> anyhow::Result<()> {
    let mut connection =
        mysql_async::Conn::new(server.clone()).await.context("connecting to the scratch server")?;
    for database in &rewritten.databases {
        let found: Option<String> = connection
            .exec_first(
                "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?",
                (database,),
            )
            .await?;
        anyhow::ensure!(
            found.is_none(),
            "the scratch server has a database `{database}` already; drop it if it is of an earlier rehearsal"
        );
    }
    Ok(connection.disconnect().await?)
}

async fn drop_all(server: &Opts, rewritten: &Rewritten) -> anyhow::Result<()> {
    let mut connection =
        mysql_async::Conn::new(server.clone()).await.context("connecting to the scratch server")?;
    for database in &rewritten.databases {
        connection.query_drop(format!("DROP DATABASE IF EXISTS `{}`", database.replace('`', "``"))).await?;
    }
    Ok(connection.disconnect().await?)
}

/// A rehearsal on its way.
struct Course<'a> {
    rehearsing: &'a Rehearsing,
    rewritten: &'a Rewritten,
    api: Api,
    probe: Option<Probe>,
    form: Form,
    rehearsal: Rehearsal,
}

impl<'a> Course<'a> {
    fn new(
        name: &str,
        rehearsing: &'a Rehearsing,
        rewritten: &'a Rewritten,
        reach: Reach,
        form: Form,
    ) -> anyhow::Result<Course<'a>> {
        let began_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // Whose source it is decides what may be done to it.
        let may = match reach {
            Reach::Equal => May::Read,
            Reach::TheEnd => May::Write,
        };
        let probe = rewritten
            .probed
            .as_ref()
            .map(|(database, table, key)| Probe::start(rehearsing.options(database), table, key, may));
        let rehearsal = Rehearsal { r#move: name.to_owned(), began_at, ..Rehearsal::default() };
        let api = Api::new(&rehearsing.remote)?;
        Ok(Course { rehearsing, rewritten, api, probe, form, rehearsal })
    }

    /// Every step, up to the first that fails.
    fn run(&mut self, reach: Reach) -> anyhow::Result<()> {
        self.step("preflight", Course::preflight)?;
        self.step("copy and catch up", Course::carry)?;
        self.step("verify", Course::verify)?;
        if reach == Reach::Equal {
            return Ok(());
        }
        let double = Wish { double_write: Some(self.rewritten.double_write.into()), ..Wish::default() };
        self.step("double write on", |course| course.traffic(&double))?;
        for percent in self.rewritten.reads.clone() {
            let reads = Wish { reads: Some(percent), ..Wish::default() };
            self.step(&format!("reads {percent} %"), |course| course.traffic(&reads))?;
        }
        self.step("checks", Course::check)?;
        let switch = Wish { writes: Some("target".into()), ..Wish::default() };
        self.step("switch", |course| course.traffic(&switch))?;
        self.step("verify after the switch", Course::verify)?;
        self.step("rollback", Course::roll_back)?;
        self.step("verify after the rollback", Course::verify)?;
        let again = Wish { reads: Some(100.0), ..switch };
        self.step("switch again", |course| course.traffic(&again))?;
        let off = Wish { double_write: Some("off".into()), ..Wish::default() };
        self.step("double write off", |course| course.traffic(&off))?;
        self.step("verify at the end", Course::verify)?;
        self.step("finish", Course::finish)
    }

    fn step(
        &mut self,
        name: &str,
        work: impl FnOnce(&Course<'a>) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let before = self.probe.as_ref().map(Probe::take);
        let began = Instant::now();
        let done = work(self);
        let seconds = began.elapsed().as_secs_f64();
        let seen = self.probe.as_ref().map(Probe::take).unwrap_or_default();
        let millis = |longest: Option<Duration>| longest.map(|longest| longest.as_secs_f64() * 1000.0);
        let step = Step {
            name: name.to_owned(),
            seconds,
            detail: done.as_ref().cloned().unwrap_or_default(),
            error: done.as_ref().err().map(|error| format!("{error:#}")),
            longest_read_ms: millis(seen.read),
            longest_write_ms: millis(seen.write),
            changed_rows: seen.changes,
            failed_statements: seen.failed + before.map_or(0, |before| before.failed),
        };
        if self.form == Form::Text {
            println!("{step}");
        }
        self.rehearsal.steps.push(step);
        done.map(|_| ())
    }

    fn path(&self, action: &str) -> String {
        format!("/api/moves/{}{action}", self.rewritten.name)
    }

    fn preflight(&self) -> anyhow::Result<String> {
        let report = self.api.post(&self.path("/preflight"), "")?;
        let findings = report["findings"].as_array().cloned().unwrap_or_default();
        let told = |finding: &Value| {
            format!(
                "{}: {}",
                finding["id"].as_str().unwrap_or_default(),
                finding["found"].as_str().unwrap_or_default()
            )
        };
        let refused: Vec<String> =
            findings.iter().filter(|finding| finding["severity"] == "refused").map(told).collect();
        anyhow::ensure!(refused.is_empty(), "{}", refused.join("\n       "));
        Ok(format!("{} findings, none refuses", findings.len()))
    }

    /// Starts the move and waits until both sides are equal.
    fn carry(&self) -> anyhow::Result<String> {
        self.api.post(&self.path("/start"), "")?;
        let Progress { rows_copied, bytes_copied, .. } = self.reaches("Synced")?.progress;
        Ok(format!("{rows_copied} rows, {bytes_copied} bytes"))
    }

    /// Waits until the move is in a phase.
    fn reaches(&self, phase: &str) -> anyhow::Result<MoveReport> {
        loop {
            let status = self.api.get(&self.path(""))?;
            let report: MoveReport =
                serde_json::from_value(status).context("the proxy's answer is no move")?;
            match report.phase.as_str() {
                is if is == phase => return Ok(report),
                "Failed" | "Paused" => {
                    anyhow::bail!("{}", report.last_error.unwrap_or_else(|| report.phase.clone()));
                }
                _ => std::thread::sleep(LOOK_EVERY),
            }
        }
    }

    fn verify(&self) -> anyhow::Result<String> {
        let report = self.api.post(&self.path("/verify"), "hash")?;
        let told = format!("{} rows compared, {} differ", report["checked"], report["different"]);
        anyhow::ensure!(report["clean"] == true, "{told}");
        Ok(told)
    }

    /// The five checks, with the questions of the rules.
    fn check(&self) -> anyhow::Result<String> {
        let report: CheckpointReport = serde_json::from_value(self.api.post(&self.path("/check"), "")?)
            .context("the proxy's answer is no report of checks")?;
        anyhow::ensure!(report.passed, "{report}");
        let told = ALL.iter().map(|check| format!("{check} {}", report.outcome(*check)));
        Ok(told.collect::<Vec<_>>().join(", "))
    }

    /// As `move rollback` does it, with everything that follows the traffic.
    fn roll_back(&self) -> anyhow::Result<String> {
        let ask = serde_json::to_value(Ask::default())?;
        let ended: Rollback = serde_json::from_value(self.api.post_json(&self.path("/rollback"), &ask)?)
            .context("the proxy's answer is no rollback")?;
        let steps = ended.steps.iter().map(|step| format!("{} {:.1} s", step.step, step.seconds));
        let told = steps.collect::<Vec<_>>().join(", ");
        let failed = ended.steps.iter().find(|step| step.state == StepState::Failed);
        match failed {
            Some(step) => anyhow::bail!("{}: {}", step.step, step.detail),
            None => Ok(told),
        }
    }

    fn finish(&self) -> anyhow::Result<String> {
        self.api.post(&self.path("/finish"), "")?;
        self.reaches("Done").map(|_| "the way back is closed".to_owned())
    }

    fn traffic(&self, wish: &Wish) -> anyhow::Result<String> {
        let version = online::put(&self.api, &self.rehearsing.rules, &self.rewritten.name, wish)?;
        Ok(format!("version {version}"))
    }
}

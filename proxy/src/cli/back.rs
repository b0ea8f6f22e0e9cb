//! The way back: points, rollbacks with their steps as they happen, what is not synchronised.

mod backups;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::Value;

use super::api::Api;
use super::online::Form;
use super::show;
use super::{Output, Remote};
use crate::control::moves::backup::{BackupAsk, Kind, Restored};
use crate::control::moves::rollback::{Ask, Manner, Outcome, Rollback, StepReport, StepState};
use crate::control::moves::{NotSynchronised, Parted, Point};

/// Between two looks at how far a rollback is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Commands about the way back of a move.
#[derive(Debug, Subcommand)]
pub(super) enum Back {
    /// Lists the rollback points: made before and after every switch, and on demand.
    #[command(after_help = "Example: shardway move points shop --json")]
    Points {
        #[command(flatten)]
        remote: Remote,
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Makes a rollback point: rules, positions, counters, definitions as they are now.
    #[command(after_help = "Example: shardway move point shop --name before-release-42")]
    Point {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// What the point is called.
        #[arg(long = "name", default_value = "")]
        named: String,
        #[command(flatten)]
        output: Output,
    },
    /// Takes the traffic back to the source, step by step: stop, traffic, data, rules, validate.
    #[command(after_help = "Example: shardway move rollback shop\n\
                      Example: shardway move rollback shop --to before-release-42   (with the rules of that point)\n\
                      Example: shardway move rollback shop --emergency   (waits for nothing; then lists what is not synchronised)\n\
                      Example: shardway move rollback shop --last   (how the last one ended)")]
    Rollback {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// A rollback point, by name or number.
        #[arg(long)]
        to: Option<String>,
        /// Traffic to the source at once, also when the target does not answer. Writes that had not come over stay on
        /// the target, are listed, and nothing overwrites them.
        #[arg(long, conflicts_with = "to")]
        emergency: bool,
        /// How both sides are compared at the end.
        #[arg(long, default_value = "hash", value_parser = ["none", "count", "sample", "hash", "exact"])]
        verify: String,
        /// Shows the last rollback and does nothing.
        #[arg(long)]
        last: bool,
        /// Restores the backup of the point into `DATABASE_restored_POINT` on the source, beside the tables that clients
        /// use, and prints the statements that put it in their place, which a person runs: exit code 3. It never touches
        /// those tables.
        #[arg(long, requires = "to")]
        restore: bool,
        /// Goes to a source that has not been followed for a while.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Backs up the move's tables on the source with the server's own tools, and tries it: full, or the log since the last.
    #[command(after_help = "Example: shardway move backup shop --to /backups\n\
                            Example: shardway move backup shop --incremental\n\
                            Example: shardway move backup shop --list --json")]
    Backup {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// The log since the backup before, instead of all rows.
        #[arg(long)]
        incremental: bool,
        /// A folder on the proxy's machine, in place of the state folder's `backups`.
        #[arg(long)]
        to: Option<PathBuf>,
        /// Lists them and makes none.
        #[arg(long)]
        list: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Lists what the target may have and the source lacks after an emergency rollback; succeeds when there is nothing.
    #[command(after_help = "Example: shardway move gaps shop\n\
                            Example: shardway move gaps shop --close   (what matters has been copied to the source)")]
    Gaps {
        #[command(flatten)]
        remote: Remote,
        name: String,
        /// From now on the source's rows are right, and the move may begin anew.
        #[arg(long)]
        close: bool,
        #[command(flatten)]
        output: Output,
    },
}

pub(super) fn run(command: Back) -> anyhow::Result<ExitCode> {
    match command {
        Back::Points { remote, name, output } => points(&remote, &name, output.form()),
        Back::Point { remote, name, named, output } => point(&remote, &name, &named, output.form()),
        Back::Rollback { remote, name, to, emergency, verify, last, restore, yes, output } => {
            let manner = if emergency { Manner::Emergency } else { Manner::Planned };
            let ask = Ask { manner, to, verify: Some(verify), restore, yes };
            let form = output.form();
            if last { show_last(&remote, &name, form) } else { rollback(&remote, &name, &ask, form) }
        }
        Back::Backup { remote, name, incremental, to, list, output } => {
            let form = output.form();
            let kind = if incremental { Kind::Incremental } else { Kind::Full };
            if list {
                backups::backups(&remote, &name, form)
            } else {
                backups::back_up(&remote, &name, &BackupAsk { kind, to }, form)
            }
        }
        Back::Gaps { remote, name, close, output } => {
            if close {
                close_gaps(&remote, &name)
            } else {
                gaps(&remote, &name, output.form())
            }
        }
    }
}

fn points(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let known = Api::new(remote)?.get(&format!("/api/moves/{name}/points"))?;
    if form == Form::Json {
        println!("{}", serde_json::to_string_pretty(&known)?);
        return Ok(ExitCode::SUCCESS);
    }
    let points: Vec<Point> =
        serde_json::from_value(known).context("the proxy's answer is no list of points")?;
    for point in &points {
        print!("{}", lines(point));
    }
    if points.is_empty() {
        println!("{name} has no points; `shardway move point {name}` makes one");
    }
    Ok(ExitCode::SUCCESS)
}

fn point(remote: &Remote, name: &str, named: &str, form: Form) -> anyhow::Result<ExitCode> {
    let made = Api::new(remote)?.post(&format!("/api/moves/{name}/points"), named)?;
    if form == Form::Json {
        println!("{}", serde_json::to_string_pretty(&made)?);
        return Ok(ExitCode::SUCCESS);
    }
    let point: Point = serde_json::from_value(made).context("the proxy's answer is no point")?;
    print!("{}", lines(&point));
    Ok(ExitCode::SUCCESS)
}

fn lines(point: &Point) -> String {
    let mut text = format!(
        "{:4} {}  {}  rules {}  writes {}  {}\n",
        point.id,
        point.name,
        show::utc(point.at),
        point.rules_version,
        point.authority.name(),
        point.reason
    );
    text += &format!("       schema {}", point.servers.schema.as_deref().unwrap_or("not known"));
    for (backend, position) in &point.servers.positions {
        text += &format!("  {backend} at {position}");
    }
    if let Some(backup) = point.backup {
        text += &format!("  backup {backup}");
    }
    text.push('\n');
    for counter in &point.servers.counters {
        text += &format!("       {} gives {} next\n", counter.node, counter.next);
    }
    for (backend, why) in &point.servers.unknown {
        text += &format!("       {backend} was not asked: {why}\n");
    }
    text
}

/// What a command ends with that leaves something for a person to do.
const AWAITS_A_PERSON: u8 = 3;

/// Goes back, and shows every step as it happens. Succeeds only when all of them have.
fn rollback(remote: &Remote, name: &str, ask: &Ask, form: Form) -> anyhow::Result<ExitCode> {
    let path = format!("/api/moves/{name}/rollback");
    let ask = serde_json::to_value(ask)?;
    let api = Api::new(remote)?;
    let before = api.get(&path)?;
    let (sender, answer) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Nobody listens any more only when this thread's answer has been taken.
            let _ = sender.send(api.post_json(&path, &ask));
        });
        let mut shown = 0;
        loop {
            match answer.recv_timeout(LOOK_EVERY) {
                Ok(ended) => {
                    let ended = ended?;
                    let read: Rollback =
                        serde_json::from_value(ended.clone()).context("the proxy's answer is no rollback")?;
                    return finish(&read, &ended, &mut shown, form);
                }
                Err(RecvTimeoutError::Timeout) => {
                    // What cannot be told now may be in a moment; the run itself says what is wrong.
                    let now = api.get(&path).ok().filter(|now| *now != before);
                    let now = now.and_then(|now| serde_json::from_value::<Rollback>(now).ok());
                    if let (Some(now), Form::Text) = (now, form) {
                        steps(&now, &mut shown);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the rollback ended without an answer"),
            }
        }
    })
}

/// How the last one ended, or how far it is.
fn show_last(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let known = Api::new(remote)?.get(&format!("/api/moves/{name}/rollback"))?;
    anyhow::ensure!(!known.is_null(), "{name} has never been rolled back");
    let read: Rollback =
        serde_json::from_value(known.clone()).context("the proxy's answer is no rollback")?;
    finish(&read, &known, &mut 0, form)
}

fn finish(read: &Rollback, whole: &Value, shown: &mut usize, form: Form) -> anyhow::Result<ExitCode> {
    match form {
        Form::Json => println!("{}", serde_json::to_string_pretty(whole)?),
        Form::Text => {
            steps(read, shown);
            match read.outcome {
                Outcome::Running => println!("under way"),
                Outcome::Done => println!("done"),
                Outcome::Failed => println!("failed; the last step says why"),
                Outcome::AwaitsAPerson => print!("{}", to_do(&read.restored)),
            }
        }
    }
    Ok(match read.outcome {
        Outcome::Failed => ExitCode::FAILURE,
        Outcome::AwaitsAPerson => ExitCode::from(AWAITS_A_PERSON),
        Outcome::Running | Outcome::Done => ExitCode::SUCCESS,
    })
}

/// What a person runs.
fn to_do(restored: &[Restored]) -> String {
    let mut text = "awaits a person: stop the clients, then run\n".to_owned();
    for of in restored {
        text += &format!("-- on {}\n", of.server);
        for statement in &of.statements {
            text += &format!("{statement};\n");
        }
    }
    text
}

/// The steps that have ended and were not shown yet.
fn steps(of: &Rollback, shown: &mut usize) {
    let ended = of.steps.iter().take_while(|step| step.state != StepState::Running);
    for step in ended.skip(*shown) {
        println!("{}", line(step));
        *shown += 1;
    }
}

fn line(step: &StepReport) -> String {
    let state = match step.state {
        StepState::Running => "…",
        StepState::Done => "done",
        StepState::Skipped => "skipped",
        StepState::Failed => "failed",
        StepState::Interrupted => "interrupted",
        StepState::AwaitsAPerson => "awaits a person",
    };
    format!("{:16} {state:8} {:6.1} s  {}", step.step, step.seconds, step.detail)
}

/// What the target may have that the source lacks. Fails while there is something.
fn gaps(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let known = Api::new(remote)?.get(&format!("/api/moves/{name}/gaps"))?;
    let parted: Option<Parted> =
        serde_json::from_value(known["parted"].clone()).context("the proxy's answer is no list of gaps")?;
    match (&parted, form) {
        (_, Form::Json) => println!("{}", serde_json::to_string_pretty(&known)?),
        (None, Form::Text) => println!("{name}: everything is synchronised, or on its way"),
        (Some(parted), Form::Text) => print!("{}", gap_lines(name, parted)),
    }
    Ok(if parted.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn gap_lines(name: &str, parted: &Parted) -> String {
    let NotSynchronised { streams, dirty_keys, transactions } = &parted.not_synchronised;
    let mut text = format!("{name}: parted since {} ({})\n", show::utc(parted.since), parted.reason);
    for gap in streams {
        let place = |of: &Option<shardway_migration::position::Position>| {
            of.as_ref().map_or("not known".to_owned(), ToString::to_string)
        };
        text += &format!(
            "  {} ({}): applied up to {}, its log ends at {}",
            gap.backend,
            gap.server,
            place(&gap.applied),
            place(&gap.end)
        );
        text += &gap.bytes.map(|bytes| format!(", {bytes} bytes later")).unwrap_or_default();
        text += &gap.rows.map(|rows| format!(", {rows} rows")).unwrap_or_default();
        text += &gap.unknown.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        text.push('\n');
        for row in &gap.keys {
            text += &format!("    {} {} was {}\n", row.table, row.key, row.change);
        }
        if gap.rows > Some(gap.keys.len() as u64) {
            let all = gap.list.as_ref().map(|list| format!("; all are in {}", list.display()));
            text += &format!("    … and more{}\n", all.unwrap_or_default());
        }
    }
    if *dirty_keys > 0 {
        text += &format!("  {dirty_keys} dirty keys\n");
    }
    if let Some(open) = transactions {
        text += &format!("  when traffic went back, {open}\n");
    }
    text += &format!(
        "`shardway move verify {name}` lists the rows that differ; when what matters is on the source:\n\
         `shardway move gaps {name} --close`, empty the target's tables, then `shardway move start {name}`\n"
    );
    text
}

fn close_gaps(remote: &Remote, name: &str) -> anyhow::Result<ExitCode> {
    Api::new(remote)?.post(&format!("/api/moves/{name}/gaps/close"), "")?;
    println!(
        "{name}: closed; the source's rows are right. empty the target's tables, then `shardway move start {name}` begins anew"
    );
    Ok(ExitCode::SUCCESS)
}

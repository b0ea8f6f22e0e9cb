//! Following a move: bars on a terminal, lines elsewhere, JSON documents where they are asked for.
//!
//! It ends when nothing goes on by itself any more, and fails when the move has. A proxy that does not answer is asked
//! again with growing pauses, so that watching survives its restart.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use shardway_migration::backoff::Backoff;
use shardway_migration::report::{MoveReport, TableReport, WorkReport};

use super::Remote;
use super::api::Api;
use super::online::Form;
use super::show;

const EVERY: Duration = Duration::from_millis(500);
/// Tries while the proxy does not answer: a minute.
const TRIES: u32 = 6;

/// Phases in which a person must do something before anything goes on.
const AT_REST: [&str; 7] = ["Draft", "Synced", "Divided", "ReverseSync", "Paused", "Done", "Failed"];

/// How a report is shown.
enum View {
    Json,
    /// The last line, which is not repeated.
    Lines(String),
    Bars(Bars),
}

struct Bars {
    all: MultiProgress,
    tables: BTreeMap<String, ProgressBar>,
    /// Of what goes on beside the copy.
    work: Option<ProgressBar>,
    below: ProgressBar,
}

/// Shows the move until it rests.
pub(super) fn watch(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let api = Api::new(remote)?;
    let mut view = View::new(form)?;
    loop {
        let status = ask(&api, name)?;
        let report: MoveReport =
            serde_json::from_value(status.clone()).context("the proxy's answer is no move")?;
        view.show(&status, &report)?;
        if let Some(code) = rests(&report) {
            view.end(&report);
            return Ok(code);
        }
        sleep(EVERY);
    }
}

/// The state of the move; a proxy that cannot be reached is asked again.
fn ask(api: &Api, name: &str) -> anyhow::Result<Value> {
    let mut pauses = Backoff::new(TRIES);
    loop {
        match api.get(&format!("/api/moves/{name}")) {
            Err(error) if error.is::<ureq::Error>() => match pauses.next() {
                Some(pause) => {
                    eprintln!("shardway: {error:#}; trying again in {} s", pause.as_secs());
                    sleep(pause);
                }
                None => return Err(error),
            },
            other => return other,
        }
    }
}

/// With what to end, when the move rests.
fn rests(report: &MoveReport) -> Option<ExitCode> {
    let word = report.phase.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    match word {
        "Failed" => Some(ExitCode::FAILURE),
        // Nobody has paused it.
        "Paused" if report.last_error.is_some() => Some(ExitCode::FAILURE),
        word if AT_REST.contains(&word) => Some(ExitCode::SUCCESS),
        _ => None,
    }
}

impl View {
    fn new(form: Form) -> anyhow::Result<View> {
        if form == Form::Json {
            return Ok(View::Json);
        }
        if !std::io::stdout().is_terminal() {
            return Ok(View::Lines(String::new()));
        }
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let below = all.add(ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{msg}")?));
        Ok(View::Bars(Bars { all, tables: BTreeMap::new(), work: None, below }))
    }

    fn show(&mut self, status: &Value, report: &MoveReport) -> anyhow::Result<()> {
        match self {
            View::Json => println!("{status}"),
            View::Lines(last) => {
                let line = show::line(report);
                if line != *last {
                    println!("{line}");
                    *last = line;
                }
            }
            View::Bars(bars) => bars.show(report)?,
        }
        Ok(())
    }

    fn end(self, report: &MoveReport) {
        match self {
            View::Json | View::Lines(_) => {}
            View::Bars(bars) => {
                bars.tables.values().for_each(ProgressBar::abandon);
                bars.below.finish_and_clear();
                print!("{}", show::report(report));
            }
        }
    }
}

impl Bars {
    fn show(&mut self, report: &MoveReport) -> anyhow::Result<()> {
        for table in bars(report) {
            if !self.tables.contains_key(&table.table) {
                let bar = self.bar(table.table.clone())?;
                self.tables.insert(table.table.clone(), bar);
            }
            let bar = &self.tables[&table.table];
            bar.set_length(table.rows_total);
            bar.set_position(table.rows_copied);
            bar.set_message(show::numbers(&table));
        }
        self.show_work(report.work.as_ref())?;
        let elapsed = show::clock(report.progress.elapsed_s);
        let mut lines =
            vec![format!("{} {}, {elapsed} elapsed; {}", report.name, report.phase, show::state(report))];
        lines.extend(show::notices(report));
        self.below.set_message(lines.join("\n"));
        self.below.tick();
        Ok(())
    }

    fn show_work(&mut self, work: Option<&WorkReport>) -> anyhow::Result<()> {
        let Some(work) = work else {
            if let Some(bar) = self.work.take() {
                self.all.remove(&bar);
            }
            return Ok(());
        };
        let bar = match self.work.take() {
            Some(bar) => bar,
            None => self.bar(work.what.clone())?,
        };
        bar.set_prefix(work.what.clone());
        bar.set_length(work.total.unwrap_or(work.done));
        bar.set_position(work.done);
        bar.set_message(show::work(work));
        self.work = Some(bar);
        Ok(())
    }

    /// A new one, the last of all.
    fn bar(&self, prefix: String) -> anyhow::Result<ProgressBar> {
        let style = ProgressStyle::with_template("{prefix:20} {bar:30} {msg}")?;
        let bar = ProgressBar::new(0).with_style(style).with_prefix(prefix);
        Ok(self.all.insert_before(&self.below, bar))
    }
}

/// One for each table, and one for the whole where there is not just one table.
fn bars(report: &MoveReport) -> Vec<TableReport> {
    let of = &report.progress;
    let mut bars = of.per_table.clone();
    if bars.len() != 1 {
        bars.push(TableReport {
            table: "all tables".to_owned(),
            rows_copied: of.rows_copied,
            rows_total: of.rows_total,
            percent: of.percent,
            rows_per_s: of.rows_per_s,
            bytes_copied: of.bytes_copied,
            bytes_per_s: of.bytes_per_s,
            eta_s: of.eta_s,
        });
    }
    bars
}

#[cfg(test)]
mod tests {
    use shardway_migration::report::Progress;

    use super::*;

    #[test]
    fn watching_ends_where_a_person_must_act() {
        let in_phase = |phase: &str| MoveReport { phase: phase.to_owned(), ..MoveReport::default() };
        let rests_in = |phase: &str| rests(&in_phase(phase));
        for phase in ["Synced", "Failed(lost the source)", "Paused", "Done", "ReverseSync"] {
            assert!(rests_in(phase).is_some(), "{phase}");
        }
        for phase in ["Copy", "CatchUp", "Verify", "Switching{Hold}", "RollingBack{Hold}", "SyncedSoon", ""] {
            assert!(rests_in(phase).is_none(), "{phase}");
        }
        assert_eq!(rests_in("Failed"), Some(ExitCode::FAILURE));
        assert_eq!(rests_in("Paused"), Some(ExitCode::SUCCESS));
        let away = MoveReport { last_error: Some("lost the source".to_owned()), ..in_phase("Paused") };
        assert_eq!(rests(&away), Some(ExitCode::FAILURE));
    }

    #[test]
    fn several_tables_have_a_bar_for_the_whole() {
        let table = |name: &str| TableReport { table: name.to_owned(), ..TableReport::default() };
        let names = |tables: Vec<TableReport>| {
            let progress = Progress { per_table: tables, rows_copied: 7, ..Progress::default() };
            let bars = bars(&MoveReport { progress, ..MoveReport::default() });
            bars.into_iter().map(|bar| bar.table).collect::<Vec<_>>()
        };
        assert_eq!(names(vec![table("a"), table("b")]), ["a", "b", "all tables"]);
        assert_eq!(names(vec![table("a")]), ["a"]);
        assert_eq!(names(Vec::new()), ["all tables"]);
    }
}

//! Commands about a move.

use std::process::ExitCode;

use anyhow::Context as _;
use shardway_migration::cleanup::CleanupReport;
use shardway_migration::repair::Run;
use shardway_migration::repair::report::RepairReport;
use shardway_migration::report::MoveReport;
use shardway_migration::throttle::ByHand;
use shardway_migration::verify::report::Report;

use super::Remote;
use super::api::Api;
use super::online::Form;
use super::{found, show};

pub(super) fn start(remote: &Remote, name: &str) -> anyhow::Result<ExitCode> {
    Api::new(remote)?.post(&format!("/api/moves/{name}/start"), "")?;
    println!("copying; follow it with: shardway move status {name} --watch");
    Ok(ExitCode::SUCCESS)
}

pub(super) fn status(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let status = Api::new(remote)?.get(&format!("/api/moves/{name}"))?;
    if form == Form::Json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    let report: MoveReport = serde_json::from_value(status).context("the proxy's answer is no move")?;
    print!("{}", show::report(&report));
    Ok(ExitCode::SUCCESS)
}

/// Sets the pace by hand and says what holds now.
pub(super) fn throttle(remote: &Remote, name: &str, by_hand: &ByHand) -> anyhow::Result<ExitCode> {
    let path = format!("/api/moves/{name}/throttle");
    let set = Api::new(remote)?.post_json(&path, &serde_json::to_value(by_hand)?)?;
    let set: ByHand = serde_json::from_value(set).context("the proxy's answer is no pace")?;
    println!("{name}: {}", show::by_hand(&set));
    Ok(ExitCode::SUCCESS)
}

/// Says one of the words that a move understands.
pub(super) fn tell(remote: &Remote, name: &str, word: &str) -> anyhow::Result<ExitCode> {
    Api::new(remote)?.post(&format!("/api/moves/{name}/{word}"), "")?;
    println!("{name}: {word}");
    Ok(ExitCode::SUCCESS)
}

/// Succeeds when everything was done that may be done now.
pub(super) fn cleanup(remote: &Remote, name: &str, words: &str, form: Form) -> anyhow::Result<ExitCode> {
    let report = Api::new(remote)?.post(&format!("/api/moves/{name}/cleanup"), words)?;
    if form == Form::Json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    let report: CleanupReport = serde_json::from_value(report).context("the proxy's answer is no cleanup")?;
    if report.lines.is_empty() {
        println!("nothing is left of {name}");
    }
    for line in &report.lines {
        println!("{:12} {:40} {}", line.backend, line.table, line.what);
    }
    Ok(ExitCode::SUCCESS)
}

/// Succeeds only when nothing keeps the move from beginning.
pub(super) fn preflight(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let report = Api::new(remote)?.post(&format!("/api/moves/{name}/preflight"), "")?;
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    if form == Form::Json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", found::preflight(&report));
    }
    let is_refused = findings.iter().any(|finding| finding["severity"] == "refused");
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Succeeds only when both sides are equal.
pub(super) fn verify(remote: &Remote, name: &str, mode: &str, form: Form) -> anyhow::Result<ExitCode> {
    let report = Api::new(remote)?.post(&format!("/api/moves/{name}/verify"), mode)?;
    let read: Report = serde_json::from_value(report.clone()).context("the proxy's answer is no report")?;
    match form {
        Form::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Form::Text => print!("{read}"),
    }
    Ok(if read.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Succeeds only when nothing is left to repair.
pub(super) fn repair(remote: &Remote, name: &str, run: Run, form: Form) -> anyhow::Result<ExitCode> {
    let body = if run == Run::Dry { "dry" } else { "" };
    let report = Api::new(remote)?.post(&format!("/api/moves/{name}/repair"), body)?;
    let read: RepairReport =
        serde_json::from_value(report.clone()).context("the proxy's answer is no report")?;
    match form {
        Form::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Form::Text => print!("{read}"),
    }
    Ok(if read.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! Commands about a running proxy.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::Remote;
use super::api::Api;
use crate::control::rule_file::replace;
use crate::control::traffic::{self, Wish};
use crate::utc::rfc3339;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

pub(super) fn plan(remote: &Remote) -> anyhow::Result<ExitCode> {
    let config = remote.config()?;
    let text = std::fs::read_to_string(&config.rules)
        .with_context(|| format!("reading {}", config.rules.display()))?;
    let changes = Api::new(remote)?.post("/api/plan", &text)?;
    let changes = changes.as_array().cloned().unwrap_or_default();
    if changes.is_empty() {
        println!("nothing changes");
    }
    let mut refused = false;
    for change in &changes {
        refused |= change["effect"] == "refused";
        let reason = change["reason"].as_str().map(|reason| format!("  {reason}")).unwrap_or_default();
        println!(
            "{:8} {}: {} -> {} ({}% of keys){reason}",
            text_of(&change["effect"]),
            text_of(&change["rule"]),
            text_of(&change["from"]),
            text_of(&change["to"]),
            change["share_percent"]
        );
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(super) fn status(remote: &Remote, form: Form) -> anyhow::Result<ExitCode> {
    let status = Api::new(remote)?.get("/api/status")?;
    if form == Form::Json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rules = &status["rules"];
    println!(
        "shardway {} up {} s, {} sessions",
        text_of(&status["version"]),
        status["uptime_s"],
        status["sessions"]["count"]
    );
    println!(
        "rules    desired {} in force {}  {}",
        rules["desired_version"],
        rules["in_force_version"],
        text_of(&rules["file"])
    );
    if let Some(error) = rules["last_error"].as_str() {
        println!("         the desired rules are not in force: {error}");
    }
    let unconfirmed: Vec<&str> =
        rules["unconfirmed_columns"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !unconfirmed.is_empty() {
        println!("         columns not confirmed by their own backend: {}", unconfirmed.join(", "));
    }
    for backend in status["backends"].as_array().into_iter().flatten() {
        println!(
            "backend  {:12} {:21} {:4} {} connections {}",
            text_of(&backend["name"]),
            text_of(&backend["address"]),
            text_of(&backend["state"]),
            backend["open_connections"],
            text_of(&backend["error"])
        );
        for replica in backend["replicas"].as_array().into_iter().flatten() {
            println!(
                "replica  {:12} {:21} {:4} {} connections {} statements {}% of the reads, lag {} ms  {}",
                text_of(&backend["name"]),
                text_of(&replica["address"]),
                text_of(&replica["state"]),
                replica["open_connections"],
                replica["statements"],
                replica["share"],
                replica["lag_ms"].as_u64().map_or_else(|| "unknown".to_owned(), |lag| lag.to_string()),
                text_of(&replica["unusable"])
            );
        }
    }
    for of in status["moves"].as_array().into_iter().flatten() {
        println!(
            "move     {:12} reads {}% writes {} double write {}",
            text_of(&of["name"]),
            of["reads"],
            text_of(&of["writes"]),
            text_of(&of["double_write"])
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Edits the rule file and waits until it is in force; a refused edit is taken back.
pub(super) fn traffic(remote: &Remote, name: &str, wish: &Wish) -> anyhow::Result<ExitCode> {
    let config = remote.config()?;
    let version = put(&Api::new(remote)?, &config.rules, name, wish)?;
    println!("in force: version {version}");
    Ok(ExitCode::SUCCESS)
}

/// The version in force with a wish fulfilled.
pub(super) fn put(api: &Api, file: &Path, name: &str, wish: &Wish) -> anyhow::Result<u64> {
    let before = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let after = traffic::edited(&before, name, wish).map_err(anyhow::Error::msg)?;
    api.get("/api/status")?;
    replace(file, &after)?;
    match api.post("/api/reload", "") {
        Ok(answer) => Ok(answer["in_force_version"].as_u64().unwrap_or_default()),
        Err(error) => {
            replace(file, &before)?;
            // The watcher may be on its way with the text that was refused; the last word is the old text.
            std::thread::sleep(Duration::from_millis(200));
            api.post("/api/reload", "").context("taking the edit back")?;
            Err(error.context("the edit was refused and has been taken back"))
        }
    }
}

pub(super) fn history(remote: &Remote) -> anyhow::Result<ExitCode> {
    for version in Api::new(remote)?.get("/api/rules")?.as_array().into_iter().flatten() {
        let since = version["in_force_since"].as_u64().map_or_else(String::new, rfc3339);
        println!("{:6} since {since} by {}", version["version"], text_of(&version["reason"]));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn show(remote: &Remote, version: u64) -> anyhow::Result<ExitCode> {
    let found = Api::new(remote)?.get(&format!("/api/rules/{version}"))?;
    print!("{}", text_of(&found["text"]));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn revert(remote: &Remote, version: u64) -> anyhow::Result<ExitCode> {
    let answer = Api::new(remote)?.post(&format!("/api/rules/{version}/revert"), "")?;
    println!("in force: version {} with the text of version {version}", answer["in_force_version"]);
    Ok(ExitCode::SUCCESS)
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

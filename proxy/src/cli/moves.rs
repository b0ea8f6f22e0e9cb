//! Commands about a move.

use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Remote;
use super::api::Api;
use super::online::Form;

pub(super) fn start(remote: &Remote, name: &str) -> anyhow::Result<ExitCode> {
    Api::new(remote).post(&format!("/api/moves/{name}/start"), "")?;
    println!("copying; follow it with: shardway move status {name} --watch");
    Ok(ExitCode::SUCCESS)
}

/// Shows a bar until no copy runs.
pub(super) fn watch(remote: &Remote, name: &str) -> anyhow::Result<()> {
    let api = Api::new(remote);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} rows, {per_sec}, {eta} left")?;
    let bar = ProgressBar::new(0).with_style(style);
    loop {
        let status = api.get(&format!("/api/moves/{name}"))?;
        bar.set_length(status["rows_total"].as_u64().unwrap_or(0));
        bar.set_position(status["rows_copied"].as_u64().unwrap_or(0));
        if status["phase"] != "Copy" {
            bar.finish();
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub(super) fn status(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let status = Api::new(remote).get(&format!("/api/moves/{name}"))?;
    if form == Form::Json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(ExitCode::SUCCESS);
    }
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    println!("{name}: {} {}/{} rows", text("phase"), status["rows_copied"], status["rows_total"]);
    println!("reads {}% writes {} double write {}", status["reads"], text("writes"), text("double_write"));
    println!(
        "dirty keys {} mismatches {} last verify {}",
        status["dirty_keys"], status["mismatches"], status["last_verify"]
    );
    if let Some(error) = status["last_error"].as_str() {
        println!("last error: {error}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Succeeds only when both sides are equal.
pub(super) fn verify(remote: &Remote, name: &str, mode: &str) -> anyhow::Result<ExitCode> {
    let report = Api::new(remote).post(&format!("/api/moves/{name}/verify"), mode)?;
    println!("{} rows compared, {} differ", report["checked"], report["different"]);
    for sample in report["samples"].as_array().into_iter().flatten() {
        println!("  {}", sample.as_str().unwrap_or_default());
    }
    Ok(if report["clean"] == true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

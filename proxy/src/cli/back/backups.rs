//! Making backups, and which there are.

use std::process::ExitCode;

use anyhow::Context as _;

use super::super::Remote;
use super::super::api::Api;
use super::super::online::Form;
use super::super::show;
use crate::control::moves::backup::{BackupAsk, Kind, Manifest};

/// Succeeds only when the backup can be used.
pub(super) fn back_up(remote: &Remote, name: &str, ask: &BackupAsk, form: Form) -> anyhow::Result<ExitCode> {
    let made =
        Api::new(remote)?.post_json(&format!("/api/moves/{name}/backup"), &serde_json::to_value(ask)?)?;
    let manifest: Manifest =
        serde_json::from_value(made.clone()).context("the proxy's answer is no manifest")?;
    match form {
        Form::Json => println!("{}", serde_json::to_string_pretty(&made)?),
        Form::Text => println!("{}", backup_line(&manifest)),
    }
    Ok(if manifest.verified.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(super) fn backups(remote: &Remote, name: &str, form: Form) -> anyhow::Result<ExitCode> {
    let known = Api::new(remote)?.get(&format!("/api/moves/{name}/backup"))?;
    if form == Form::Json {
        println!("{}", serde_json::to_string_pretty(&known)?);
        return Ok(ExitCode::SUCCESS);
    }
    let known: Vec<Manifest> =
        serde_json::from_value(known).context("the proxy's answer is no list of backups")?;
    known.iter().for_each(|manifest| println!("{}", backup_line(manifest)));
    Ok(ExitCode::SUCCESS)
}

fn backup_line(of: &Manifest) -> String {
    let bytes: u64 = of.parts.iter().flat_map(|part| &part.files).map(|file| file.bytes).sum();
    let since = match (of.kind, of.base) {
        (Kind::Incremental, Some(base)) => format!("log since backup {base}, "),
        _ => String::new(),
    };
    let state = match (&of.verified, &of.not_verified) {
        (Some(verified), _) => {
            format!("verified: {} rows restored in {:.1} s", verified.rows, verified.seconds)
        }
        (None, why) => format!("NOT verified: {}", why.as_deref().unwrap_or("not tried")),
    };
    let at: Vec<String> =
        of.parts.iter().map(|part| format!("{} at {}", part.server, part.position)).collect();
    format!(
        "{:4} {}  {bytes} bytes  {}  {since}{state}  {}",
        of.id,
        show::utc(of.finished_at),
        at.join(", "),
        of.folder.display()
    )
}

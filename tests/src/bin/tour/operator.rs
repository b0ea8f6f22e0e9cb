//! The operator's hands: runs `shardway` commands and saves rule files, as a person would.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::page;

/// How long a saved file may take to be in force or refused.
const SETTLES: Duration = Duration::from_secs(30);
const COPY_TAKES: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where the program and its files are.
#[derive(Debug, Clone)]
pub struct Operator {
    pub shardway: PathBuf,
    pub config: PathBuf,
    pub stages: PathBuf,
}

impl Operator {
    /// Runs a command as a person sees it and returns what it printed.
    pub async fn run(&self, words: &str) -> anyhow::Result<String> {
        page::act(&format!("shardway {words}"));
        self.quietly(words).await
    }

    async fn quietly(&self, words: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.shardway);
        command.args(words.split(' ')).arg("--config").arg(&self.config);
        let output = tokio::task::spawn_blocking(move || command.output()).await?;
        let output = output.with_context(|| format!("running {}", self.shardway.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.success(), "`shardway {words}` says: {out} {err}");
        Ok(out)
    }

    async fn json(&self, words: &str) -> anyhow::Result<Value> {
        serde_json::from_str(&self.quietly(words).await?).with_context(|| format!("`shardway {words}`"))
    }

    /// Saves a stage's file over the rule file and waits until it is in force.
    pub async fn save(&self, stage: &str) -> anyhow::Result<()> {
        page::act(&format!("cp conf/stages/{stage}.toml rules.toml"));
        let before = self.in_force().await?;
        let file = self.config.with_file_name("rules.toml");
        let beside = file.with_extension("new");
        let from = self.stages.join(format!("{stage}.toml"));
        std::fs::copy(&from, &beside).with_context(|| format!("reading {}", from.display()))?;
        std::fs::rename(&beside, &file).context("saving the rule file")?;
        let started = Instant::now();
        while started.elapsed() < SETTLES {
            let status = self.json("status --json").await?;
            let rules = &status["rules"];
            if let Some(error) = rules["last_error"].as_str() {
                bail!("the rules of {stage} were refused: {error}");
            }
            if rules["in_force_version"].as_u64() > Some(before) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        bail!("the rules of {stage} were not in force within {} s", SETTLES.as_secs())
    }

    async fn in_force(&self) -> anyhow::Result<u64> {
        let status = self.json("status --json").await?;
        status["rules"]["in_force_version"].as_u64().context("`shardway status` names no version in force")
    }

    /// Has the rows carried over; tells how many.
    pub async fn carry_over(&self) -> anyhow::Result<u64> {
        self.run("move start shop").await?;
        let started = Instant::now();
        while started.elapsed() < COPY_TAKES {
            let status = self.json("move status shop --json").await?;
            let rows = |name: &str| status[name].as_u64().unwrap_or(0);
            page::passing(&format!(
                "{}  {} of {} rows",
                status["phase"].as_str().unwrap_or_default(),
                page::count(rows("rows_copied")),
                page::count(rows("rows_total"))
            ));
            match status["phase"].as_str() {
                Some("Synced") => {
                    page::settle();
                    return Ok(rows("rows_copied"));
                }
                Some("Failed" | "Aborted") => bail!("the copy has stopped: {}", status["last_error"]),
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        bail!("the rows were not carried over within {} s", COPY_TAKES.as_secs())
    }

    /// Compares both sides; the command fails when they differ.
    pub async fn verify(&self) -> anyhow::Result<()> {
        let said = self.run("move verify shop").await.context("both sides are not equal")?;
        page::holds("equal", said.lines().next().unwrap_or_default());
        Ok(())
    }
}

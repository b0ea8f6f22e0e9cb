//! What an operator does to the move of a shop, and what is waited for.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Shop, until};

impl Shop {
    /// Saves the rules with these lines in the move, and waits until they are in force.
    ///
    /// # Panics
    /// When they are refused.
    pub async fn save(&self, lines: &str) {
        assert_eq!(self.saved(lines).await, None, "{lines}");
    }

    /// Saves rules that must not take effect. Why they do not.
    ///
    /// # Panics
    /// When they take effect.
    pub async fn refused(&self, lines: &str) -> String {
        self.saved(lines).await.unwrap_or_else(|| panic!("in force: {lines}"))
    }

    /// Saves rules. Why they do not take effect, if they do not.
    ///
    /// # Panics
    /// When they neither do nor do not.
    pub async fn saved(&self, lines: &str) -> Option<String> {
        let desired = self.proxy.status()["rules"]["desired_version"].as_u64().expect("a number");
        self.proxy.save_rules(&self.moving_rules(lines));
        self.proxy.settled(desired + 1).await
    }

    /// Runs a command that must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn run(&self, arguments: &[&str]) {
        let output = self.proxy.command(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    }

    /// What the status says of the move.
    #[must_use]
    pub fn of_move(&self) -> Value {
        self.proxy.status()["moves"][0].clone()
    }

    /// Waits until the move is in that phase.
    ///
    /// # Panics
    /// When it fails instead, or takes more than two minutes.
    pub async fn reaches(&self, phase: &str) {
        until(&format!("the move is {phase}"), Duration::from_secs(120), async || {
            let of = self.of_move();
            assert!(of["phase"] != "Failed" || phase == "Failed", "{}", of["last_error"]);
            (of["phase"] == phase).then_some(())
        })
        .await;
    }

    /// Starts the move and waits until the other side has every row.
    ///
    /// # Panics
    /// When that fails.
    pub async fn carry_over(&self) {
        self.run(&["move", "start", "shop"]);
        self.reaches("Synced").await;
    }

    /// Waits until it is known how far behind the other side is.
    ///
    /// # Panics
    /// When that takes more than half a minute.
    pub async fn followed(&self) {
        until("the streams are followed", Duration::from_secs(30), async || {
            self.of_move()["lag_s"].as_f64().map(|_| ())
        })
        .await;
    }

    /// Waits until the other side has what was written before the call: by the streams, and nothing is dirty.
    ///
    /// # Panics
    /// When that takes more than two minutes.
    pub async fn in_step(&self) {
        let called = Instant::now();
        until("the sides are in step", Duration::from_secs(120), async || {
            let since_call = called.elapsed().as_secs_f64();
            let of = self.of_move();
            let has_arrived = of["arrived_s"].as_f64().is_some_and(|arrived_s| arrived_s < since_call);
            (has_arrived && of["waits_for"].is_null() && of["dirty_keys"] == 0).then_some(())
        })
        .await;
    }
}

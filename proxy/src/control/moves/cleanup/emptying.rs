//! Deleting rows as fast as the limits of the move let a copy go.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use shardway_migration::cleanup::{self, Leftover, RowsThatLeft};
use shardway_migration::reading::Reading;
use shardway_migration::settings::MoveSettings;
use shardway_migration::throttle::{self, Pace, Policy};

use super::super::around::Around;
use super::super::leftovers::told;
use super::super::schedule::Lately;
use super::Work;
use crate::control::steps::{Step, reached};

/// How often the limits are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the limits say, as of the last look.
struct Watched {
    settings: MoveSettings,
    lately: Lately,
    pace: Pace,
    at: Option<Instant>,
}

impl Work<'_> {
    /// Deletes rows of a table: where it is about to be dropped until few are left, else all that have left it.
    pub(super) async fn empty(
        &self,
        connection: &mut Conn,
        of: &Leftover,
        mut left: u64,
    ) -> Result<(), String> {
        let mut watched = self.watch();
        let rows = watched.settings.cleanup.rows;
        let (mut left_rows, few) = match &of.only {
            Some(only) => (Some(RowsThatLeft::find(connection, of, only).await.map_err(told)?), 0),
            None => (None, u64::from(rows)),
        };
        while left > few {
            self.look(&mut watched).await;
            if watched.pace.state == throttle::State::Stopped {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let deleted = match &mut left_rows {
                Some(found) => found.delete_some(connection, rows).await,
                None => cleanup::delete_some(connection, &of.holder, of.name(), rows).await,
            };
            let deleted = deleted.map_err(told)?;
            reached(Step::Emptying).await;
            if deleted == 0 {
                break;
            }
            left = left.saturating_sub(deleted);
            tokio::time::sleep(Duration::from_millis(watched.pace.pause_ms)).await;
        }
        Ok(())
    }

    fn watch(&self) -> Watched {
        let settings = self.control.moves.settings(self.name);
        let by_hand = self.control.hands.of(self.name);
        let pace = policy(&settings, &by_hand).full();
        Watched { settings, lately: Lately::default(), pace, at: None }
    }

    /// Looks at everybody whom the limits need. A move that the rules no longer have has none.
    async fn look(&self, watched: &mut Watched) {
        let Some(of) = self.topology.moves.iter().find(|of| of.name == self.name) else { return };
        if watched.at.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        watched.at = Some(Instant::now());
        let limits = &watched.settings.throttle;
        let around = Around::look(self.control, self.topology, of, limits, Reading::NotNow).await;
        watched.lately.on(&self.control.shared.metrics.of_move(self.name));
        let seen = around.seen(&watched.lately, Reading::NotNow);
        let by_hand = self.control.hands.of(self.name);
        watched.pace = throttle::decide(&seen, policy(&watched.settings, &by_hand), &watched.pace);
    }
}

fn policy<'a>(settings: &'a MoveSettings, by_hand: &'a throttle::ByHand) -> Policy<'a> {
    Policy { limits: &settings.throttle, parallel: 1, pause_ms: settings.cleanup.pause_ms, by_hand }
}

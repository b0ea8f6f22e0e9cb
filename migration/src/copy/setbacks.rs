//! Failed tries at one piece of a copy, and when the next is due.

use std::time::Duration;

use super::Progress;
use crate::patience::{Patience, WaitMax};
use crate::tables::WorkError;

/// Tries at rows that somebody else holds before the copy gives up.
const TRIES: u32 = 12;

/// Failed tries at one piece.
#[derive(Debug)]
pub(super) struct Setbacks {
    tries: u32,
    patience: Patience,
}

impl Setbacks {
    pub(super) fn new(wait: WaitMax) -> Setbacks {
        Setbacks { tries: 0, patience: Patience::new(wait) }
    }

    /// Returns when it is time for another try: soon where rows stood in the way, later where a server is away.
    pub(super) async fn after(
        &mut self,
        progress: &Progress,
        table: &str,
        error: WorkError,
    ) -> Result<(), WorkError> {
        progress.failed();
        if error.is_away() {
            return progress.wait(&mut self.patience, &format!("copying {table}"), error).await;
        }
        if !error.is_passing() {
            return Err(error);
        }
        if self.tries == TRIES {
            return Err(match error {
                // Two rows that want the same for so long are for a person to settle.
                WorkError::Conflict { .. } | WorkError::OnSeveral { .. } => {
                    WorkError::Stopped(error.to_string())
                }
                error => error,
            });
        }
        self.tries += 1;
        tracing::debug!(table, %error, tries = self.tries, "a part of a table is copied again");
        tokio::time::sleep(Duration::from_millis(20 << self.tries.min(9))).await;
        Ok(())
    }
}

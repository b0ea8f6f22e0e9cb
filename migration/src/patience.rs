//! Waiting for a server that is away, for as long as that is likely to help.
//!
//! Errors that pass by themselves are waited out with growing pauses, for [`WaitMax`] in all; then the last one stands, and
//! the move is paused. One patience is for one piece of work: the next begins with a new one.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::tables::WorkError;

/// How long servers that are away are waited for: three and a half minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitMax(pub Duration);

impl Default for WaitMax {
    fn default() -> WaitMax {
        WaitMax(Duration::from_secs(210))
    }
}

/// How much longer to wait.
#[derive(Debug)]
pub struct Patience {
    pauses: Backoff,
}

impl Patience {
    #[must_use]
    pub fn new(max: WaitMax) -> Patience {
        Patience { pauses: Backoff::within(max.0) }
    }

    /// Returns after a pause when `work` is worth another try.
    ///
    /// # Errors
    /// The error itself, when it does not pass; [`WorkError::Away`] when it has not passed for too long.
    pub async fn after(&mut self, work: &str, error: WorkError) -> Result<(), WorkError> {
        if !error.is_passing() {
            return Err(error);
        }
        let Some(pause) = self.pauses.next() else {
            return Err(WorkError::Away(format!(
                "{work} has failed for too long (`wait_for_servers` in the rules): {error}; `shardway move resume` goes \
                 on once that is mended"
            )));
        };
        tracing::warn!(work, %error, pause_s = pause.as_secs(), "waiting to try again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_pass_is_not_waited_for_and_what_does_not_for_ever() {
        let stopped = WorkError::Stopped("no".into());
        let stopped = Patience::new(WaitMax::default()).after("copying users", stopped).await;
        assert_eq!(stopped.unwrap_err().to_string(), "no");
        let away = WorkError::Interrupted("the server is away".into());
        let error = Patience::new(WaitMax(Duration::ZERO)).after("copying users", away).await.unwrap_err();
        assert!(
            matches!(&error, WorkError::Away(why) if why.contains("the server is away"))
                && !error.is_passing(),
            "{error}"
        );
    }
}

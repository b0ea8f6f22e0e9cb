//! Waiting for a server that is away, for as long as that is likely to help.
//!
//! Errors that pass by themselves are waited out with growing pauses, three and a half minutes in all; then the last one
//! stands, with what to do. One patience is for one piece of work: the next begins with a new one.

use crate::backoff::Backoff;
use crate::tables::WorkError;

/// 1, 2, 4, 8 and 16 seconds, then six times half a minute.
const PAUSES: u32 = 11;

/// How much longer to wait.
#[derive(Debug)]
pub struct Patience {
    pauses: Backoff,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { pauses: Backoff::new(PAUSES) }
    }
}

impl Patience {
    /// Returns after a pause when `work` is worth another try.
    ///
    /// # Errors
    /// The error itself, when it does not pass or has not passed for too long.
    pub async fn after(&mut self, work: &str, error: WorkError) -> Result<(), WorkError> {
        if !error.is_passing() {
            return Err(error);
        }
        let Some(pause) = self.pauses.next() else {
            return Err(WorkError::Stopped(format!(
                "{work} has failed for minutes: {error}; `shardway move start` goes on once that is mended"
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
        let stopped = Patience::default().after("copying users", WorkError::Stopped("no".into())).await;
        assert_eq!(stopped.unwrap_err().to_string(), "no");
        let mut spent = Patience { pauses: Backoff::new(0) };
        let away = WorkError::Interrupted("the server is away".into());
        let error = spent.after("copying users", away).await.unwrap_err();
        assert!(!error.is_passing() && error.to_string().contains("the server is away"), "{error}");
    }
}

//! One limit for everything that happens while statements are held.

use std::time::Duration;

use tokio::time::Instant;

/// When statements are let go, however far the work is.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// Begins now.
    #[must_use]
    pub fn after(limit: Duration) -> Deadline {
        Deadline { at: Instant::now() + limit, limit }
    }

    /// What is left of it.
    #[must_use]
    pub fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Does the work, and drops it half-way when the time is over.
    ///
    /// # Errors
    /// `not_yet`, with the limit.
    pub async fn bound<T>(self, not_yet: &str, work: impl Future<Output = T>) -> Result<T, String> {
        let done = tokio::time::timeout_at(self.at, work).await;
        done.map_err(|_| format!("{not_yet} after {} ms", self.limit.as_millis()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn several_pieces_of_work_share_one_limit() {
        let deadline = Deadline::after(Duration::from_millis(100));
        let work = || deadline.bound("it was not done", tokio::time::sleep(Duration::from_millis(60)));
        assert_eq!(work().await, Ok(()));
        assert_eq!(work().await, Err("it was not done after 100 ms".to_owned()));
        assert_eq!(deadline.left(), Duration::ZERO);
    }
}

//! Those who copy single rows from the authority, and the changes of it that wait for them.
//!
//! A row that was read under the old authority must not be written under the new one, so a change waits until nobody
//! copies. What can be done again from its beginning, as healing can, gives way at once: a server that says nothing keeps
//! no rules from changing.

#[cfg(test)]
mod model;

use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

/// See the module.
#[derive(Debug)]
pub(super) struct SingleRows {
    /// Read by whoever copies them, written by a change of the authority.
    lock: RwLock<()>,
    /// Changes that wait.
    waiting: watch::Sender<usize>,
}

/// A change that waits, until dropped.
struct Waits<'a>(&'a watch::Sender<usize>);

impl Default for SingleRows {
    fn default() -> SingleRows {
        SingleRows { lock: RwLock::default(), waiting: watch::Sender::new(0) }
    }
}

impl SingleRows {
    /// The authority stays the same until this is dropped.
    pub(super) async fn copying(&self) -> RwLockReadGuard<'_, ()> {
        self.lock.read().await
    }

    /// The same, for what gives way to a change of the authority: it is dropped half-way then, and does not return.
    pub(super) async fn copying_meanwhile<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let _same_authority = self.copying().await;
        let mut waiting = self.waiting.subscribe();
        tokio::select! {
            done = work => Some(done),
            Ok(_) = waiting.wait_for(|waiting| *waiting > 0) => None,
        }
    }

    /// Nobody copies until this is dropped. `None`: somebody still does.
    pub(super) async fn quiet(&self, limit: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        let _waits = Waits::new(&self.waiting);
        tokio::time::timeout(limit, self.lock.write()).await.ok()
    }
}

impl<'a> Waits<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Waits<'a> {
        waiting.send_modify(|waiting| *waiting += 1);
        Waits(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_waits_for_those_who_must_end_and_not_for_those_who_give_way() {
        let single = SingleRows::default();
        let long = Duration::from_secs(3_600);
        let (done, quiet) =
            tokio::join!(single.copying_meanwhile(std::future::pending::<()>()), single.quiet(long));
        assert!(done.is_none() && quiet.is_some());
        drop(quiet);
        let copying = single.copying().await;
        assert!(single.quiet(Duration::from_secs(10)).await.is_none());
        drop(copying);
        assert_eq!(single.copying_meanwhile(async { 7 }).await, Some(7));
    }
}

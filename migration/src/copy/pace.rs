//! How fast a copy may go, as it is told from outside, and whose turn it is.
//!
//! Of all workers only the first may begin something new, as many as the pace says. Who has begun goes on in turn, never
//! more of them at once than the pace says, so that nothing stays half done while the copy is slow.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// How fast a copy may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Chunks at once; none: the copy rests.
    pub concurrency: usize,
    /// Between two chunks of a worker.
    pub pause: Duration,
}

/// The turns of a table's workers.
#[derive(Debug)]
pub(super) struct Turns {
    pace: watch::Receiver<Pace>,
    /// As many as may be at work.
    places: Semaphore,
    /// There is nothing new to begin.
    is_over: watch::Sender<bool>,
}

/// Whether a worker may begin something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    Now,
    Never,
}

impl Turns {
    pub(super) fn new(pace: &watch::Receiver<Pace>) -> Turns {
        Turns { pace: pace.clone(), places: Semaphore::new(0), is_over: watch::Sender::new(false) }
    }

    /// Does the work at the pace that is told. Without this nobody gets a turn.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.follow() => match never {},
        }
    }

    async fn follow(&self) -> std::convert::Infallible {
        let mut pace = self.pace.clone();
        let mut places = 0;
        loop {
            let wanted = pace.borrow_and_update().concurrency;
            if wanted > places {
                self.places.add_permits(wanted - places);
            } else if let Ok(fewer) = u32::try_from(places - wanted)
                && let Ok(taken) = self.places.acquire_many(fewer).await
            {
                taken.forget();
            }
            places = wanted;
            if pace.changed().await.is_err() {
                // Nobody sets the pace any more: the copy is about to be dropped too.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Returns when worker number `worker` may begin something new.
    pub(super) async fn begin(&self, worker: usize) -> Begin {
        let (mut pace, mut over) = (self.pace.clone(), self.is_over.subscribe());
        let is_over = async { over.wait_for(|over| *over).await.is_ok() };
        let may = async {
            let is_told = pace.wait_for(|pace| worker < pace.concurrency).await.is_ok();
            if !is_told {
                // Nobody sets the pace any more: the copy is about to be dropped too. It is not at its end.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            _ = is_over => Begin::Never,
            () = may => Begin::Now,
        }
    }

    /// Nothing is left to begin.
    pub(super) fn end(&self) {
        self.is_over.send_replace(true);
    }

    /// Returns, after the pause between two chunks, when it is the caller's turn; it ends when this is dropped.
    pub(super) async fn take(&self) -> SemaphorePermit<'_> {
        let pause = self.pace.borrow().pause;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.places.acquire().await.expect("it is never closed")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn at_once(concurrency: usize) -> Pace {
        Pace { concurrency, pause: Duration::ZERO }
    }

    async fn ticks(ticks: usize) {
        for _ in 0..ticks {
            tokio::task::yield_now().await;
        }
    }

    /// Workers do `rounds` of two steps, each so many ticks long, under paces of so many ticks each; the most that were at
    /// work at once under each, once those were done that had begun before it.
    async fn most(paces: &[usize], rounds: usize, (step_ticks, pace_ticks): (usize, usize)) -> Vec<usize> {
        let (sender, pace) = watch::channel(at_once(paces[0]));
        let turns = Turns::new(&pace);
        let (left, working, at) = (AtomicUsize::new(rounds), AtomicUsize::new(0), AtomicUsize::new(0));
        // One place more, for what begins while a pace comes.
        let seen: Vec<AtomicUsize> = (0..=paces.len()).map(|_| AtomicUsize::new(0)).collect();
        let step = async || {
            let turn = turns.take().await;
            let now = working.fetch_add(1, Ordering::SeqCst) + 1;
            seen[at.load(Ordering::SeqCst)].fetch_max(now, Ordering::SeqCst);
            ticks(step_ticks).await;
            working.fetch_sub(1, Ordering::SeqCst);
            drop(turn);
        };
        let work = async |worker| {
            while turns.begin(worker).await == Begin::Now {
                let left = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                if left.is_err() {
                    return turns.end();
                }
                step().await;
                step().await;
            }
        };
        let change = async {
            for (place, pace) in paces.iter().enumerate().skip(1) {
                ticks(pace_ticks).await;
                at.store(paces.len(), Ordering::SeqCst);
                sender.send_replace(at_once(*pace));
                ticks(2 * step_ticks).await;
                at.store(place, Ordering::SeqCst);
            }
        };
        let all = futures_util::future::join_all((0..64).map(work));
        turns.during(async { tokio::join!(all, change) }).await;
        seen.into_iter().take(paces.len()).map(AtomicUsize::into_inner).collect()
    }

    #[tokio::test]
    async fn as_many_work_as_the_pace_says_whatever_it_was_before() {
        assert_eq!(most(&[2, 8, 1, 0, 3], 2_000, (3, 200)).await, [2, 8, 1, 0, 3]);
    }

    #[tokio::test]
    async fn who_has_begun_goes_on_at_a_slower_pace_and_who_waits_is_let_go_at_the_end() {
        assert_eq!(most(&[4, 1], 4, (50, 20)).await, [4, 1]);
        assert_eq!(most(&[1], 1, (3, 200)).await, [1]);
    }
}

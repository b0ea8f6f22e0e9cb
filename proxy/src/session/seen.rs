//! Which server of each backend a session has read rows from last, and when: so that it never goes back in time. Pure.
//!
//! A server shows what it has applied, and no server has more than the primary. Going on at the same server is going
//! on; to another one a session may go only if that has everything that could be seen on the primary when the session
//! was answered last. Rows that it has written itself are among those.

use crate::backend::replicas::{Moment, Source};

/// The servers that a session has been answered by, while the rules name replicas.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    last: Vec<Last>,
}

#[derive(Debug, Clone)]
struct Last {
    backend: String,
    from: Source,
    at: Moment,
}

impl Seen {
    /// A server of a backend has answered until that moment.
    pub fn note(&mut self, backend: &str, from: Source, at: Moment) {
        match self.last.iter_mut().find(|last| last.backend == backend) {
            Some(last) => (last.from, last.at) = (from, at),
            None => self.last.push(Last { backend: backend.to_owned(), from, at }),
        }
    }

    /// May the session read from a replica that is complete until a moment?
    #[must_use]
    pub fn admits(&self, backend: &str, from: Source, complete_until: Moment) -> bool {
        let last = self.last.iter().find(|last| last.backend == backend);
        last.is_none_or(|last| last.from == from || complete_until > last.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: Source = Source::Replica { number: 1, life: 0 };
    const B: &str = "legacy";

    #[test]
    fn a_session_goes_where_nothing_that_it_has_seen_is_missing() {
        let mut seen = Seen::default();
        assert!(seen.admits(B, R, Moment(1)), "it has seen nothing");
        seen.note(B, Source::Primary, Moment(10));
        assert!(!seen.admits(B, R, Moment(10)) && seen.admits(B, R, Moment(11)));
        assert!(seen.admits("other", R, Moment(1)));
        seen.note(B, R, Moment(20));
        assert!(seen.admits(B, R, Moment(11)), "going on is going on");
        assert!(!seen.admits(B, Source::Replica { number: 2, life: 0 }, Moment(20)));
        assert!(
            !seen.admits(B, Source::Replica { number: 1, life: 1 }, Moment(20)),
            "what it had may be lost"
        );
    }

    /// A primary's log, replicas that apply it, and one session. Time goes on with every step.
    #[derive(Clone, Default)]
    struct World {
        now: u64,
        log: u64,
        applied: [u64; 2],
        lives: [u16; 2],
        complete_until: [Option<u64>; 2],
        /// The log's length and the moment before it was asked, which wait for each replica.
        asked: [Option<(u64, u64)>; 2],
        seen: Seen,
        newest: u64,
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Somebody writes; or the session itself does.
        Other,
        Write,
        Apply(usize),
        /// The primary is asked for the sake of a replica, and the replica is.
        Ask(usize),
        Measure(usize),
        /// It comes back without the last transaction.
        Crash(usize),
        ReadPrimary,
        Read(usize),
    }

    const STEPS: [Step; 13] = [
        Step::Other,
        Step::Write,
        Step::Apply(0),
        Step::Apply(1),
        Step::Ask(0),
        Step::Ask(1),
        Step::Measure(0),
        Step::Measure(1),
        Step::Crash(0),
        Step::ReadPrimary,
        Step::Read(0),
        Step::Read(1),
        Step::Crash(1),
    ];

    impl World {
        fn sees(&mut self, rows: u64, from: Source, step: Step) {
            assert!(rows >= self.newest, "{step:?} shows {rows} of {} that were seen", self.newest);
            self.newest = rows;
            self.seen.note(B, from, Moment(self.now));
        }

        fn step(&mut self, step: Step) {
            self.now += 1;
            match step {
                Step::Other => self.log += 1,
                Step::Write => {
                    self.log += 1;
                    self.sees(self.log, Source::Primary, step);
                }
                Step::Apply(of) => self.applied[of] = self.log.min(self.applied[of] + 1),
                Step::Ask(of) => self.asked[of] = Some((self.now, self.log)),
                Step::Measure(of) => {
                    if let Some((at, log)) = self.asked[of]
                        && self.applied[of] >= log
                    {
                        self.complete_until[of] = Some(at);
                    }
                }
                Step::Crash(of) => {
                    self.applied[of] = self.applied[of].saturating_sub(1);
                    (self.complete_until[of], self.asked[of]) = (None, None);
                    self.lives[of] += 1;
                }
                Step::ReadPrimary => self.sees(self.log, Source::Primary, step),
                Step::Read(of) => {
                    let from = Source::Replica { number: [0, 1][of], life: self.lives[of] };
                    let Some(until) = self.complete_until[of] else { return };
                    if self.seen.admits(B, from, Moment(until)) {
                        self.sees(self.applied[of], from, step);
                    }
                }
            }
        }
    }

    #[test]
    fn no_order_of_events_leads_a_session_back_in_time() {
        fn go(world: &World, depth: u32) {
            for step in STEPS {
                let mut next = world.clone();
                next.step(step);
                if depth > 1 {
                    go(&next, depth - 1);
                }
            }
        }
        let mut begun = World::default();
        let before = [Step::Other, Step::Apply(0), Step::Apply(1), Step::Ask(0), Step::Ask(1)];
        before.into_iter().chain([Step::Measure(0), Step::Measure(1)]).for_each(|step| begun.step(step));
        go(&begun, 5);
    }

    proptest::proptest! {
        #[test]
        fn long_histories_do_not_either(steps in proptest::collection::vec(0..STEPS.len(), 0..200)) {
            let mut world = World::default();
            steps.into_iter().for_each(|step| world.step(STEPS[step]));
        }
    }
}

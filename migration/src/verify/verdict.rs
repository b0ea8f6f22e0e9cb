//! When two readings of a live table are equal, and when they are definitely not.
//!
//! Pure: the worker reads, asks [`decide`], and obeys.

/// What was read of one range or one row, in order. Between two rounds the other side caught up with the authority.
#[derive(Debug, Clone)]
pub struct Seen<A, O> {
    authority: Vec<A>,
    other: Vec<O>,
}

impl<A, O> Default for Seen<A, O> {
    fn default() -> Seen<A, O> {
        Seen { authority: Vec::new(), other: Vec::new() }
    }
}

/// What follows from what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The other side showed a state that the authority had.
    Equal,
    /// Let the other side catch up, and read again.
    Again,
    /// The authority held still and the other side shows something else.
    Differs,
    /// The authority changes faster than it is read.
    Moving,
}

/// Rounds after which a moving authority is looked at more closely instead.
const ROUNDS: usize = 3;

impl<A, O> Seen<A, O> {
    /// Adds a round.
    pub fn read(&mut self, authority: A, other: O) {
        self.authority.push(authority);
        self.other.push(other);
    }
}

/// Decides. `agrees` says whether a state of the other side is what one of the authority's asks for.
///
/// The other side may show *any* state that the authority had since the looking began: it is late, or early, but right.
pub fn decide<A: PartialEq, O>(seen: &Seen<A, O>, agrees: impl Fn(&A, &O) -> bool) -> Verdict {
    let agree = |other: &O| seen.authority.iter().any(|authority| agrees(authority, other));
    match seen.authority.as_slice() {
        _ if seen.other.iter().any(agree) => Verdict::Equal,
        [.., before, now] if before == now => Verdict::Differs,
        rounds if rounds.len() < ROUNDS => Verdict::Again,
        _ => Verdict::Moving,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every history of up to four rounds over three states.
    fn histories() -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = vec![(Vec::new(), Vec::new())];
        let mut begin = 0;
        for _ in 0..4 {
            let end = all.len();
            for at in begin..end {
                for pair in 0..9_u8 {
                    let (mut authority, mut other): (Vec<u8>, Vec<u8>) = all[at].clone();
                    authority.push(pair / 3);
                    other.push(pair % 3);
                    all.push((authority, other));
                }
            }
            begin = end;
        }
        all
    }

    #[test]
    fn every_history_has_the_verdict_that_it_proves() {
        for (authority, other) in histories() {
            let seen = Seen { authority: authority.clone(), other: other.clone() };
            let verdict = decide(&seen, |authority, other| authority == other);
            let met = other.iter().any(|state| authority.contains(state));
            let rounds = authority.len();
            let still = rounds >= 2 && authority[rounds - 1] == authority[rounds - 2];
            let expected = match (met, still) {
                (true, _) => Verdict::Equal,
                (false, true) => Verdict::Differs,
                (false, false) if rounds < ROUNDS => Verdict::Again,
                (false, false) => Verdict::Moving,
            };
            assert_eq!(verdict, expected, "{authority:?} {other:?}");
            // A difference is never told of what was read once, nor of states that met.
            assert!(verdict != Verdict::Differs || (rounds >= 2 && !met));
        }
    }

    #[test]
    fn no_history_goes_on_for_ever() {
        for (authority, other) in histories().into_iter().filter(|(authority, _)| authority.len() >= ROUNDS) {
            let seen = Seen { authority, other };
            assert_ne!(decide(&seen, |authority, other| authority == other), Verdict::Again);
        }
    }
}

//! When two sides' answers to one question are equal, and when they are not. Pure.
//!
//! Answers are compared as multisets of rows, as text, and row by row where the question settles their order. An answer of
//! the other side is right if the authority gave it at any time since the question was first asked. Several shards do not
//! answer at one moment, so the answer of a side that is written meanwhile may be one that it never had: the answers
//! differ only once both sides have told the same, different things several times in a row, with the other side caught
//! up in between. A question whose answers never meet and never hold still is undecided.

use shardway_routing::plan::comparable::Order;

/// The rows of an answer.
pub type Answer = Vec<Vec<Option<Vec<u8>>>>;

/// Times in a row that two different answers must be told.
const STILL: usize = 4;
/// Times that a question is asked.
const ROUNDS: usize = 12;

/// The answers so far, in order, the authority's beside the other side's.
#[derive(Debug, Default)]
pub struct Seen {
    rounds: Vec<(Answer, Answer)>,
    order: Order,
}

/// What follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Equal,
    Differs,
    /// Let the other side catch up, and ask again.
    Again,
    /// They change faster than they can be asked.
    Moving,
}

impl Seen {
    /// Nothing yet, of a question whose rows come in this order.
    #[must_use]
    pub fn of(order: Order) -> Seen {
        Seen { rounds: Vec::new(), order }
    }

    /// Adds a round.
    pub fn read(&mut self, mut authority: Answer, mut other: Answer) {
        if self.order == Order::Free {
            authority.sort();
            other.sort();
        }
        self.rounds.push((authority, other));
    }

    /// The last answers.
    #[must_use]
    pub fn last(&self) -> Option<&(Answer, Answer)> {
        self.rounds.last()
    }

    /// Decides.
    #[must_use]
    pub fn decide(&self) -> Verdict {
        let met = |other: &Answer| self.rounds.iter().any(|(authority, _)| authority == other);
        if self.rounds.iter().any(|(_, other)| met(other)) {
            return Verdict::Equal;
        }
        let still = self.rounds.len() >= STILL && {
            let last = &self.rounds[self.rounds.len() - STILL..];
            last.iter().all(|round| round == &last[0])
        };
        match self.rounds.len() {
            _ if still => Verdict::Differs,
            rounds if rounds < ROUNDS => Verdict::Again,
            _ => Verdict::Moving,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(rounds: impl IntoIterator<Item = (u8, u8)>) -> Verdict {
        let mut seen = Seen::default();
        let answer = |value| vec![vec![Some(vec![value])], vec![None]];
        for (authority, other) in rounds {
            // In another order than the other side's rows.
            let mut here = answer(authority);
            here.reverse();
            seen.read(here, answer(other));
        }
        seen.decide()
    }

    #[test]
    fn an_answer_that_the_authority_once_gave_is_right() {
        assert_eq!(decided([(1, 1)]), Verdict::Equal);
        assert_eq!(decided([(1, 9), (2, 9), (3, 1)]), Verdict::Equal);
    }

    #[test]
    fn the_order_counts_where_the_question_settles_it() {
        let answer = |values: [u8; 2]| values.map(|value| vec![Some(vec![value])]).to_vec();
        let decided = |order| {
            let mut seen = Seen::of(order);
            seen.read(answer([1, 2]), answer([2, 1]));
            seen.decide()
        };
        assert_eq!(decided(Order::Free), Verdict::Equal);
        assert_eq!(decided(Order::Total), Verdict::Again);
    }

    #[test]
    fn answers_differ_only_when_both_hold_still() {
        assert_eq!(decided([(1, 2)]), Verdict::Again);
        assert_eq!(decided([(1, 2); STILL - 1]), Verdict::Again);
        assert_eq!(decided([(1, 2); STILL]), Verdict::Differs);
        // The other side's shards were asked while rows changed.
        assert_eq!(decided([(1, 2), (1, 3), (1, 2), (1, 4)]), Verdict::Again);
        let late = [(1, 2), (7, 3)].into_iter().chain([(5, 6); STILL]);
        assert_eq!(decided(late), Verdict::Differs);
    }

    #[test]
    fn what_never_holds_still_is_undecided() {
        let rounds = (0..ROUNDS).map(|round| (2 * round as u8, 2 * round as u8 + 1));
        assert_eq!(decided(rounds), Verdict::Moving);
    }
}

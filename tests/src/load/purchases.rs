//! Purchases: a row of one table and a sum in another, in one transaction.
//!
//! Both are there or neither is, and each is there once: what is added to a sum shows a write that took place twice, which
//! a version does not. Others look on, and never see fewer purchases than they saw before.

use std::collections::BTreeMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

/// What is known of purchases.
#[derive(Debug, Default)]
pub(super) struct Purchases {
    /// By buyer.
    made: BTreeMap<u64, Made>,
    /// By buyer and what was asked: the most that was seen.
    seen: BTreeMap<(u64, Question), u64>,
    /// What was seen to go backwards.
    pub fewer: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Made {
    acknowledged: u64,
    /// Whose answer was lost.
    perhaps: u64,
}

/// How purchases can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    Sum,
    Rows,
}

impl Question {
    pub fn sql(self, buyer: u64) -> String {
        match self {
            Question::Sum => format!("SELECT CAST(balance AS UNSIGNED) FROM users WHERE id = {buyer}"),
            Question::Rows => format!("SELECT COUNT(*) FROM orders WHERE user_id = {buyer}"),
        }
    }
}

/// The statements of one purchase, before its `COMMIT`.
pub(super) fn statements(buyer: u64, order: u64) -> [String; 3] {
    [
        "BEGIN".to_owned(),
        format!("UPDATE users SET balance = balance + 1 WHERE id = {buyer}"),
        format!("INSERT INTO orders (id, user_id, amount) VALUES ({order}, {buyer}, 1.5)"),
    ]
}

impl Purchases {
    /// A purchase was committed, or its answer was lost.
    pub fn committed(&mut self, buyer: u64, answer: Result<u64, ()>) {
        let made = self.made.entry(buyer).or_default();
        match answer {
            Ok(_) => made.acknowledged += 1,
            Err(()) => made.perhaps += 1,
        }
    }

    /// Somebody has counted.
    pub fn counted(&mut self, buyer: u64, question: Question, count: u64) {
        let most = self.seen.entry((buyer, question)).or_default();
        if count < *most {
            self.fewer.push(format!("{question:?} of {buyer} was {count} after {most}"));
        }
        *most = count.max(*most);
    }

    /// What other clients know as well.
    pub fn extend(&mut self, other: Purchases) {
        self.made.extend(other.made);
        self.fewer.extend(other.fewer);
    }

    /// Compares what is there with what was acknowledged.
    ///
    /// # Panics
    /// When a purchase is lost, there twice, or there in part.
    pub async fn check(&self, connection: &mut Conn) {
        for (buyer, made) in &self.made {
            let mut counts = Vec::new();
            for question in [Question::Sum, Question::Rows] {
                let count: Option<u64> = connection.query_first(question.sql(*buyer)).await.expect("a count");
                counts.push(count.expect("the buyer is there"));
            }
            let allowed = made.acknowledged..=made.acknowledged + made.perhaps;
            assert!(
                counts[0] == counts[1] && allowed.contains(&counts[0]),
                "buyer {buyer} has {counts:?} purchases, and {made:?}"
            );
        }
    }
}

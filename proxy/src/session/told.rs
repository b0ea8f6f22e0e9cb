//! Failed statements in the log: the first of each kind in a minute, so that a client that fails all the time fills no disk.
//! By its code alone: what a server says of an error quotes values.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use foldhash::HashMap;

const EVERY: Duration = Duration::from_secs(60);

/// When which errors were told last. There are as many as there are codes.
#[derive(Debug, Default)]
pub struct Told(RefCell<HashMap<u16, Instant>>);

impl Told {
    /// Has no error of this code been told for a while? Then it counts as told now.
    pub fn is_news(&self, code: u16, now: Instant) -> bool {
        let mut told = self.0.borrow_mut();
        let is_news = told.get(&code).is_none_or(|last| now.duration_since(*last) >= EVERY);
        if is_news {
            told.insert(code, now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told_once_in_a_minute() {
        let (told, now) = (Told::default(), Instant::now());
        let at = |code, seconds| told.is_news(code, now + Duration::from_secs(seconds));
        assert_eq!([at(1146, 0), at(1146, 1), at(1062, 1), at(1146, 59)], [true, false, true, false]);
        assert_eq!([at(1146, 60), at(1146, 61)], [true, false]);
    }
}

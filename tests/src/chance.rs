//! Chance that can be had again.

use std::time::{SystemTime, UNIX_EPOCH};

/// A generator of numbers that is the same everywhere (SplitMix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    #[must_use]
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The seed that this variable of the environment names, or a new one.
    ///
    /// # Panics
    /// Before 1970.
    #[must_use]
    pub fn drawn(variable: &str) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let named = std::env::var(variable).ok().and_then(|seed| seed.parse().ok());
        named.unwrap_or_else(|| u64::from(now.subsec_nanos()))
    }

    /// From nothing to less than `end`.
    ///
    /// # Panics
    /// Never.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("less than a usize")
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

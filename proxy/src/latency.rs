//! How long statements take: a histogram with buckets that grow by a quarter of an octave, so that any quantile is
//! known to within a fifth. Recording is two additions without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of one doubling.
const PER_OCTAVE: u32 = 4;
/// From 1 µs up to 2^26 µs, about a minute; the last bucket has everything longer.
const OCTAVES: u32 = 26;
const BUCKETS: usize = (PER_OCTAVE * OCTAVES) as usize;

/// Counts of statements by duration.
#[derive(Debug)]
pub struct Latency {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_us: AtomicU64::new(0) }
    }
}

impl Latency {
    /// One statement took so long.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let buckets = self.buckets.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        Counts { buckets, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

/// Counts at one moment, or between two.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Empty: nothing yet.
    buckets: Vec<u64>,
    sum_us: u64,
}

impl Counts {
    /// What came since an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Counts) -> Counts {
        let before = earlier.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets =
            self.buckets.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect();
        Counts { buckets, sum_us: self.sum_us.saturating_sub(earlier.sum_us) }
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The duration that this share of the statements did not exceed; `None` when there were none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.total();
        let mut left = (total as f64 * share).ceil().max(1.0);
        if total == 0 {
            return None;
        }
        for (bucket, count) in self.buckets.iter().enumerate() {
            left -= *count as f64;
            if left <= 0.0 {
                return Some(Duration::from_micros(end(bucket)));
            }
        }
        None
    }

    /// The end of each doubling in seconds, and how many statements fell into it.
    #[must_use]
    pub fn octaves(&self) -> Vec<(f64, u64)> {
        let octaves = self.buckets.chunks(PER_OCTAVE as usize).enumerate();
        let ends = octaves.map(|(octave, counts)| {
            let last = (octave + 1) * PER_OCTAVE as usize - 1;
            let end = if last + 1 == BUCKETS { f64::MAX } else { end(last) as f64 / 1e6 };
            (end, counts.iter().sum())
        });
        ends.collect()
    }
}

/// The bucket of a duration: its doubling, and the quarter of it.
fn bucket(us: u64) -> usize {
    let us = us.max(1);
    let octave = us.ilog2();
    let quarter = if octave < 2 { 0 } else { (us >> (octave - 2)) & 3 };
    let place = u64::from(octave * PER_OCTAVE) + quarter;
    usize::try_from(place).map_or(BUCKETS - 1, |place| place.min(BUCKETS - 1))
}

/// The longest duration of a bucket, in microseconds.
fn end(bucket: usize) -> u64 {
    let (octave, quarter) = (bucket / PER_OCTAVE as usize, bucket as u64 % u64::from(PER_OCTAVE));
    if octave < 2 { (1 << (octave + 1)) - 1 } else { ((5 + quarter) << (octave - 2)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_the_bucket_that_ends_behind_it() {
        for us in (1..5_000).chain([1 << 20, (1 << 25) + 7]) {
            let place = bucket(us);
            assert!(us <= end(place), "{us} in {place} that ends at {}", end(place));
            assert!(end(place) as f64 <= us as f64 * 1.25 + 1.0, "{us} in {place}");
        }
        assert_eq!(bucket(0), bucket(1));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_what_came_since() {
        let latency = Latency::default();
        latency.record(Duration::from_secs(5));
        let before = latency.counts();
        for ms in 1..=100 {
            latency.record(Duration::from_millis(ms));
        }
        let since = latency.counts().since(&before);
        assert_eq!(since.total(), 100);
        let p99 = since.quantile(0.99).unwrap().as_millis();
        assert!((99..=124).contains(&p99), "{p99}");
        assert_eq!(Counts::default().quantile(0.5), None);
        assert_eq!(since.octaves().iter().map(|(_, count)| count).sum::<u64>(), 100);
        assert_eq!(since.sum(), Duration::from_millis(5_050));
    }
}

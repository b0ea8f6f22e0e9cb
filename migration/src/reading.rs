//! What is known of something that is measured. Pure.

/// Older than this, a measurement says nothing any more.
pub const FRESH_MS: u64 = 10_000;

/// The state of one measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Reading {
    Is(f64),
    /// It should be known and is not: nobody answered, or not lately.
    Unknown,
    /// There is nothing to measure at present: no copy runs, no replica is named.
    #[default]
    NotNow,
}

impl Reading {
    /// A value measured at some time, as seen now.
    #[must_use]
    pub fn aged(value: f64, measured_ms: u64, now_ms: u64) -> Reading {
        let is_fresh = now_ms.saturating_sub(measured_ms) <= FRESH_MS;
        if is_fresh && value.is_finite() { Reading::Is(value) } else { Reading::Unknown }
    }

    /// The value, if it is known.
    #[must_use]
    pub fn value(self) -> Option<f64> {
        match self {
            Reading::Is(value) => Some(value),
            Reading::Unknown | Reading::NotNow => None,
        }
    }
}

impl From<Option<f64>> for Reading {
    fn from(value: Option<f64>) -> Reading {
        value.map_or(Reading::Unknown, Reading::Is)
    }
}

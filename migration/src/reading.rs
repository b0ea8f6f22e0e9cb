//! What is known of something that is measured. Pure.

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

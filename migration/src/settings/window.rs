//! Times of the day when a move may run. Pure: the time is passed in.

const DAY: u16 = 24 * 60;

/// A part of every day in UTC, as `22:00-06:00`; it may go over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Minutes since midnight; the first that is inside.
    from: u16,
    /// The first that is not.
    until: u16,
}

impl Window {
    /// From `22:00-06:00`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Window> {
        let (from, until) = text.split_once('-')?;
        let window = Window { from: minute(from)? % DAY, until: minute(until)? };
        (window.from != window.until).then_some(window)
    }

    /// Is that minute of the day inside?
    #[must_use]
    pub fn holds(&self, minute: u16) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&minute)
        } else {
            minute >= self.from || minute < self.until
        }
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Window { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let digits = |text: &str| {
        (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse::<u16>().ok())?
    };
    let minute = digits(hours)? * 60 + digits(minutes).filter(|minutes| *minutes < 60)?;
    (minute <= DAY).then_some(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_over_midnight_holds_both_its_ends() {
        let night = Window::parse("22:00-06:00").unwrap();
        let inside: Vec<u16> =
            [0, 359, 360, 1319, 1320, 1439].into_iter().filter(|at| night.holds(*at)).collect();
        assert_eq!(inside, [0, 359, 1320, 1439]);
        assert_eq!(night.to_string(), "22:00-06:00");
    }

    #[test]
    fn a_window_inside_a_day_ends_before_its_end() {
        let noon = Window::parse("12:00 - 12:30").unwrap();
        assert_eq!((719..752).filter(|at| noon.holds(*at)).count(), 30);
        let whole = Window::parse("00:00-24:00").unwrap();
        assert_eq!((0..DAY).filter(|at| whole.holds(*at)).count(), usize::from(DAY));
    }

    #[test]
    fn what_is_no_window_is_none() {
        for text in
            ["", "22-06", "22:00", "25:00-06:00", "22:60-23:00", "06:00-06:00", "2:00-3:00", "+1:00-02:00"]
        {
            assert_eq!(Window::parse(text), None, "{text}");
        }
    }
}

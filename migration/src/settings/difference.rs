//! What one file says otherwise than another about how rows travel.

use super::{CopySettings, MoveSettings, Settings};

impl Settings {
    /// The rules that differ, as `moves.shop.copy` and `alerts`, and when they hold.
    #[must_use]
    pub fn changed_since(&self, before: &Settings) -> Vec<(String, Holds)> {
        let absent = MoveSettings::default();
        let of_moves = self.moves.iter().flat_map(|(name, now)| {
            let before = before.moves.get(name).unwrap_or(&absent);
            let holds = |key| if key == "copy" { holds(&before.copy, &now.copy) } else { Holds::AtOnce };
            let changed = changed(before, now).into_iter();
            changed.map(move |key| (format!("moves.{name}.{key}"), holds(key)))
        });
        let alerts = (self.alerts != before.alerts).then(|| ("alerts".to_owned(), Holds::AtOnce));
        of_moves.chain(alerts).collect()
    }
}

/// From when on a rule is as it is written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    AtOnce,
    /// A copy that goes on does so as it began.
    FromTheNextStart,
}

/// The pace of a copy changes while it goes on, nothing else of it does.
fn holds(before: &CopySettings, now: &CopySettings) -> Holds {
    let paced = CopySettings { parallel: now.parallel, pause_ms: now.pause_ms, ..before.clone() };
    if paced == *now { Holds::AtOnce } else { Holds::FromTheNextStart }
}

fn changed(before: &MoveSettings, now: &MoveSettings) -> Vec<&'static str> {
    let differs = [
        ("copy", before.copy != now.copy),
        ("apply", before.apply != now.apply),
        ("throttle", before.throttle != now.throttle),
        ("tune", before.tune != now.tune),
        ("waive", before.waive != now.waive),
        ("verify", before.verify != now.verify),
        ("repair", before.repair != now.repair),
        ("assert", before.asserts != now.asserts),
        ("baseline", before.baselines != now.baselines),
        ("schedule", before.schedule != now.schedule),
        ("cleanup", before.cleanup != now.cleanup),
        ("backup", before.backup != now.backup),
    ];
    differs.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_a_copy_keeps_to_its_end_is_told_from_what_changes_at_once() {
        let of = |copy: CopySettings| Settings {
            moves: BTreeMap::from([("shop".to_owned(), MoveSettings { copy, ..MoveSettings::default() })]),
            ..Settings::default()
        };
        let before = of(CopySettings::default());
        for (copy, holds) in [
            (CopySettings { parallel: 9, pause_ms: 5, ..CopySettings::default() }, Holds::AtOnce),
            (CopySettings { rows: 9, ..CopySettings::default() }, Holds::FromTheNextStart),
            (CopySettings { parallel: 9, max_bytes: 9, ..CopySettings::default() }, Holds::FromTheNextStart),
        ] {
            assert_eq!(of(copy).changed_since(&before), [("moves.shop.copy".to_owned(), holds)]);
        }
    }
}

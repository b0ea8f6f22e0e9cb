//! What one file says otherwise than another about how rows travel.

use super::{MoveSettings, Settings};

impl Settings {
    /// The rules that differ, as `moves.shop.copy` and `alerts`.
    #[must_use]
    pub fn changed_since(&self, before: &Settings) -> Vec<String> {
        let absent = MoveSettings::default();
        let of_moves = self.moves.iter().flat_map(|(name, now)| {
            let changed = changed(before.moves.get(name).unwrap_or(&absent), now);
            changed.into_iter().map(move |key| format!("moves.{name}.{key}"))
        });
        let alerts = (self.alerts != before.alerts).then(|| "alerts".to_owned());
        of_moves.chain(alerts).collect()
    }
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

//! Metric families, each once.
//!
//! What is registered for one backend, move or side after the other is written with a `# HELP` and a `# TYPE` line each
//! time. OpenMetrics wants every family in one piece, and the parsers of many agents refuse a second line of either.

use std::collections::HashMap;

/// The same text with the samples of a family together, behind one description, in the order of the first ones.
pub(super) fn grouped(text: &str) -> String {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut families: Vec<Vec<&str>> = Vec::new();
    let mut at = None;
    for line in text.lines().filter(|line| *line != END) {
        if let Some(described) = line.strip_prefix("# ") {
            let family = described.split(' ').nth(1).unwrap_or_default();
            let place = *places.entry(family).or_insert_with(|| {
                families.push(Vec::new());
                families.len() - 1
            });
            at = Some(place);
            if families[place].contains(&line) {
                continue;
            }
        }
        if let Some(place) = at {
            families[place].push(line);
        }
    }
    let lines = families.into_iter().flatten().chain([END]);
    lines.map(|line| format!("{line}\n")).collect()
}

const END: &str = "# EOF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_described_once_and_keeps_all_of_its_samples() {
        let text = "# HELP up Whether.\n# TYPE up gauge\nup{b=\"1\"} 1\n# HELP open How many.\n# TYPE open gauge\n\
                    open{b=\"1\"} 3\n# HELP up Whether.\n# TYPE up gauge\nup{b=\"2\"} 0\n# EOF\n";
        let expected = "# HELP up Whether.\n# TYPE up gauge\nup{b=\"1\"} 1\nup{b=\"2\"} 0\n# HELP open How many.\n\
                        # TYPE open gauge\nopen{b=\"1\"} 3\n# EOF\n";
        assert_eq!(grouped(text), expected);
        assert_eq!(grouped("# EOF\n"), "# EOF\n");
    }
}

//! What a preflight says, as lines of text: what it found, and what the move will take. Pure.

use serde_json::Value;
use shardway_migration::settings::quantity::size;

use super::show::clock;

/// Finding by finding, and the estimate.
pub(super) fn preflight(report: &Value) -> String {
    let findings = list(&report["findings"]).map(finding);
    let lines = findings.chain(estimate(&report["estimate"]));
    lines.map(|line| format!("{line}\n")).collect()
}

fn finding(of: &Value) -> String {
    let found = match text(of, "found") {
        "" => String::new(),
        found => format!(": {found}"),
    };
    let (severity, id, subject) = (text(of, "severity"), text(of, "id"), text(of, "subject"));
    format!("{severity} {id} {subject}: {}{found}\n    {}", text(of, "title"), text(of, "remedy"))
}

fn estimate(of: &Value) -> Vec<String> {
    let assumed = &of["assumed"];
    let mut lines = vec![format!(
        "about {} rows and {} are to be copied, as the servers estimate; at {} rows/s and {}/s, which is assumed, that takes {}",
        of["rows"],
        bytes(&of["bytes"]),
        assumed["rows_per_s"],
        bytes(&assumed["bytes_per_s"]),
        clock(of["copy_s"].as_u64().unwrap_or(0))
    )];
    lines.extend(list(&of["targets"]).map(target));
    lines.extend(list(&of["load"]).filter_map(Value::as_str).map(|load| format!("  {load}")));
    lines
}

fn target(of: &Value) -> String {
    let free = match &of["disk_free_bytes"] {
        Value::Null => "its free disk space cannot be read".to_owned(),
        free => format!("{} of its disk are free", bytes(free)),
    };
    format!("  {}: takes about {} rows and {}; {free}", text(of, "backend"), of["rows"], bytes(&of["bytes"]))
}

fn list(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn bytes(of: &Value) -> String {
    size(of.as_f64().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preflight_is_told_line_by_line() {
        let report = r#"{
            "findings": [
                { "severity": "refused", "id": "PF101", "subject": "legacy", "title": "no log", "found": "log_bin is OFF",
                  "remedy": "switch it on" },
                { "severity": "warning", "id": "PF203", "subject": "shop.a", "title": "no key", "found": "", "remedy": "add one" }
            ],
            "estimate": {
                "rows": 2000, "bytes": 3145728, "copy_s": 75, "assumed": { "rows_per_s": 20000, "bytes_per_s": 1048576 },
                "targets": [
                    { "backend": "s0", "rows": 1000, "bytes": 1572864, "disk_free_bytes": 1073741824 },
                    { "backend": "s1", "rows": 1000, "bytes": 1572864, "disk_free_bytes": null }
                ],
                "load": ["legacy: is read"]
            }
        }"#;
        let expected = "refused PF101 legacy: no log: log_bin is OFF\n    switch it on\n\
            warning PF203 shop.a: no key\n    add one\n\
            about 2000 rows and 3 MiB are to be copied, as the servers estimate; at 20000 rows/s and 1 MiB/s, which is assumed, that takes 1:15\n\
            \x20 s0: takes about 1000 rows and 1.5 MiB; 1 GiB of its disk are free\n\
            \x20 s1: takes about 1000 rows and 1.5 MiB; its free disk space cannot be read\n\
            \x20 legacy: is read\n";
        assert_eq!(preflight(&serde_json::from_str(report).unwrap()), expected);
    }
}

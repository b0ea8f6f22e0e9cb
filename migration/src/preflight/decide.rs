//! From facts to findings. Pure.

use super::estimate::Estimate;
use super::facts::Facts;
use super::finding::{Finding, OTHER_MOVE, OTHER_MOVER, Severity, WAIVER_IDLE};
use super::{around, servers, tables};

/// Everything that speaks against the move, gravest first. `waived` names findings by id or name, or one of them by
/// `name:subject`.
#[must_use]
pub fn decide(facts: &Facts, estimate: &Estimate, waived: &[String]) -> Vec<Finding> {
    let mut findings = servers::findings(facts, estimate);
    findings.extend(tables::findings(facts));
    findings.extend(around::findings(facts));
    findings.extend(other_moves(facts));
    waive(&mut findings, waived);
    findings.sort_by_key(|finding| match finding.severity {
        Severity::Refused => 0,
        Severity::Waived => 1,
        Severity::Warning => 2,
    });
    findings
}

/// What speaks against going on with a move that has its rows on both sides.
#[must_use]
pub fn drift(facts: &Facts, waived: &[String]) -> Vec<Finding> {
    let mut findings = tables::definitions(facts);
    findings.extend(around::findings(facts));
    waive(&mut findings, waived);
    findings
}

fn other_moves(facts: &Facts) -> Vec<Finding> {
    let shared = facts.shared.iter().map(|(table, other)| OTHER_MOVE.of(table, format!("move `{other}`")));
    let mut findings: Vec<Finding> = shared.collect();
    for server in &facts.servers {
        for (database, stream) in &server.streams {
            let of = stream.split('/').next().unwrap_or_default();
            if of != facts.by && !facts.moves.iter().any(|known| known == of) {
                let found =
                    format!("`{database}` holds the position of `{stream}`, a move that no rule names");
                findings.push(OTHER_MOVER.of(&server.backend, found));
            }
        }
    }
    findings
}

fn waive(findings: &mut Vec<Finding>, waived: &[String]) {
    for waiver in waived {
        let (kind, subject) = waiver
            .split_once(':')
            .map_or((waiver.as_str(), None), |(kind, subject)| (kind, Some(subject.trim())));
        let mut idle = true;
        for finding in findings.iter_mut().filter(|finding| finding.waivable) {
            let same = kind.eq_ignore_ascii_case(finding.id) || kind == finding.name;
            if same && subject.is_none_or(|subject| subject == finding.subject) {
                finding.severity = Severity::Waived;
                idle = false;
            }
        }
        if idle {
            let refused =
                findings.iter().any(|finding| kind.eq_ignore_ascii_case(finding.id) || kind == finding.name);
            let found = if refused { "it cannot be waived" } else { "nothing of that name was found" };
            findings.push(WAIVER_IDLE.of(waiver.as_str(), found));
        }
    }
}

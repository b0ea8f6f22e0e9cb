//! A statement's own text and values, as far as they say which rows it touches.

use shardway_migration::image::hex;
use shardway_routing::key::Literal;
use shardway_routing::lex::{self, RegionKind};
use shardway_routing::plan::{Operand, OperandSign, Touch, TouchHow};
use shardway_routing::refusal;

use super::Job;
use crate::session::{Failure, Session};

/// Functions that say something else each time they are asked.
const FICKLE: [&str; 5] = ["rand", "uuid", "last_insert_id", "sleep", "nextval"];

/// Names a transaction in the journal.
pub(super) fn token() -> u64 {
    rand::random()
}

/// From `WHERE` on, with bound values written in.
pub(super) fn condition_text(session: &Session, job: &Job<'_>, touch: &Touch) -> Result<String, Failure> {
    let TouchHow::Select { from, first_placeholder, .. } = &touch.how else {
        unreachable!("asked for selects only");
    };
    let values = job.request.values;
    let (start, end) = (lex::offset(values.regions, from.start), lex::offset(values.regions, from.end));
    let mut text = Vec::with_capacity(end - start);
    let mut at = start;
    let mut parameter = *first_placeholder;
    for region in values.regions {
        let (from, to) = (region.start as usize, region.end as usize);
        if from < start || to > end || region.kind != RegionKind::Placeholder {
            continue;
        }
        text.extend_from_slice(&values.sql[at..from]);
        text.extend_from_slice(bound(session, values.parameters.get(usize::from(parameter)))?.as_bytes());
        parameter += 1;
        at = to;
    }
    text.extend_from_slice(&values.sql[at..end]);
    let text =
        String::from_utf8(text).map_err(|_| refusal::UNTOUCHABLE.because("a condition that is not UTF-8"))?;
    let lower = text.to_ascii_lowercase();
    if FICKLE.iter().any(|function| lower.contains(function)) {
        return Err(refusal::UNTOUCHABLE
            .because("a condition that changes from one moment to the next")
            .into());
    }
    Ok(text)
}

/// A key's value as the statement gives it; empty where it gives none.
pub(super) fn key_text(session: &Session, job: &Job<'_>, operand: &Operand) -> Result<String, Failure> {
    let values = job.request.values;
    match *operand {
        Operand::Literal { region, sign } => {
            let region = values.regions[region as usize];
            let text = String::from_utf8(values.sql[region.start as usize..region.end as usize].to_vec());
            let text = text.map_err(|_| refusal::UNTOUCHABLE.because("a key that is not UTF-8"))?;
            Ok(if sign == OperandSign::Minus { format!("-{text}") } else { text })
        }
        Operand::Parameter(parameter) => bound(session, values.parameters.get(usize::from(parameter))),
        Operand::Null => Ok("NULL".to_owned()),
        Operand::Computed => Ok(String::new()),
    }
}

fn bound(session: &Session, value: Option<&Literal<'_>>) -> Result<String, Failure> {
    match value {
        Some(Literal::Null) => Ok("NULL".to_owned()),
        Some(Literal::Integer(value)) => Ok(value.to_string()),
        Some(Literal::Number(text)) => Ok(String::from_utf8_lossy(text).into_owned()),
        Some(Literal::String(bytes)) => {
            let charset = session.vars.get("character_set_client").unwrap_or("'utf8mb4'").trim_matches('\'');
            Ok(format!("_{charset} x'{}'", hex(bytes)))
        }
        Some(Literal::Opaque) | None => {
            Err(refusal::UNTOUCHABLE.because("a date or a float among the condition's parameters").into())
        }
    }
}

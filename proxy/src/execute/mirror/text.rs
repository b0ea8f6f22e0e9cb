//! A statement's own text and values, as far as they say which rows it touches.

use shardway_migration::image::hex;
use shardway_routing::key::Literal;
use shardway_routing::lex::{self, RegionKind};
use shardway_routing::plan::{MomentForm, Operand, OperandSign, Touch, TouchHow};
use shardway_routing::refusal;

use super::Job;
use crate::session::{Failure, Session};

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
    let text = String::from_utf8(text);
    Ok(text.map_err(|_| refusal::UNTOUCHABLE.because("a condition that is not UTF-8"))?)
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
        Operand::Moment { region, form } => {
            let region = values.regions[region as usize];
            let text = String::from_utf8(values.sql[region.start as usize..region.end as usize].to_vec());
            let text = text.map_err(|_| refusal::UNTOUCHABLE.because("a key that is not UTF-8"))?;
            Ok(match form {
                MomentForm::Date => format!("DATE {text}"),
                MomentForm::Timestamp => format!("TIMESTAMP {text}"),
            })
        }
        Operand::Parameter(parameter) => bound(session, values.parameters.get(usize::from(parameter))),
        Operand::Null => Ok("NULL".to_owned()),
        Operand::Computed => Ok(String::new()),
    }
}

/// What a statement gives an `AUTO_INCREMENT` column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Number {
    Given(String),
    ByServer,
}

/// The value of an `AUTO_INCREMENT` column, where it is plainly a whole number or plainly left to the server. Whatever
/// a server would first have to round, cut or convert is not.
pub(super) fn number(job: &Job<'_>, operand: &Operand) -> Result<Number, Failure> {
    let values = job.request.values;
    let (text, sign) = match *operand {
        Operand::Null => return Ok(Number::ByServer),
        Operand::Computed | Operand::Moment { .. } => (String::new(), OperandSign::Plus),
        Operand::Literal { region, sign } => {
            let region = values.regions[region as usize];
            let text = &values.sql[region.start as usize..region.end as usize];
            (String::from_utf8_lossy(text).into_owned(), sign)
        }
        Operand::Parameter(parameter) => match values.parameters.get(usize::from(parameter)) {
            Some(Literal::Null) => return Ok(Number::ByServer),
            Some(Literal::Integer(value)) => (value.to_string(), OperandSign::Plus),
            Some(Literal::String(bytes)) => (String::from_utf8_lossy(bytes).into_owned(), OperandSign::Plus),
            Some(Literal::Number(_) | Literal::Moment(_) | Literal::Opaque) | None => {
                (String::new(), OperandSign::Plus)
            }
        },
    };
    let quoted = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\''));
    let minus = if sign == OperandSign::Minus { "-" } else { "" };
    let text = format!("{minus}{}", quoted.unwrap_or(&text));
    match text.parse::<i128>() {
        Ok(0) if text == "0" => Ok(Number::ByServer),
        Ok(value) if value != 0 && value.to_string() == text => Ok(Number::Given(text)),
        _ => Err(refusal::UNTOUCHABLE.because("a number that is not plainly a whole one").into()),
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
        Some(Literal::Moment(moment)) if moment.is_valid() => Ok(format!("TIMESTAMP'{moment}'")),
        Some(Literal::Moment(_) | Literal::Opaque) | None => {
            Err(refusal::UNTOUCHABLE.because("a time or a float among the condition's parameters").into())
        }
    }
}

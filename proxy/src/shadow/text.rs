//! A statement with its parameters written into it.

use shardway_routing::bind::{Characters, Values};
use shardway_routing::key::Literal;
use shardway_routing::lex::{Backslash, RegionKind};

/// The statement as text. `None`: a parameter has no text that means the same.
pub(super) fn written(values: Values<'_>) -> Option<String> {
    let mut out = Vec::with_capacity(values.sql.len() + 32);
    let mut at = 0;
    let placeholders = values.regions.iter().filter(|region| region.kind == RegionKind::Placeholder);
    for (region, parameter) in placeholders.zip(values.parameters) {
        out.extend_from_slice(&values.sql[at..region.start as usize]);
        at = region.end as usize;
        match parameter {
            Literal::Null => out.extend_from_slice(b"NULL"),
            Literal::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Literal::Number(text) => out.extend_from_slice(text),
            Literal::Moment(moment) if moment.is_valid() => {
                out.extend_from_slice(format!("'{moment}'").as_bytes());
            }
            Literal::String(text) => quoted(text, values, &mut out)?,
            Literal::Moment(_) | Literal::Opaque => return None,
        }
    }
    out.extend_from_slice(&values.sql[at..]);
    // What is not UTF-8 would be other characters on a connection of ours.
    let text = String::from_utf8(out).ok()?;
    (values.characters == Characters::Utf8 || text.is_ascii()).then_some(text)
}

fn quoted(text: &[u8], values: Values<'_>, out: &mut Vec<u8>) -> Option<()> {
    if text.contains(&0) {
        return None;
    }
    out.push(b'\'');
    for &byte in text {
        if byte == b'\'' || (byte == b'\\' && values.quoting.backslash == Backslash::Escapes) {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
    Some(())
}

//! Columns as SQL: the expression that reads one, its field in an answer, and the literal that writes it back.

use shardway_routing::schema::ColumnKind;

use super::{Reader, hex, quoted, unhex};

/// The expression that reads a column.
pub(super) fn read(reader: Reader, name: &str, kind: &ColumnKind, alias: Option<&str>) -> String {
    let column = match alias {
        Some(alias) => format!("{}.{}", quoted(alias), quoted(name)),
        None => quoted(name),
    };
    match kind {
        ColumnKind::Float => format!("CAST({column} AS DOUBLE)"),
        ColumnKind::Bit | ColumnKind::Year | ColumnKind::Enum => format!("{column}+0"),
        // The highest of 64 members would be a sign.
        ColumnKind::Set => format!("CAST({column} AS UNSIGNED)"),
        ColumnKind::Timestamp => format!("UNIX_TIMESTAMP({column})"),
        ColumnKind::Uuid | ColumnKind::Inet { .. } => {
            let bytes = format!("CAST({column} AS BINARY({}))", width(kind));
            if reader == Reader::Client { format!("HEX({bytes})") } else { bytes }
        }
        kind if is_raw(kind) && reader == Reader::Client => format!("HEX({column})"),
        ColumnKind::Json if reader == Reader::Client => format!("HEX(CONVERT({column} USING utf8mb4))"),
        _ => column,
    }
}

/// The canonical field in an answer. `None`: not what the expression gives.
pub(super) fn field(reader: Reader, kind: &ColumnKind, text: Vec<u8>) -> Option<Vec<u8>> {
    match kind {
        ColumnKind::Float | ColumnKind::Double => std::str::from_utf8(&text).ok()?.parse().ok().map(double),
        kind if (is_raw(kind) || *kind == ColumnKind::Json) && reader == Reader::Client => unhex(&text),
        ColumnKind::Integer { .. } | ColumnKind::Decimal => Some(without_fill(text)),
        _ => Some(text),
    }
}

/// Does an image hold a value's bytes, of which a client's session gets the hexadecimal digits?
fn is_raw(kind: &ColumnKind) -> bool {
    use ColumnKind::{Binary, Geometry, Inet, Text, Uuid, Vector};
    matches!(kind, Text { .. } | Binary | Geometry | Vector | Uuid | Inet { .. })
}

/// How many bytes every value of such a column has; 0 where they differ.
pub(crate) fn width(kind: &ColumnKind) -> usize {
    match kind {
        ColumnKind::Inet { bytes } => usize::from(*bytes),
        ColumnKind::Uuid => 16,
        _ => 0,
    }
}

/// `ZEROFILL` is about showing a number, not about which it is.
fn without_fill(text: Vec<u8>) -> Vec<u8> {
    let fill = text.windows(2).take_while(|pair| pair[0] == b'0' && pair[1].is_ascii_digit()).count();
    if fill == 0 { text } else { text[fill..].to_vec() }
}

/// A floating-point number's canonical field: the shortest digits that mean it, with an exponent.
pub(crate) fn double(value: f64) -> Vec<u8> {
    format!("{value:e}").into_bytes()
}

/// The literal that writes a field back, in ASCII, for any session.
pub(super) fn literal(kind: &ColumnKind, field: &[u8]) -> String {
    match kind {
        ColumnKind::Text { charset, .. } => format!("_{charset} x'{}'", hex(field)),
        ColumnKind::Json => format!("_utf8mb4 x'{}'", hex(field)),
        kind if is_raw(kind) => format!("x'{}'", hex(field)),
        _ => {
            let mut out = Vec::new();
            append(kind, Some(field), &mut out);
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}

/// Appends the literal that writes a field back in a session with [`super::SESSION`].
pub(super) fn append(kind: &ColumnKind, field: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(field) = field else { return out.extend_from_slice(b"NULL") };
    match kind {
        ColumnKind::Date | ColumnKind::Time | ColumnKind::DateTime => {
            out.push(b'\'');
            out.extend_from_slice(field);
            out.push(b'\'');
        }
        ColumnKind::Timestamp if field.iter().all(|byte| matches!(byte, b'0' | b'.')) => {
            out.extend_from_slice(b"'0000-00-00 00:00:00'");
        }
        ColumnKind::Timestamp => {
            out.extend_from_slice(b"FROM_UNIXTIME(");
            out.extend_from_slice(field);
            out.push(b')');
        }
        ColumnKind::Text { charset, .. } => {
            out.push(b'_');
            out.extend_from_slice(charset.as_bytes());
            append_quoted(field, out);
        }
        ColumnKind::Json => {
            out.extend_from_slice(b"_utf8mb4");
            append_quoted(field, out);
        }
        ColumnKind::Binary => {
            out.extend_from_slice(b"_binary");
            append_quoted(field, out);
        }
        ColumnKind::Geometry | ColumnKind::Vector | ColumnKind::Uuid | ColumnKind::Inet { .. } => {
            out.extend_from_slice(b"x'");
            out.extend_from_slice(hex(field).as_bytes());
            out.push(b'\'');
        }
        _ => out.extend_from_slice(field),
    }
}

/// A quoted string of any bytes, for sessions whose `character_set_client` is binary and whose `sql_mode` lets a
/// backslash escape.
fn append_quoted(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\'' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

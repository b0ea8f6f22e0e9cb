//! MySQL's binary JSON as the text that the server itself makes of it. Pure.

use std::fmt::Write as _;

use super::bytes::{Bytes, little};
use super::error::StreamError;
use super::value::decimal;

/// How deep documents may nest; servers refuse deeper ones.
const DEPTH_MAX: usize = 100;

/// The text of a document.
pub(super) fn text(bytes: &[u8]) -> Result<String, StreamError> {
    // So servers store what `INSERT IGNORE` made of an invalid document.
    let Some((kind, rest)) = bytes.split_first() else { return Ok("null".to_owned()) };
    // In a sound document every value has bytes of its own.
    let mut printer = Printer { text: String::new(), values_left: bytes.len() };
    printer.value(*kind, rest, 0)?;
    Ok(printer.text)
}

struct Printer {
    text: String,
    values_left: usize,
}

/// What a container holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Object,
    Array,
}

/// How many bytes a container's counts and offsets take.
#[derive(Clone, Copy)]
struct Widths {
    offset: usize,
}

fn bad() -> StreamError {
    StreamError::garbled("a JSON document is not as it should be")
}

impl Printer {
    fn value(&mut self, kind: u8, bytes: &[u8], depth: usize) -> Result<(), StreamError> {
        self.values_left = self.values_left.checked_sub(1).ok_or_else(bad)?;
        let mut rest = Bytes(bytes);
        match kind {
            0 => self.container(Container::Object, Widths { offset: 2 }, bytes, depth)?,
            1 => self.container(Container::Object, Widths { offset: 4 }, bytes, depth)?,
            2 => self.container(Container::Array, Widths { offset: 2 }, bytes, depth)?,
            3 => self.container(Container::Array, Widths { offset: 4 }, bytes, depth)?,
            4 => self.text.push_str(match rest.byte()? {
                0 => "null",
                1 => "true",
                2 => "false",
                _ => return Err(bad()),
            }),
            5 => self.signed(rest.take(2)?),
            7 => self.signed(rest.take(4)?),
            9 => self.signed(rest.take(8)?),
            6 => self.unsigned(rest.take(2)?),
            8 => self.unsigned(rest.take(4)?),
            10 => self.unsigned(rest.take(8)?),
            11 => self.double(f64::from_bits(rest.number(8)?)),
            12 => {
                let length = varying(&mut rest)?;
                self.string(rest.take(length)?);
            }
            15 => {
                let kind = rest.byte()?;
                let length = varying(&mut rest)?;
                self.opaque(kind, rest.take(length)?)?;
            }
            _ => return Err(bad()),
        }
        Ok(())
    }

    fn signed(&mut self, bytes: &[u8]) {
        let unused = 64 - 8 * bytes.len();
        let _ = write!(self.text, "{}", (little(bytes) << unused).cast_signed() >> unused);
    }

    fn unsigned(&mut self, bytes: &[u8]) {
        let _ = write!(self.text, "{}", little(bytes));
    }

    fn double(&mut self, number: f64) {
        let size = number.abs();
        if size != 0.0 && !(1e-15..1e15).contains(&size) {
            let _ = write!(self.text, "{number:e}");
            return;
        }
        let _ = write!(self.text, "{number}");
        if number.fract() == 0.0 {
            // Without it the number would come back as an integer.
            self.text.push_str(".0");
        }
    }

    fn string(&mut self, bytes: &[u8]) {
        self.text.push('"');
        for letter in String::from_utf8_lossy(bytes).chars() {
            match letter {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                control if u32::from(control) < 0x20 => {
                    let _ = write!(self.text, "\\u{:04x}", u32::from(control));
                }
                other => self.text.push(other),
            }
        }
        self.text.push('"');
    }

    /// An object or an array: a head of keys and values with their offsets, which count from the head's first byte.
    fn container(
        &mut self,
        container: Container,
        widths: Widths,
        bytes: &[u8],
        depth: usize,
    ) -> Result<(), StreamError> {
        if depth >= DEPTH_MAX {
            return Err(bad());
        }
        let is_object = container == Container::Object;
        let mut head = Bytes(bytes);
        let count = head.size(widths.offset)?;
        let _length = head.size(widths.offset)?;
        let keys_bytes = if is_object { count.checked_mul(widths.offset + 2).ok_or_else(bad)? } else { 0 };
        let mut keys = Bytes(head.take(keys_bytes)?);
        self.text.push(if is_object { '{' } else { '[' });
        for place in 0..count {
            if place > 0 {
                self.text.push_str(", ");
            }
            if is_object {
                let (offset, length) = (keys.size(widths.offset)?, keys.size(2)?);
                self.string(bytes.get(offset..).and_then(|from| from.get(..length)).ok_or_else(bad)?);
                self.text.push_str(": ");
            }
            let kind = head.byte()?;
            let inlined = head.take(widths.offset)?;
            // Small values stand where others have their offset.
            if matches!(kind, 4..=6) || widths.offset == 4 && matches!(kind, 7 | 8) {
                self.value(kind, inlined, depth + 1)?;
            } else {
                let offset = usize::try_from(little(inlined)).map_err(|_| bad())?;
                self.value(kind, bytes.get(offset..).ok_or_else(bad)?, depth + 1)?;
            }
        }
        self.text.push(if is_object { '}' } else { ']' });
        Ok(())
    }

    /// A value of an SQL type that JSON does not have.
    fn opaque(&mut self, kind: u8, bytes: &[u8]) -> Result<(), StreamError> {
        match kind {
            246 => {
                let mut rest = Bytes(bytes);
                let (precision, scale) = (rest.size(1)?, rest.size(1)?);
                if scale > precision {
                    return Err(bad());
                }
                self.text.push_str(&decimal(precision, scale, rest.0)?);
            }
            7 | 10 | 11 | 12 => {
                let packed = little(bytes).cast_signed();
                let text = moment(kind, packed);
                self.string(text.as_bytes());
            }
            _ => {
                let text = format!("base64:type{kind}:{}", base64(bytes));
                self.string(text.as_bytes());
            }
        }
        Ok(())
    }
}

/// A length of seven bits a byte, lowest first.
fn varying(bytes: &mut Bytes<'_>) -> Result<usize, StreamError> {
    let mut length = 0_usize;
    for place in 0..5 {
        let byte = bytes.byte()?;
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(bad())
}

/// A date, a time or both, in the packing that servers use in memory.
fn moment(kind: u8, packed: i64) -> String {
    let sign = if packed < 0 { "-" } else { "" };
    let (whole, fraction) = (packed.unsigned_abs() >> 24, packed.unsigned_abs() & 0xFF_FFFF);
    let (minute, second) = (whole >> 6 & 63, whole & 63);
    if kind == 11 {
        return format!("{sign}{:02}:{minute:02}:{second:02}.{fraction:06}", whole >> 12 & 0x3FF);
    }
    let (months, day) = (whole >> 22, whole >> 17 & 31);
    let date = format!("{:04}-{:02}-{day:02}", months / 13, months % 13);
    match kind {
        10 => date,
        _ => format!("{date} {:02}:{minute:02}:{second:02}.{fraction:06}", whole >> 12 & 31),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for (place, three) in bytes.chunks(3).enumerate() {
        // The server breaks lines of 76.
        if place > 0 && place % 19 == 0 {
            text.push('\n');
        }
        let number = three.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        let number = number << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[number >> (18 - 6 * place) & 63];
            text.push(if place > three.len() { '=' } else { char::from(digit) });
        }
    }
    text
}

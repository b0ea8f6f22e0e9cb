//! Numbers as text, read without losing a digit: `17`, `-17.50`, `1.7e1`.
//!
//! Only the form that a MySQL server reads to its end is accepted. What a double would make of the text is answered
//! where it is certain, and is unknown elsewhere.

use super::{Exactness, KeyValue};

/// Up to here every integer is a double of its own.
const EXACT: i128 = 1 << 53;

/// A number in text: `digits` without the point, of which the last `scale` stand behind it.
#[derive(Debug, PartialEq)]
pub(super) struct Decimal<'a> {
    text: &'a str,
    digits: Vec<u8>,
    scale: i64,
    form: Form,
    sign: i128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Digits,
    Point,
    Exponent,
}

impl<'a> Decimal<'a> {
    /// `None` when anything but a number stands in the text.
    pub(super) fn read(text: &'a [u8]) -> Option<Decimal<'a>> {
        let text = std::str::from_utf8(text).ok()?;
        let (sign, unsigned) = match text.as_bytes().first()? {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (1, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(signed_digits(exponent)?)),
            None => (unsigned, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let form = match exponent {
            Some(_) => Form::Exponent,
            None if mantissa.contains('.') => Form::Point,
            None => Form::Digits,
        };
        let scale = i64::try_from(fraction.len()).ok()?.checked_sub(exponent.unwrap_or(0))?;
        Some(Decimal { text, digits, scale, form, sign })
    }

    /// A sign and digits, nothing else.
    pub(super) fn is_digits(&self) -> bool {
        self.form == Form::Digits
    }

    /// Servers read a number with an exponent as a double.
    pub(super) fn is_double(&self) -> bool {
        self.form == Form::Exponent
    }

    /// Short enough for a server's DECIMAL to hold it without rounding.
    pub(super) fn fits_decimal(&self) -> bool {
        self.digits.len() <= 65 && self.scale <= 30
    }

    /// The value, when it is an integer of a size that a server keeps exactly.
    pub(super) fn integer(&self) -> Option<i128> {
        if !self.fits_decimal() {
            return None;
        }
        let significant = self.digits.iter().rposition(|&digit| digit != b'0');
        let Some(last) = significant else { return Some(0) };
        let behind = i64::try_from(self.digits.len() - 1 - last).ok()?;
        if self.scale > behind {
            return None;
        }
        let mut value: i128 = 0;
        for &digit in &self.digits[..=last] {
            value = value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        let zeros = u32::try_from(behind - self.scale).ok()?;
        value.checked_mul(10_i128.checked_pow(zeros)?)?.checked_mul(self.sign)
    }

    /// What the number equals when it is compared as a double with an integer.
    pub(super) fn as_double(&self) -> Exactness {
        match (self.integer(), self.text.parse::<f64>()) {
            (Some(integer), _) if integer.abs() < EXACT => Exactness::Value(KeyValue::Integer(integer)),
            // A fraction that the double keeps; one that it rounds away, as in 16.99999999999999999999, is unknown.
            (None, Ok(double)) if double.is_finite() && double.fract() != 0.0 => Exactness::Nothing,
            _ => Exactness::Unknown,
        }
    }
}

fn signed_digits(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    // More digits than any number a server reads; also keeps the arithmetic above from overflowing.
    if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

//! Decimals as servers calculate with them: digit by digit, and of quotients as many digits as they keep.

use std::cmp::Ordering;
use std::fmt;

/// Digits that servers keep together: a quotient has a multiple of them behind its point.
const DIGITS_OF_A_WORD: u32 = 9;

/// A number, and how many of its digits are a fraction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decimal {
    number: i128,
    scale: u32,
}

impl Decimal {
    /// As a server or a client writes it: no exponent. `None`: no such number, or of more digits than can be held.
    pub(super) fn read(text: &[u8]) -> Option<Decimal> {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let number = format!("{whole}{fraction}").parse().ok()?;
        Some(Decimal { number, scale: u32::try_from(fraction.len()).ok()? })
    }

    /// The sum has the longer fraction. `None`: more digits than can be held.
    pub(super) fn plus(self, other: Decimal) -> Option<Decimal> {
        let scale = self.scale.max(other.scale);
        let number = self.widened(scale)?.checked_add(other.widened(scale)?)?;
        Some(Decimal { number, scale })
    }

    /// `None`: more digits than can be compared.
    pub(super) fn against(self, other: Decimal) -> Option<Ordering> {
        let scale = self.scale.max(other.scale);
        Some(self.widened(scale)?.cmp(&other.widened(scale)?))
    }

    /// The sum of so many values divided by their number, before it is rounded: servers keep `increment` more digits than
    /// the sum has, filled up to whole words on either side, and cut what follows.
    pub(super) fn average(self, count: Decimal, increment: u32) -> Option<Decimal> {
        let words = |digits: u32| digits.div_ceil(DIGITS_OF_A_WORD) * DIGITS_OF_A_WORD;
        let filled = words(self.scale);
        let scale = words(filled + increment.saturating_sub(filled - self.scale));
        let count = if count.scale == 0 { count.number } else { return None };
        let mut number = self.number.checked_div(count)?;
        let mut rest = self.number.checked_rem(count)?;
        for _ in self.scale..scale {
            rest = rest.checked_mul(10)?;
            number = number.checked_mul(10)?.checked_add(rest / count)?;
            rest %= count;
        }
        Some(Decimal { number, scale })
    }

    /// To so many digits behind the point; halves go away from zero.
    pub(super) fn rounded(self, scale: u32) -> Option<Decimal> {
        let Some(fewer) = self.scale.checked_sub(scale).filter(|fewer| *fewer > 0) else {
            return Some(Decimal { number: self.widened(scale)?, scale });
        };
        let unit = 10_i128.checked_pow(fewer)?;
        let (number, rest) = (self.number / unit, self.number % unit);
        let up = if rest.unsigned_abs() >= unit.unsigned_abs() / 2 { rest.signum() } else { 0 };
        Some(Decimal { number: number + up, scale })
    }

    fn widened(self, scale: u32) -> Option<i128> {
        self.number.checked_mul(10_i128.checked_pow(scale.checked_sub(self.scale)?)?)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = self.scale as usize;
        let sign = if self.number < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.number.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let point = if scale > 0 { "." } else { "" };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn averages_are_cut_and_rounded_as_servers_do() {
        let average = |sum: &str, count: &str, scale: u32| {
            let sum = decimal(sum);
            let quotient = sum.average(decimal(count), scale - sum.scale).unwrap();
            (quotient.to_string(), quotient.rounded(scale).unwrap().to_string())
        };
        let is = |exact: &str, shown: &str| (exact.to_owned(), shown.to_owned());
        assert_eq!(average("2", "3", 4), is("0.666666666", "0.6667"));
        assert_eq!(average("-2", "3", 4), is("-0.666666666", "-0.6667"));
        assert_eq!(average("0.01", "8", 6), is("0.001250000", "0.001250"));
        assert_eq!(average("-1", "1000000", 4), is("-0.000001000", "0.0000"));
        // Nine digits are a whole word, behind which nothing is left to round by.
        assert_eq!(average("2.00000", "3", 9), is("0.666666666", "0.666666666"));
        assert_eq!(average("2.000000", "3", 10), is("0.666666666666666666", "0.6666666667"));
        assert_eq!(average("2.000000000", "3", 13), is("0.666666666666666666", "0.6666666666667"));
        assert_eq!(average("1", "2", 0), is("0", "0"));
    }

    #[test]
    fn numbers_compare_by_value() {
        assert_eq!(decimal("1.50").against(decimal("1.5")), Some(Ordering::Equal));
        assert_eq!(decimal("-2").against(decimal("1.5")), Some(Ordering::Less));
        assert!(Decimal::read(b"1e3").is_none() && Decimal::read(b"").is_none());
        let most = decimal(&i128::MAX.to_string());
        assert!(most.plus(decimal("1")).is_none() && most.against(decimal("0.1")).is_none());
        assert!(decimal("1").average(decimal("0"), 4).is_none());
    }
}

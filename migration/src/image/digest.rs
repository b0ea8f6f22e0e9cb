//! Rows as numbers: how a server adds up its rows, so that two sides compare theirs without sending them.
//!
//! Every column is hashed by itself, so nothing has to be joined to one text: bytes cannot slip from one column into the
//! next, NULL is a number of its own, and character sets never mix. Integers are taken as they are; of anything else the
//! bytes are hashed, as stored, or in a spelling that no session setting changes ([`super::SESSION`]). A row is the sum
//! of its columns times multipliers that are drawn anew for every run. A range of rows is its count, the XOR of one such
//! hash and the exact sum of another, both of 64 bits; the parts of a table that lie on several shards add up.
//!
//! **Odds.** The XOR uses CRC-32 and the sum a second function, CRC-32C where both sides have it and the CRC-32 of the
//! hexadecimal digits elsewhere; with two seeds of one CRC the second would never see what the first misses. One
//! differing row passes unseen with a chance of about 2^-64 for unrelated values, and never if an integer or at most
//! 32 neighbouring bits of a column differ. Values exchanged between rows keep the sum but not the XOR, the same change in
//! an even number of rows is made for the XOR but not for the sum, because integer sums carry. Whatever a run misses by
//! its multipliers, the next finds.
//!
//! A difference here proves nothing by itself: servers of different kinds spell some doubles and JSON documents
//! differently. What it points at is compared as images.

use shardway_routing::schema::ColumnKind;

use super::{Image, ImageShape, Key, Reader, quoted, sql};

/// The rows after one key up to and including another, in primary-key order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    /// `None`: from the first row.
    pub after: Option<Key>,
    /// `None`: to the last row.
    pub up_to: Option<Key>,
}

/// The hash function beside CRC-32; both sides must use the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// MariaDB 10.8 and later.
    Crc32c,
    /// Every server.
    Hex,
}

/// What the multipliers of a run are drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

/// Which of a signature's two row hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    First,
    Second(Second),
}

impl ImageShape {
    /// The condition of a range.
    #[must_use]
    pub fn within(&self, range: &Range) -> String {
        match self.bounds(range.after.as_ref(), range.up_to.as_ref()).as_slice() {
            [] => "TRUE".to_owned(),
            terms => terms.join(" AND "),
        }
    }

    /// The XOR and the sum of the rows' hashes, as two expressions of an aggregating `SELECT`.
    #[must_use]
    pub fn digest(&self, seed: Seed, second: Second) -> String {
        let first = self.row_hash(Function::First, seed.0);
        let second = self.row_hash(Function::Second(second), !seed.0);
        format!("BIT_XOR({first}), SUM({second})")
    }

    fn row_hash(&self, function: Function, seed: u64) -> String {
        let places = 0..self.columns.len();
        let terms: Vec<String> = places.flat_map(|place| self.terms(place, function)).collect();
        // Every term is at most 2^32, so their sum stays below 2^64: servers refuse what does not fit.
        let limit = u64::from(u32::MAX) / (terms.len() as u64).max(1);
        let times = |(at, term): (usize, String)| {
            let multiplier = 1 + mixed(seed.wrapping_add(at as u64)) % limit;
            format!("{term}*{multiplier}")
        };
        terms.into_iter().enumerate().map(times).collect::<Vec<_>>().join("+")
    }

    /// A column as numbers below 2^32, or 2^32 for NULL.
    fn terms(&self, place: usize, function: Function) -> Vec<String> {
        let (name, kind) = &self.columns[place];
        let column = quoted(name);
        let nullable = !self.primary.contains(&place);
        let term = |expression: String, null: &str| {
            if nullable { format!("IFNULL({expression},{null})") } else { expression }
        };
        let low = |number: &str| term(format!("({number}&4294967295)"), "1<<32");
        let high = |number: &str| term(format!("({number}>>32)"), "0");
        match kind {
            ColumnKind::Integer { bits: 64, .. } => vec![low(&column), high(&column)],
            ColumnKind::Integer { .. } => vec![low(&column)],
            ColumnKind::Year => vec![low(&format!("({column}+0)"))],
            ColumnKind::Enum => vec![low(&format!("CAST({column} AS UNSIGNED)"))],
            ColumnKind::Bit | ColumnKind::Set => {
                let number = format!("CAST({column} AS UNSIGNED)");
                vec![low(&number), high(&number)]
            }
            _ => vec![term(hashed(&column, kind, function), "1<<32")],
        }
    }

    /// `SELECT` of images that hold the primary key and one more column, and NULL elsewhere; see
    /// [`ImageShape::sparse`].
    #[must_use]
    pub fn select_sparse(&self, column: &str, table: &str, rest: &str) -> String {
        let read = |place: &usize| {
            let (name, kind) = &self.columns[*place];
            sql::read(Reader::Engine, name, kind, None)
        };
        let all: Vec<String> = self.sparse_places(column).iter().map(read).collect();
        format!("SELECT {} FROM {table} {rest}", all.join(", "))
    }

    /// The image in a row of [`ImageShape::select_sparse`]'s answer. `None`: not such a row.
    #[must_use]
    pub fn sparse(&self, column: &str, row: Vec<Option<Vec<u8>>>) -> Option<Image> {
        let places = self.sparse_places(column);
        if row.len() != places.len() {
            return None;
        }
        let mut image = Image(vec![None; self.columns.len()]);
        for (place, field) in places.into_iter().zip(row) {
            image.0[place] = match field {
                Some(text) => Some(sql::field(Reader::Engine, &self.columns[place].1, text)?),
                None => None,
            };
        }
        Some(image)
    }

    fn sparse_places(&self, column: &str) -> Vec<usize> {
        let further = self.columns.iter().position(|(name, _)| name.eq_ignore_ascii_case(column));
        let further = further.filter(|place| !self.primary.contains(place));
        self.primary.iter().copied().chain(further).collect()
    }

    /// The expression that groups rows by the exact value of a column. `None`: there is no such column.
    #[must_use]
    pub fn grouping(&self, column: &str) -> Option<String> {
        let (name, kind) = self.columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(column))?;
        Some(match kind {
            kind if is_bytes(kind) => format!("CAST({} AS BINARY)", quoted(name)),
            ColumnKind::Enum => {
                format!("CAST(CAST({} AS CHAR CHARACTER SET utf8mb4) AS BINARY)", quoted(name))
            }
            _ => sql::read(Reader::Engine, name, kind, None),
        })
    }

    /// The columns in which two images of one row differ.
    #[must_use]
    pub fn differing(&self, one: &Image, other: &Image) -> Vec<String> {
        let pairs = one.0.iter().zip(&other.0).zip(&self.columns);
        let differs = pairs.filter(|((one, other), (_, kind))| !same(kind, one.as_deref(), other.as_deref()));
        differs.map(|(_, (name, _))| name.clone()).collect()
    }
}

fn hashed(column: &str, kind: &ColumnKind, function: Function) -> String {
    let value = match kind {
        // Both zeros become one, and a FLOAT all the digits that tell it from its neighbours.
        ColumnKind::Float | ColumnKind::Double => format!("({column}+0e0)"),
        _ => column.to_owned(),
    };
    match function {
        Function::First => format!("CRC32({value})"),
        Function::Second(Second::Crc32c) => format!("CRC32C({value})"),
        Function::Second(Second::Hex) if is_bytes(kind) => format!("CRC32(HEX({value}))"),
        // HEX of a number is the number's digits.
        Function::Second(Second::Hex) => format!("CRC32(REVERSE({value}))"),
    }
}

/// Does a server take such a column for a string, whose digits in hexadecimal are those of its bytes?
fn is_bytes(kind: &ColumnKind) -> bool {
    use ColumnKind::{Binary, Geometry, Json, Text, Vector};
    matches!(kind, Text { .. } | Binary | Json | Geometry | Vector)
}

/// Are two fields of a column the same value?
fn same(kind: &ColumnKind, one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    match (kind, one, other) {
        _ if one == other => true,
        (ColumnKind::Float | ColumnKind::Double, Some(one), Some(other)) => {
            let is_zero = |field: &[u8]| matches!(field, b"0e0" | b"-0e0");
            is_zero(one) && is_zero(other)
        }
        (ColumnKind::Json, Some(one), Some(other)) => {
            let value = |field| serde_json::from_slice::<serde_json::Value>(field).ok();
            value(one).is_some_and(|one| Some(one) == value(other))
        }
        _ => false,
    }
}

/// A number in which every bit depends on every bit of another (`SplitMix64`).
fn mixed(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use shardway_routing::schema::Sign;

    use super::super::example::of_kinds as shape;
    use super::*;

    const INT: ColumnKind = ColumnKind::Integer { bits: 32, sign: Sign::Signed };

    #[test]
    fn integers_are_taken_whole_and_null_is_a_number_of_its_own() {
        let shape = shape(&[INT, ColumnKind::Integer { bits: 64, sign: Sign::Signed }, ColumnKind::Double]);
        assert_eq!(shape.terms(0, Function::First), ["(`c0`&4294967295)"]);
        assert_eq!(
            shape.terms(1, Function::First),
            ["IFNULL((`c1`&4294967295),1<<32)", "IFNULL((`c1`>>32),0)"]
        );
        let second = Function::Second(Second::Hex);
        assert_eq!(shape.terms(2, second), ["IFNULL(CRC32(REVERSE((`c2`+0e0))),1<<32)"]);
    }

    #[test]
    fn the_hash_of_a_wide_row_fits_64_bits() {
        let shape = shape(&vec![INT; 1000]);
        let sql = shape.row_hash(Function::First, 7);
        let multipliers =
            sql.split('+').map(|term| term.rsplit_once('*').unwrap().1.parse::<u128>().unwrap());
        assert!(multipliers.map(|multiplier| multiplier << 32).sum::<u128>() < 1 << 64);
        assert_ne!(sql, shape.row_hash(Function::First, 8));
    }

    #[test]
    fn images_differ_by_value() {
        let shape = shape(&[INT, ColumnKind::Double, ColumnKind::Json]);
        let image = |double: &str, json: &str| {
            Image(vec![Some(b"1".to_vec()), Some(double.into()), Some(json.as_bytes().to_vec())])
        };
        let one = image("0e0", "{\"a\": 1, \"b\": [2]}");
        assert!(shape.differing(&one, &image("-0e0", "{\"b\":[2],\"a\":1}")).is_empty());
        assert_eq!(shape.differing(&one, &image("1e0", "{\"a\": 1}")), ["c1", "c2"]);
        let null = Image(vec![Some(b"1".to_vec()), None, None]);
        assert_eq!(shape.differing(&one, &null), ["c1", "c2"]);
    }

    #[test]
    fn a_range_without_ends_is_everything() {
        let shape = shape(&[INT]);
        assert_eq!(shape.within(&Range::default()), "TRUE");
        let key = |value: &str| Some(Key(vec![value.into()]));
        let range = Range { after: key("3"), up_to: key("9") };
        assert_eq!(shape.within(&range), "((`c0` > 3)) AND ((`c0` <= 9))");
    }
}

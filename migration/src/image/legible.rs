//! Rows as people read them: in records that are kept, and in what the API answers. Of bounded size, so that a row of
//! gigabytes can be told of.
//!
//! Values are in the form of images: moments in seconds since 1970, members of `ENUM` and `SET` by number. Bytes, and text
//! that is not in UTF-8 or could be taken for bytes, are hexadecimal digits after `0x`. Nothing reads this back.

use serde::{Deserialize, Serialize};
use shardway_routing::schema::ColumnKind;

use super::{Image, ImageShape, hex};

/// Bytes of one value.
const VALUE_BYTES: usize = 256;
/// Bytes of a row, with the names of its columns.
const ROW_BYTES: usize = 4 << 10;
/// What a column takes beside its name and value.
const FIELD_BYTES: usize = 40;

/// A row, or the most of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Legible {
    pub fields: Vec<LegibleField>,
    /// Columns that are not told of: the row has too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub columns_left_out: usize,
}

/// A column's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegibleField {
    pub column: String,
    /// `None` is NULL.
    pub value: Option<String>,
    /// How long it is, where this is only its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortened_from_bytes: Option<usize>,
}

// Serde asks with a reference.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Legible {
    /// About how many bytes it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.fields.iter().map(LegibleField::weight).sum()
    }
}

impl LegibleField {
    fn weight(&self) -> usize {
        FIELD_BYTES + self.column.len() + self.value.as_ref().map_or(4, String::len)
    }
}

impl ImageShape {
    /// A row as people read it: its key, the columns that matter, then the others, as far as they go.
    #[must_use]
    pub fn legible(&self, image: &Image, matter: &[String]) -> Legible {
        let rank = |place: &usize| match place {
            place if self.primary.contains(place) => 0,
            place if matter.contains(&self.columns[*place].0) => 1,
            _ => 2,
        };
        let mut places: Vec<usize> = (0..self.columns.len().min(image.0.len())).collect();
        places.sort_by_key(rank);
        let mut row = Legible { fields: Vec::new(), columns_left_out: 0 };
        let mut room = ROW_BYTES;
        for place in places {
            let field = self.legible_field(place, image.0[place].as_deref());
            match room.checked_sub(field.weight()) {
                Some(left) if row.columns_left_out == 0 => {
                    room = left;
                    row.fields.push(field);
                }
                _ => row.columns_left_out += 1,
            }
        }
        row
    }

    fn legible_field(&self, place: usize, field: Option<&[u8]>) -> LegibleField {
        let (column, kind) = &self.columns[place];
        let told = field.map(|bytes| shortened(kind, bytes));
        LegibleField {
            column: column.clone(),
            value: told.as_ref().map(|(text, _)| text.clone()),
            shortened_from_bytes: told.and_then(|(_, from)| from),
        }
    }
}

/// A value, and how long it is if this is only its beginning.
fn shortened(kind: &ColumnKind, bytes: &[u8]) -> (String, Option<usize>) {
    let from = |told: usize| (told < bytes.len()).then_some(bytes.len());
    if let Some(text) = text(kind, bytes) {
        let at = (0..=text.len().min(VALUE_BYTES)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        return (text[..at].to_owned(), from(at));
    }
    let told = &bytes[..bytes.len().min(VALUE_BYTES / 2)];
    (format!("0x{}", hex(told)), from(told.len()))
}

/// A value that may be shown as it is.
fn text<'a>(kind: &ColumnKind, bytes: &'a [u8]) -> Option<&'a str> {
    let is_text = match kind {
        ColumnKind::Binary
        | ColumnKind::Geometry
        | ColumnKind::Vector
        | ColumnKind::Uuid
        | ColumnKind::Inet { .. } => false,
        ColumnKind::Text { charset, .. } => match charset.as_str() {
            "utf8" | "utf8mb3" | "utf8mb4" => true,
            // Any two bytes are a character of these.
            "ucs2" | "utf16" | "utf16le" | "utf32" => false,
            _ => bytes.is_ascii(),
        },
        _ => true,
    };
    let text = std::str::from_utf8(bytes).ok().filter(|_| is_text)?;
    let is_plain = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
    (!text.starts_with("0x") && text.chars().all(is_plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use shardway_routing::schema::{Column, Generation, Sign, TableSchema};

    use super::*;

    fn shape(columns: &[(&str, ColumnKind)]) -> ImageShape {
        let column = |(name, kind): &(&str, ColumnKind)| Column {
            name: (*name).to_owned(),
            kind: kind.clone(),
            nullable: true,
            generation: Generation::Stored,
            longest: None,
        };
        let columns: Vec<Column> = columns.iter().map(column).collect();
        let primary = vec![columns.last().unwrap().name.clone()];
        ImageShape::of(&TableSchema { columns, primary, ..TableSchema::default() }).unwrap()
    }

    fn text_of(charset: &str) -> ColumnKind {
        ColumnKind::Text { charset: charset.into(), collation: String::new() }
    }

    const INT: ColumnKind = ColumnKind::Integer { bits: 32, sign: Sign::Signed };

    #[test]
    fn text_is_shown_and_bytes_are_digits() {
        let values: [(ColumnKind, &[u8], &str); 9] = [
            (INT, b"-7", "-7"),
            (text_of("utf8mb4"), "ü\n'".as_bytes(), "ü\n'"),
            (text_of("utf8mb4"), b"a\0", "0x6100"),
            (text_of("utf8mb4"), b"0x41", "0x30783431"),
            (text_of("latin1"), b"\xC3\xA4", "0xC3A4"),
            (text_of("latin1"), b"abc", "abc"),
            (text_of("utf16"), b"ab", "0x6162"),
            (ColumnKind::Binary, b"ab", "0x6162"),
            (ColumnKind::Json, b"{\"a\": 1}", "{\"a\": 1}"),
        ];
        for (kind, bytes, shown) in values {
            assert_eq!(shortened(&kind, bytes), (shown.to_owned(), None), "{kind:?}");
        }
    }

    #[test]
    fn long_values_are_shortened_between_characters() {
        let text = "ü".repeat(200);
        let (told, from) = shortened(&text_of("utf8mb4"), format!("x{text}").as_bytes());
        assert_eq!((told.len(), from), (255, Some(401)));
        let (told, from) = shortened(&ColumnKind::Binary, &[7; 129]);
        assert_eq!((told.len(), from), (2 + 256, Some(129)));
        assert_eq!(shortened(&ColumnKind::Binary, &[7; 128]).1, None);
    }

    #[test]
    fn a_long_row_tells_its_key_and_what_matters() {
        let mut columns: Vec<(String, ColumnKind)> =
            (0..40).map(|at| (format!("c{at}"), text_of("utf8mb4"))).collect();
        columns.push(("id".into(), INT));
        let named: Vec<(&str, ColumnKind)> =
            columns.iter().map(|(name, kind)| (name.as_str(), kind.clone())).collect();
        let shape = shape(&named);
        let mut image = Image(vec![Some(vec![b'x'; 5_000]); 40]);
        image.0.push(Some(b"7".to_vec()));
        image.0[39] = None;
        let row = shape.legible(&image, &["c39".into(), "c38".into()]);
        let told: Vec<&str> = row.fields.iter().map(|field| field.column.as_str()).collect();
        assert_eq!(told[..4], ["id", "c38", "c39", "c0"]);
        assert_eq!(row.fields[1].shortened_from_bytes, Some(5_000));
        assert_eq!(row.fields[2].value, None);
        assert!(row.weight() <= ROW_BYTES && row.columns_left_out == 41 - row.fields.len(), "{row:?}");
        let json = serde_json::to_string(&row).unwrap();
        assert!(json.len() < 2 * ROW_BYTES, "{}", json.len());
        assert_eq!(serde_json::from_str::<Legible>(&json).unwrap(), row);
    }
}

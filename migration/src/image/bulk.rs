//! Rows in the form of `LOAD DATA`, which a server takes in with a fifth to a third less work than a statement that lists
//! them. What a server says of the load must be looked at: it cuts what does not fit, and warns.

use shardway_routing::day::Day;
use shardway_routing::schema::ColumnKind;

use super::{Image, ImageShape, quoted};

/// Character sets of which bytes that come as `binary` are stored as they are.
const PLAIN_CHARSETS: [&str; 5] = ["ascii", "latin1", "utf8", "utf8mb3", "utf8mb4"];

/// Seconds of a day.
const DAY: u64 = 86_400;

/// A statement, and what its server will ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulk {
    pub sql: String,
    pub rows: Vec<u8>,
}

/// How a column is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    AsItIs,
    Moment,
    /// Through a variable, since its text means something else than its number.
    Number,
    /// Through a variable, since it takes no bytes.
    Utf8,
}

/// `None`: statements alone write such a column.
fn intake(kind: &ColumnKind) -> Option<Intake> {
    use ColumnKind::{
        Binary, Bit, Date, DateTime, Decimal, Double, Enum, Float, Geometry, Inet, Integer, Json, Other, Set,
        Text, Time, Timestamp, Uuid, Vector, Year,
    };
    match kind {
        Integer { .. } | Decimal | Float | Double | Date | Time | DateTime | Binary => Some(Intake::AsItIs),
        Text { charset, .. } => PLAIN_CHARSETS.contains(&charset.as_str()).then_some(Intake::AsItIs),
        Timestamp => Some(Intake::Moment),
        Bit | Year | Enum | Set => Some(Intake::Number),
        Json => Some(Intake::Utf8),
        Geometry | Vector | Uuid | Inet { .. } | Other(_) => None,
    }
}

impl ImageShape {
    /// Rows that are to be inserted where they are absent, none of them with error values. `None`: not of such columns.
    #[must_use]
    pub fn bulk(&self, table: &str, images: &[&Image]) -> Option<Bulk> {
        let intakes: Vec<Intake> =
            self.columns.iter().map(|(_, kind)| intake(kind)).collect::<Option<_>>()?;
        let (mut fields, mut assignments) = (Vec::new(), Vec::new());
        for (place, ((name, _), intake)) in self.columns.iter().zip(&intakes).enumerate() {
            let (name, variable) = (quoted(name), format!("@shardway_{place}"));
            match intake {
                Intake::AsItIs | Intake::Moment => {
                    fields.push(name);
                    continue;
                }
                Intake::Number => assignments.push(format!("{name} = CAST({variable} AS UNSIGNED)")),
                Intake::Utf8 => assignments.push(format!("{name} = CONVERT({variable} USING utf8mb4)")),
            }
            fields.push(variable);
        }
        let set =
            if assignments.is_empty() { String::new() } else { format!(" SET {}", assignments.join(", ")) };
        let sql = format!(
            "LOAD DATA LOCAL INFILE 'rows' IGNORE INTO TABLE {table} CHARACTER SET binary ({}){set}",
            fields.join(", ")
        );
        let mut rows = Vec::with_capacity(images.iter().map(|image| ImageShape::weight(image)).sum());
        for image in images {
            for (place, (field, intake)) in image.0.iter().zip(&intakes).enumerate() {
                if place > 0 {
                    rows.push(b'\t');
                }
                match (field, intake) {
                    (None, _) => rows.extend_from_slice(b"\\N"),
                    (Some(field), Intake::Moment) => append_moment(field, &mut rows)?,
                    (Some(field), _) => append_escaped(field, &mut rows),
                }
            }
            rows.push(b'\n');
        }
        Some(Bulk { sql, rows })
    }
}

/// Bytes among which nothing ends a field or a row.
fn append_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\t' | b'\n' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// A moment, in seconds since 1970, in the time zone `+00:00`. `None`: not one of `TIMESTAMP`.
fn append_moment(field: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let text = std::str::from_utf8(field).ok()?;
    let (seconds, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let seconds: u64 = seconds.parse().ok()?;
    if field.iter().all(|byte| matches!(byte, b'0' | b'.')) {
        out.extend_from_slice(b"0000-00-00 00:00:00");
        return Some(());
    }
    let day = Day::at(i32::try_from(seconds / DAY).ok()?)?;
    let (hour, minute, second) = (seconds % DAY / 3_600, seconds % 3_600 / 60, seconds % 60);
    out.extend_from_slice(format!("{day} {hour:02}:{minute:02}:{second:02}{fraction}").as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::example::of_kinds;
    use super::*;

    fn moment(seconds: &str) -> Option<String> {
        let mut out = Vec::new();
        append_moment(seconds.as_bytes(), &mut out)?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn moments_are_dates_of_utc() {
        assert_eq!(moment("1"), Some("1970-01-01 00:00:01".to_owned()));
        assert_eq!(moment("951782399.000001"), Some("2000-02-28 23:59:59.000001".to_owned()));
        assert_eq!(moment("2147483647"), Some("2038-01-19 03:14:07".to_owned()));
        assert_eq!(moment("4294967295.999999"), Some("2106-02-07 06:28:15.999999".to_owned()));
        assert_eq!(moment("0.000"), Some("0000-00-00 00:00:00".to_owned()));
        assert_eq!(moment("-1"), None);
    }

    #[test]
    fn columns_whose_text_is_not_their_value_go_through_variables() {
        let shape = of_kinds(&[ColumnKind::Decimal, ColumnKind::Enum, ColumnKind::Json]);
        let image = Image(vec![Some(b"7".to_vec()), Some(b"2".to_vec()), None]);
        let bulk = shape.bulk("`d`.`t`", &[&image, &image]).unwrap();
        let sql = "LOAD DATA LOCAL INFILE 'rows' IGNORE INTO TABLE `d`.`t` CHARACTER SET binary \
                   (`c0`, @shardway_1, @shardway_2) \
                   SET `c1` = CAST(@shardway_1 AS UNSIGNED), `c2` = CONVERT(@shardway_2 USING utf8mb4)";
        assert_eq!(bulk.sql, sql);
        assert_eq!(bulk.rows, b"7\t2\t\\N\n7\t2\t\\N\n");
        let shape = of_kinds(&[ColumnKind::Decimal, ColumnKind::Geometry]);
        assert_eq!(shape.bulk("`d`.`t`", &[]), None);
    }

    #[test]
    fn nothing_in_a_field_ends_it() {
        let mut out = Vec::new();
        append_escaped(b"a\tb\nc\\Nd\0", &mut out);
        assert_eq!(out, b"a\\tb\\nc\\\\Nd\0");
    }
}

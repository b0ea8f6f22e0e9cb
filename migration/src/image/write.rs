//! A statement that writes rows, and what its server must say of it.
//!
//! An `ENUM` column may hold the error value: number 0, shown as `''`, which may be a member of another number too. A server
//! that was once not strict has stored it, and no strict statement writes it. So a statement that carries error values runs
//! without strictness, and its warnings make up for that: servers warn of each error value once, so as many warnings as error
//! values prove that everything else went in as it was. With one more, a value was cut, and whoever wrote takes it back.

use std::fmt::Write as _;

use shardway_routing::schema::ColumnKind;

use super::{Image, ImageShape};

/// `sql_mode` as [`super::SESSION`] has it, without what makes errors of warnings.
const LENIENT: &str = "'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";

/// The most warnings that a server counts.
const WARNINGS_MAX: usize = u16::MAX as usize;

/// "Data truncated for column".
pub(crate) const TRUNCATED: u16 = 1265;

/// Warnings about words of a statement, whatever its values: MySQL would rather that nobody used `ucs2` any more.
pub(crate) const ABOUT_WORDS: [u16; 5] = [1287, 1681, 3719, 3720, 3778];

/// A statement that writes rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    sql: Vec<u8>,
    /// How often it writes the error value of an `ENUM`.
    error_values: usize,
}

/// How a statement begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Insert,
    /// What is there stays; other errors are warnings anyway.
    InsertIgnore,
    Replace,
}

/// What a server warns of: the code, and the sentence.
pub type Warning = (u16, String);

impl From<Vec<u8>> for Write {
    fn from(sql: Vec<u8>) -> Write {
        Write { sql, error_values: 0 }
    }
}

impl From<String> for Write {
    fn from(sql: String) -> Write {
        Write::from(sql.into_bytes())
    }
}

impl Write {
    /// What the server is sent.
    #[must_use]
    pub fn sql(&self) -> &[u8] {
        &self.sql
    }

    /// Must its warnings be looked at? Then it must be possible to take it back.
    #[must_use]
    pub fn is_lenient(&self) -> bool {
        self.error_values > 0
    }

    /// How many warnings must be about error values.
    #[must_use]
    pub fn error_values(&self) -> usize {
        self.error_values
    }

    /// Has everything been written as it is, going by how many warnings there are?
    #[must_use]
    pub fn is_whole(&self, count: u16) -> bool {
        !self.is_lenient() || (usize::from(count) == self.error_values && self.error_values < WARNINGS_MAX)
    }

    /// Has everything been written as it is, going by the warnings that the server lists out of so many? What speaks
    /// against it.
    ///
    /// # Errors
    /// What was cut, or cannot be known.
    pub fn judged(&self, count: u16, listed: &[Warning]) -> Result<(), String> {
        let is_about_words = |(code, _): &&Warning| ABOUT_WORDS.contains(code);
        if let Some((_, message)) =
            listed.iter().find(|warning| !is_about_words(warning) && warning.0 != TRUNCATED)
        {
            return Err(message.clone());
        }
        let words = listed.iter().filter(is_about_words).count();
        if self.is_whole(count.saturating_sub(u16::try_from(words).unwrap_or(u16::MAX))) {
            return Ok(());
        }
        Err(format!(
            "{} error values of ENUM columns were written, and the server told of {} values that were cut",
            self.error_values,
            usize::from(count).saturating_sub(words)
        ))
    }
}

impl ImageShape {
    /// `INSERT` or `REPLACE` of rows.
    pub(super) fn writing<'a>(
        &self,
        verb: Verb,
        table: &str,
        images: impl IntoIterator<Item = &'a Image>,
    ) -> Write {
        let images: Vec<&Image> = images.into_iter().collect();
        let error_values = images.iter().map(|image| self.error_values(image)).sum();
        let names: Vec<String> = self.columns.iter().map(|(name, _)| super::quoted(name)).collect();
        let verb = match verb {
            Verb::InsertIgnore => "INSERT IGNORE".to_owned(),
            Verb::Insert if error_values > 0 => lenient("INSERT"),
            Verb::Replace if error_values > 0 => lenient("REPLACE"),
            Verb::Insert => "INSERT".to_owned(),
            Verb::Replace => "REPLACE".to_owned(),
        };
        let mut sql = format!("{verb} INTO {table} ({}) VALUES ", names.join(", ")).into_bytes();
        for (row, image) in images.into_iter().enumerate() {
            sql.extend_from_slice(if row == 0 { b"(" } else { b", (" });
            for (place, (field, (_, kind))) in image.0.iter().zip(&self.columns).enumerate() {
                if place > 0 {
                    sql.extend_from_slice(b", ");
                }
                super::sql::append(kind, field.as_deref(), &mut sql);
            }
            sql.push(b')');
        }
        Write { sql, error_values }
    }

    /// The same, and rows that are there become what these are.
    pub(super) fn with_update(&self, mut insert: Write) -> Write {
        insert.sql.extend_from_slice(b" ON DUPLICATE KEY UPDATE ");
        let names = self.columns.iter().map(|(name, _)| super::quoted(name));
        let update: Vec<String> = names.map(|name| format!("{name} = VALUES({name})")).collect();
        insert.sql.extend_from_slice(update.join(", ").as_bytes());
        insert
    }

    /// In how many of its columns a row has the error value of an `ENUM`.
    #[must_use]
    pub fn error_values(&self, image: &Image) -> usize {
        let is_error = |(field, (_, kind)): (&Option<Vec<u8>>, &(String, ColumnKind))| {
            *kind == ColumnKind::Enum && field.as_deref() == Some(b"0")
        };
        image.0.iter().zip(&self.columns).filter(|pair| is_error((pair.0, pair.1))).count()
    }
}

/// A statement's first word, in a mode that is not strict for this statement only. Either kind of server takes what the
/// other one does for a comment.
fn lenient(word: &str) -> String {
    let mut begin = String::new();
    let _ = write!(begin, "/*M!100100 SET STATEMENT sql_mode = {LENIENT} FOR {word} */");
    let _ = write!(begin, "/*!80003 {word} /*+ SET_VAR(sql_mode = {LENIENT}) */ */");
    begin
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::SESSION;

    fn writes(error_values: usize) -> Write {
        Write { sql: b"INSERT".to_vec(), error_values }
    }

    fn cut(column: &str) -> Warning {
        (1265, format!("Data truncated for column '{column}' at row 1"))
    }

    #[test]
    fn the_mode_differs_from_the_sessions_in_being_strict_only() {
        let (_, session) = SESSION.iter().find(|(name, _)| *name == "sql_mode").unwrap();
        assert_eq!(session.replace("STRICT_ALL_TABLES,", ""), LENIENT);
    }

    #[test]
    fn as_many_warnings_as_error_values_prove_the_rest() {
        assert!(writes(0).is_whole(9), "a strict statement has had its say");
        assert!(writes(2).is_whole(2));
        assert!(!writes(2).is_whole(3) && !writes(2).is_whole(1));
        assert!(
            !writes(70_000).is_whole(u16::MAX) && !writes(65_535).is_whole(u16::MAX),
            "counted no further"
        );
        let old_word = (1287, "'VALUES function' is deprecated".to_owned());
        assert_eq!(writes(2).judged(3, &[old_word.clone(), cut("e"), cut("e")]), Ok(()));
        // Not all are listed, but all are counted.
        assert_eq!(writes(2).judged(3, &[old_word, cut("e")]), Ok(()));
        assert!(writes(1).judged(2, &[cut("e"), cut("name")]).is_err());
        let range = (1264, "Out of range value for column 'n'".to_owned());
        assert_eq!(writes(2).judged(2, &[cut("e"), range.clone()]), Err(range.1));
    }
}

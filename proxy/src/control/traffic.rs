//! Editing a move's traffic in the operator's own file, comments and layout kept.

use toml_edit::{DocumentMut, Item, TableLike, value};

/// What is to change; the rest stays.
#[derive(Debug, Default)]
pub struct Wish {
    pub reads: Option<f64>,
    /// A side, or the percentage of keys whose writes the target owns.
    pub writes: Option<String>,
    pub double_write: Option<String>,
    pub shadow_reads: Option<f64>,
    /// Keys that always read from the target; only where the file has such a list.
    pub always: Option<Always>,
}

/// What becomes of the list of keys that always read from the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Always {
    Nobody,
}

fn parsed(text: &str) -> Result<DocumentMut, String> {
    text.parse().map_err(|error| format!("the rule file cannot be read: {error}"))
}

fn section<'a>(document: &'a mut DocumentMut, name: &str) -> Result<&'a mut dyn TableLike, String> {
    let moves = document.get_mut("moves").and_then(Item::as_table_like_mut);
    let of = moves.and_then(|moves| moves.get_mut(name)).and_then(Item::as_table_like_mut);
    of.ok_or_else(|| format!("the rule file has no [moves.{name}]"))
}

/// The percentage of reads that the text gives a move's target.
///
/// # Errors
/// When it is not TOML, has no such move, or no percentage.
pub fn reads(text: &str, name: &str) -> Result<f64, String> {
    let mut document = parsed(text)?;
    let Some(reads) = section(&mut document, name)?.get("reads") else { return Ok(0.0) };
    let whole = |reads: &Item| reads.as_integer().and_then(|whole| u16::try_from(whole).ok()).map(f64::from);
    reads.as_float().or_else(|| whole(reads)).ok_or_else(|| format!("moves.{name}.reads is no percentage"))
}

/// The rule file's text with the wish fulfilled.
///
/// # Errors
/// When it is not TOML, or has no such move.
pub fn edited(text: &str, name: &str, wish: &Wish) -> Result<String, String> {
    let mut document = parsed(text)?;
    let of = section(&mut document, name)?;
    let has_always = of.contains_key("always");
    let mut set =
        |key: &str, new: Item| match (of.get_mut(key).and_then(Item::as_value_mut), new.into_value()) {
            (Some(old), Ok(mut new)) => {
                *new.decor_mut() = old.decor().clone();
                *old = new;
            }
            (None, Ok(new)) => {
                of.insert(key, Item::Value(new));
            }
            (_, Err(_)) => {}
        };
    for (key, percent) in [("reads", wish.reads), ("shadow_reads", wish.shadow_reads)] {
        percent.into_iter().for_each(|percent| set(key, percentage(percent)));
    }
    if let Some(writes) = &wish.writes {
        set("writes", writes.parse().map_or_else(|_| value(writes), percentage));
    }
    if let Some(mode) = &wish.double_write {
        set("double_write", value(mode));
    }
    if wish.always == Some(Always::Nobody) && has_always {
        set("always", value(toml_edit::Array::new()));
    }
    Ok(document.to_string())
}

/// Without a fraction where there is none.
fn percentage(percent: f64) -> Item {
    let whole = (0..=100_i64).find(|whole| whole.to_string() == percent.to_string());
    whole.map_or_else(|| value(percent), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_layout_are_kept() {
        let text = "# mine\n[moves.shop]\nreads        = 0     # percent\nwrites = \"source\"\n";
        let wish = Wish { reads: Some(25.0), double_write: Some("sync".into()), ..Wish::default() };
        let expected = "# mine\n[moves.shop]\nreads        = 25     # percent\nwrites = \"source\"\ndouble_write = \"sync\"\n";
        assert_eq!(edited(text, "shop", &wish).as_deref(), Ok(expected));
        assert!(edited(text, "other", &wish).is_err());
    }

    #[test]
    fn fractions_of_a_percent_stay_fractions() {
        let wish = Wish { reads: Some(0.5), ..Wish::default() };
        assert_eq!(edited("[moves.a]\nreads = 1\n", "a", &wish).as_deref(), Ok("[moves.a]\nreads = 0.5\n"));
        for (writes, expected) in [("5", "5"), ("0.5", "0.5"), ("target", "\"target\"")] {
            let wish = Wish { writes: Some(writes.into()), ..Wish::default() };
            let expected = format!("[moves.a]\nwrites = {expected}\n");
            assert_eq!(edited("[moves.a]\nwrites = \"source\"\n", "a", &wish), Ok(expected));
        }
    }
}

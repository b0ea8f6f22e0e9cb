//! Values on the command line that are more than a word or a number.

/// Percent in hundredths, as rules have them.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let hundredths = text.split_once('.').is_none_or(|(_, places)| places.len() <= 2);
    let is_plain = text.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    match text.parse() {
        Ok(percent) if hundredths && is_plain && (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("it is a percentage from 0 to 100 in steps of 0.01".to_owned()),
    }
}

pub(super) fn owner(text: &str) -> Result<String, String> {
    match text {
        "source" | "target" => Ok(text.to_owned()),
        _ => {
            percent(text).map(|_| text.to_owned()).map_err(|why| format!("it is source or target, or {why}"))
        }
    }
}

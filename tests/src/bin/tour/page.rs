//! What the person sees: calm lines, the same with and without colours.

use std::io::{IsTerminal as _, Write as _};

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";

/// A step begins.
pub fn step(title: &str) {
    println!("\n{}", painted(BOLD, title));
}

/// Something the operator does: a command, or a file saved.
pub fn act(text: &str) {
    println!("  {}", painted(DIM, &format!("$ {text}")));
}

/// Something that was seen.
pub fn seen(name: &str, text: &str) {
    println!("  {name:<8} {text}");
}

/// Something that had to hold, and does.
pub fn holds(name: &str, text: &str) {
    println!("  {name:<8} {text} {}", painted(GREEN, "✓"));
}

/// A line that is written over until [`settle`] ends it; nothing when nobody watches.
pub fn passing(text: &str) {
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[K  {text}");
        let _ = std::io::stdout().flush();
    }
}

/// The passing line goes.
pub fn settle() {
    if std::io::stdout().is_terminal() {
        print!("\r\x1b[K");
    }
}

/// The tour ends here, for this reason.
pub fn failed(error: &anyhow::Error) {
    settle();
    println!("\n  {} {error:#}", painted(RED, "failed:"));
}

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn painted(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

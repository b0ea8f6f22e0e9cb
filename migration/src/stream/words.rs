//! The words of a logged statement. Pure.
//!
//! Comments are left out, executable ones are read as what they hold. Text in double quotes is read as a name, which it
//! is in some sessions: names are only looked for where a name must stand.

/// A piece of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A keyword, a name or a number.
    Bare(String),
    /// A name in quotes.
    Quoted(String),
    /// Text, whatever it says.
    Text,
    /// Bytes in hexadecimal.
    Bytes(Vec<u8>),
    Sign(u8),
}

/// The words still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'a>(pub &'a [Word]);

impl<'a> Words<'a> {
    pub fn next(&mut self) -> Option<&'a Word> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Takes the next word if it is that keyword.
    pub fn accept(&mut self, keyword: &str) -> bool {
        let is_next = self.0.first().is_some_and(|word| word.is(keyword));
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    /// Takes all next words that are any of these keywords.
    pub fn pass(&mut self, keywords: &[&str]) {
        while keywords.iter().any(|keyword| self.accept(keyword)) {}
    }

    /// Takes everything up to and including a keyword. `false`: there is none, and nothing is taken.
    pub fn pass_to(&mut self, keyword: &str) -> bool {
        let place = self.0.iter().position(|word| word.is(keyword));
        if let Some(place) = place {
            self.0 = &self.0[place + 1..];
        }
        place.is_some()
    }

    pub fn accept_sign(&mut self, sign: u8) -> bool {
        let is_next = self.0.first() == Some(&Word::Sign(sign));
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    /// A name, with the database's name where it has one.
    pub fn name(&mut self) -> Option<(Option<&'a str>, &'a str)> {
        let first = self.next()?.name()?;
        if self.accept_sign(b'.') { Some((Some(first), self.next()?.name()?)) } else { Some((None, first)) }
    }
}

impl Word {
    fn is(&self, keyword: &str) -> bool {
        matches!(self, Word::Bare(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Word::Bare(name) | Word::Quoted(name) => Some(name),
            Word::Text | Word::Bytes(_) | Word::Sign(_) => None,
        }
    }
}

/// The words of a statement.
pub(super) fn words(statement: &[u8]) -> Vec<Word> {
    let (mut words, mut rest) = (Vec::new(), statement);
    while let Some(first) = rest.first() {
        rest = match first {
            letter if letter.is_ascii_whitespace() => &rest[1..],
            b'/' if rest.starts_with(b"/*!") || rest.starts_with(b"/*M!") => {
                let open = rest.iter().position(|byte| *byte == b'!').unwrap_or(0) + 1;
                let version = rest[open..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                &rest[open + version..]
            }
            b'/' if rest.starts_with(b"/*") => behind(rest, b"*/"),
            // The end of an executable comment.
            b'*' if rest.starts_with(b"*/") => &rest[2..],
            b'#' => behind(rest, b"\n"),
            b'-' if rest.starts_with(b"--") && rest.get(2).is_none_or(u8::is_ascii_whitespace) => {
                behind(rest, b"\n")
            }
            quote @ (b'\'' | b'"' | b'`') => {
                let (text, behind) = quoted(*quote, &rest[1..]);
                let word = match quote {
                    b'\'' => text_or_bytes(&mut words, &text),
                    _ => Word::Quoted(String::from_utf8_lossy(&text).into_owned()),
                };
                words.push(word);
                behind
            }
            letter if is_in_word(*letter) => {
                let length = rest.iter().take_while(|byte| is_in_word(**byte)).count();
                words.push(Word::Bare(String::from_utf8_lossy(&rest[..length]).into_owned()));
                &rest[length..]
            }
            sign => {
                words.push(Word::Sign(*sign));
                &rest[1..]
            }
        };
    }
    words
}

fn is_in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

fn behind<'a>(rest: &'a [u8], end: &[u8]) -> &'a [u8] {
    let place = rest.windows(end.len()).position(|window| window == end);
    place.map_or(&[], |place| &rest[place + end.len()..])
}

/// What stands between quotes, and what follows them.
fn quoted(quote: u8, rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let (mut text, mut at) = (Vec::new(), 0);
    while let Some(byte) = rest.get(at) {
        match *byte {
            b'\\' if quote != b'`' => {
                text.extend(rest.get(at + 1));
                at += 2;
            }
            byte if byte == quote && rest.get(at + 1) == Some(&quote) => {
                text.push(quote);
                at += 2;
            }
            byte if byte == quote => return (text, &rest[at + 1..]),
            byte => {
                text.push(byte);
                at += 1;
            }
        }
    }
    (text, &[])
}

/// `x'6162'` are two words so far; the first of them says what the text is.
fn text_or_bytes(words: &mut Vec<Word>, text: &[u8]) -> Word {
    if !words.last().is_some_and(|word| word.is("x")) {
        return Word::Text;
    }
    words.pop();
    crate::image::unhex(text).map_or(Word::Text, Word::Bytes)
}

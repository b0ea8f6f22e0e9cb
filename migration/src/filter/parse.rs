//! From a condition's text to its parts: comparisons of a column with a constant, `IN`, `BETWEEN`, `IS NULL`, `NOT`,
//! `AND`, `OR` and parentheses.

/// A condition as written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Written {
    Compare { column: String, compare: Compare, with: Literal },
    IsNull { column: String },
    Not(Box<Written>),
    All(Vec<Written>),
    Any(Vec<Written>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Integer(i128),
    Text(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Literal(Literal),
    Compare(Compare),
    Open,
    Close,
    Comma,
}

/// Parentheses and `NOT`s within each other at most.
const DEPTH: usize = 50;

pub(super) fn parse(text: &str) -> Result<Written, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let written = parser.any()?;
    match parser.peek() {
        None => Ok(written),
        Some(token) => Err(format!("{} is not expected there", told(token))),
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<&Token, String> {
        self.at += 1;
        self.tokens.get(self.at - 1).ok_or_else(|| "the condition ends too early".to_owned())
    }

    fn takes(&mut self, word: &str) -> Option<()> {
        let is_it = matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        self.at += usize::from(is_it);
        is_it.then_some(())
    }

    fn expect(&mut self, token: &Token) -> Result<(), String> {
        let found = self.next()?;
        if found == token {
            Ok(())
        } else {
            Err(format!("{} stands where {} must", told(found), told(token)))
        }
    }

    fn any(&mut self) -> Result<Written, String> {
        let mut terms = vec![self.all()?];
        while self.takes("or").is_some() {
            terms.push(self.all()?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Written::Any(terms) })
    }

    fn all(&mut self) -> Result<Written, String> {
        let mut terms = vec![self.one()?];
        while self.takes("and").is_some() {
            terms.push(self.one()?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Written::All(terms) })
    }

    fn one(&mut self) -> Result<Written, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("too many conditions stand within each other".to_owned());
        }
        let written = if self.takes("not").is_some() {
            Written::Not(Box::new(self.one()?))
        } else if self.peek() == Some(&Token::Open) {
            self.at += 1;
            let inner = self.any()?;
            self.expect(&Token::Close)?;
            inner
        } else {
            self.of_column()?
        };
        self.depth -= 1;
        Ok(written)
    }

    fn of_column(&mut self) -> Result<Written, String> {
        let column = match self.next()? {
            Token::Word(name) | Token::Quoted(name) => name.clone(),
            other => return Err(format!("{} stands where a column must", told(other))),
        };
        if self.takes("is").is_some() {
            let is_not = self.takes("not").is_some();
            self.takes("null").ok_or("IS is followed by NULL or NOT NULL")?;
            return Ok(negated(is_not.then_some(()), Written::IsNull { column }));
        }
        let not = self.takes("not");
        if self.takes("in").is_some() {
            let mut terms = Vec::new();
            self.expect(&Token::Open)?;
            loop {
                let with = self.literal()?;
                terms.push(Written::Compare { column: column.clone(), compare: Compare::Equal, with });
                match self.next()? {
                    Token::Comma => {}
                    Token::Close => return Ok(negated(not, Written::Any(terms))),
                    other => return Err(format!("{} stands in a list", told(other))),
                }
            }
        }
        if self.takes("between").is_some() {
            let least = self.literal()?;
            self.takes("and").ok_or("BETWEEN is followed by two constants with AND between them")?;
            let most = self.literal()?;
            let terms = [(Compare::GreaterOrEqual, least), (Compare::LessOrEqual, most)];
            let term = |(compare, with)| Written::Compare { column: column.clone(), compare, with };
            return Ok(negated(not, Written::All(terms.into_iter().map(term).collect())));
        }
        match self.next()? {
            Token::Compare(compare) if not.is_none() => {
                let compare = *compare;
                Ok(Written::Compare { column, compare, with: self.literal()? })
            }
            other => Err(format!("{} cannot follow a column here", told(other))),
        }
    }

    fn literal(&mut self) -> Result<Literal, String> {
        match self.next()? {
            Token::Literal(literal) => Ok(literal.clone()),
            other => Err(format!("{} stands where a whole number or a text must", told(other))),
        }
    }
}

fn negated(not: Option<()>, written: Written) -> Written {
    if not.is_some() { Written::Not(Box::new(written)) } else { written }
}

fn told(token: &Token) -> String {
    match token {
        Token::Word(word) => format!("`{word}`"),
        Token::Quoted(name) => format!("`{name}`"),
        Token::Literal(Literal::Integer(number)) => format!("`{number}`"),
        Token::Literal(Literal::Text(text)) => format!("`'{text}'`"),
        Token::Compare(_) => "a comparison".to_owned(),
        Token::Open => "`(`".to_owned(),
        Token::Close => "`)`".to_owned(),
        Token::Comma => "`,`".to_owned(),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            '\'' | '"' => {
                quoted(rest, first).map(|(text, length)| (Token::Literal(Literal::Text(text)), length))?
            }
            '`' => quoted(rest, first).map(|(name, length)| (Token::Quoted(name), length))?,
            '-' | '0'..='9' => number(rest)?,
            '=' | '<' | '>' | '!' => compare(rest)?,
            _ if first.is_alphabetic() || first == '_' => {
                let length =
                    rest.find(|c: char| !(c.is_alphanumeric() || "_$".contains(c))).unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
            _ => return Err(format!("`{first}` is not understood")),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A text in quotes that are doubled inside, and its length with them.
fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let mut inner = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && quote != '`' {
            return Err("texts with a backslash are not understood".to_owned());
        }
        if character != quote {
            inner.push(character);
        } else if characters.next_if(|(_, next)| *next == quote).is_some() {
            inner.push(quote);
        } else {
            return Ok((inner, at + 1));
        }
    }
    Err(format!("a {quote} is not closed"))
}

fn number(text: &str) -> Result<(Token, usize), String> {
    let digits = text.find(|c: char| !(c.is_alphanumeric() || "-.".contains(c))).unwrap_or(text.len());
    let number = text[..digits].parse().map_err(|_| format!("`{}` is no whole number", &text[..digits]))?;
    Ok((Token::Literal(Literal::Integer(number)), digits))
}

fn compare(text: &str) -> Result<(Token, usize), String> {
    let known = [
        ("<=>", None),
        ("<=", Some(Compare::LessOrEqual)),
        (">=", Some(Compare::GreaterOrEqual)),
        ("<>", Some(Compare::Unequal)),
        ("!=", Some(Compare::Unequal)),
        ("=", Some(Compare::Equal)),
        ("<", Some(Compare::Less)),
        (">", Some(Compare::Greater)),
    ];
    let found = known.iter().find(|(sign, _)| text.starts_with(sign));
    match found {
        Some((sign, Some(compare))) => Ok((Token::Compare(*compare), sign.len())),
        _ => Err(format!("`{}` is not understood", text.chars().take(3).collect::<String>())),
    }
}

//! The byte lexer of the hot path: a statement's *shape* and the places of what varies in it.
//!
//! Two statements have the same shape when they are the same bytes outside their regions. A region is a literal,
//! a `?` placeholder's position, or a comment; so a plan made for one statement fits every statement of its shape,
//! with positions told as "so many bytes after region N". Nothing is allocated once the buffers have grown.

/// A varying part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub start: u32,
    pub end: u32,
    pub kind: RegionKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegionKind {
    /// Digits only.
    Integer,
    /// A number with a point or exponent.
    Number,
    /// `'…'` or `"…"` without introducer.
    String,
    /// `x'…'`, `0x…`, `b'…'`, `0b…`, `n'…'`, `_utf8mb4'…'`: shown to the planner as opaque.
    Opaque,
    /// `?`
    Placeholder,
    /// `/* … */`, `-- …`, `# …`, never an executable comment and never a shardway hint (both are part of the shape).
    Comment,
}

/// A statement taken apart; reused from statement to statement.
#[derive(Debug, Clone, Default)]
pub struct Lexed {
    /// In order of position, not overlapping.
    pub regions: Vec<Region>,
    /// The statement with every region replaced by a mark of its kind: the plan cache's key.
    pub shape: Vec<u8>,
    /// The text of a `/* shardway: … */` hint, as a byte range of the statement.
    pub hint: Option<(u32, u32)>,
    pub placeholders: u16,
    /// Where a second statement begins behind a `;`.
    pub second_statement: Option<u32>,
}

/// How the session's `sql_mode` reads quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quoting {
    pub double: DoubleQuotes,
    pub backslash: Backslash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DoubleQuotes {
    #[default]
    String,
    /// `ANSI_QUOTES`.
    Identifier,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backslash {
    #[default]
    Escapes,
    /// `NO_BACKSLASH_ESCAPES`.
    Literal,
}

/// Takes `sql` apart into `out`, whose buffers are cleared and reused. Unterminated quotes and comments end with the
/// statement: the backend reports them.
pub fn lex(sql: &[u8], quoting: Quoting, out: &mut Lexed) {
    let _ = (sql, quoting, out);
    unimplemented!()
}

/// The place of a byte offset of the lexed statement; offsets inside a region count as its start.
#[must_use]
pub fn place(regions: &[Region], offset: u32) -> crate::plan::Place {
    let _ = (regions, offset);
    unimplemented!()
}

/// The byte offset of a place in any statement of the shape.
#[must_use]
pub fn offset(regions: &[Region], place: crate::plan::Place) -> u32 {
    let _ = (regions, place);
    unimplemented!()
}

/// The literal that a region holds. `scratch` receives the bytes of a string with escapes.
pub fn literal<'a>(
    sql: &'a [u8],
    region: Region,
    sign: crate::plan::OperandSign,
    quoting: Quoting,
    scratch: &'a mut Vec<u8>,
) -> crate::key::Literal<'a> {
    let _ = (sql, region, sign, quoting, scratch);
    unimplemented!()
}

/// Executable comments (`/*!40101 … */`, `/*M! … */`) of versions that `server` executes, with their markers blanked;
/// the others blanked whole. Same length as `sql`; `None` when there are none, which is the usual case.
#[must_use]
pub fn expand_executable_comments(sql: &[u8], server: ServerVersion) -> Option<Vec<u8>> {
    let _ = (sql, server);
    unimplemented!()
}

/// The flavour and version number (`80032`, `101106`) of the servers behind a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerVersion {
    pub flavour: Flavour,
    pub number: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    MySql,
    MariaDb,
}

/// A copy for the parser with the same byte offsets: bytes that are not UTF-8 inside literals and comments become `x`.
/// `None` when such a byte stands outside of them.
#[must_use]
pub fn parser_text(sql: &[u8], regions: &[Region]) -> Option<String> {
    let _ = (sql, regions);
    unimplemented!()
}

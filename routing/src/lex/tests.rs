use proptest::prelude::{any, proptest};

use super::*;

fn lexed(sql: &str) -> Lexed {
    let mut out = Lexed::default();
    lex(sql.as_bytes(), Quoting::default(), &mut out);
    out
}

fn same_shape(one: &str, other: &str) -> bool {
    lexed(one).shape == lexed(other).shape
}

fn regions(sql: &str) -> Vec<(RegionKind, &str)> {
    let regions = lexed(sql).regions;
    regions.iter().map(|region| (region.kind, &sql[region.start as usize..region.end as usize])).collect()
}

#[test]
fn literals_comments_and_placeholders_are_regions() {
    use RegionKind::{Comment, Integer, Number, Opaque, Placeholder, String};
    let sql = "select a1, `b 2`, 17, 1.5e-3, .5, 'it''s', \"x\\\"y\", x'41', 0x41, _utf8mb4'z', ? /* c */ -- d\n# e";
    assert_eq!(
        regions(sql),
        [
            (Integer, "17"),
            (Number, "1.5e-3"),
            (Number, ".5"),
            (String, "'it''s'"),
            (String, "\"x\\\"y\""),
            (Opaque, "x'41'"),
            (Opaque, "0x41"),
            (Opaque, "_utf8mb4'z'"),
            (Placeholder, "?"),
            (Comment, "/* c */"),
            (Comment, "-- d"),
            (Comment, "# e"),
        ]
    );
}

#[test]
fn names_with_digits_are_names() {
    assert_eq!(regions("select t.1a, 1a, t1, a.b2 from `1`.x5"), []);
    assert_eq!(regions("select a-1, a--1"), [(RegionKind::Integer, "1"), (RegionKind::Integer, "1")]);
}

#[test]
fn statements_that_differ_in_literals_only_share_a_shape() {
    assert!(same_shape("select * from t where a=1", "select * from t where a=22 "[..26].trim_end()));
    assert!(same_shape("select 'a' /* trace 1 */", "select 'bcd' /* trace 2 */"));
    assert!(!same_shape("select 1", "select '1'"));
    assert!(!same_shape("select a from t", "select b from t"));
    assert!(!same_shape("set autocommit=0", "set autocommit=1"));
    assert!(!same_shape("select 1 /* shardway: source */", "select 1 /* shardway: target */"));
}

#[test]
fn a_mark_cannot_be_forged() {
    let mut one = Lexed::default();
    let mut other = Lexed::default();
    lex(b"select \xff\x01", Quoting::default(), &mut one);
    lex(b"select 5", Quoting::default(), &mut other);
    assert_ne!(one.shape, other.shape);
}

#[test]
fn places_hold_for_every_statement_of_the_shape() {
    let (one, other) = ("select 'a', b from t where c = 5", "select 'abcdef', b from t where c = 12345");
    let (first, second) = (lexed(one), lexed(other));
    for (at, _) in one.char_indices().filter(|(at, _)| !(8..10).contains(at)) {
        let place = place(&first.regions, u32::try_from(at).unwrap());
        let there = offset(&second.regions, place);
        if at < one.len() - 1 {
            assert_eq!(one.as_bytes()[at], other.as_bytes()[there], "at {at}");
        }
    }
}

#[test]
fn a_second_statement_is_seen_and_a_trailing_semicolon_is_not() {
    assert_eq!(lexed("select 1; -- bye\n ;").second_statement, None);
    assert_eq!(lexed("select 1; select 2").second_statement, Some(10));
}

#[test]
fn strings_are_unescaped_as_mysql_does() {
    let check = |sql: &str, expected: &str| {
        let region = lexed(sql).regions[0];
        let mut scratch = Vec::new();
        let value = literal(sql.as_bytes(), region, OperandSign::Plus, Quoting::default(), &mut scratch);
        assert_eq!(value, Literal::String(expected.as_bytes()), "{sql}");
    };
    check("select 'plain'", "plain");
    check("select 'it''s'", "it's");
    check(r"select 'a\nb\\c\%\x'", "a\nb\\c\\%x");
    check("select \"a'b\"", "a'b");
}

#[test]
fn executable_comments_follow_the_server() {
    let mysql = ServerVersion { flavour: Flavour::MySql, number: 90_700 };
    let mariadb = ServerVersion { flavour: Flavour::MariaDb, number: 101_100 };
    let expand = |sql: &str, server| {
        let text = expand_executable_comments(sql.as_bytes(), Quoting::default(), server);
        text.map(|text| String::from_utf8(text).unwrap())
    };
    assert_eq!(expand("select 1", mysql), None);
    assert_eq!(expand("select '/*!'", mysql).as_deref(), Some("select '/*!'"));
    assert_eq!(expand("/*!40101 SET x */", mysql).as_deref(), Some("         SET x   "));
    assert_eq!(expand("select /*!99999 + 1 */ 2", mysql).as_deref(), Some("select                 2"));
    assert_eq!(expand("a/*M! b */c", mysql).as_deref(), Some("a         c"));
    assert_eq!(expand("a/*M! b */c", mariadb).as_deref(), Some("a     b   c"));
    assert_eq!(expand("a/*!50701 b */c", mariadb).as_deref(), Some("a             c"));
}

#[test]
fn the_parser_sees_text_of_the_same_length() {
    let check = |sql: &[u8], expected: Option<&str>| {
        let mut out = Lexed::default();
        lex(sql, Quoting::default(), &mut out);
        assert_eq!(parser_text(sql, &out.regions).as_deref(), expected);
    };
    check(b"select 'a\xff\n',\n/*x*/ b", Some("select 'xxx',       b"));
    check(b"select \xff", None);
    check(b"update ignore low_priority t set a=1", Some("update                     t set a=1"));
    check(b"select 1 lock  in share mode", Some("select 1 FOR SHARE          "));
}

proptest! {
    #[test]
    fn any_bytes_are_lexed_into_regions_in_order(sql in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut out = Lexed::default();
        lex(&sql, Quoting::default(), &mut out);
        let mut end = 0;
        for region in &out.regions {
            assert!(region.start >= end && region.end > region.start && region.end as usize <= sql.len());
            end = region.end;
        }
        let _ = parser_text(&sql, &out.regions);
        let _ = words::tokens(&sql, &out.regions);
    }
}

#[test]
fn several_statements_are_cut_at_their_semicolons() {
    let ansi = Quoting { double: super::DoubleQuotes::Identifier, backslash: super::Backslash::Literal };
    for (sql, quoting, expected) in [
        ("select 1", Quoting::default(), None),
        ("select 1; ", Quoting::default(), None),
        ("select 1;;/* x */ -- y", Quoting::default(), None),
        ("select 1; select 2", Quoting::default(), Some(("select 1", "select 2"))),
        ("select 1;; # x;\n select 2;", Quoting::default(), Some(("select 1", "select 2;"))),
        (
            "select ';', \";\", `;` /* ; */; do 1",
            Quoting::default(),
            Some(("select ';', \";\", `;` /* ; */", "do 1")),
        ),
        ("select '\\';'; do 1", Quoting::default(), Some(("select '\\';'", "do 1"))),
        ("select '\\'; do 1", ansi, Some(("select '\\'", "do 1"))),
        ("do 1; /*! do 2 */", Quoting::default(), Some(("do 1", "/*! do 2 */"))),
        ("create table t (i int); do 1", Quoting::default(), Some(("create table t (i int)", "do 1"))),
        ("create definer = x trigger t begin do 1; do 2; end", Quoting::default(), None),
        ("begin not atomic do 1; do 2; end", Quoting::default(), None),
        ("begin; do 1", Quoting::default(), Some(("begin", "do 1"))),
    ] {
        let found = super::several(sql.as_bytes(), quoting).map(|cut| (&sql[..cut.end], &sql[cut.next..]));
        assert_eq!(found, expected, "{sql}");
    }
}

use shardway_routing::schema::{Column, ColumnKind, Generation, Sign, TableSchema};

use super::*;

fn shape() -> ImageShape {
    let text = |charset: &str, collation: &str| ColumnKind::Text {
        charset: charset.into(),
        collation: collation.into(),
    };
    let kinds = [
        ("id", ColumnKind::Integer { bits: 32, sign: Sign::Unsigned }),
        ("day", ColumnKind::Date),
        ("at", ColumnKind::DateTime),
        ("ts", ColumnKind::Timestamp),
        ("code", text("ascii", "ascii_bin")),
        ("raw", ColumnKind::Binary),
        ("name", text("utf8mb4", "utf8mb4_general_ci")),
        ("price", ColumnKind::Decimal),
    ];
    let column = |(name, kind): &(&str, ColumnKind)| Column {
        name: (*name).to_owned(),
        kind: kind.clone(),
        nullable: true,
        generation: Generation::Stored,
        longest: None,
    };
    let columns = kinds.iter().map(column).collect();
    let schema = TableSchema { columns, primary: vec!["id".into()], ..TableSchema::default() };
    ImageShape::of(&schema).unwrap()
}

fn image(fields: [Option<&str>; 6]) -> Image {
    let fields = fields.into_iter().chain([None, None]);
    Image(fields.map(|field| field.map(|field| field.as_bytes().to_vec())).collect())
}

#[test]
fn rows_are_taken_as_sql_takes_them() {
    let row = image([
        Some("7"),
        Some("2024-02-29"),
        Some("2024-02-29 12:00:00.500"),
        Some("1709208000.25"),
        Some("ab "),
        Some("ab "),
    ]);
    let empty = image([Some("7"), None, None, None, None, None]);
    for (text, takes, takes_empty) in [
        ("id = 7", true, true),
        ("id <> 7", false, false),
        ("id > 6 and ID < 8", true, true),
        ("id in (1, 7)", true, true),
        ("id not in (1, 7)", false, false),
        ("id between 7 and 9", true, true),
        ("not id between 8 and 9", true, true),
        ("day >= '2024-02-29'", true, false),
        ("day < '2024-03-01' or id = 7", true, true),
        ("day < '2024-02-29' and id = 7", false, false),
        ("not day = '2024-01-01'", true, false),
        ("at > '2024-02-29 12:00:00'", true, false),
        ("at = '2024-02-29 12:00:00'", false, false),
        ("at <= '2024-03-01'", true, false),
        ("ts > '2024-02-29 12:00:00'", true, false),
        ("ts < '2024-02-29 12:00:01'", true, false),
        ("code = 'ab'", true, false),
        ("code < 'ab!'", true, false),
        ("code = 'AB'", false, false),
        ("raw = 'ab'", false, false),
        ("raw = 'ab '", true, false),
        ("code is null", false, true),
        ("code is not null and `code` <> 'x'", true, false),
        ("(id = 1 or id = 7) and (code is null or code in ('ab'))", true, true),
    ] {
        let filter = Filter::of(text, &shape()).unwrap_or_else(|refusal| panic!("{text}: {refusal}"));
        assert_eq!((filter.takes(&row), filter.takes(&empty)), (takes, takes_empty), "{text}");
    }
}

#[test]
fn what_servers_get_is_written_anew() {
    let text = "id > 3 AND NOT (code IN ('a''b', \"c\") OR raw IS NULL) AND ts < '2024-01-01'";
    let expected = "(`id` > 3 AND NOT (((`code` = _ascii x'612762' OR `code` = _ascii x'63') OR `raw` IS NULL)) AND \
                    `ts` < '2024-01-01 00:00:00')";
    assert_eq!(Filter::of(text, &shape()).unwrap().sql(), expected);
}

#[test]
fn what_cannot_be_evaluated_exactly_is_refused() {
    for (text, why) in [
        ("name = 'x'", "utf8mb4_general_ci"),
        ("price > 3", "cannot be compared exactly"),
        ("nothing = 3", "`nothing` is no column"),
        ("id = 'x'", "a number is compared with a text"),
        ("id > -1", "is not between 0 and"),
        ("id > 1.5", "`1.5` is no whole number"),
        ("code = 5", "a text is compared with a number"),
        ("code = 'ü'", "plain ASCII"),
        ("code like 'a%'", "`like` cannot follow"),
        ("day > '2024-02-30'", "must be compared with a day"),
        ("day > NOW()", "`NOW` stands where"),
        ("ts > '1969-01-01'", "between 1971 and 2037"),
        ("id + 1 = 3", "`+` is not understood"),
        ("id <=> 3", "`<=>` is not understood"),
        ("id = 3; drop table t", "`;` is not understood"),
        ("id = 3 id", "`id` is not expected"),
        ("id = ", "ends too early"),
        ("(id = 3", "ends too early"),
        ("code = 'a", "is not closed"),
        ("code = 'a\\'", "backslash"),
        ("", "ends too early"),
    ] {
        let refusal = Filter::of(text, &shape()).unwrap_err().to_string();
        assert!(refusal.contains(why) && refusal.starts_with("SHD1424"), "{text}: {refusal}");
    }
    let deep = format!("{}id = 1{}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(Filter::of(&deep, &shape()).is_err());
}

//! What literals are under each key type, case by case, and the properties of the canonical bytes.

use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::{Case, Exactness, Fractions, KeyType, KeyValue, Literal};
use crate::day::Day;
use crate::schema::{Column, ColumnKind, Generation, Length, Sign};

const NOTHING: Exactness = Exactness::Nothing;
const UNKNOWN: Exactness = Exactness::Unknown;

fn integer(value: i128) -> Exactness {
    Exactness::Value(KeyValue::Integer(value))
}

fn text(value: &str) -> Exactness {
    Exactness::Value(KeyValue::Text(value.as_bytes().to_vec()))
}

fn column(kind: ColumnKind) -> Column {
    Column { name: "k".to_owned(), kind, nullable: false, generation: Generation::Stored, longest: None }
}

fn of_collation(collation: &str) -> Result<KeyType, String> {
    let charset = collation.split('_').next().unwrap_or("").to_owned();
    KeyType::of(&column(ColumnKind::Text { charset, collation: collation.to_owned() }))
}

/// What a string literal is when compared with and when stored in an integer column.
fn check_string(literal: &str, compared: Exactness, stored: Exactness) {
    let string = Literal::String(literal.as_bytes());
    assert_eq!(KeyType::Integer.compared(string), compared, "compared '{literal}'");
    assert_eq!(KeyType::Integer.stored(string, Fractions::Unknown), stored, "stored '{literal}'");
}

fn check_number(literal: &str, compared: Exactness, stored: Exactness) {
    let number = Literal::Number(literal.as_bytes());
    assert_eq!(KeyType::Integer.compared(number), compared, "compared {literal}");
    assert_eq!(KeyType::Integer.stored(number, Fractions::Unknown), stored, "stored {literal}");
}

#[test]
fn a_string_in_an_integer_column_is_the_integer_it_spells() {
    for spelling in ["17", " 17", "17  ", "+17", "017", "17.0", "17.", "1.7e1", "170E-1"] {
        check_string(spelling, integer(17), integer(17));
    }
    check_string("-17", integer(-17), integer(-17));
    check_string("-0", integer(0), integer(0));
    check_string("0.000", integer(0), integer(0));
    check_string("17.5", NOTHING, UNKNOWN);
    check_string(".5", NOTHING, UNKNOWN);
}

#[test]
fn a_string_that_is_not_a_number_to_its_end_is_unknown() {
    for spelling in [
        "", " ", "17abc", "abc", "1 7", "0x11", "1e", "1e+", "e5", ".", "-", "--1", "nan", "inf", "17\t",
        "１７",
    ] {
        check_string(spelling, UNKNOWN, UNKNOWN);
    }
}

#[test]
fn long_integer_strings_are_exact_within_a_signed_bigint() {
    let most = i128::from(i64::MAX);
    check_string("9007199254740993", integer(9_007_199_254_740_993), integer(9_007_199_254_740_993));
    check_string("9223372036854775807", integer(most), integer(most));
    check_string("9223372036854775808", UNKNOWN, integer(most + 1));
    check_string("18446744073709551615", UNKNOWN, integer(i128::from(u64::MAX)));
    check_string("18446744073709551616", UNKNOWN, UNKNOWN);
    check_string("-9223372036854775808", integer(i128::from(i64::MIN)), integer(i128::from(i64::MIN)));
    check_string(&"9".repeat(400), UNKNOWN, UNKNOWN);
}

#[test]
fn a_double_that_could_be_several_integers_is_unknown() {
    check_string("9007199254740993.0", UNKNOWN, integer(9_007_199_254_740_993));
    check_string("16.99999999999999999999", UNKNOWN, UNKNOWN);
    check_number("9007199254740993e0", UNKNOWN, UNKNOWN);
    check_number("1e400", UNKNOWN, UNKNOWN);
    check_number("1e999999999999", UNKNOWN, UNKNOWN);
    check_number("1e15", integer(1_000_000_000_000_000), integer(1_000_000_000_000_000));
    check_number("15e-1", NOTHING, UNKNOWN);
}

#[test]
fn a_number_with_a_point_is_compared_exactly() {
    check_number("17.0", integer(17), integer(17));
    check_number("17.5", NOTHING, UNKNOWN);
    check_number("-17.000", integer(-17), integer(-17));
    check_number("9007199254740993.0", integer(9_007_199_254_740_993), integer(9_007_199_254_740_993));
    check_number("18446744073709551616.0", NOTHING, UNKNOWN);
    // More digits behind the point than a DECIMAL keeps: the server may round it to 17.
    check_number(&format!("17.{}1", "0".repeat(30)), UNKNOWN, UNKNOWN);
}

#[test]
fn integers_beyond_every_column_equal_nothing_and_are_not_stored() {
    for (value, compared, stored) in [
        (17, integer(17), integer(17)),
        (i128::from(u64::MAX), integer(i128::from(u64::MAX)), integer(i128::from(u64::MAX))),
        (i128::from(u64::MAX) + 1, NOTHING, UNKNOWN),
        (i128::from(i64::MIN) - 1, NOTHING, UNKNOWN),
    ] {
        assert_eq!(KeyType::Integer.compared(Literal::Integer(value)), compared);
        assert_eq!(KeyType::Integer.stored(Literal::Integer(value), Fractions::Unknown), stored);
    }
}

#[test]
fn null_equals_nothing_and_an_opaque_literal_is_unknown_under_every_type() {
    let types = [
        KeyType::Integer,
        KeyType::Binary,
        KeyType::Assumed,
        KeyType::Text(Case::Insensitive),
        KeyType::Text(Case::Sensitive),
    ];
    for kind in types {
        assert_eq!(kind.compared(Literal::Null), NOTHING);
        assert_eq!(kind.stored(Literal::Null, Fractions::Unknown), NOTHING);
        assert_eq!(kind.compared(Literal::Opaque), UNKNOWN);
        assert_eq!(kind.stored(Literal::Opaque, Fractions::Unknown), UNKNOWN);
    }
}

#[test]
fn a_number_against_a_string_column_is_unknown_but_can_be_stored() {
    for kind in [KeyType::Binary, KeyType::Text(Case::Insensitive)] {
        assert_eq!(kind.compared(Literal::Integer(17)), UNKNOWN);
        assert_eq!(kind.compared(Literal::Number(b"17.0")), UNKNOWN);
        assert_eq!(kind.stored(Literal::Integer(-17), Fractions::Unknown), text("-17"));
        assert_eq!(kind.stored(Literal::Number(b"17.0"), Fractions::Unknown), UNKNOWN);
    }
}

#[test]
fn strings_fold_as_their_collation_finds_them_equal() {
    let compared = |case: Case, value: &str| KeyType::Text(case).compared(Literal::String(value.as_bytes()));
    assert_eq!(compared(Case::Insensitive, "Ab C  "), text("ab c"));
    assert_eq!(compared(Case::Insensitive, "   "), text(""));
    assert_eq!(compared(Case::Sensitive, "Ab "), text("Ab"));
    assert_eq!(compared(Case::Exact, " Müller "), text(" Müller"));
    assert_eq!(compared(Case::Exact, "a\t"), text("a\t"));
    assert_eq!(KeyType::Text(Case::Exact).compared(Literal::String(b"M\xfcller")), UNKNOWN);
    for case in [Case::Insensitive, Case::Sensitive] {
        for value in ["Müller", "a\u{0}", "a\t"] {
            assert_eq!(compared(case, value), UNKNOWN);
        }
    }
}

#[test]
fn binary_keys_are_their_bytes_without_the_zeros_at_the_end() {
    let compared = |bytes: &[u8]| KeyType::Binary.compared(Literal::String(bytes));
    assert_eq!(compared(b"A\xff "), Exactness::Value(KeyValue::Text(b"A\xff ".to_vec())));
    assert_eq!(compared(b"a\0\0"), text("a"));
    assert_eq!(KeyType::Binary.stored(Literal::String(b"a"), Fractions::Unknown), text("a"));
}

#[test]
fn offline_only_canonical_integers_are_integers() {
    let compared = |value: &str| KeyType::Assumed.compared(Literal::String(value.as_bytes()));
    assert_eq!(compared("17"), integer(17));
    assert_eq!(compared("-5"), integer(-5));
    for other in ["017", "+17", " 17", "17.0", "eu", "-0", ""] {
        assert_eq!(compared(other), text(other));
    }
    assert_eq!(KeyType::Assumed.compared(Literal::Number(b"17.0")), integer(17));
    assert_eq!(KeyType::Assumed.stored(Literal::Number(b"17.5"), Fractions::Unknown), UNKNOWN);
}

#[test]
fn collations_are_told_apart_by_what_they_find_equal() {
    use Case::{Exact, Insensitive, Sensitive};
    for (collation, case) in [
        ("utf8mb4_general_ci", Insensitive),
        ("utf8mb4_unicode_ci", Insensitive),
        ("utf8mb4_unicode_520_ci", Insensitive),
        ("utf8mb4_bin", Exact),
        ("utf8mb4_0900_ai_ci", Insensitive),
        ("utf8mb4_0900_as_cs", Sensitive),
        ("utf8mb4_0900_bin", Exact),
        ("utf8mb4_nopad_bin", Exact),
        ("utf8mb4_general_nopad_ci", Insensitive),
        ("utf8mb4_uca1400_ai_ci", Insensitive),
        ("utf8mb4_uca1400_nopad_as_cs", Sensitive),
        ("utf8mb3_general_ci", Insensitive),
        ("utf8_bin", Sensitive),
        ("latin1_swedish_ci", Insensitive),
        ("latin1_general_cs", Sensitive),
        ("latin1_swedish_nopad_ci", Insensitive),
        ("ascii_bin", Sensitive),
        ("ascii_general_ci", Insensitive),
    ] {
        assert_eq!(of_collation(collation), Ok(KeyType::Text(case)), "{collation}");
    }
    for collation in
        ["utf8mb4_lithuanian_ci", "utf8mb4_roman_ci", "cp1251_general_ci", "utf8mb4", "", "utf8mb4_0900"]
    {
        let error = of_collation(collation).unwrap_err();
        assert!(error.contains("`k`") && error.contains("collation"), "{error}");
    }
}

#[test]
fn columns_without_exact_equality_cannot_be_keys() {
    let integer = ColumnKind::Integer { bits: 64, sign: Sign::Unsigned };
    assert_eq!(KeyType::of(&column(integer)), Ok(KeyType::Integer));
    assert_eq!(KeyType::of(&column(ColumnKind::Binary)), Ok(KeyType::Binary));
    for kind in
        [ColumnKind::Float, ColumnKind::Double, ColumnKind::Decimal, ColumnKind::Timestamp, ColumnKind::Json]
    {
        let error = KeyType::of(&column(kind)).unwrap_err();
        assert!(error.starts_with("column `k` is "), "{error}");
    }
    let error = KeyType::of(&column(ColumnKind::Other("uuid".to_owned()))).unwrap_err();
    assert_eq!(
        error,
        "column `k` is uuid; a shard key must be an integer, a string, binary, or under kind = \"time\" a DATE or a DATETIME"
    );
}

#[test]
fn a_column_of_time_is_a_key_where_no_session_and_no_update_changes_it() {
    let of = |kind, generation, longest| KeyType::of(&Column { generation, longest, ..column(kind) });
    assert_eq!(of(ColumnKind::Date, Generation::Stored, None), Ok(KeyType::Date));
    let digits = Some(Length::Digits(3));
    let stored = of(ColumnKind::DateTime, Generation::Stored, digits);
    assert_eq!(stored, Ok(KeyType::DateTime { digits: 3 }));
    for (generation, longest, why) in
        [(Generation::Touched, digits, "ON UPDATE"), (Generation::Stored, None, "how many digits")]
    {
        assert!(of(ColumnKind::DateTime, generation, longest).unwrap_err().contains(why));
    }
    let error = of(ColumnKind::Timestamp, Generation::Stored, digits).unwrap_err();
    assert!(error.contains("depends on the session's time zone"), "{error}");
}

#[test]
fn a_fraction_decides_about_the_day_in_its_last_second_alone() {
    let day = |day| Exactness::Value(KeyValue::Day(Day::of(2024, 1, day).unwrap()));
    let (rounded, truncated) = (Fractions::Rounded, Fractions::Truncated);
    let stored = |key: KeyType, text: &str| {
        let stored = |fractions| key.stored(Literal::String(text.as_bytes()), fractions);
        [stored(rounded), stored(truncated), stored(Fractions::Unknown)]
    };
    let (date, whole, milli) =
        (KeyType::Date, KeyType::DateTime { digits: 0 }, KeyType::DateTime { digits: 3 });
    assert_eq!(stored(whole.clone(), "2024-01-05 10:00:00.9"), [day(5), day(5), day(5)]);
    assert_eq!(stored(whole.clone(), "2024-01-05 23:59:59.4"), [day(5), day(5), day(5)]);
    assert_eq!(stored(whole.clone(), "2024-01-05 23:59:59.5"), [day(6), day(5), UNKNOWN]);
    assert_eq!(stored(date, "2024-01-05 23:59:59.5"), [UNKNOWN, UNKNOWN, UNKNOWN]);
    assert_eq!(stored(milli.clone(), "2024-01-05 23:59:59.999"), [day(5), day(5), day(5)]);
    assert_eq!(stored(milli.clone(), "2024-01-05 23:59:59.9995"), [day(6), day(5), UNKNOWN]);
    // Rounded to six digits first, it would be rounded up.
    assert_eq!(stored(milli.clone(), "2024-01-05 23:59:59.9994999"), [UNKNOWN, UNKNOWN, UNKNOWN]);
    assert_eq!(milli.compared(Literal::String(b"2024-01-05 23:59:59.9995")), UNKNOWN);
    for (text, known) in
        [("2024-01-05", true), ("2024-01-05T10:00:00", true), ("2024-1-5", false), ("20240105", false)]
    {
        assert_eq!(milli.bound(Literal::String(text.as_bytes())).is_some(), known, "{text}");
        assert_eq!(milli.compared(Literal::String(text.as_bytes())), day(5));
    }
    assert_eq!(milli.bound(Literal::Integer(20_240_105)), None);
}

fn any_key() -> impl Strategy<Value = KeyValue> {
    prop_oneof![
        any::<i128>().prop_map(KeyValue::Integer),
        (-1000_i128..1000).prop_map(KeyValue::Integer),
        any::<Vec<u8>>().prop_map(KeyValue::Text),
        (-354_285_i32..2_932_897).prop_map(|number| KeyValue::Day(Day::at(number).unwrap())),
    ]
}

proptest! {
    #[test]
    fn different_keys_have_different_canonical_bytes(left in any_key(), right in any_key()) {
        let bytes = |key: &KeyValue| { let mut out = Vec::new(); key.canonical(&mut out); out };
        prop_assert_eq!(bytes(&left) == bytes(&right), left == right);
    }

    #[test]
    fn canonical_bytes_tell_the_key(key in any_key()) {
        let mut canonical = Vec::new();
        key.canonical(&mut canonical);
        prop_assert_eq!(KeyValue::from_canonical(&canonical), Some(key));
    }

    #[test]
    fn every_spelling_of_an_integer_is_the_same_key(value in -(1_i64 << 53) + 1..(1_i64 << 53), zeros in 0..5_usize) {
        let value = i128::from(value);
        for spelling in [
            format!("{value}"),
            format!("  {value} "),
            format!("{value}.{}", "0".repeat(zeros)),
            format!("{value}{}e-{zeros}", "0".repeat(zeros)),
        ] {
            let read = KeyType::Integer.compared(Literal::String(spelling.as_bytes()));
            prop_assert_eq!(&read, &integer(value), "{}", spelling);
            prop_assert_eq!(KeyType::Integer.stored(Literal::String(spelling.as_bytes()), Fractions::Unknown), read);
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in any::<Vec<u8>>(), number in "[-+]?[0-9]{0,40}[.]?[0-9]{0,40}([eE][-+]?[0-9]{0,12})?") {
        for literal in [Literal::String(&text), Literal::String(number.as_bytes()), Literal::Number(number.as_bytes())] {
            for kind in [KeyType::Integer, KeyType::Binary, KeyType::Assumed, KeyType::Text(Case::Insensitive), KeyType::Date, KeyType::DateTime { digits: 3 }] {
                let _ = (kind.compared(literal), kind.stored(literal, Fractions::Unknown));
            }
        }
    }

    #[test]
    fn what_is_stored_is_found_by_the_same_literal(text in "[ -~]{0,12}", value in any::<i64>()) {
        for kind in [KeyType::Integer, KeyType::Binary, KeyType::Assumed, KeyType::Text(Case::Insensitive), KeyType::Date, KeyType::DateTime { digits: 3 }] {
            for literal in [Literal::String(text.as_bytes()), Literal::Integer(value.into())] {
                if let (Exactness::Value(stored), Exactness::Value(compared)) = (kind.stored(literal, Fractions::Unknown), kind.compared(literal)) {
                    prop_assert_eq!(stored, compared);
                }
            }
        }
    }
}

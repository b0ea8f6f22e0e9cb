use proptest::prelude::{any, proptest};

use super::*;

fn integer(value: i128) -> Exactness {
    Exactness::Value(KeyValue::Integer(value))
}

fn text(value: &str) -> Exactness {
    Exactness::Value(KeyValue::Text(value.as_bytes().to_vec()))
}

#[test]
fn what_mysql_finds_equal_to_an_integer_is_that_integer() {
    let compared = |literal| KeyType::Integer.compared(literal);
    assert_eq!(compared(Literal::Integer(-5)), integer(-5));
    assert_eq!(compared(Literal::String(b"17")), integer(17));
    assert_eq!(compared(Literal::String(b" 17 ")), integer(17));
    assert_eq!(compared(Literal::String(b"17abc")), Exactness::Unknown);
    assert_eq!(compared(Literal::String(b"90071992547409931")), Exactness::Unknown);
    assert_eq!(compared(Literal::Number(b"17.0")), integer(17));
    assert_eq!(compared(Literal::Number(b"17.5")), Exactness::Nothing);
    assert_eq!(compared(Literal::Number(b"1e3")), Exactness::Unknown);
    assert_eq!(compared(Literal::Null), Exactness::Nothing);
    assert_eq!(KeyType::Integer.stored(Literal::Number(b"17.5")), Exactness::Unknown);
}

#[test]
fn strings_fold_as_their_collation_does() {
    let of = |collation: &str| {
        let kind = ColumnKind::Text { charset: "utf8mb4".into(), collation: collation.into() };
        let generation = crate::schema::Generation::Stored;
        KeyType::of(&Column { name: "k".into(), kind, nullable: false, generation }).unwrap()
    };
    let general = of("utf8mb4_general_ci");
    assert_eq!(general.compared(Literal::String(b"Ab ")), text("ab"));
    assert_eq!(general.compared(Literal::String("ä".as_bytes())), Exactness::Unknown);
    assert_eq!(general.compared(Literal::Integer(7)), Exactness::Unknown);
    assert_eq!(general.stored(Literal::Integer(7)), text("7"));
    assert_eq!(of("utf8mb4_0900_ai_ci").compared(Literal::String(b"Ab ")), text("ab "));
    assert_eq!(of("utf8mb4_bin").compared(Literal::String("Ä ".as_bytes())), text("Ä"));
}

#[test]
fn floats_are_no_keys() {
    let generation = crate::schema::Generation::Stored;
    let column = Column { name: "k".into(), kind: ColumnKind::Double, nullable: false, generation };
    assert!(KeyType::of(&column).is_err());
}

proptest! {
    #[test]
    fn canonical_bytes_tell_the_key(value in any::<i128>(), bytes in any::<Vec<u8>>()) {
        for key in [KeyValue::Integer(value), KeyValue::Text(bytes)] {
            let mut canonical = Vec::new();
            key.canonical(&mut canonical);
            assert_eq!(KeyValue::from_canonical(&canonical), Some(key));
        }
    }
}

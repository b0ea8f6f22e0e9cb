use shardway_routing::schema::{Column, Sign};

use super::*;

fn column(name: &str, kind: ColumnKind) -> Column {
    Column { name: name.into(), kind, nullable: true, generation: Generation::Stored, longest: None }
}

fn shape() -> ImageShape {
    let integer = ColumnKind::Integer { bits: 64, sign: Sign::Signed };
    let text = ColumnKind::Text { charset: "utf8mb4".into(), collation: "utf8mb4_bin".into() };
    let columns = vec![column("a", integer), column("b", text), column("f", ColumnKind::Double)];
    ImageShape::of(&TableSchema { columns, primary: vec!["a".into(), "b".into()], ..TableSchema::default() })
        .unwrap()
}

#[test]
fn a_row_is_written_as_it_was_read() {
    let image = Image(vec![Some(b"-5".to_vec()), Some(b"I'\\\xff".to_vec()), Some(b"-0e0".to_vec())]);
    let null = Image(vec![Some(b"6".to_vec()), Some(Vec::new()), None]);
    let expected =
        b"INSERT INTO t (`a`, `b`, `f`) VALUES (-5, _utf8mb4'I\\'\\\\\xff', -0e0), (6, _utf8mb4'', NULL) \
                    ON DUPLICATE KEY UPDATE `a` = VALUES(`a`), `b` = VALUES(`b`), `f` = VALUES(`f`)";
    assert_eq!(shape().replace("t", &[image, null]), [Write::from(expected.to_vec())]);
}

/// A primary key of a number and an `ENUM`, and another `ENUM`.
fn listed() -> ImageShape {
    let integer = ColumnKind::Integer { bits: 64, sign: Sign::Signed };
    let columns = vec![column("id", integer), column("e", ColumnKind::Enum), column("f", ColumnKind::Enum)];
    let primary = vec!["e".into(), "id".into()];
    ImageShape::of(&TableSchema { columns, primary, ..TableSchema::default() }).unwrap()
}

fn fields(row: &str) -> Image {
    Image(row.split(' ').map(|field| (field != "NULL").then(|| field.as_bytes().to_vec())).collect())
}

#[test]
fn error_values_are_written_where_servers_are_strict() {
    let rows = ["1 0 0", "0 1 NULL", "2 2 0"].map(fields);
    let writes = listed().replace("t", &rows);
    let [write] = writes.as_slice() else { panic!("{writes:?}") };
    let sql = String::from_utf8(write.sql().to_vec()).unwrap();
    assert!(sql.starts_with("/*M!100100 SET STATEMENT sql_mode = '"), "{sql}");
    let rest =
        "*/ */ INTO t (`id`, `e`, `f`) VALUES (1, 0, 0), (0, 1, NULL), (2, 2, 0) ON DUPLICATE KEY UPDATE";
    assert!(sql.contains(rest), "{sql}");
    assert_eq!(write.error_values(), 3);
    let strict = listed().insert_rows("t", &rows[1..2]);
    assert!(strict.sql().starts_with(b"INSERT INTO t ") && !strict.is_lenient());
    let absent = listed().insert_absent("t", &rows[..1]);
    assert!(absent.sql().starts_with(b"INSERT IGNORE INTO t ") && absent.error_values() == 2);
}

#[test]
fn rows_named_by_members_are_looked_for_one_by_one() {
    let keys = ["0 7", "2 5"].map(|key| Key(fields(key).0.into_iter().flatten().collect()));
    assert_eq!(listed().with_keys(&keys), "WHERE ((`e` = 0 AND `id` = 7) OR (`e` = 2 AND `id` = 5))");
    let told = listed().delete_told("t", 2, &[(&keys[0], b"1")]);
    assert!(told.ends_with("WHERE ((`e` = 0 AND `id` = 7 AND `f` = 1))"), "{told}");
}

#[test]
fn keys_are_found_and_followed_in_order() {
    let key = Key(vec![b"5".to_vec(), b"A".to_vec()]);
    assert_eq!(
        shape().delete("t", std::slice::from_ref(&key)),
        "DELETE t FROM t FORCE INDEX (`PRIMARY`) WHERE (`a`, `b`) IN ((5, _utf8mb4 x'41'))"
    );
    let after = "WHERE ((`a` > 5) OR (`a` = 5 AND `b` > _utf8mb4 x'41')) ORDER BY `a`, `b`";
    assert_eq!(shape().after(Some(&key)), after);
    let up_to = "WHERE ((`a` < 5) OR (`a` = 5 AND `b` <= _utf8mb4 x'41')) ORDER BY `a`, `b`";
    assert_eq!(shape().between(None, Some(&key)), up_to);
    assert_eq!(shape().between(None, None), "ORDER BY `a`, `b`");
    assert_eq!(shape().shard_key_of(&key, "A", &KeyType::Integer), Some(KeyValue::Integer(5)));
    assert_eq!(shape().shard_key_of(&key, "b", &KeyType::Binary), Some(KeyValue::Text(b"A".to_vec())));
}

#[test]
fn tables_that_cannot_be_carried_are_refused() {
    let of = |kind, primary: &[&str]| {
        let primary = primary.iter().map(ToString::to_string).collect();
        ImageShape::of(&TableSchema { columns: vec![column("a", kind)], primary, ..TableSchema::default() })
    };
    assert!(of(ColumnKind::Date, &[]).is_err());
    assert!(of(ColumnKind::Double, &["a"]).is_err());
    assert!(of(ColumnKind::Other("uuid".into()), &["a"]).is_err());
    assert!(of(ColumnKind::Date, &["a"]).is_ok());
}

#[test]
fn both_readers_get_the_same_image() {
    let row = |text: &[u8]| vec![Some(b"5".to_vec()), Some(text.to_vec()), Some(b"1.5".to_vec())];
    let image = Image(vec![Some(b"5".to_vec()), Some(b"A\x01".to_vec()), Some(b"1.5e0".to_vec())]);
    assert_eq!(shape().image(Reader::Engine, row(b"A\x01")), Some(image.clone()));
    assert_eq!(shape().image(Reader::Client, row(b"4101")), Some(image));
    assert_eq!(shape().image(Reader::Client, row(b"410")), None);
    assert_eq!(shape().image(Reader::Engine, Vec::new()), None);
}

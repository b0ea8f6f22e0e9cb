use proptest::prelude::*;
use shardway_routing::schema::{ColumnKind, Sign};

use super::bytes::Bytes;
use super::event::{Event, Place, RawEvent};
use super::json;
use super::value::field;
use super::wire::Wire;

fn check(wire: Wire, kind: &ColumnKind, bytes: &[u8], expected: &str) {
    let mut rest = Bytes(bytes);
    let taken = wire.take(&mut rest).unwrap();
    assert!(rest.is_empty(), "{} bytes are left", rest.0.len());
    assert_eq!(String::from_utf8_lossy(&field(wire, kind, taken).unwrap()), expected);
}

#[test]
fn logged_values_become_fields() {
    let integer = |bits, sign| ColumnKind::Integer { bits, sign };
    check(Wire::Integer { bytes: 3 }, &integer(24, Sign::Signed), &[0, 0, 0x80], "-8388608");
    check(Wire::Integer { bytes: 3 }, &integer(24, Sign::Unsigned), &[0, 0, 0x80], "8388608");
    check(Wire::Integer { bytes: 8 }, &integer(64, Sign::Signed), &[0xFF; 8], "-1");
    check(Wire::Time { digits: 2 }, &ColumnKind::Time, &[0x7F, 0x4A, 0x5E, 0xD4], "-11:22:33.44");
    check(Wire::Time { digits: 0 }, &ColumnKind::Time, &[0x80, 0, 0], "00:00:00");
    check(Wire::Year, &ColumnKind::Year, &[0], "0");
    check(Wire::Year, &ColumnKind::Year, &[70], "1970");
    check(Wire::Date, &ColumnKind::Date, &[0, 0, 0], "0000-00-00");
    check(Wire::Fixed { width: 4 }, &ColumnKind::Binary, &[1, 7], "\u{7}\0\0\0");
    check(Wire::Decimal { precision: 5, scale: 5 }, &ColumnKind::Decimal, &[0x80, 0x30, 0x39], "0.12345");
    check(Wire::Decimal { precision: 4, scale: 2 }, &ColumnKind::Decimal, &[0x7F, 0xFE], "-0.01");
}

/// Bytes that a table map could hold for its columns, any type.
fn wires() -> impl Strategy<Value = Option<Wire>> {
    let details = prop::collection::vec(any::<u8>(), 2);
    (any::<u8>(), details).prop_map(|(code, details)| Wire::of(code, &mut Bytes(&details)).ok())
}

proptest! {
    #[test]
    fn no_bytes_make_a_value_panic(wire in wires(), bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let kinds = [ColumnKind::Binary, ColumnKind::Integer { bits: 64, sign: Sign::Signed }];
        for kind in kinds {
            if let Some(wire) = wire && let Ok(taken) = wire.take(&mut Bytes(&bytes)) {
                let _ = field(wire, &kind, taken);
            }
        }
    }

    #[test]
    fn no_bytes_make_a_document_panic(kind in 0_u8..16, bytes in prop::collection::vec(0_u8..40, 0..200)) {
        let _ = json::text(&[&[kind], &bytes[..]].concat());
    }

    #[test]
    fn no_bytes_make_an_event_panic(kind in any::<u8>(), data in prop::collection::vec(any::<u8>(), 0..80)) {
        let raw = RawEvent { kind, server: 1, end: 0, flags: 0, place: Place::Log, data: &data };
        let _ = Event::read(raw);
    }
}

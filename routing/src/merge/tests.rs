use super::value::Unsigned;
use super::*;

const INTEGER: ColumnType = ColumnType::Integer { width: 4, unsigned: Unsigned::No };

fn key(direction: Direction, compare: Comparison) -> SortKey {
    SortKey { column: 0, direction, compare }
}

/// A text row of a visible and a hidden column.
fn row(visible: &str, hidden: Option<&[u8]>) -> Vec<u8> {
    let mut row = vec![u8::try_from(visible.len()).unwrap()];
    row.extend_from_slice(visible.as_bytes());
    match hidden {
        Some(bytes) => {
            row.push(u8::try_from(bytes.len()).unwrap());
            row.extend_from_slice(bytes);
        }
        None => row.push(0xFB),
    }
    row
}

/// Sorts hidden values as the merge would.
fn sorted(of: ColumnType, by: SortKey, values: &[Option<&[u8]>]) -> Vec<usize> {
    let merger = Merger::new(&[by], &[ColumnType::Bytes, of], RowProtocol::Text, 1).unwrap();
    let keys: Vec<SortValues> =
        values.iter().map(|value| merger.sort_values(&row("x", *value)).unwrap()).collect();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| merger.compare(&keys[*one], &keys[*other]));
    order
}

#[test]
fn values_compare_as_their_types_do() {
    use Direction::{Ascending, Descending};
    let by_type = |direction| key(direction, Comparison::ByType);
    let numbers: [Option<&[u8]>; 4] = [Some(b"10"), Some(b"9"), None, Some(b"-1")];
    assert_eq!(sorted(INTEGER, by_type(Ascending), &numbers), [2, 3, 1, 0]);
    assert_eq!(sorted(INTEGER, by_type(Descending), &numbers), [0, 1, 3, 2]);
    let decimals: [Option<&[u8]>; 5] =
        [Some(b"10.50"), Some(b"-2.25"), Some(b"9.99"), Some(b"-2.3"), Some(b"0.00")];
    assert_eq!(sorted(ColumnType::Decimal, by_type(Ascending), &decimals), [3, 1, 4, 2, 0]);
    let times: [Option<&[u8]>; 3] = [Some(b"100:00:00"), Some(b"-01:00:00"), Some(b"23:59:59.5")];
    assert_eq!(sorted(ColumnType::Time, by_type(Ascending), &times), [1, 2, 0]);
}

#[test]
fn a_shorter_text_goes_on_with_spaces() {
    let padded = key(Direction::Ascending, Comparison::PaddedWeights { space: [0x20, 0, 0, 0], width: 1 });
    let texts: [Option<&[u8]>; 3] = [Some(b"A"), Some(b"A\t"), Some(b"A!")];
    assert_eq!(sorted(ColumnType::Bytes, padded, &texts), [1, 0, 2]);
    let plain = key(Direction::Ascending, Comparison::Bytes);
    assert_eq!(sorted(ColumnType::Bytes, plain, &texts), [0, 1, 2]);
}

#[test]
fn text_without_known_order_is_refused() {
    let by_type = key(Direction::Ascending, Comparison::ByType);
    assert!(Merger::new(&[by_type], &[ColumnType::Bytes], RowProtocol::Text, 1).is_err());
}

#[test]
fn hidden_columns_are_cut_off_in_both_protocols() {
    let by = [key(Direction::Ascending, Comparison::ByType)];
    let text = Merger::new(&by, &[ColumnType::Bytes, INTEGER], RowProtocol::Text, 1).unwrap();
    let mut out = Vec::new();
    text.strip_hidden(&row("abc", Some(b"7")), &mut out).unwrap();
    assert_eq!(out, b"\x03abc");
    let types = [ColumnType::Bytes, ColumnType::Date, INTEGER];
    let binary = Merger::new(&by, &types, RowProtocol::Binary, 1).unwrap();
    // The second column is NULL, the hidden one is 5.
    let row = [0, 0b1000, 2, b'h', b'i', 5, 0, 0, 0];
    out.clear();
    binary.strip_hidden(&row, &mut out).unwrap();
    assert_eq!(out, [0, 0b1000, 2, b'h', b'i']);
    assert_eq!(binary.sort_values(&row).unwrap(), SortValues(vec![Some(SortValue::Integer(5))]));
    assert!(binary.sort_values(&row[..7]).is_err());
}

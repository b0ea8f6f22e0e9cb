use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};

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

/// A binary row of a visible and a hidden integer.
fn binary_row(visible: i32, hidden: Option<i32>) -> Vec<u8> {
    let mut row = vec![0, if hidden.is_none() { 0b1000 } else { 0 }];
    row.extend_from_slice(&visible.to_le_bytes());
    row.extend(hidden.iter().flat_map(|value| value.to_le_bytes()));
    row
}

/// Small numbers, so that many are equal, and the ends of the type.
fn any_number() -> impl Strategy<Value = Option<i32>> {
    option::of(prop_oneof![-3..3_i32, any::<i32>()])
}

/// Merges sorted shards as the proxy does: the smallest head first, of equals the first shard's.
fn merged(merger: &Merger, shards: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    let key = |row: &Vec<u8>| merger.sort_values(row).unwrap();
    let mut next = vec![0; shards.len()];
    let mut out = Vec::new();
    loop {
        let heads = (0..shards.len()).filter(|&shard| next[shard] < shards[shard].len());
        let least = heads.min_by(|&one, &other| {
            merger.compare(&key(&shards[one][next[one]]), &key(&shards[other][next[other]]))
        });
        let Some(shard) = least else { return out };
        out.push(shards[shard][next[shard]].clone());
        next[shard] += 1;
    }
}

proptest! {
    #[test]
    fn rows_dealt_to_shards_and_merged_are_the_rows_sorted_whole(
        rows in vec((any_number(), 0..5_usize), 0..60),
        descending in any::<bool>(),
        binary in any::<bool>(),
    ) {
        let direction = if descending { Direction::Descending } else { Direction::Ascending };
        let protocol = if binary { RowProtocol::Binary } else { RowProtocol::Text };
        let by = [key(direction, Comparison::ByType)];
        let visible = if binary { INTEGER } else { ColumnType::Bytes };
        let merger = Merger::new(&by, &[visible, INTEGER], protocol, 1).unwrap();
        let encode = |place: usize, value: Option<i32>| match protocol {
            RowProtocol::Binary => binary_row(i32::try_from(place).unwrap(), value),
            RowProtocol::Text => row(&place.to_string(), value.map(|value| value.to_string().into_bytes()).as_deref()),
        };
        // NULL is the least value; `None` sorts so by itself.
        let order = |one: &Option<i32>, other: &Option<i32>| {
            if descending { other.cmp(one) } else { one.cmp(other) }
        };
        let mut shards = vec![Vec::new(); 5];
        for (place, (value, shard)) in rows.iter().enumerate() {
            shards[*shard].push((*value, encode(place, *value)));
        }
        let sorted = |mut shard: Vec<(Option<i32>, Vec<u8>)>| {
            shard.sort_by(|one, other| order(&one.0, &other.0));
            shard.into_iter().map(|(_, row)| row).collect::<Vec<_>>()
        };
        let all = merged(&merger, &shards.into_iter().map(sorted).collect::<Vec<_>>());
        let keys: Vec<SortValues> = all.iter().map(|row| merger.sort_values(row).unwrap()).collect();
        let mut expected: Vec<Option<i32>> = rows.iter().map(|(value, _)| *value).collect();
        expected.sort_by(order);
        let expected: Vec<SortValues> = expected
            .into_iter()
            .map(|value| SortValues(vec![value.map(|value| SortValue::Integer(value.into()))]))
            .collect();
        prop_assert_eq!(keys, expected);
        prop_assert_eq!(all.len(), rows.len());
    }

    #[test]
    fn any_bytes_are_a_row_or_none(bytes in vec(any::<u8>(), 0..60), binary in any::<bool>()) {
        let types = [ColumnType::Bytes, ColumnType::Time, ColumnType::Date, ColumnType::Decimal, ColumnType::Double, INTEGER];
        let protocol = if binary { RowProtocol::Binary } else { RowProtocol::Text };
        for hidden in 1..5_u16 {
            let keys: Vec<SortKey> =
                (0..hidden).map(|column| SortKey { column, ..key(Direction::Ascending, Comparison::ByType) }).collect();
            let merger = Merger::new(&keys, &types, protocol, hidden).unwrap();
            let mut out = Vec::new();
            if merger.strip_hidden(&bytes, &mut out).is_ok() {
                assert!(out.len() <= bytes.len());
            }
            if let Ok(values) = merger.sort_values(&bytes) {
                assert_eq!(merger.compare(&values, &values), std::cmp::Ordering::Equal);
            }
        }
    }
}

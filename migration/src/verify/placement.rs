//! Whether a row lies on the shard that routing names, asked in SQL where the shard function can be said in it.
//!
//! Pure.

use shardway_routing::function::ShardFunction;
use shardway_routing::key::KeyValue;
use shardway_routing::schema::{ColumnKind, Sign};
use shardway_routing::topology::{Layout, Placement, ShardId};

use crate::image::{ImageShape, quoted};

/// How a server tells whether a row of one node belongs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtHome {
    /// Every row does.
    Always,
    /// By a condition.
    Condition(String),
    /// It cannot; whoever knows the key's column can.
    ByKey { column: String },
}

/// The condition under which a row belongs on the node at `place`.
#[must_use]
pub fn at_home(placement: &Placement, shape: &ImageShape, place: usize) -> AtHome {
    let Placement::Sharded(layout) = placement else { return AtHome::Always };
    let column = shape.columns().iter().find(|(name, _)| name.eq_ignore_ascii_case(&layout.key));
    let condition = match column {
        Some((name, ColumnKind::Integer { sign, .. })) => condition(layout, &quoted(name), *sign, place),
        Some((name, ColumnKind::Date | ColumnKind::DateTime)) => days(layout, &quoted(name), place),
        _ => None,
    };
    match condition {
        // A NULL key belongs nowhere.
        Some(condition) => AtHome::Condition(format!("IFNULL({condition}, FALSE)")),
        None => AtHome::ByKey { column: layout.key.clone() },
    }
}

fn condition(layout: &Layout, column: &str, sign: Sign, place: usize) -> Option<String> {
    let integers = |values: &[&KeyValue]| -> Option<Vec<String>> {
        let integer = |value: &&KeyValue| match value {
            KeyValue::Integer(value) => Some(value.to_string()),
            KeyValue::Text(_) | KeyValue::Day(_) => None,
        };
        values.iter().map(integer).collect()
    };
    match &layout.function {
        ShardFunction::Mod { shards } => Some(match sign {
            Sign::Unsigned => format!("MOD({column}, {shards}) = {place}"),
            Sign::Signed => format!("MOD(MOD({column}, {shards}) + {shards}, {shards}) = {place}"),
        }),
        ShardFunction::Range { bounds } => {
            let bounds = integers(&bounds.iter().collect::<Vec<_>>())?;
            let low = place.checked_sub(1).map(|below| format!("{column} >= {}", bounds[below]));
            let high = bounds.get(place).map(|bound| format!("{column} < {bound}"));
            let terms: Vec<String> = low.into_iter().chain(high).collect();
            Some(if terms.is_empty() { format!("{column} IS NOT NULL") } else { terms.join(" AND ") })
        }
        ShardFunction::List { values, default, .. } => {
            let named: Vec<&KeyValue> = values.iter().map(|(value, _)| value).collect();
            let of_others: Vec<&KeyValue> =
                values.iter().filter(|(_, shard)| *shard as usize != place).map(|(value, _)| value).collect();
            let own: Vec<&KeyValue> =
                named.iter().copied().filter(|value| !of_others.contains(value)).collect();
            let takes_the_rest = default.is_some_and(|shard| shard as usize == place);
            let (verb, of) = if takes_the_rest { ("NOT IN", of_others) } else { ("IN", own) };
            let listed = integers(&of)?;
            Some(match (listed.is_empty(), takes_the_rest) {
                (true, true) => format!("{column} IS NOT NULL"),
                (true, false) => "FALSE".to_owned(),
                (false, _) => format!("{column} {verb} ({})", listed.join(", ")),
            })
        }
        ShardFunction::Slots { .. } | ShardFunction::Time { .. } => None,
    }
}

fn days(layout: &Layout, column: &str, place: usize) -> Option<String> {
    let (first, end) = layout.function.days(ShardId(u32::try_from(place).ok()?))?;
    let end = end.map(|end| format!(" AND {column} < '{end}'")).unwrap_or_default();
    Some(format!("{column} >= '{first}'{end}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shardway_routing::key::KeyType;
    use shardway_routing::schema::{Column, Generation, TableSchema};

    use super::*;

    fn said(function: ShardFunction, place: usize) -> AtHome {
        let kind = ColumnKind::Integer { bits: 64, sign: Sign::Signed };
        let column = Column {
            name: "id".into(),
            kind,
            nullable: false,
            generation: Generation::Stored,
            longest: None,
        };
        let schema = TableSchema { columns: vec![column], primary: vec!["id".into()], unique: Vec::new() };
        let layout = Layout {
            key: "ID".into(),
            key_type: KeyType::Integer,
            range: None,
            longest: None,
            function,
            nodes: Vec::new(),
            group: 0,
        };
        at_home(&Placement::Sharded(Arc::new(layout)), &ImageShape::of(&schema).unwrap(), place)
    }

    #[test]
    fn functions_are_said_in_sql_where_they_can_be() {
        let condition = |function, place| match said(function, place) {
            AtHome::Condition(condition) => condition,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            condition(ShardFunction::Mod { shards: 4 }, 3),
            "IFNULL(MOD(MOD(`id`, 4) + 4, 4) = 3, FALSE)"
        );
        let range = || ShardFunction::Range { bounds: [10, 20].map(KeyValue::Integer).into() };
        assert_eq!(condition(range(), 0), "IFNULL(`id` < 10, FALSE)");
        assert_eq!(condition(range(), 1), "IFNULL(`id` >= 10 AND `id` < 20, FALSE)");
        assert_eq!(condition(range(), 2), "IFNULL(`id` >= 20, FALSE)");
        let values = vec![(KeyValue::Integer(1), 0), (KeyValue::Integer(2), 1), (KeyValue::Integer(3), 1)];
        let list = |default| ShardFunction::List { values: values.clone(), shards: 3, default };
        assert_eq!(condition(list(None), 1), "IFNULL(`id` IN (2, 3), FALSE)");
        assert_eq!(condition(list(None), 2), "IFNULL(FALSE, FALSE)");
        assert_eq!(condition(list(Some(0)), 0), "IFNULL(`id` NOT IN (2, 3), FALSE)");
        assert_eq!(said(ShardFunction::hash(2), 0), AtHome::ByKey { column: "ID".into() });
    }
}

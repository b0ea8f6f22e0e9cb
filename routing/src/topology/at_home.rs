//! Whether a row belongs on a shard, said in SQL where the shard function can be.

use super::{Layout, ShardId};
use crate::function::ShardFunction;
use crate::key::KeyValue;
use crate::schema::{ColumnKind, Sign};

impl Layout {
    /// The condition under which a row belongs on a shard; `column` is the shard key's, quoted, of that kind. It is true
    /// or false for every row. `None`: no server can say it.
    #[must_use]
    pub fn at_home(&self, column: &str, kind: &ColumnKind, shard: ShardId) -> Option<String> {
        let condition = match kind {
            ColumnKind::Integer { sign, .. } => self.number(column, *sign, shard),
            ColumnKind::Date | ColumnKind::DateTime => self.days(column, shard),
            _ => None,
        };
        // A NULL key belongs nowhere.
        condition.map(|condition| format!("IFNULL({condition}, FALSE)"))
    }

    fn number(&self, column: &str, sign: Sign, shard: ShardId) -> Option<String> {
        let integers = |values: &[&KeyValue]| -> Option<Vec<String>> {
            let integer = |value: &&KeyValue| match value {
                KeyValue::Integer(value) => Some(value.to_string()),
                KeyValue::Text(_) | KeyValue::Day(_) => None,
            };
            values.iter().map(integer).collect()
        };
        let place = shard.0;
        match &self.function {
            ShardFunction::Mod { shards } => Some(match sign {
                Sign::Unsigned => format!("MOD({column}, {shards}) = {place}"),
                Sign::Signed => format!("MOD(MOD({column}, {shards}) + {shards}, {shards}) = {place}"),
            }),
            ShardFunction::Range { bounds } => {
                let bounds = integers(&bounds.iter().collect::<Vec<_>>())?;
                let place = place as usize;
                let low = place.checked_sub(1).map(|below| format!("{column} >= {}", bounds[below]));
                let high = bounds.get(place).map(|bound| format!("{column} < {bound}"));
                let terms: Vec<String> = low.into_iter().chain(high).collect();
                Some(if terms.is_empty() { format!("{column} IS NOT NULL") } else { terms.join(" AND ") })
            }
            ShardFunction::List { values, default, .. } => {
                let named: Vec<&KeyValue> = values.iter().map(|(value, _)| value).collect();
                let of_others: Vec<&KeyValue> =
                    values.iter().filter(|(_, shard)| *shard != place).map(|(value, _)| value).collect();
                let own: Vec<&KeyValue> =
                    named.iter().copied().filter(|value| !of_others.contains(value)).collect();
                let takes_the_rest = *default == Some(place);
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

    fn days(&self, column: &str, shard: ShardId) -> Option<String> {
        let (first, end) = self.function.days(shard)?;
        let end = end.map(|end| format!(" AND {column} < '{end}'")).unwrap_or_default();
        Some(format!("{column} >= '{first}'{end}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(function: ShardFunction, shard: u32) -> Option<String> {
        let layout = Layout::new("id".into(), function, Vec::new(), 0);
        layout.at_home("`id`", &ColumnKind::Integer { bits: 64, sign: Sign::Signed }, ShardId(shard))
    }

    #[test]
    fn functions_are_said_in_sql_where_they_can_be() {
        let condition = |function, shard| said(function, shard).unwrap();
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
        assert_eq!(said(ShardFunction::hash(2), 0), None);
    }
}

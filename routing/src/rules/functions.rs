//! Shard functions as the rules write them.

use super::check::Check;
use super::raw::RawFunction;
use crate::day::Unit;
use crate::document::nearest;
use crate::function::ShardFunction;
use crate::topology::ShardId;

impl Check<'_> {
    /// A function over that many nodes.
    pub(super) fn function(&self, raw: &RawFunction, nodes: usize, key: &str) -> Option<ShardFunction> {
        let key = &format!("{key}.function");
        let refuse = |message: String| {
            self.report(&raw.at, key, message);
            None
        };
        let Some(kind) = &raw.kind else { return refuse("`kind` is missing".to_owned()) };
        self.foreign_keys(raw, &kind.value, key);
        let shards = |check: &Check<'_>| {
            if raw.shards.is_none() {
                check.report(&raw.at, key, "`shards` is missing");
            }
            raw.shards
        };
        match kind.value.as_str() {
            "mod" => Some(ShardFunction::Mod { shards: shards(self)? }),
            "hash" => Some(ShardFunction::hash(shards(self)?)),
            "slots" => self.slots(raw, key),
            "range" => {
                let integers =
                    raw.bounds.iter().all(|bound| matches!(bound, crate::key::KeyValue::Integer(_)));
                let rising = raw.bounds.windows(2).all(|pair| pair[0] < pair[1]);
                if raw.bounds.is_empty() || !integers || !rising {
                    return refuse(
                        "`bounds` must be rising whole numbers, like [1000000, 2000000]".to_owned(),
                    );
                }
                Some(ShardFunction::Range { bounds: raw.bounds.clone().into() })
            }
            "list" => self.list(raw, key),
            "time" => self.time(raw, nodes, key),
            other => {
                let known = ["mod", "hash", "slots", "range", "list", "time"];
                let hint = nearest(other, &known)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                refuse(format!("there is no function `{other}`{hint}"))
            }
        }
    }

    /// What another kind of function would need.
    fn foreign_keys(&self, raw: &RawFunction, kind: &str, key: &str) {
        let of_kinds: [(&str, bool, &[&str]); 8] = [
            ("shards", raw.shards.is_some(), &["mod", "hash"]),
            ("slots", raw.slots.is_some(), &["slots"]),
            ("owners", !raw.owners.is_empty(), &["slots"]),
            ("bounds", !raw.bounds.is_empty(), &["range"]),
            ("values", !raw.values.is_empty(), &["list"]),
            ("default", raw.default.is_some(), &["list"]),
            ("unit", raw.unit.is_some(), &["time"]),
            ("from", raw.from.is_some(), &["time"]),
        ];
        let is_known = of_kinds.iter().any(|(_, _, kinds)| kinds.contains(&kind));
        for (name, is_given, kinds) in of_kinds {
            if is_given && is_known && !kinds.contains(&kind) {
                let message = format!("says nothing about a function of kind = \"{kind}\"");
                self.report(&raw.at, &format!("{key}.{name}"), message);
            }
        }
    }

    fn time(&self, raw: &RawFunction, nodes: usize, key: &str) -> Option<ShardFunction> {
        let (Some(name), Some(from)) = (&raw.unit, &raw.from) else {
            let why = "`unit` and `from` are needed: what one shard holds, and the first one of it";
            self.report(&raw.at, key, why);
            return None;
        };
        let Some((_, unit)) = Unit::NAMED.into_iter().find(|(known, _)| *known == name.value) else {
            let names = Unit::NAMED.map(|(known, _)| known).join(", ");
            self.report(&name.at, &format!("{key}.unit"), format!("`{}` is none of {names}", name.value));
            return None;
        };
        let Some(first) = unit.read(&from.value) else {
            let why = format!(
                "`{}` is no {}; it is written like \"{}\", from the year 1000 on",
                from.value,
                name.value,
                unit.example()
            );
            self.report(&from.at, &format!("{key}.from"), why);
            return None;
        };
        let function =
            ShardFunction::Time { unit, from: first, shards: u32::try_from(nodes).unwrap_or(u32::MAX) };
        if function.days(ShardId(function.shards().saturating_sub(1))).is_none() {
            self.report(&from.at, &format!("{key}.from"), "the last node is for a time after the year 9999");
            return None;
        }
        Some(function)
    }

    fn slots(&self, raw: &RawFunction, key: &str) -> Option<ShardFunction> {
        let slots = raw.slots.unwrap_or(4096);
        let mut owners = vec![u32::MAX; slots as usize];
        for (shard, (first, last)) in (0..).zip(&raw.owners) {
            for slot in *first..=*last {
                match owners.get_mut(slot as usize) {
                    Some(owner) if *owner == u32::MAX => *owner = shard,
                    _ => {
                        self.report(
                            &raw.at,
                            key,
                            format!("slot {slot} is owned twice, or is not below {slots}"),
                        );
                        return None;
                    }
                }
            }
        }
        if let Some(free) = owners.iter().position(|owner| *owner == u32::MAX) {
            self.report(&raw.at, key, format!("slot {free} has no owner"));
            return None;
        }
        Some(ShardFunction::Slots { owners: owners.into() })
    }

    fn list(&self, raw: &RawFunction, key: &str) -> Option<ShardFunction> {
        let shards = u32::try_from(raw.values.len()).unwrap_or(u32::MAX);
        let mut values = Vec::new();
        for (shard, of) in (0..).zip(&raw.values) {
            values.extend(of.iter().map(|value| (value.clone(), shard)));
        }
        let mut seen = std::collections::HashSet::new();
        if let Some((twice, _)) = values.iter().find(|(value, _)| !seen.insert(value.clone())) {
            self.report(&raw.at, key, format!("{twice} is listed twice"));
            return None;
        }
        if values.is_empty() || raw.default.is_some_and(|default| default >= shards) {
            self.report(
                &raw.at,
                key,
                "`values` lists the values of each shard; `default` is the number of one of them",
            );
            return None;
        }
        Some(ShardFunction::List { values, shards, default: raw.default })
    }
}

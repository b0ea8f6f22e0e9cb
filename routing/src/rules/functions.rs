//! Shard functions as the rules write them.

use super::check::Check;
use super::raw::RawFunction;
use crate::document::nearest;
use crate::function::ShardFunction;

impl Check<'_> {
    pub(super) fn function(&self, raw: &RawFunction, key: &str) -> Option<ShardFunction> {
        let key = &format!("{key}.function");
        let refuse = |message: String| {
            self.report(&raw.at, key, message);
            None
        };
        let Some(kind) = &raw.kind else { return refuse("`kind` is missing".to_owned()) };
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
            "time" => refuse("kind = \"time\" is not supported by this version".to_owned()),
            other => {
                let known = ["mod", "hash", "slots", "range", "list"];
                let hint = nearest(other, &known)
                    .map(|near| format!("; did you mean `{near}`?"))
                    .unwrap_or_default();
                refuse(format!("there is no function `{other}`{hint}"))
            }
        }
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

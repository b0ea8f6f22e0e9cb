//! The rules of a rehearsal: one move alone, its target on scratch databases. Pure.

use std::collections::{BTreeMap, BTreeSet};

use shardway_routing::topology::{DoubleWrite, Placement, Side, Tls, Topology};
use toml_edit::{Array, DocumentMut, Item, Table, value};

/// Names of servers have this many bytes at most.
const NAME_MAX: usize = 64;

/// A rule file for a rehearsal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rewritten {
    pub text: String,
    /// The move under which it runs, so that nothing of the real one is touched.
    pub name: String,
    /// A database of the target, on the scratch server.
    pub databases: BTreeSet<String>,
    /// A table and its shard key, to be asked for while it runs.
    pub probed: Option<(String, String, String)>,
    /// The mode of double write to rehearse: the operator's, where it is on.
    pub double_write: &'static str,
    /// The shares of reads to rehearse: the operator's schedule, where there is one. In percent.
    pub reads: Vec<f64>,
}

/// The operator's text with nothing but the move `name`: its targets are databases of their own on the server `scratch`,
/// its sources those of the rules, or the copies that `sources` names by backend: all of them, or none, since everything
/// but a copy is the operator's own. `steps` are those of the schedule, in hundredths of a percent.
pub(super) fn rewritten(
    text: &str,
    topology: &Topology,
    name: &str,
    scratch: &str,
    sources: &BTreeMap<String, String>,
    steps: Option<&[u16]>,
) -> Result<Rewritten, String> {
    let of = topology.moves.iter().find(|of| of.name == name);
    let of = of.ok_or_else(|| format!("the rule file has no [moves.{name}]"))?;
    let mut document: DocumentMut = text.parse().map_err(|error| format!("the rule file: {error}"))?;
    let mut rewritten = Rewritten {
        text: String::new(),
        name: format!("{name}_rehearsal"),
        databases: BTreeSet::new(),
        probed: None,
        double_write: mode(of.double_write),
        reads: steps.map_or_else(|| vec![1.0, 25.0, 100.0], percentages),
    };
    let mut kept = BTreeSet::new();
    let mut backends: BTreeMap<String, String> = BTreeMap::new();
    for id in &of.tables {
        let table = topology.table_of(*id);
        let logical = &topology.database_of(table.database).name;
        if let (Placement::Sharded(layout), None) = (&table.placement, &rewritten.probed) {
            rewritten.probed = Some((logical.clone(), table.name.clone(), layout.key.clone()));
        }
        for node in table.placement(Side::Source).nodes() {
            let backend = &topology.backend(node.backend).name;
            if !sources.is_empty() && !sources.contains_key(backend) {
                return Err(format!(
                    "rows of `{}` are on `{backend}` too: give --source {backend}=…",
                    table.name
                ));
            }
        }
        let mut nodes = Array::new();
        for node in table.placement(Side::Target).nodes() {
            let backend = &topology.backend(node.backend).name;
            let database =
                format!("{}_rehearsal_{backend}", topology.physical_database(node.backend, logical));
            if database.len() > NAME_MAX {
                return Err(format!("`{database}` is too long a name for a scratch database"));
            }
            let other = backends.insert(backend.clone(), database.clone());
            if other.is_some_and(|other| other != database) {
                return Err("a rehearsal needs a move within one logical database".into());
            }
            rewritten.databases.insert(database);
            nodes.push(format!("rehearsal_{backend}.{}", node.table));
        }
        let entry = entry(&document, logical, &table.name)?;
        document["tables"][&entry]["nodes"] = value(nodes);
        kept.insert(entry);
    }
    for (backend, database) in &backends {
        let mut section = Table::new();
        section["primary"] = value(format!("{}/{database}", scratch.trim_end_matches('/')));
        document["backends"][&format!("rehearsal_{backend}")] = Item::Table(section);
    }
    for (backend, url) in sources {
        let known = document["backends"].as_table_like_mut().filter(|known| known.contains_key(backend));
        let section = known.and_then(|known| known.get_mut(backend));
        let section = section.ok_or_else(|| format!("the rule file has no backend `{backend}`"))?;
        section["primary"] = value(url);
        if let Some(section) = section.as_table_like_mut() {
            section.remove("tls");
        }
    }
    // The rules of a rehearsal are in a folder of their own.
    for backend in topology.backends.iter().filter(|backend| !sources.contains_key(&backend.name)) {
        if let Tls::VerifyIdentity(ca) = &backend.primary.tls {
            document["backends"][&backend.name]["tls"]["ca"] = value(ca.display().to_string());
        }
    }
    only_this_move(&mut document, name, &rewritten.name, &kept);
    rewritten.text = document.to_string();
    Ok(rewritten)
}

fn mode(of: DoubleWrite) -> &'static str {
    match of {
        DoubleWrite::Off | DoubleWrite::Sync => "sync",
        DoubleWrite::Strict => "strict",
        DoubleWrite::Async => "async",
    }
}

/// Hundredths as percent; the switch needs all reads on the target.
fn percentages(steps: &[u16]) -> Vec<f64> {
    let last = steps.last().filter(|last| **last < 10_000).map(|_| 100.0);
    steps.iter().map(|step| f64::from(*step) / 100.0).chain(last).collect()
}

/// The key of a table in the file: with its database or without.
fn entry(document: &DocumentMut, database: &str, table: &str) -> Result<String, String> {
    let tables = document["tables"].as_table_like();
    let is_it = |key: &str| {
        let (of, bare) = key.rsplit_once('.').map_or((None, key), |(of, bare)| (Some(of), bare));
        bare.eq_ignore_ascii_case(table) && of.is_none_or(|of| of == database)
    };
    let mut keys = tables.into_iter().flat_map(|tables| tables.iter().map(|(key, _)| key.to_owned()));
    keys.find(|key| is_it(key)).ok_or_else(|| format!("the rule file has no [tables.{table}]"))
}

fn only_this_move(document: &mut DocumentMut, name: &str, rehearsed: &str, kept: &BTreeSet<String>) {
    if let Some(tables) = document["tables"].as_table_like_mut() {
        let others: Vec<String> =
            tables.iter().map(|(key, _)| key.to_owned()).filter(|key| !kept.contains(key)).collect();
        for other in others {
            tables.remove(&other);
        }
    }
    let mut moves = Table::new();
    moves.set_implicit(true);
    if let Some(mut of) = document["moves"].as_table_like_mut().and_then(|moves| moves.remove(name)) {
        for key in ["schedule", "shadow_reads", "history", "functions"] {
            if let Some(of) = of.as_table_like_mut() {
                of.remove(key);
            }
        }
        of["double_write"] = value("off");
        of["reads"] = value(0);
        of["writes"] = value("source");
        moves.insert(rehearsed, of);
    }
    document["moves"] = Item::Table(moves);
    document.remove("alerts");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::rule_file;

    const RULES: &str = r#"
[backends.legacy]
primary = "mysql://u:p@h:1/shop"
[backends.s0]
primary = "mysql://u:p@h:2/shop"
[backends.s1]
primary = "mysql://u:p@h:3/shop"
[databases.shop]
default = "legacy"
[tables.users]   # the people
shard_key = "id"
function = { kind = "mod", shards = 2 }
nodes = "s{0..1}"
[tables."shop.orders"]
shard_key = "user_id"
with = "users"
nodes = "s{0..1}"
[tables.regions]
kind = "broadcast"
nodes = "s{0..1}"
[moves.shop]
tables = ["users", "orders"]
from = "legacy"
double_write = "sync"
reads = 25
[moves.shop.copy]
rows = 500
[[alerts]]
when = "missing_rows > 0"
"#;

    fn rehearsal(name: &str, sources: &[(&str, &str)]) -> Result<Rewritten, String> {
        let (topology, _) = rule_file::load(std::path::Path::new("rules.toml"), RULES, 1).unwrap();
        let sources = sources.iter().map(|(name, url)| ((*name).to_owned(), (*url).to_owned())).collect();
        rewritten(RULES, &topology, name, "mysql://x:y@scratch:9", &sources, Some(&[50, 5_000]))
    }

    #[test]
    fn only_the_scratch_server_is_a_target_and_everything_else_of_the_move_stays() {
        let rewritten = rehearsal("shop", &[("legacy", "mysql://u:p@copy:7/shop")]).unwrap();
        let (topology, settings) =
            rule_file::load(std::path::Path::new("rules.toml"), &rewritten.text, 1).unwrap();
        let [of] = topology.moves.as_slice() else { panic!("one move") };
        assert_eq!((of.name.as_str(), of.reads), ("shop_rehearsal", 0));
        for id in &of.tables {
            let table = topology.table_of(*id);
            for node in table.placement(Side::Target).nodes() {
                assert_eq!(topology.backend(node.backend).primary.host, "scratch");
            }
            for node in table.placement(Side::Source).nodes() {
                assert_eq!(topology.backend(node.backend).primary.host, "copy");
            }
        }
        assert_eq!(topology.tables.len(), 2);
        assert_eq!(settings.moves["shop_rehearsal"].copy.rows, 500);
        assert_eq!((rewritten.double_write, &rewritten.reads), ("sync", &vec![0.5, 50.0, 100.0]));
        assert_eq!(Vec::from_iter(&rewritten.databases), ["shop_rehearsal_s0", "shop_rehearsal_s1"]);
        assert!(rewritten.text.contains("# the people"));
    }

    #[test]
    fn a_move_or_a_backend_that_is_not_there_is_told() {
        assert!(rehearsal("other", &[]).unwrap_err().contains("no [moves.other]"));
        let with = |other| [("legacy", "mysql://u@h:1/d"), other];
        let why = rehearsal("shop", &with(("s9", "mysql://u@h:1/d"))).unwrap_err();
        assert!(why.contains("no backend `s9`"), "{why}");
        // What is no copy is the operator's own source, and would be written.
        let why = rehearsal("shop", &[("s0", "mysql://u@h:1/d")]).unwrap_err();
        assert!(why.contains("--source legacy="), "{why}");
    }
}

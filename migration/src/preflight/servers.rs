//! What speaks against the servers of a move.

use std::collections::BTreeSet;

use shardway_routing::topology::{Seen, Side};

use super::estimate::{Estimate, TargetEstimate, size};
use super::facts::{Facts, Flavour, Follows, Prepared, ServerFacts};
use super::finding::{self as kind, Finding};

/// Statements of the engine are never longer than this by design, where rows allow it.
const PACKET_MIN: u64 = 4 << 20;
/// How many times the copy's estimated duration the binary log must be kept, and never less than the floor.
const RETENTION_FACTOR: u64 = 3;
const RETENTION_MIN_S: u64 = 3600;

/// What the engine does in every database of a move: to the tables, to those of its own, and to see what surrounds them.
const ON_DATABASES: [&str; 12] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "ALTER",
    "DROP",
    "INDEX",
    "LOCK TABLES",
    "TRIGGER",
    "EVENT",
    "SHOW VIEW",
];

pub(super) fn findings(facts: &Facts, estimate: &Estimate) -> Vec<Finding> {
    let mut findings = Vec::new();
    for server in &facts.servers {
        let is_seen_by_log = |side| server.is(side) && facts.capture.seen(side) == Seen::ByLog;
        if is_seen_by_log(Side::Source) {
            findings.extend(binlog(server));
            findings.extend(retention(server, estimate));
        }
        if !server.is(Side::Source) && is_seen_by_log(Side::Target) {
            findings.extend(way_back(server));
        }
        if server.is(Side::Source) {
            findings.extend(prepared(server));
        }
        if [Side::Source, Side::Target].into_iter().any(is_seen_by_log) {
            findings.extend(unseen_replication(server));
        }
        findings.extend(grants(server, facts));
        findings.extend(read_only(server));
        if server.is(Side::Target) {
            let unknown = facts.tuned.iter().filter(|name| !server.variables.contains_key(name.as_str()));
            findings.extend(unknown.map(|name| kind::TUNE_UNKNOWN.of(&server.backend, format!("`{name}`"))));
        }
    }
    findings.extend(packets(facts));
    findings.extend(disks(facts, estimate));
    findings.extend(differing(facts));
    findings
}

/// What keeps the servers of a side from having the authority, or from giving it back: the fence asks them for prepared
/// transactions.
pub(super) fn of_authority(facts: &Facts, side: Side) -> Vec<Finding> {
    let mut findings = Vec::new();
    for server in facts.servers.iter().filter(|server| server.is(side)) {
        if facts.capture.seen(side) == Seen::ByLog {
            findings.extend(way_back(server));
            findings.extend(unseen_replication(server));
            findings.extend(grant_everywhere(server, facts));
        }
        if let Prepared::Unknown(_) = server.prepared {
            findings.extend(prepared(server));
        }
        findings.extend(read_only(server));
    }
    findings
}

fn binlog(server: &ServerFacts) -> Vec<Finding> {
    let on = &server.backend;
    if server.variable("log_bin") != "on" {
        return vec![kind::BINLOG_OFF.of(on, "log_bin is OFF")];
    }
    let is = |name: &str| format!("{name} is {}", server.variable(name).to_uppercase());
    let mut findings = Vec::new();
    let format = server.variable("binlog_format");
    // Servers without that variable know no other format.
    if !matches!(format.as_str(), "row" | "") {
        findings.push(kind::BINLOG_FORMAT.of(on, is("binlog_format")));
    }
    if !matches!(server.variable("binlog_row_image").as_str(), "full" | "") {
        findings.push(kind::BINLOG_IMAGE.of(on, is("binlog_row_image")));
    }
    if server.variable("binlog_row_value_options").contains("partial_json") {
        findings.push(kind::PARTIAL_JSON.of(on, is("binlog_row_value_options")));
    }
    if server.variable("log_bin_compress") == "on" {
        findings.push(kind::BINLOG_COMPRESSED.of(on, is("log_bin_compress")));
    }
    if server.variable("binlog_transaction_compression") == "on" {
        findings.push(kind::TRANSACTIONS_COMPRESSED.of(on, is("binlog_transaction_compression")));
    }
    if server.variable("binlog_order_commits") == "off" {
        findings.push(kind::COMMIT_ORDER.of(on, is("binlog_order_commits")));
    }
    if server.number("server_id") == Some(0) {
        findings.push(kind::SERVER_ID.of(on, "server_id is 0"));
    }
    if let Some((only, without)) = &server.filters
        && !(only.is_empty() && without.is_empty())
    {
        findings.push(kind::BINLOG_FILTERED.of(on, format!("only `{only}`, without `{without}`")));
    }
    findings.extend(unlogged(server));
    findings
}

/// Has its log what it is told by other servers?
fn logs_updates(server: &ServerFacts) -> bool {
    ["log_slave_updates", "log_replica_updates"].iter().any(|name| server.variable(name) == "on")
}

/// What others have written reaches neither a stream nor the other side.
fn unlogged(server: &ServerFacts) -> Option<Finding> {
    let mut peers = match &server.follows {
        Follows::These(peers) => peers.clone(),
        Follows::Unknown(_) => Vec::new(),
    };
    if server.variable("wsrep_on") == "on" {
        peers.push("its Galera cluster".to_owned());
    }
    (!peers.is_empty() && !logs_updates(server)).then(|| {
        let found = format!("log_slave_updates is OFF, and it replicates from {}", peers.join(", "));
        kind::REPLICA_UNLOGGED.of(&server.backend, found)
    })
}

/// A server that logs what it replicates need not tell from whom.
fn unseen_replication(server: &ServerFacts) -> Option<Finding> {
    let Follows::Unknown(said) = &server.follows else { return None };
    let privilege = match server.flavour {
        Flavour::MariaDb => "SLAVE MONITOR",
        Flavour::MySql => "REPLICATION CLIENT",
    };
    (!logs_updates(server)).then(|| {
        let found = format!("GRANT {privilege} ON *.* TO {} ({said})", server.user);
        kind::GRANTS.of(&server.backend, found)
    })
}

fn retention(server: &ServerFacts, estimate: &Estimate) -> Option<Finding> {
    let days: f64 =
        server.variables.get("expire_logs_days").and_then(|days| days.parse().ok()).unwrap_or(0.0);
    let from_days = std::time::Duration::try_from_secs_f64(days * 86_400.0).map_or(0, |kept| kept.as_secs());
    let seconds = server.number("binlog_expire_logs_seconds").unwrap_or(0);
    let kept_s = if seconds > 0 { seconds } else { from_days };
    let needed_s = (RETENTION_FACTOR * estimate.copy_s).max(RETENTION_MIN_S);
    let purges =
        server.variable("log_bin") == "on" && server.variable("binlog_expire_logs_auto_purge") != "off";
    // Zero keeps everything.
    (purges && kept_s > 0 && kept_s < needed_s).then(|| {
        let found = format!(
            "it is kept for {kept_s} s, the copy takes about {} s, and {needed_s} s should be kept",
            estimate.copy_s
        );
        kind::BINLOG_SHORT.of(&server.backend, found)
    })
}

fn way_back(server: &ServerFacts) -> Option<Finding> {
    let found: Vec<String> = binlog(server)
        .into_iter()
        .filter(|finding| finding.id != kind::TRANSACTIONS_COMPRESSED.id)
        .map(|finding| finding.found)
        .collect();
    (!found.is_empty()).then(|| kind::NO_WAY_BACK.of(&server.backend, found.join(", ")))
}

fn prepared(server: &ServerFacts) -> Option<Finding> {
    match &server.prepared {
        Prepared::Count(0) => None,
        Prepared::Count(count) => Some(kind::PREPARED_XA.of(&server.backend, format!("{count} of them"))),
        Prepared::Unknown(said) => {
            let found =
                format!("GRANT XA_RECOVER_ADMIN ON *.* TO {} (XA RECOVER answers: {said})", server.user);
            Some(kind::GRANTS.of(&server.backend, found))
        }
    }
}

fn grants(server: &ServerFacts, facts: &Facts) -> Vec<Finding> {
    let mut lacking: Vec<String> = Vec::new();
    for database in &server.databases {
        let not = |privilege: &&&str| !server.grants.on(database, privilege);
        let names: Vec<&str> = ON_DATABASES.iter().filter(not).copied().collect();
        if !names.is_empty() {
            lacking.push(format!("GRANT {} ON `{database}`.* TO {}", names.join(", "), server.user));
        }
    }
    let lacking = lacking.into_iter().map(|grant| kind::GRANTS.of(&server.backend, grant));
    lacking.chain(grant_everywhere(server, facts)).collect()
}

fn grant_everywhere(server: &ServerFacts, facts: &Facts) -> Option<Finding> {
    let not = |any: &&&[&str]| !any.iter().any(|privilege| server.grants.everywhere(privilege));
    let names: Vec<&str> = on_everything(server, facts).iter().filter(not).map(|any| any[0]).collect();
    let grant = || format!("GRANT {} ON *.* TO {}", names.join(", "), server.user);
    (!names.is_empty()).then(|| kind::GRANTS.of(&server.backend, grant()))
}

/// Privileges that belong to no database; any one of each list will do, and the first is the least.
fn on_everything(server: &ServerFacts, facts: &Facts) -> Vec<&'static [&'static str]> {
    let mut needed: Vec<&[&str]> = Vec::new();
    if server.sides.iter().any(|side| facts.capture.seen(*side) == Seen::ByLog) {
        needed.push(&["REPLICATION SLAVE"]);
        needed.push(match server.flavour {
            Flavour::MariaDb => &["BINLOG MONITOR", "REPLICATION CLIENT"],
            Flavour::MySql => &["REPLICATION CLIENT"],
        });
    }
    if server.flavour == Flavour::MySql {
        // Sessions that write images count their warnings, and MySQL guards `max_error_count`.
        needed.push(&["SESSION_VARIABLES_ADMIN", "SYSTEM_VARIABLES_ADMIN", "SUPER"]);
    }
    if server.is(Side::Target) {
        for parameter in &facts.tuned {
            let any = to_set(server, parameter);
            if !needed.contains(&any) {
                needed.push(any);
            }
        }
    }
    needed
}

/// What lets a user set a parameter for the whole server.
fn to_set(server: &ServerFacts, parameter: &str) -> &'static [&'static str] {
    let is_of_the_log = matches!(parameter, "sync_binlog" | "binlog_expire_logs_seconds");
    match server.flavour {
        Flavour::MySql => &["SYSTEM_VARIABLES_ADMIN", "SUPER"],
        // From its version 11 on, SUPER is no longer all that it was before.
        Flavour::MariaDb if is_of_the_log && server.major() >= 11 => &["BINLOG ADMIN"],
        Flavour::MariaDb if is_of_the_log => &["BINLOG ADMIN", "SUPER"],
        Flavour::MariaDb => &["SUPER"],
    }
}

fn read_only(server: &ServerFacts) -> Option<Finding> {
    let set = ["read_only", "super_read_only"].into_iter().find(|name| server.variable(name) == "on")?;
    Some(kind::READ_ONLY.of(&server.backend, format!("{set} is ON")))
}

fn packets(facts: &Facts) -> Vec<Finding> {
    let packet = |server: &ServerFacts| server.number("max_allowed_packet").unwrap_or(0);
    let source = facts.servers.iter().filter(|server| server.is(Side::Source)).map(packet).max().unwrap_or(0);
    let rows = facts.tables.iter().filter_map(|table| table.model()).map(|model| model.size.row_bytes_max);
    // Every byte may need another that escapes it.
    let longest = rows.max().unwrap_or(0).saturating_mul(2);
    let mut findings = Vec::new();
    for server in facts.servers.iter().filter(|server| server.is(Side::Target)) {
        let has = packet(server);
        if has < PACKET_MIN {
            let found = format!("it is {has} bytes, and {PACKET_MIN} are needed");
            findings.push(kind::PACKET_SMALL.of(&server.backend, found));
        } else if has < source && has < longest {
            let found = format!(
                "it is {has} bytes, the source's is {source}, and the columns allow rows of that size"
            );
            findings.push(kind::PACKET_SMALL.of(&server.backend, found));
        }
    }
    findings
}

/// What goes to several backends of one server fills one disk.
fn disks(facts: &Facts, estimate: &Estimate) -> Vec<Finding> {
    let address = |backend: &str| {
        let server = facts.servers.iter().find(|server| server.backend == backend);
        server.map(|server| server.address.as_str())
    };
    let finding = |target: &TargetEstimate| {
        let beside = |other: &&TargetEstimate| address(&other.backend) == address(&target.backend);
        let together: Vec<&TargetEstimate> = estimate.targets.iter().filter(beside).collect();
        let needed = together.iter().map(|target| target.bytes).sum();
        let names: Vec<&str> = together.iter().map(|target| target.backend.as_str()).collect();
        let of = if names.len() > 1 { format!(" by {} together", names.join(", ")) } else { String::new() };
        match target.disk_free_bytes {
            Some(free) if free < needed => {
                let found = format!("{} are free, about {} are needed{of}", size(free), size(needed));
                Some(kind::DISK_SMALL.of(&target.backend, found))
            }
            Some(_) => None,
            None => {
                let found = format!("about {} are needed{of}", size(needed));
                Some(kind::DISK_UNKNOWN.of(&target.backend, found))
            }
        }
    };
    estimate.targets.iter().filter_map(finding).collect()
}

fn differing(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(source) = facts.servers.iter().find(|server| server.is(Side::Source)) else { return findings };
    for server in facts.servers.iter().filter(|server| server.backend != source.backend) {
        if server.flavour != source.flavour {
            let found = format!("{} is {}, this is {}", source.backend, source.version, server.version);
            findings.push(kind::MIXED_FLAVOURS.of(&server.backend, found));
        }
        let (here, there) =
            (server.variable("lower_case_table_names"), source.variable("lower_case_table_names"));
        if here != there {
            let found = format!("lower_case_table_names is {here}, on {} it is {there}", source.backend);
            findings.push(kind::NAME_CASE.of(&server.backend, found));
        }
        let (here, there) = (modes(server), modes(source));
        if here != there {
            let differ: Vec<&str> = here.symmetric_difference(&there).map(String::as_str).collect();
            let found = format!("{} and this differ in {}", source.backend, differ.join(", "));
            findings.push(kind::SQL_MODE.of(&server.backend, found));
        }
    }
    findings
}

fn modes(server: &ServerFacts) -> BTreeSet<String> {
    let all = server.variable("sql_mode").to_uppercase();
    all.split(',').filter(|mode| !mode.is_empty()).map(str::to_owned).collect()
}

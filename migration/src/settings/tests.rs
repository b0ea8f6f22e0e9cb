use proptest::prelude::{any, prop, proptest};

use super::metric::Metric;
use super::*;

fn of(text: &str) -> Settings {
    load(text).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"))
}

fn problems(text: &str) -> Vec<String> {
    load(text).expect_err(text).iter().map(ToString::to_string).collect()
}

/// The settings of a move with these lines.
fn moved(lines: &str) -> MoveSettings {
    of(&format!("[moves.shop]\ntables = [\"users\", \"orders\"]\n{lines}")).moves["shop"].clone()
}

/// The only problem of a move with these lines, without its line number.
fn problem(lines: &str) -> String {
    let problems = problems(&format!("[moves.shop]\ntables = [\"users\", \"orders\"]\n{lines}"));
    let [problem] = problems.as_slice() else { panic!("{lines}: {problems:?}") };
    let text = problem.split_once(": ").map_or(problem.as_str(), |(_, text)| text);
    text.to_owned()
}

fn alert(lines: &str) -> AlertRule {
    of(&format!("[[alerts]]\n{lines}")).alerts.remove(0)
}

#[test]
fn a_file_that_says_nothing_has_the_defaults() {
    assert_eq!(moved(""), MoveSettings::default());
    assert_eq!(of(""), Settings::default());
    let copy = CopySettings::default();
    assert_eq!((copy.rows, copy.max_bytes, copy.parallel, copy.pause_ms), (2_000, 1_048_576, 4, 0));
}

#[test]
fn every_key_of_a_copy_is_read() {
    let copy = moved(
        "copy = { rows = 500, max_bytes = \"256 KiB\", parallel = 2, pause_ms = \"1 s\", order = \"desc\", \
         column = \"placed_at\", since = \"2024-01-01\", until = \"2024-07-01 12:00:00\", locking = false, \
         compress = true, indexes = \"after_copy\", where = { orders = \"status <> 'closed'\" } }",
    )
    .copy;
    assert_eq!((copy.rows, copy.max_bytes, copy.parallel, copy.pause_ms), (500, 262_144, 2, 1_000));
    assert_eq!((copy.order, copy.locks), (Order::Descending, Locks::None));
    let locking = moved("copy = { locking = true, order = \"asc\" }").copy;
    assert_eq!((locking.locks, locking.parallel), (Locks::Share, 1));
    assert_eq!((copy.wire, copy.indexes), (Wire::Compressed, Indexes::AfterCopy));
    let span = copy.span.unwrap();
    assert_eq!((span.column.as_str(), span.since.as_deref()), ("placed_at", Some("2024-01-01")));
    assert_eq!(copy.predicates["orders"], "status <> 'closed'");
    assert_eq!(moved("copy.where = \"id > 7\"").copy.predicates[""], "id > 7");
    assert_eq!(moved("copy.max_bytes = 65536").copy.max_bytes, 65_536);
}

#[test]
fn every_key_of_a_cleanup_is_read() {
    let cleanup = moved("cleanup = { grace = \"2 d\", rows = 50, pause_ms = 7 }").cleanup;
    assert_eq!((cleanup.grace.as_secs(), cleanup.rows, cleanup.pause_ms), (172_800, 50, 7));
    assert_eq!(moved("").cleanup.grace.as_secs(), 7 * 86_400);
    assert!(problem("cleanup.grace = 7").contains("cleanup.grace: must be a text like"));
}

#[test]
fn every_other_section_is_read() {
    let of = moved(
        "waive = [\"PF209\", \"view:users\"]\n\
         apply = { parallel = 8, batch_rows = 100, batch_bytes = \"1 MiB\", overlap = \"5 min\", every = \"500 ms\" }\n\
         throttle = { replica_lag_s = 2.5, threads_running = 50, history_length = 100000, latency_ms = \"20 ms\", \
         disk_free_percent = \"10 %\", check_url = \"http://h:1/go\", min_rows_per_s = 1000, windows = [\"22:00-06:00\"] }\n\
         tune = { innodb_flush_log_at_trx_commit = \"2\", innodb_io_capacity = 4000, sync_binlog = 0 }\n\
         verify = { sample = 100, threshold = \"0.5 %\", parallel = 2, group_by = { orders = [\"status\"] } }\n\
         repair = { cap = 7 }\n\
         [[moves.shop.assert]]\nname = \"total\"\nsql = \"SELECT SUM(amount) FROM orders\"\n\
         [[moves.shop.baseline]]\nsql = \"with a as (select 1) select * from a\"\nratio_max = 2\n\
         [[moves.shop.baseline]]\nsql = \"SELECT 1\"\n",
    );
    assert_eq!(of.waive, ["PF209", "view:users"]);
    assert!(problem("waive = [\"binlog_off\"]").contains("`binlog_off` cannot be waived: start it"));
    assert_eq!(
        of.apply,
        ApplySettings {
            parallel: 8,
            batch_rows: 100,
            batch_bytes: 1 << 20,
            overlap: Duration::from_secs(300),
            every: Duration::from_millis(500),
        }
    );
    let expected = Throttle {
        replica_lag_s: Some(2.5),
        threads_running: Some(50),
        history_length: Some(100_000),
        latency_ms: Some(20.0),
        disk_free_percent: Some(10.0),
        min_rows_per_s: Some(1000.0),
        check_url: Some("http://h:1/go".to_owned()),
        windows: vec![Window::parse("22:00-06:00").unwrap()],
    };
    assert_eq!(of.throttle, expected);
    assert_eq!(of.tune["innodb_io_capacity"], "4000");
    assert_eq!((of.verify.sample, of.verify.threshold_percent, of.verify.parallel), (100, 0.5, 2));
    assert_eq!(of.verify.group_by["orders"], ["status"]);
    assert_eq!((of.repair.cap, of.asserts[0].name.as_str()), (7, "total"));
    let ratios: Vec<f64> = of.baselines.iter().map(|baseline| baseline.ratio_max).collect();
    assert_eq!(ratios, [2.0, 1.5]);
}

#[test]
fn every_problem_of_a_copy_names_its_key() {
    let cases = [
        ("copy.rows = 0", "moves.shop.copy.rows: 0 is not between 1 and 50000"),
        ("copy.row = 10", "moves.shop.copy.row: unknown key; did you mean `rows`?"),
        ("copy.max_bytes = \"1 GiB\"", "moves.shop.copy.max_bytes: 1 GiB is not between 4 KiB and 64 MiB"),
        (
            "copy.max_bytes = \"1 s\"",
            "moves.shop.copy.max_bytes: must be a number or a text like 512 KiB or 10 MiB",
        ),
        ("copy.indexes = \"later\"", "moves.shop.copy.indexes: `later` is none of now, after_copy"),
        ("copy.locking = \"yes\"", "moves.shop.copy.locking: must be true or false, not a text"),
        (
            "copy = { locking = true, parallel = 2 }",
            "moves.shop.copy.parallel: cannot be beside `locking`, which copies one page at a time and upwards",
        ),
        (
            "copy = { locking = true, order = \"desc\" }",
            "moves.shop.copy.order: cannot be beside `locking`, which copies one page at a time and upwards",
        ),
        (
            "copy.where = { user = \"id > 7\" }",
            "moves.shop.copy.where.user: is not a table of this move, whose tables are orders, users",
        ),
        (
            "copy.since = \"2024-01-01\"",
            "moves.shop.copy.column: is missing: of which column are `since` and `until`?",
        ),
        (
            "copy = { column = \"c\", since = \"2024-01-02\", until = \"2024-01-01\" }",
            "moves.shop.copy.until: must be later than `since`",
        ),
        (
            "copy = { column = \"c\", since = 2024-01-02 }",
            "moves.shop.copy.since: must be text in quotes, not a date",
        ),
        ("copy.column = \"c\"", "moves.shop.copy.column: chooses nothing without `since` or `until`"),
    ];
    for (lines, expected) in cases {
        assert_eq!(problem(lines), expected, "{lines}");
    }
}

#[test]
fn every_problem_of_the_other_sections_names_its_key() {
    let cases = [
        (
            "throttle.windows = [\"22-06\"]",
            "moves.shop.throttle.windows: `22-06` is not a time of the day like \"22:00-06:00\" (UTC)",
        ),
        (
            "throttle.check_url = \"ftp://h/\"",
            "moves.shop.throttle.check_url: must be an address like \"https://checks.example/path\", or with http",
        ),
        (
            "throttle.threads = 3",
            "moves.shop.throttle.threads: unknown key; known here: replica_lag_s, \
          threads_running, history_length, latency_ms, disk_free_percent, min_rows_per_s, check_url, windows",
        ),
        (
            "tune.innodb_doublewrite = 0",
            "moves.shop.tune.innodb_doublewrite: a move does not set `innodb_doublewrite`: a crash without it tears pages",
        ),
        (
            "tune.sync_binlog = \"1, b\"",
            "moves.shop.tune.sync_binlog: `1, b` is no value for `sync_binlog`: write a number, ON or OFF",
        ),
        (
            "tune.innodb_io_capacity = [1]",
            "moves.shop.tune.innodb_io_capacity: must be a text or a number, not a list",
        ),
        (
            "waive = [\"PF2\"]",
            "moves.shop.waive: `PF2` is no finding of the preflight; docs/preflight.md lists them",
        ),
        ("verify.threshold = 101", "moves.shop.verify.threshold: 101 % is not between 0 % and 100 %"),
        (
            "verify.group_by.orders = \"status\"",
            "moves.shop.verify.group_by.orders: must be a list of columns like [\"status\"]",
        ),
        (
            "[[moves.shop.assert]]\nname = \"a\"\nsql = \"DELETE FROM orders\"",
            "moves.shop.assert[0].sql: must be a SELECT: it runs on both sides and may change neither",
        ),
        ("[[moves.shop.assert]]\nsql = \"SELECT 1\"", "moves.shop.assert[0]: `name` is missing"),
        ("[[moves.shop.baseline]]\nratio_max = 2", "moves.shop.baseline[0]: `sql` is missing"),
    ];
    for (lines, expected) in cases {
        assert_eq!(problem(lines), expected, "{lines}");
    }
}

#[test]
fn problems_come_in_the_order_of_the_file_with_their_lines() {
    let text =
        "[moves.a]\ncopy.rows = 0\nrepair.cap = -1\n[[alerts]]\nwhen = \"sync_delay > 1\"\nlevel = \"red\"\n";
    let expected = [
        "line 2: moves.a.copy.rows: 0 is not between 1 and 50000",
        "line 3: moves.a.repair.cap: -1 is not between 0 and 1000000",
        "line 5: alerts[0].when: sync_delay is compared with a value like 30 s, 5 min or 2 h, not `1`",
        "line 6: alerts[0].level: `red` is none of warning, critical",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn an_alert_is_read() {
    let rule = alert(
        "when = \"progress_speed < 1000 records/minute\"\nfor = \"30 s\"\nlevel = \"critical\"\nmessage = \"slow\"\n\
         actions = [\"log\", \"pause\", { webhook = \"https://h/hook\" }]",
    );
    assert_eq!((rule.when.metric, rule.when.comparison), (Metric::ProgressSpeed, Comparison::Less));
    assert!((rule.when.bound - 1000.0 / 60.0).abs() < 1e-9);
    assert_eq!((rule.hold_ms, rule.level, rule.message.as_str()), (30_000, Level::Critical, "slow"));
    assert_eq!(rule.actions, [Action::Log, Action::Pause, Action::Webhook("https://h/hook".to_owned())]);
    let rule = alert("when = \"missing_records>=1\"");
    assert_eq!((rule.when.metric, rule.when.comparison), (Metric::MissingRows, Comparison::GreaterOrEqual));
    assert_eq!((rule.message.as_str(), rule.hold_ms), ("missing_records>=1", 0));
    assert_eq!(rule.actions, [Action::Log]);
}

#[test]
fn every_alert_of_the_product_is_understood() {
    for when in [
        "progress_speed < 1000 records/minute",
        "no_progress_for > 5 minutes",
        "sync_delay > 60 s",
        "data_inconsistency_rate > 0.1%",
        "missing_records > 0",
        "dirty_age > 10 min",
        "dirty_keys > 1000",
        "cpu_usage > 90%",
        "disk_space < 10%",
        "apply_rate < 10 changes/s",
        "error_rate > 1 errors/min",
    ] {
        Condition::parse(when).unwrap_or_else(|error| panic!("{when}: {error}"));
    }
}

#[test]
fn an_unknown_metric_is_told_with_the_known_ones() {
    let near = Condition::parse("sync_dealy > 60 s").unwrap_err();
    assert!(
        near.starts_with("`sync_dealy` is no metric; did you mean `sync_delay`? Known are progress_speed, "),
        "{near}"
    );
    let far = Condition::parse("temperature > 60 s").unwrap_err();
    assert!(
        far.starts_with("`temperature` is no metric; known are ")
            && far.ends_with("shadow_mismatches, failed, stream_away_for"),
        "{far}"
    );
}

#[test]
fn units_are_checked_for_each_metric() {
    for when in
        ["cpu_usage > 90", "cpu_usage > 101 %", "sync_delay > 60 %", "missing_rows > 1 s", "sync_delay"]
    {
        assert!(Condition::parse(when).is_err(), "{when}");
    }
    let form =
        |lines: &str| problems(&format!("[[alerts]]\nwhen = \"missing_rows > 0\"\n{lines}")).join("; ");
    assert!(form("for = 30").contains("alerts[0].for: must be a text like 50 ms or 2 s"));
    assert!(form("actions = [\"mail\"]").contains("`mail` is none of log, pause"));
    assert!(form("actions = [{ webhok = \"http://h\" }]").contains("did you mean `webhook`?"));
    assert!(form("acions = []").contains("alerts[0].acions: unknown key; did you mean `actions`?"));
    assert_eq!(problems("[[alerts]]\nlevel = \"warning\"").len(), 1);
}

proptest! {
    #[test]
    fn no_text_panics(lines in prop::collection::vec("(copy|throttle|tune|alerts|when|for|a)(\\.[a-z_]{1,6})? ?= ?[\\[\\{\"0-9a-z%<> ]{0,12}", 0..6)) {
        let _ = load(&format!("[moves.m]\n{}\n[[alerts]]\n{}", lines.join("\n"), lines.join("\n")));
    }

    #[test]
    fn no_condition_panics(text in any::<String>()) {
        let _ = Condition::parse(&text);
        let _ = Condition::parse(&format!("sync_delay <{text}"));
    }
}

#[test]
fn what_a_file_says_otherwise_is_named_by_its_rule() {
    let file = |lines: &str| of(&format!("[moves.shop]\ntables = [\"users\"]\n{lines}"));
    let before = file("copy = { rows = 1500 }");
    let rules = |now: &Settings, before: &Settings| -> Vec<String> {
        now.changed_since(before).into_iter().map(|(rule, _)| rule).collect()
    };
    assert_eq!(rules(&before, &before), [""; 0]);
    assert_eq!(rules(&file("copy = { rows = 1501 }"), &before), ["moves.shop.copy"]);
    assert_eq!(rules(&file(""), &before), ["moves.shop.copy"], "back to the default");
    let after = file("copy = { rows = 1500 }\nwaive = [\"PF209\"]\n[[alerts]]\nwhen = \"sync_delay > 60 s\"");
    assert_eq!(rules(&after, &before), ["moves.shop.waive", "alerts"]);
    assert_eq!(rules(&before, &of("")), ["moves.shop.copy"], "of a new move");
}

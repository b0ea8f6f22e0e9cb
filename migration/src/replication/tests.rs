use super::*;

fn settings(of: &str) -> Vec<String> {
    SETTINGS.iter().map(|name| format!("{name} of {of}")).collect()
}

fn logged(flavour: Flavour, server: &str, upto: Upto) -> Logged {
    Logged { upto, server: server.to_owned(), flavour, settings: settings("both") }
}

fn maria_db(numbers: &str) -> Logged {
    logged(Flavour::MariaDb, "1", Upto::Numbers(Gtids::read(Some(numbers))))
}

fn applied(flavour: Flavour, numbers: &str, followed: &[(&str, Place)]) -> Applied {
    let followed = followed.iter().map(|(server, (file, offset))| Followed {
        server: (*server).to_owned(),
        address: "h:1".to_owned(),
        file: format!("binlog.{file:06}"),
        offset: *offset,
    });
    let numbers = Gtids::read(Some(numbers));
    Applied { numbers, followed: followed.collect(), flavour, settings: settings("both") }
}

#[test]
fn a_replica_has_what_its_numbers_or_its_place_say() {
    let replica = applied(Flavour::MariaDb, "0-1-10,5-1-3", &[("1", (0, 0))]);
    let has = |numbers: &str| replica.has(&maria_db(numbers));
    assert!(has("0-1-10") && has("0-1-9,5-1-3"));
    assert!(!has("0-1-11") && !has("0-1-1,6-1-1"), "not there yet");
    let at = |server: &str, place: Place| {
        let replica = applied(Flavour::MySql, "", &[("a", (7, 100)), ("b", (9, 1))]);
        replica.has(&logged(Flavour::MySql, server, Upto::Place(place)))
    };
    assert!(at("a", (7, 100)) && at("a", (6, 999)) && at("b", (9, 1)));
    assert!(!at("a", (7, 101)) && !at("a", (8, 4)) && !at("c", (1, 4)));
}

#[test]
fn what_transactions_own_is_awaited_too() {
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    let mut numbers = Gtids::read(Some(&format!("{uuid}:1-5")));
    numbers.own(&format!("{uuid}:7#21:6#20"));
    let primary = logged(Flavour::MySql, "a", Upto::Numbers(numbers));
    assert!(!applied(Flavour::MySql, &format!("{uuid}:1-6"), &[]).has(&primary));
    assert!(applied(Flavour::MySql, &format!("{uuid}:1-7"), &[]).has(&primary));
}

#[test]
fn a_server_that_is_no_copy_is_unfit() {
    let primary = maria_db("0-1-1");
    let replica = applied(Flavour::MariaDb, "0-1-1", &[("1", (0, 0))]);
    assert_eq!(replica.fits(&primary).unwrap(), Follows::OneOfThatId("h:1".to_owned()));
    let unfit = |replica: Applied| replica.fits(&primary).unwrap_err().to_string();
    let stranger = Applied {
        followed: vec![Followed { server: "2".to_owned(), ..Followed::default() }],
        ..replica.clone()
    };
    assert!(unfit(stranger).contains("does not replicate from its primary"));
    assert!(unfit(Applied { flavour: Flavour::MySql, ..replica.clone() }).contains("another kind"));
    let mut other = replica;
    other.settings[1] = "+02:00".to_owned();
    assert_eq!(unfit(other), "its time_zone is `+02:00` and not `time_zone of both` as its primary's");
}

#[test]
fn the_last_moment_that_was_reached_is_told() {
    let mut awaited = Awaited::default();
    let replica = |last: u64| applied(Flavour::MariaDb, &format!("0-1-{last}"), &[("1", (0, 0))]);
    for at in 1..=3_u64 {
        awaited.note(at, maria_db(&format!("0-1-{at}")));
    }
    assert_eq!(awaited.reached(&replica(0)), None);
    assert_eq!(awaited.reached(&replica(2)), Some(2));
    assert_eq!(awaited.reached(&replica(2)), None, "told once");
    awaited.note(4, maria_db("0-1-3"));
    assert_eq!(awaited.reached(&replica(3)), Some(4), "nothing has been logged since");
    awaited.note(5, maria_db("0-1-4"));
    awaited.note(6, Logged { server: "2".to_owned(), ..maria_db("0-2-9") });
    assert_eq!(awaited.reached(&replica(8)), None, "another server's log");
}

#[test]
fn moments_of_a_replica_far_behind_are_bounded_and_reach_back() {
    let mut awaited = Awaited::default();
    for at in 1..=10_000_u64 {
        awaited.note(at, maria_db(&format!("0-1-{at}")));
        assert!(awaited.moments.len() <= KEPT);
    }
    let replica = applied(Flavour::MariaDb, "0-1-5000", &[("1", (0, 0))]);
    let reached = awaited.reached(&replica).unwrap();
    assert!((4_000..=5_000).contains(&reached), "{reached}");
}

//! The numbers that servers give to transactions, kept up to date from event to event. Pure.
//!
//! A text that is not understood makes the numbers unknown; positions then go without them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One transaction's number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gtid {
    MariaDb {
        domain: u32,
        server: u32,
        sequence: u64,
    },
    /// `source` is a UUID, with a tag behind a colon where there is one.
    MySql {
        source: String,
        number: u64,
    },
}

/// All numbers up to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gtids {
    Unknown,
    /// None so far, on either kind of server.
    Empty,
    /// The last of each domain.
    MariaDb(BTreeMap<u32, (u32, u64)>),
    /// Ranges, first and last included, ascending and apart.
    MySql(BTreeMap<String, Vec<(u64, u64)>>),
}

impl Gtids {
    pub fn read(text: Option<&str>) -> Gtids {
        let Some(text) = text.map(str::trim) else { return Gtids::Unknown };
        if text.is_empty() {
            return Gtids::Empty;
        }
        let known = if text.contains(':') { my_sql(text) } else { maria_db(text) };
        known.unwrap_or(Gtids::Unknown)
    }

    pub fn add(&mut self, gtid: Gtid) {
        if *self == Gtids::Empty {
            *self = match gtid {
                Gtid::MariaDb { .. } => Gtids::MariaDb(BTreeMap::new()),
                Gtid::MySql { .. } => Gtids::MySql(BTreeMap::new()),
            };
        }
        match (self, gtid) {
            (Gtids::MariaDb(domains), Gtid::MariaDb { domain, server, sequence }) => {
                domains.insert(domain, (server, sequence));
            }
            (Gtids::MySql(sources), Gtid::MySql { source, number }) => {
                add_range(sources.entry(source).or_default(), (number, number));
            }
            (unknown, _) => *unknown = Gtids::Unknown,
        }
    }

    /// Takes in the numbers that transactions of MySQL own before they are executed: `uuid:7#21:8#22`, where the
    /// numbers of threads stand behind.
    pub fn own(&mut self, owned: &str) {
        for one in owned.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let mut parts = one.split(':').map(str::trim);
            let uuid = parts.next().unwrap_or_default().to_lowercase();
            let mut source = uuid.clone();
            for part in parts {
                match part.split_once('#').map(|(number, _)| number.parse()) {
                    Some(Ok(number)) => self.add(Gtid::MySql { source: source.clone(), number }),
                    Some(Err(_)) => *self = Gtids::Unknown,
                    None => source = format!("{uuid}:{part}"),
                }
            }
        }
    }

    /// Is every transaction among the others'? What is not known is not.
    pub fn is_within(&self, other: &Gtids) -> bool {
        match (self, other) {
            (Gtids::Empty, Gtids::Empty | Gtids::MariaDb(_) | Gtids::MySql(_)) => true,
            (Gtids::MariaDb(these), Gtids::MariaDb(those)) => these.iter().all(|(domain, (_, sequence))| {
                those.get(domain).is_some_and(|(_, reached)| sequence <= reached)
            }),
            (Gtids::MySql(these), Gtids::MySql(those)) => these.iter().all(|(source, ranges)| {
                let known = those.get(source).map(Vec::as_slice).unwrap_or_default();
                let is_known =
                    |(first, last): &(u64, u64)| known.iter().any(|(from, to)| from <= first && last <= to);
                ranges.iter().all(is_known)
            }),
            _ => false,
        }
    }

    pub fn text(&self) -> Option<String> {
        match self {
            Gtids::Unknown => None,
            Gtids::Empty => Some(String::new()),
            Gtids::MariaDb(domains) => {
                let one = |(domain, (server, sequence)): (&u32, &(u32, u64))| {
                    format!("{domain}-{server}-{sequence}")
                };
                Some(domains.iter().map(one).collect::<Vec<_>>().join(","))
            }
            Gtids::MySql(sources) => Some(sources.iter().map(source_text).collect::<Vec<_>>().join(",")),
        }
    }
}

/// Do some transactions come before others, of whichever server?
pub(crate) fn precede(one: Option<&str>, other: Option<&str>) -> bool {
    let (one, other) = (Gtids::read(one), Gtids::read(other));
    one.is_within(&other) && !other.is_within(&one)
}

fn source_text((source, ranges): (&String, &Vec<(u64, u64)>)) -> String {
    let mut text = source.clone();
    for (first, last) in ranges {
        let _ = if first == last { write!(text, ":{first}") } else { write!(text, ":{first}-{last}") };
    }
    text
}

fn maria_db(text: &str) -> Option<Gtids> {
    let mut domains = BTreeMap::new();
    for one in text.split(',') {
        let mut parts = one.trim().split('-');
        let (domain, server) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        domains.insert(domain, (server, parts.next()?.parse().ok()?));
    }
    Some(Gtids::MariaDb(domains))
}

/// `uuid:1-5:7,uuid:tag:1-3:othertag:8`.
fn my_sql(text: &str) -> Option<Gtids> {
    let mut sources: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for one in text.split(',') {
        let mut parts = one.trim().split(':').map(str::trim);
        let uuid = parts.next()?.to_lowercase();
        let mut source = uuid.clone();
        for part in parts {
            if part.starts_with(|first: char| first.is_ascii_digit()) {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                let range = (first.trim().parse().ok()?, last.trim().parse().ok()?);
                add_range(sources.entry(source.clone()).or_default(), range);
            } else {
                source = format!("{uuid}:{part}");
            }
        }
    }
    Some(Gtids::MySql(sources))
}

fn add_range(ranges: &mut Vec<(u64, u64)>, (mut first, mut last): (u64, u64)) {
    // Nearly always the newest range grows by one.
    if let Some(newest) = ranges.last_mut()
        && newest.1.checked_add(1) == Some(first)
    {
        newest.1 = last;
        return;
    }
    ranges.retain(|range| {
        let apart = range.1.saturating_add(1) < first || last.saturating_add(1) < range.0;
        if !apart {
            first = first.min(range.0);
            last = last.max(range.1);
        }
        apart
    });
    let place = ranges.partition_point(|range| range.0 < first);
    ranges.insert(place, (first, last));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, add: &[(&str, u64)], expected: &str) {
        let mut gtids = Gtids::read(Some(before));
        for (source, number) in add {
            gtids.add(Gtid::MySql { source: (*source).to_owned(), number: *number });
        }
        assert_eq!(gtids.text().as_deref(), Some(expected));
    }

    #[test]
    fn mysql_numbers_join_into_ranges() {
        check("a:1-5", &[("a", 6), ("a", 7)], "a:1-7");
        check("a:1-5", &[("a", 7)], "a:1-5:7");
        check("a:1-5:7", &[("a", 6)], "a:1-7");
        check("A:5,\nb:1", &[("a", 3), ("c:tag", 1)], "a:3:5,b:1,c:tag:1");
        check("a:1-2:tag:4:5", &[("a:tag", 6)], "a:1-2,a:tag:4-6");
    }

    #[test]
    fn mariadb_numbers_replace_those_of_their_domain() {
        let mut gtids = Gtids::read(Some("0-1-10,3-77-18"));
        gtids.add(Gtid::MariaDb { domain: 0, server: 2, sequence: 11 });
        assert_eq!(gtids.text().as_deref(), Some("0-2-11,3-77-18"));
    }

    #[test]
    fn numbers_tell_what_comes_before_on_whichever_server() {
        let precedes = |one: &str, other: &str| precede(Some(one), Some(other));
        assert!(precedes("a:1-5", "a:1-6") && precedes("a:1-5", "a:1-5,b:1") && precedes("", "a:1"));
        assert!(
            !precedes("a:1-5", "a:1-5") && !precedes("a:1-5,b:1", "a:1-9") && !precedes("a:1-5", "a:1-3:5-9")
        );
        assert!(
            precedes("0-1-5", "0-2-6") && !precedes("0-2-6", "0-1-5") && !precedes("0-1-5,1-1-1", "0-1-9")
        );
        assert!(!precede(None, Some("a:1")) && !precede(Some("a:1"), None));
    }

    #[test]
    fn numbers_that_are_not_understood_are_left_out() {
        assert_eq!(Gtids::read(Some("0-1")), Gtids::Unknown);
        assert_eq!(Gtids::read(Some("a:x-")).text().as_deref(), Some(""));
        assert_eq!(Gtids::read(None).text(), None);
        assert_eq!(Gtids::read(Some("")).text().as_deref(), Some(""));
    }
}

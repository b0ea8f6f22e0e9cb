//! What a `SHOW` needs of an account, by its words.

use super::super::session::Words;
use super::Need;

use Need::{Administration, Calls, Lists, Server};

/// About the session, the server, or tables that it names; `Calls`: who may only read is shown nothing.
const SHOWN: [(&str, &[Need]); 13] = [
    ("TABLES|COLUMNS|FIELDS|INDEX|INDEXES|KEYS|TABLE STATUS", &[]),
    ("VARIABLES|STATUS|GLOBAL|SESSION|LOCAL", &[]),
    ("COLLATION|CHARACTER|CHARSET|CHAR|ENGINES|STORAGE|PLUGINS|PRIVILEGES", &[]),
    ("PROFILE|PROFILES|WARNINGS|ERRORS|COUNT", &[]),
    ("OPEN TABLES FROM|OPEN TABLES IN", &[]),
    ("OPEN TABLES", &[Lists]),
    ("DATABASES|SCHEMAS", &[Lists]),
    ("TRIGGERS|EVENTS", &[Calls]),
    ("PROCEDURE STATUS|FUNCTION STATUS|PACKAGE STATUS|PACKAGE BODY STATUS", &[Lists, Calls]),
    ("CREATE TABLE|CREATE DATABASE|CREATE SCHEMA", &[]),
    ("CREATE USER|CREATE SERVER", &[Administration]),
    ("CREATE", &[Calls]),
    ("GRANTS", &[Administration]),
];

pub(super) fn needs(words: Words<'_>) -> Vec<Need> {
    let mut at = 1;
    while words.is(at, "FULL") || words.is(at, "EXTENDED") {
        at += 1;
    }
    let is = |phrase: &str| phrase.split(' ').zip(at..).all(|(word, at)| words.is(at, word));
    let known = SHOWN.iter().find(|(phrases, _)| phrases.split('|').any(is));
    // Others tell of logs, replicas, engines and statements.
    let mut needs = known.map_or(vec![Server], |(_, needs)| needs.to_vec());
    if its_database(words).is_some() {
        needs.retain(|need| *need != Lists);
    }
    if (1..words.len()).any(|at| words.is(at, "SELECT")) {
        needs.push(Lists);
    }
    needs
}

/// Of `SHOW FUNCTION STATUS WHERE Db = 'shop'` and nothing more.
pub(super) fn its_database(words: Words<'_>) -> Option<String> {
    let at = words.len().checked_sub(4)?;
    let column = words.name(at + 1)?;
    let is_so = words.is(at, "WHERE")
        && words.is(at - 1, "STATUS")
        && column.eq_ignore_ascii_case("db")
        && words.symbol(at + 2) == Some(b'=');
    let text = words.text(at + 3).filter(|_| is_so)?;
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    (inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then(|| inner.to_owned())
}

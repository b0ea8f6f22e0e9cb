use super::super::{Context, Plan, SessionCommand, plan};
use super::*;
use crate::lex::{self, Flavour, Lexed, Quoting, ServerVersion};
use crate::merge::RowProtocol;
use crate::rules;

const RULES: &str = "[backends.b]\nprimary = \"mysql://u@127.0.0.1:1\"\n[databases.shop]\ndefault = \"b\"\n\
                     [databases.\"*\"]\ndefault = \"b\"\n";

/// What the statement needs; `Err`: refused to everybody, whoever asks.
fn needs(sql: &str, flavour: Flavour) -> Result<Needs, Refusal> {
    let topology = rules::load(RULES, &|_| None, 1).expect("valid rules");
    let server = ServerVersion { flavour, number: 90_700 };
    let sql = lex::expand_executable_comments(sql.as_bytes(), Quoting::default(), server)
        .unwrap_or_else(|| sql.as_bytes().to_vec());
    let mut lexed = Lexed::default();
    lex::lex(&sql, Quoting::default(), &mut lexed);
    let (quoting, protocol) = (Quoting::default(), RowProtocol::Text);
    let context = Context { topology: &topology, database: Some("shop"), quoting, server, protocol };
    match plan(&sql, &lexed, context) {
        Plan::Refused(refusal) => Err(refusal),
        Plan::Data(data) => Ok(data.needs),
        Plan::Session(SessionCommand::Set(set)) => Ok(set.needs),
        Plan::Session(_) => Ok(Needs::default()),
    }
}

/// A reader of `shop`, an account with all rights there, one without limits.
fn accounts() -> [Account; 3] {
    let shop = || Databases::Only(vec!["shop".to_owned()]);
    [
        Account::new(shop(), Writes::Refused),
        Account::new(shop(), Writes::Allowed),
        Account::new(Databases::All, Writes::Allowed),
    ]
}

#[test]
fn bytes_that_may_be_blanks_are_read_as_utf8_only() {
    let account = Account::new(Databases::All, Writes::Allowed);
    for (sql, expected) in [
        ("SELECT \u{e0} FROM users", Some("SHD1003")),
        ("SELECT `\u{e0}` FROM users", None),
        ("SELECT '\u{e0}' FROM users", None),
        ("SELECT \u{e9} FROM users", None),
        ("SET @x = \u{e0}", Some("SHD1003")),
    ] {
        let needs = needs(sql, Flavour::MySql).expect("a plan");
        let refused = account.may_run(&needs, Characters::Foreign).err();
        assert_eq!(refused.map(|refusal| refusal.kind.id), expected, "{sql}");
        assert_eq!(account.may_run(&needs, Characters::Utf8), Ok(()), "{sql}");
    }
}

#[test]
fn statements_of_every_kind_are_for_whom_the_table_says() {
    let golden = include_str!("tests.golden");
    let mut found = String::new();
    for line in golden.lines() {
        let Some((_, sql)) = line.split_once(" | ") else {
            found.push_str(&format!("{line}\n"));
            continue;
        };
        let text = sql.replace("\\v", "\u{b}");
        let answers = |flavour| match needs(&text, flavour) {
            Err(refusal) => refusal.kind.id.to_lowercase(),
            Ok(needs) => {
                let of = |account: &Account| match account.may_run(&needs, Characters::Utf8) {
                    Ok(()) => "-".to_owned(),
                    Err(refusal) => refusal.kind.id[3..].to_owned(),
                };
                accounts().iter().map(of).collect::<Vec<_>>().join(" ")
            }
        };
        let (mysql, mariadb) = (answers(Flavour::MySql), answers(Flavour::MariaDb));
        let both = if mysql == mariadb { mysql } else { format!("{mysql} mariadb: {mariadb}") };
        found.push_str(&format!("{both} | {sql}\n"));
    }
    if std::env::var_os("UPDATE_PLANS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/plan/rights/tests.golden");
        std::fs::write(path, &found).expect("a writable golden");
    }
    assert!(found == golden, "differs; review it with UPDATE_PLANS=1 and git diff\n{found}");
}

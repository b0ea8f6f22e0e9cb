use super::read::{CONSOLE, MYSQL};
use super::*;
use crate::tls::Demand;

fn read(text: &str) -> Result<Config, Invalid> {
    let secrets = Secrets {
        variable: &|name| (name == "APP_PASSWORD").then(|| "from env".to_owned()),
        file: &|path| {
            if path == Path::new("/etc/shardway/secret") {
                Ok("from file\n".to_owned())
            } else {
                Err(io::Error::from(io::ErrorKind::NotFound))
            }
        },
    };
    check(text, Path::new("/etc/shardway/shardway.toml"), secrets)
}

/// The problems as `line key: message`, which `text` must have exactly.
fn check_problems(text: &str, expected: &[&str]) {
    let problems = read(text).expect_err("the text has problems").problems;
    let told: Vec<String> = problems
        .iter()
        .map(|problem| format!("{} {}: {}", problem.line, problem.key, problem.message))
        .collect();
    assert_eq!(told, expected, "in {text}");
}

const LEAST: &str = "rules = \"rules.toml\"\n[[users]]\nname = \"app\"\npassword = \"app\"\n";

#[test]
fn the_least_file_has_every_default() {
    let config = read(LEAST).unwrap();
    assert_eq!(config.rules, Path::new("/etc/shardway/rules.toml"));
    assert_eq!(config.state_dir, Path::new("/etc/shardway/state"));
    assert_eq!(config.listen.mysql.to_string(), MYSQL);
    assert_eq!(config.listen.admin.unwrap().to_string(), ADMIN);
    assert_eq!(config.listen.console.unwrap().to_string(), CONSOLE);
    assert_eq!(config.limits.max_connections, 10_000);
    assert_eq!(config.limits.max_packet, 64 << 20);
    assert_eq!(config.limits.idle_timeout.as_secs(), 28_800);
    assert_eq!(config.limits.handshake_timeout.as_secs(), 10);
    assert_eq!(config.limits.held_statements, 10_000);
    assert_eq!(config.log, Log { level: "info".into(), format: LogFormat::Text });
    assert_eq!(config.users[0].role, Role::ReadWrite);
    assert_eq!(config.users[0].databases, Databases::All);
    assert!(config.workers >= 1);
}

#[test]
fn everything_can_be_said() {
    let config = read(
        r#"
        rules = "/srv/rules.toml"
        workers = 3
        server_version = "8.0.36-shardway"
        [listen]
        mysql = "0.0.0.0:3306"
        admin = "[::1]:80"
        console = "off"
        [admin]
        token_env = "APP_PASSWORD"
        [[users]]
        name = "app"
        password_env = "APP_PASSWORD"
        databases = ["shop", "crm"]
        [[users]]
        name = "report"
        password_file = "secret"
        role = "read_only"
        [[users]]
        name = "root"
        password = "x"
        role = "admin"
        [limits]
        max_connections = 5
        max_packet = 0x100000
        idle_timeout_s = 60
        handshake_timeout_s = 5
        held_statements = 0
        [log]
        level = "shardway=debug,warn"
        format = "json"
        [state]
        dir = "/var/lib/shardway"
        "#,
    )
    .unwrap();
    assert_eq!(config.rules, Path::new("/srv/rules.toml"));
    assert_eq!((config.workers, config.server_version.as_deref()), (3, Some("8.0.36-shardway")));
    assert_eq!(config.listen.console, None);
    assert_eq!(config.admin_token.unwrap().reveal(), "from env");
    assert_eq!(config.users[0].password.reveal(), "from env");
    assert!(config.users[0].databases.allow("crm") && !config.users[0].databases.allow("CRM"));
    assert_eq!((config.users[1].password.reveal(), config.users[1].role), ("from file", Role::ReadOnly));
    assert_eq!(config.users[2].role, Role::Admin);
    assert_eq!((config.limits.max_packet, config.limits.held_statements), (1 << 20, 0));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.state_dir, Path::new("/var/lib/shardway"));
}

#[test]
fn every_problem_is_told_at_once_and_in_order() {
    check_problems(
        "rulez = \"rules.toml\"\n[limits]\nmax_conections = 4\nmax_packet = 1\nidle_timeout_s = \"long\"\n[[users]]\nname = \"app\"\n[log]\nformat = \"xml\"\n",
        &[
            "1 : `rules` is missing: the path of the rule file, for example rules = \"rules.toml\"",
            "1 : nobody can log in: add at least one [[users]] with a name and a password",
            "1 rulez: unknown key; did you mean `rules`?",
            "3 limits.max_conections: unknown key; did you mean `max_connections`?",
            "4 limits.max_packet: 1 is not between 1024 and 1073741824",
            "5 limits.idle_timeout_s: must be a whole number, not a text",
            "6 users[0]: one of `password`, `password_env`, `password_file` is missing",
            "9 log.format: `xml` is neither \"text\" nor \"json\"",
        ],
    );
}

#[test]
fn each_rule_has_its_message() {
    let cases: &[(&str, &str)] = &[
        (
            "[listen]\nmysql = \"localhost\"",
            "6 listen.mysql: `localhost` is not an address with a port, like 127.0.0.1:3307",
        ),
        (
            "[listen]\nadmin = \"0.0.0.0:3380\"",
            "1 : the admin API listens beyond loopback, so it needs [admin] token, token_env or token_file",
        ),
        ("[admin]\ntoken = \"\"", "5 admin: the token is empty"),
        ("[admin]\ntoken_env = \"NOPE\"", "6 admin.token_env: the environment has no `NOPE`"),
        ("[[users]]\nname = \"app\"\npassword = \"\"", "6 users[1].name: there is another user `app`"),
        (
            "[[users]]\nname = \"b\"\npassword = \"\"\nrole = \"admin\"",
            "5 users[1]: a user with role = \"admin\" must have a password",
        ),
        (
            "[[users]]\nname = \"b\"\npassword = \"\"\nrole = \"root\"",
            "8 users[1].role: `root` is not a role; \"read_only\" and \"admin\" are, or leave the key out",
        ),
        (
            "[[users]]\nname = \"b\"\npassword = \"\"\npassword_env = \"APP_PASSWORD\"",
            "5 users[1]: only one of `password`, `password_env`, `password_file` may be given",
        ),
        (
            "[[users]]\nname = \"b\"\npassword_file = \"nope\"",
            "7 users[1].password_file: nope cannot be read: entity not found",
        ),
        (
            "[[users]]\nname = \"b\"\npassword = \"\"\ndatabases = []",
            "8 users[1].databases: an empty list allows nothing; leave the key out to allow all",
        ),
        (
            "[[users]]\nname = \"b\"\npassword = \"\"\ndatabases = [\"shop\", \"MySQL\"]",
            "8 users[1].databases: `MySQL` is the server's own and for no account",
        ),
        ("[log]\nlevel = \"=\"", "6 log.level: not a log level: invalid filter directive"),
        ("[state]\ndirectory = \"x\"", "6 state.directory: unknown key; known here: dir"),
        (
            "limits = 4",
            "5 users[0].limits: unknown key; known here: name, password, password_env, password_file, databases, role",
        ),
    ];
    for (more, expected) in cases {
        check_problems(&format!("{LEAST}{more}\n"), &[expected]);
    }
}

/// A certificate with its key, both PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["proxy".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn what_is_wrong_with_a_certificate_is_told_at_its_key() {
    let ((certificate, key), (_, other)) = (certificate(), certificate());
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let file = |path: &Path| match path.strip_prefix("/etc/shardway/tls").ok().and_then(Path::to_str) {
        Some("cert.pem") => Ok(certificate.clone()),
        Some("key.pem") => Ok(key.clone()),
        Some("other.pem") => Ok(other.clone()),
        Some("encrypted.pem") => Ok(encrypted.clone()),
        Some("cut.pem") => Ok(certificate[..certificate.len() / 2].to_owned()),
        Some("cert.der") => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let read = |section: &str| {
        let text = format!("{LEAST}[tls]\n{section}\n");
        check(&text, Path::new("/etc/shardway/shardway.toml"), Secrets { variable: &|_| None, file: &file })
    };
    let tls = read("cert = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\nrequire = true").unwrap().tls.unwrap();
    assert_eq!(tls.demand, Demand::Required);
    let tls = read("cert = \"tls/cert.pem\"\nkey = \"tls/key.pem\"").unwrap().tls.unwrap();
    assert_eq!(tls.demand, Demand::Optional);
    assert!(!format!("{tls:?}").contains("PRIVATE"), "{tls:?}");

    let both = "both are needed: `cert`, the certificate with its chain, and `key`, each a PEM file";
    let cases: [(&str, &str, &str); 10] = [
        ("cert.pem", "other.pem", "7 tls.key: tls/other.pem is not the key of this certificate"),
        ("cert.pem", "encrypted.pem", "7 tls.key: tls/encrypted.pem is encrypted"),
        ("cert.pem", "cert.pem", "7 tls.key: tls/cert.pem has no private key"),
        ("key.pem", "key.pem", "6 tls.cert: tls/key.pem has no certificate"),
        ("cut.pem", "key.pem", "6 tls.cert: tls/cut.pem"),
        ("cert.der", "key.pem", "6 tls.cert: tls/cert.der is not PEM, which is text"),
        ("gone.pem", "key.pem", "6 tls.cert: tls/gone.pem cannot be read: entity not found"),
        ("cert.pem", "gone.pem", "7 tls.key: tls/gone.pem cannot be read: entity not found"),
        ("cert.pem", "", both),
        ("", "key.pem", both),
    ];
    for (certificate, key, expected) in cases {
        let line = |name: &str, file: &str| {
            if file.is_empty() { String::new() } else { format!("{name} = \"tls/{file}\"") }
        };
        let problems =
            read(&format!("{}\n{}", line("cert", certificate), line("key", key))).unwrap_err().problems;
        let told: Vec<String> = problems
            .iter()
            .map(|problem| format!("{} {}: {}", problem.line, problem.key, problem.message))
            .collect();
        assert!(told.len() == 1 && told[0].contains(expected), "{certificate} {key}: {told:?}");
    }
    let problems =
        read("cert = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\nrequire = \"yes\"").unwrap_err().problems;
    assert_eq!(problems[0].message, "must be true or false, not a text");
}

#[test]
fn broken_toml_is_told_with_its_line() {
    let problems = read("rules = \"rules.toml\"\n[listen\n").unwrap_err().problems;
    assert!(problems.iter().any(|problem| problem.line == 2), "{problems:?}");
    assert!(read("").is_err());
}

#[test]
fn secrets_are_not_printed() {
    let text = LEAST.replace("password = \"app\"", "password = \"hunter2\"");
    assert!(!format!("{:?}", read(&text).unwrap()).contains("hunter2"));
}

#[test]
fn the_shipped_file_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/shardway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let config =
        check(&text, &file, Secrets { variable: &|_| None, file: &|_| Err(io::ErrorKind::NotFound.into()) });
    assert!(config.unwrap().users.iter().any(|user| user.role == Role::Admin));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[a-z\\[\\]=\"{}.,0-9\n ]{0,80}") {
        let _ = read(&text);
    }
}

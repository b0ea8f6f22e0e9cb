use std::collections::BTreeMap;

use mysql_common::constants::CapabilityFlags;
use proptest::prelude::{any, proptest};

use shardway_routing::key::Literal;
use shardway_routing::lex::Flavour;

use super::charset::{self, Asked};
use super::connect::{Connect, ConnectStep, Login as BackendLogin, Security};
use super::frame;
use super::greeting::{CACHING_SHA2, Greeting, Login, LoginStep, NATIVE, OFFERED, Tls};
use super::prepared::{Execute, ExecuteError};
use super::reply::{self, NewColumn, OkReply};
use super::scan::{End, OutcomeKind, Scanner};
use super::{key, parse, scan};

/// No value was sent ahead of an execution.
const NOTHING_AHEAD: &BTreeMap<u16, Vec<u8>> = &BTreeMap::new();

#[test]
fn long_packets_are_split_and_joined() {
    for length in [0, 1, frame::PIECE - 1, frame::PIECE, frame::PIECE + 1, 2 * frame::PIECE] {
        let payload = vec![7; length];
        let (mut written, mut finished) = (Vec::new(), Vec::new());
        frame::write(&payload, &mut 5, &mut written);
        let mark = frame::begin(&mut finished);
        finished.extend_from_slice(&payload);
        frame::finish(mark, &mut 5, &mut finished);
        assert!(written == finished, "{length}");
        let taken = frame::take(&written, usize::MAX).unwrap().unwrap();
        assert!(*taken.payload == *payload && taken.consumed == written.len());
        assert_eq!(frame::take(&written[..written.len() - 1], usize::MAX).unwrap(), None);
    }
}

#[test]
fn a_packet_over_the_limit_is_told_by_its_header() {
    let mut out = Vec::new();
    frame::write(&[0; 100], &mut 0, &mut out);
    assert!(frame::take(&out[..4], 99).is_err());
    assert!(frame::take(&out, 100).unwrap().is_some());
}

/// Logs in with our client at our server.
fn log_in(offered: &'static str, client: &str, server: Option<&str>) -> Result<String, u16> {
    let salt = [65; 20];
    let capabilities = OFFERED.bits();
    let greeting =
        Greeting { version: "8.0.0", connection_id: 7, salt, capabilities, plugin: offered, collation: 45 };
    let database = Some("shop");
    let login =
        BackendLogin { user: "app", password: client, database, capabilities: 0, security: Security::Plain };
    let (mut connect, mut accept) = (Connect::new(login), Login::new(salt, offered, Tls::Off));
    let mut packet = greeting.payload();
    loop {
        let ConnectStep::Send(answer) = connect.on_packet(&packet).unwrap() else {
            panic!("nothing to send")
        };
        let password =
            |user: &str| server.filter(|_| user == "app").map(|password| password.as_bytes().to_vec());
        match accept.on_packet(&answer, "host", password) {
            LoginStep::Send(next) => packet = next,
            LoginStep::Accepted { before, accepted } => {
                if let Some(before) = before {
                    assert!(matches!(connect.on_packet(&before).unwrap(), ConnectStep::Wait));
                }
                assert_eq!((accepted.user.as_str(), accepted.database.as_deref()), ("app", Some("shop")));
                return Ok(accepted.user);
            }
            LoginStep::Refused(error) => return Err(error.code),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn both_plugins_let_the_right_password_in_and_no_other() {
    for plugin in [NATIVE, CACHING_SHA2] {
        assert!(log_in(plugin, "secret", Some("secret")).is_ok());
        assert!(log_in(plugin, "", Some("")).is_ok());
        for (client, server) in
            [("wrong", Some("secret")), ("", Some("secret")), ("x", Some("")), ("?", None), ("", None)]
        {
            assert_eq!(log_in(plugin, client, server), Err(1045), "{plugin} {client} {server:?}");
        }
    }
}

/// A response of `app` with the password `secret`, as a client of TLS says it.
fn response(salt: &[u8; 20], flags: CapabilityFlags) -> Vec<u8> {
    let base = CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_PLUGIN_AUTH;
    let mut out = (base | flags).bits().to_le_bytes().to_vec();
    out.extend_from_slice(&[0, 0, 0, 1, 45]);
    out.extend_from_slice(&[0; 23]);
    out.extend_from_slice(b"app\0");
    let proof = mysql_common::scramble::scramble_native(salt, b"secret").unwrap();
    out.push(20);
    out.extend_from_slice(&proof);
    out.extend_from_slice(NATIVE.as_bytes());
    out.push(0);
    out
}

#[test]
fn a_request_for_tls_is_the_head_of_a_response_and_taken_once() {
    let salt = [65; 20];
    let (with, without) =
        (response(&salt, CapabilityFlags::CLIENT_SSL), response(&salt, CapabilityFlags::empty()));
    let said = |tls: Tls, packets: &[&[u8]]| {
        let mut login = Login::new(salt, NATIVE, tls);
        let mut said = Vec::new();
        for packet in packets {
            let step = login.on_packet(packet, "host", |_| Some(b"secret".to_vec()));
            said.push(match step {
                LoginStep::Secure => {
                    login.secured();
                    "secure".to_owned()
                }
                LoginStep::Accepted { .. } => "accepted".to_owned(),
                LoginStep::Insecure(error) => format!("insecure {}", error.code),
                LoginStep::Refused(error) => error.message,
                LoginStep::Send(_) => "send".to_owned(),
            });
        }
        said.join(", ")
    };
    assert_eq!(said(Tls::Offered, &[&with[..32], &with]), "secure, accepted");
    assert_eq!(said(Tls::Required, &[&with[..32], &with]), "secure, accepted");
    assert_eq!(said(Tls::Offered, &[&without]), "accepted");
    assert_eq!(said(Tls::Required, &[&without]), "insecure 1045");
    assert_eq!(said(Tls::Off, &[&without]), "accepted");
    assert_eq!(said(Tls::Off, &[&with[..32]]), "Bad handshake: TLS was not offered");
    let behind = "Bad handshake: a request for TLS with something behind it";
    assert_eq!(said(Tls::Offered, &[&with]), behind);
    assert_eq!(said(Tls::Offered, &[&with[..32], &with[..32]]), "secure, Bad handshake: malformed response");
}

fn result_set(capabilities: u32, rows: usize, more: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let mut seq = 1;
    let column =
        NewColumn { name: "a", column_type: mysql_common::constants::ColumnType::MYSQL_TYPE_VAR_STRING };
    reply::new_columns(&[column, column], capabilities, &mut seq, &mut out);
    for row in 0..rows {
        reply::text_row(&[None, Some(row.to_string().as_bytes())], &mut seq, &mut out);
    }
    reply::end_of_rows(2 | more, 3, capabilities, &mut seq, &mut out);
    out
}

/// Feeds an answer in two parts, cut anywhere, with bytes of the next answer behind it.
fn check(capabilities: u32, answer: &[u8], expected: &OutcomeKind) {
    for cut in 0..=answer.len() {
        let mut scanner = Scanner::query(capabilities);
        let mut input = answer[..cut].to_vec();
        let mut forwarded = 0;
        let first = scanner.advance(&input).unwrap();
        input.drain(..first.forward);
        forwarded += first.forward;
        if cut < answer.len() {
            assert_eq!(first.end, End::NotYet, "cut at {cut}");
            input.extend_from_slice(&answer[cut..]);
            let second = scanner.advance(&input).unwrap();
            assert_eq!(second.end, End::Done, "cut at {cut}");
            forwarded += second.forward;
        }
        assert_eq!(forwarded, answer.len(), "cut at {cut}");
        assert_eq!(scanner.outcome().kind, *expected);
    }
}

#[test]
fn the_end_of_an_answer_is_found_wherever_reads_cut_it() {
    for capabilities in [0, CapabilityFlags::CLIENT_DEPRECATE_EOF.bits()] {
        check(capabilities, &result_set(capabilities, 3, 0), &OutcomeKind::Rows { rows: 3 });
        check(capabilities, &result_set(capabilities, 0, 0), &OutcomeKind::Rows { rows: 0 });
        let mut two = result_set(capabilities, 1, 8);
        reply::ok(&OkReply { affected: 5, ..OkReply::default() }, capabilities, &mut 9, &mut two);
        check(capabilities, &two, &OutcomeKind::Ok { affected: 5, last_insert_id: 0 });
        let mut failing = result_set(capabilities, 2, 0);
        let end = if capabilities == 0 { 9 } else { 11 };
        failing.truncate(failing.len() - end);
        reply::err(1317, "70100", "interrupted", &mut 9, &mut failing);
        let error = parse::ErrPacket { code: 1317, sql_state: "70100".into(), message: "interrupted".into() };
        check(capabilities, &failing, &OutcomeKind::Error(error));
    }
}

#[test]
fn whole_packets_come_out_in_order() {
    let answer = result_set(0, 2, 0);
    let mut scanner = Scanner::query(0);
    let (mut at, mut seen) = (0, String::new());
    while let Some((event, consumed)) = scanner.next(&answer[at..]).unwrap() {
        seen.push(match event {
            scan::Event::ColumnCount(2) => '2',
            scan::Event::Column(_) => 'c',
            scan::Event::EndOfColumns => '|',
            scan::Event::Row(_) => 'r',
            scan::Event::End => '.',
            _ => '?',
        });
        at += consumed;
        if seen.ends_with('.') {
            break;
        }
    }
    assert_eq!((seen.as_str(), at), ("2cc|rr.", answer.len()));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = frame::take(&bytes, 1000);
        let _ = (parse::ok(&bytes), parse::err(&bytes), parse::eof(&bytes), parse::column(&bytes), parse::prepare_ok(&bytes));
        let _ = parse::text_row(&bytes).count();
        for capabilities in [0, CapabilityFlags::CLIENT_DEPRECATE_EOF.bits()] {
            let _ = Scanner::query(capabilities).advance(&bytes);
            let _ = Scanner::query(capabilities).next(&bytes);
        }
        let _ = Execute::parse(&bytes, 3, &[], NOTHING_AHEAD);
        let _ = Login::new([1; 20], NATIVE, Tls::Offered).on_packet(&bytes, "h", |_| None);
        let _ = Login::change_user([1; 20], NATIVE, 0).on_packet(&bytes, "h", |_| None);
        let login = BackendLogin { user: "u", password: "p", database: None, capabilities: 0, security: Security::Plain };
        let _ = Connect::new(login).on_packet(&bytes);
    }
}

/// A login that has seen the greeting of a server with that plugin.
fn greeted_by(plugin: &'static str) -> Connect<'static> {
    let greeting = Greeting {
        version: "8",
        connection_id: 1,
        salt: [65; 20],
        capabilities: OFFERED.bits(),
        plugin,
        collation: 45,
    };
    let mut connect = Connect::new(BackendLogin {
        user: "u",
        password: "p",
        database: None,
        capabilities: 0,
        security: Security::Plain,
    });
    connect.on_packet(&greeting.payload()).unwrap();
    connect
}

#[test]
fn a_bad_server_key_is_an_error() {
    let mut connect = greeted_by(CACHING_SHA2);
    connect.on_packet(&[1, 4]).unwrap();
    assert!(connect.on_packet(b"\x01no key").is_err());
}

#[test]
fn a_native_server_cannot_ask_for_the_password() {
    let mut connect = greeted_by(NATIVE);
    assert!(connect.on_packet(&[1, 4]).is_err());
}

#[test]
fn an_error_in_place_of_a_column_ends_the_answer() {
    let mut out = vec![1, 0, 0, 1, 2];
    reply::err(1317, "70100", "interrupted", &mut 2, &mut out);
    let mut scanner = Scanner::query(0);
    let progress = scanner.advance(&out).unwrap();
    assert_eq!((progress.forward, progress.end), (out.len(), End::Done));
}

#[test]
fn a_cursor_that_is_asked_for_is_none() {
    assert!(Execute::parse(&[1, 0, 0, 0, 1, 1, 0, 0, 0], 0, &[], NOTHING_AHEAD).is_ok());
    assert!(Execute::parse(&[1, 0, 0, 0, 4, 1, 0, 0, 0], 0, &[], NOTHING_AHEAD).is_ok());
    let short = Execute::parse(&[1, 0, 0, 0, 1, 1, 0, 0], 0, &[], NOTHING_AHEAD);
    assert!(matches!(short, Err(ExecuteError::Malformed(_))));
    let unknown_type = Execute::parse(&[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0x55, 0, 1], 1, &[], NOTHING_AHEAD);
    assert!(matches!(unknown_type, Err(ExecuteError::Arguments)));
}

#[test]
fn a_whole_double_is_an_integer() {
    for (value, expected) in [
        (3.0, Literal::Integer(3)),
        (0.0, Literal::Integer(0)),
        (-999_999_999_999_999.0, Literal::Integer(-999_999_999_999_999)),
        (1e15, Literal::Opaque),
        (-0.0, Literal::Opaque),
        (0.5, Literal::Opaque),
        (f64::NAN, Literal::Opaque),
        (f64::NEG_INFINITY, Literal::Opaque),
    ] {
        let packet = [&[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 5, 0][..], &value.to_le_bytes()].concat();
        assert_eq!(Execute::parse(&packet, 1, &[], NOTHING_AHEAD).unwrap().literals(), [expected], "{value}");
    }
}

#[test]
fn an_empty_answer_for_another_plugin_than_greeted_is_asked_to_switch() {
    let mut packet = OFFERED.bits().to_le_bytes().to_vec();
    packet.extend_from_slice(&[0; 4]);
    packet.push(45);
    packet.extend_from_slice(&[0; 23]);
    packet.extend_from_slice(b"app\0\0\0caching_sha2_password\0");
    let mut login = Login::new([65; 20], NATIVE, Tls::Off);
    let step = login.on_packet(&packet, "h", |_| Some(Vec::new()));
    assert!(matches!(step, LoginStep::Send(_)), "{step:?}");
}

#[test]
fn sums_saturate() {
    let mut a = parse::OkPacket { affected: u64::MAX, ..parse::OkPacket::default() };
    a.add(&a.clone());
    assert_eq!(a.affected, u64::MAX);
}

#[test]
fn a_logins_number_means_what_the_server_takes_it_for() {
    let named = |id, flavour| match charset::asked(id, flavour) {
        Asked::For(charset) => charset.collation,
        other => format!("{other:?}"),
    };
    for (id, mariadb, mysql) in [
        (45, "utf8mb4_general_ci", "utf8mb4_general_ci"),
        (33, "utf8mb3_general_ci", "utf8mb3_general_ci"),
        (255, "Default", "utf8mb4_0900_ai_ci"),
        (76, "Default", "utf8mb3_tolower_ci"),
        (245, "utf8mb4_croatian_mysql561_ci", "utf8mb4_croatian_ci"),
        (248, "Default", "gb18030_chinese_ci"),
        (0, "Default", "Default"),
        (100, "Default", "Default"),
        (54, "Impossible(\"utf16\")", "Impossible(\"utf16\")"),
    ] {
        assert_eq!(named(id, Flavour::MariaDb), mariadb, "{id}");
        assert_eq!(named(id, Flavour::MySql), mysql, "{id}");
    }
}

const PEM: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAxSKOcxiet8lLMn8ImyUE
bGGKob5EdRz/4wdiw12ED0GfKKTKhVnodFCfm1mdy7bKOX5QxL9skrvYodpW43eR
R5bfOzIgy1qIB8RYb6qOXRBw1oA4snBDqtUjDv/lbHLJN+IbzM4oU+e3Lt9rXyLX
VY289ewONPweXHqSCnTL91w+wkU1peIFV2QhZ+upUCdCtwOn5hnJPNgxtbklFoya
C8W3Z7Xx7He2QDJsEWAqX197efw0L6j8X8Tyd8Uwb7zUB1tfMGhHfm9EwejPAtzx
4GztQNtNMtGS2oGZLQBLV9hib4dDL92iiZeckg2LAf4GsJofLLR8mcHCRoqVbQJ1
YQIDAQAB
-----END PUBLIC KEY-----
";

#[test]
fn a_password_is_encrypted_when_it_fits_the_key() {
    assert_eq!(key::encrypt(b"secret\0", PEM.as_bytes()).unwrap().len(), 256);
    assert!(key::encrypt(&[1; 214], PEM.as_bytes()).is_ok());
    assert!(key::encrypt(&[1; 215], PEM.as_bytes()).is_err());
}

#[test]
fn packets_join_only_when_their_pieces_are_in_order() {
    let mut out = Vec::new();
    frame::write(&vec![3; 2 * frame::PIECE + 5], &mut 254, &mut out);
    let taken = frame::take(&out, usize::MAX).unwrap().unwrap();
    assert_eq!((taken.payload.len(), taken.consumed, taken.last_seq), (2 * frame::PIECE + 5, out.len(), 0));
    out[frame::PIECE + frame::HEADER + 3] = 7;
    assert_eq!(frame::take(&out, usize::MAX), Err(frame::FrameError::OutOfOrder));
}

proptest! {
    /// One byte of a good key changed reaches deeper than random bytes do.
    #[test]
    fn a_damaged_key_is_used_or_refused(at in 0..PEM.len(), byte in any::<u8>(), cut in 0..PEM.len()) {
        let mut damaged = PEM.as_bytes().to_vec();
        damaged[at] = byte;
        let _ = key::encrypt(b"secret", &damaged);
        let _ = key::encrypt(b"secret", &PEM.as_bytes()[..cut]);
    }
}

use mysql_common::constants::CapabilityFlags;
use proptest::prelude::{any, proptest};

use super::connect::{Connect, ConnectStep, Login as BackendLogin};
use super::frame;
use super::greeting::{CACHING_SHA2, Greeting, Login, LoginStep, NATIVE, OFFERED};
use super::prepared::Execute;
use super::reply::{self, NewColumn, OkReply};
use super::scan::{End, OutcomeKind, Scanner};
use super::{parse, scan};

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
    let greeting = Greeting { version: "8.0.0", connection_id: 7, salt, capabilities, plugin: offered };
    let database = Some("shop");
    let login = BackendLogin { user: "app", password: client, database, capabilities: 0 };
    let (mut connect, mut accept) = (Connect::new(login), Login::new(salt, offered));
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
        let _ = Execute::parse(&bytes, 3, &[], &[]);
        let _ = Login::new([1; 20], NATIVE).on_packet(&bytes, "h", |_| None);
        let _ = Login::change_user([1; 20], NATIVE, 0).on_packet(&bytes, "h", |_| None);
        let login = BackendLogin { user: "u", password: "p", database: None, capabilities: 0 };
        let _ = Connect::new(login).on_packet(&bytes);
    }
}

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::answer::{Request, request};
use super::frames::{Frames, Patience};

#[test]
fn commands_are_understood_in_any_case_and_spacing() {
    assert_eq!(request("show  rules\n history ;"), Ok(Request::RulesHistory));
    assert_eq!(request("SHOW RULES;"), Ok(Request::Rules));
    assert_eq!(request("Reload"), Ok(Request::Reload));
    assert_eq!(request("kill 17;"), Ok(Request::Kill(17)));
    assert_eq!(request("kill it"), Err("`it` is no number of a session".to_owned()));
    assert_eq!(request("set names utf8mb4"), Ok(Request::Set));
}

#[test]
fn what_clients_send_on_connecting_is_answered() {
    let select = |list: &[&str]| Ok(Request::Select(list.iter().map(ToString::to_string).collect()));
    assert_eq!(request("select @@version_comment limit 1"), select(&["@@version_comment"]));
    assert_eq!(request("select DATABASE(), USER() limit 1"), select(&["DATABASE()", "USER()"]));
    assert_eq!(
        request("SELECT @@max_allowed_packet,@@wait_timeout"),
        select(&["@@max_allowed_packet", "@@wait_timeout"])
    );
}

#[test]
fn an_unknown_command_is_told_what_there_is() {
    for sql in ["SELECT * FROM users", "DROP TABLE users", "show", "", "SELECT @@secret"] {
        let error = request(sql).unwrap_err();
        assert!(error.contains("SHOW RULES HISTORY") && error.contains("RELOAD"), "{sql}: {error}");
    }
}

fn patience() -> Patience {
    let hour = Duration::from_secs(3600);
    Patience { logging_in: hour, idle: hour, logged_in: Arc::new(AtomicBool::new(true)) }
}

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

/// Every read's bytes, until the end or an error.
fn reads(sent: &[u8], buffer: usize) -> (Vec<Vec<u8>>, Option<io::ErrorKind>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut frames = Frames::new(sent, patience());
        let (mut all, mut out) = (Vec::new(), vec![0; buffer]);
        loop {
            match frames.read(&mut out).await {
                Ok(0) => return (all, None),
                Ok(read) => all.push(out[..read].to_vec()),
                Err(error) => return (all, Some(error.kind())),
            }
        }
    })
}

proptest! {
    #[test]
    fn no_read_holds_parts_of_two_packets_and_nothing_is_lost(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        buffer in 1_usize..64,
    ) {
        let packets: Vec<Vec<u8>> = payloads.iter().map(|payload| packet(0, payload)).collect();
        let sent = packets.concat();
        let (reads, error) = reads(&sent, buffer);
        prop_assert_eq!(error, None);
        prop_assert_eq!(reads.concat(), sent);
        let ends: Vec<usize> =
            packets.iter().scan(0, |at, packet| { *at += packet.len(); Some(*at) }).collect();
        let mut at = 0;
        for read in reads {
            let end = at + read.len();
            prop_assert!(!ends.iter().any(|&boundary| at < boundary && boundary < end));
            at = end;
        }
    }
}

#[test]
fn packets_that_the_library_mishandles_end_the_connection() {
    assert_eq!(reads(&packet(255, b"\x03x"), 64).1, Some(io::ErrorKind::InvalidData));
    assert_eq!(reads(&[0xFF, 0xFF, 0xFF, 0], 64).1, Some(io::ErrorKind::InvalidData));
    assert_eq!(reads(&packet(0, b"\x03select")[..7], 64).1, Some(io::ErrorKind::UnexpectedEof));
    assert_eq!(reads(&[1, 0], 64).1, Some(io::ErrorKind::UnexpectedEof));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_trickles_before_its_login_is_cut_in_time() {
    let (mut client, server) = tokio::io::duplex(64);
    let patience = Patience {
        logging_in: Duration::from_secs(10),
        idle: Duration::from_secs(3600),
        logged_in: Arc::new(AtomicBool::new(false)),
    };
    let mut frames = Frames::new(server, patience);
    tokio::spawn(async move {
        for byte in packet(1, &[0; 60]) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if client.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    let started = tokio::time::Instant::now();
    let mut out = Vec::new();
    let error = frames.read_to_end(&mut out).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_thinks_after_the_login_is_not_cut_before_the_idle_time() {
    let (mut client, server) = tokio::io::duplex(64);
    let logged_in = Arc::new(AtomicBool::new(false));
    let patience = Patience {
        logging_in: Duration::from_secs(10),
        idle: Duration::from_secs(100),
        logged_in: Arc::clone(&logged_in),
    };
    let mut frames = Frames::new(server, patience);
    client.write_all(&packet(1, b"login")).await.unwrap();
    let mut login = [0; 9];
    frames.read_exact(&mut login).await.unwrap();
    logged_in.store(true, std::sync::atomic::Ordering::Release);
    let started = tokio::time::Instant::now();
    let error = frames.read(&mut login).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), 100);
}

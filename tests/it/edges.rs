//! The edges of the protocol, byte by byte: what one server answers, the proxy answers.

use shardway_tests::raw::RawClient;
use shardway_tests::{Flavour, Shop};

const QUERY: u8 = 0x03;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;
const LONG_DATA: u8 = 0x18;
const CLOSE: u8 = 0x19;
const RESET: u8 = 0x1A;
const FETCH: u8 = 0x1C;
/// To MariaDB's clients the statement prepared last.
const LAST: [u8; 4] = [0xFF; 4];
/// An execution without a cursor.
const ONCE: [u8; 5] = [0, 1, 0, 0, 0];

/// The same client twice: at one server and at the proxy.
struct Both {
    clients: [RawClient; 2],
    /// The statement that each has prepared.
    ids: [[u8; 4]; 2],
}

/// What a client can tell an answer by.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Ok,
    Rows,
    Error(u16, String),
}

fn said(packet: &[u8]) -> Said {
    match packet[0] {
        0 => Said::Ok,
        0xFF => {
            let state = String::from_utf8_lossy(&packet[4..9]).into_owned();
            Said::Error(u16::from_le_bytes([packet[1], packet[2]]), state)
        }
        _ => Said::Rows,
    }
}

impl Both {
    fn enter(shop: &Shop) -> Both {
        let (alone, answer) = RawClient::try_log_in_alone(shop.cluster.legacy.port(), 45);
        assert_eq!(answer[0], 0, "{}", String::from_utf8_lossy(&answer));
        let proxied = RawClient::log_in(shop.proxy.port());
        Both { clients: [alone, proxied], ids: [[0; 4]; 2] }
    }

    /// Sends the same to both; `argument` is made with each one's statement.
    fn send(&mut self, code: u8, argument: impl Fn([u8; 4]) -> Vec<u8>) {
        for (client, id) in self.clients.iter_mut().zip(self.ids) {
            client.command(code, &argument(id));
        }
    }

    /// The same, and both must answer the same.
    fn same(&mut self, code: u8, argument: impl Fn([u8; 4]) -> Vec<u8>) -> Said {
        self.send(code, &argument);
        let [alone, proxied] =
            self.clients.each_mut().map(|client| said(client.answer().first().expect("an answer")));
        assert_eq!(proxied, alone, "{code:#x} {:?}", argument([9; 4]).get(..40));
        proxied
    }

    fn same_query(&mut self, sql: &str) -> Said {
        self.same(QUERY, |_| sql.as_bytes().to_vec())
    }

    /// Prepares a statement with parameters but without rows.
    fn prepare(&mut self, sql: &str, parameters: usize) {
        for (client, id) in self.clients.iter_mut().zip(&mut self.ids) {
            client.command(PREPARE, sql.as_bytes());
            let head = client.packet().unwrap();
            assert_eq!(head[0], 0, "{}", String::from_utf8_lossy(&head));
            *id = head[1..5].try_into().unwrap();
            for _ in 0..if parameters > 0 { parameters + 1 } else { 0 } {
                client.packet().unwrap();
            }
        }
    }

    /// Executes it with one string.
    fn execute(&mut self, value: &[u8]) -> Said {
        let value = [&[u8::try_from(value.len()).unwrap()], value].concat();
        self.same(EXECUTE, |id| [&id[..], &ONCE, &[0, 1, 0xFD, 0], &value].concat())
    }

    /// Executes it with a string that was sent ahead.
    fn execute_sent(&mut self) -> Said {
        self.same(EXECUTE, |id| [&id[..], &ONCE, &[0, 1, 0xFD, 0]].concat())
    }

    fn send_ahead(&mut self, parameter: u8, piece: &[u8]) {
        self.send(LONG_DATA, |id| [&id[..], &[parameter, 0], piece].concat());
    }
}

fn error(code: u16, state: &str) -> Said {
    Said::Error(code, state.to_owned())
}

#[tokio::test]
async fn a_statement_without_words_is_empty_or_a_comment() {
    let shop = Shop::open().await;
    let mut both = Both::enter(&shop);
    for sql in ["", " ", ";", "\n ; ", "; ;"] {
        assert_eq!(both.same_query(sql), error(1065, "42000"), "{sql}");
        assert_eq!(both.same(PREPARE, |_| sql.as_bytes().to_vec()), error(1065, "42000"), "{sql}");
    }
    for sql in ["/* c */", "-- c", "# c\n", "/*!99999 c */", "/*!*/", "/* a */ ;", " /* a */ -- b\n"] {
        assert_eq!(both.same_query(sql), Said::Ok, "{sql}");
        both.same(PREPARE, |_| sql.as_bytes().to_vec());
    }
    assert_eq!(both.same_query("/*"), error(1064, "42000"));
    both.same(0x02, |_| Vec::new());
    both.same(0x02, |_| b"nowhere".to_vec());
    assert_eq!(both.same_query("SELECT 1"), Said::Rows);
}

#[tokio::test]
async fn executions_that_cannot_be_read_are_refused() {
    let shop = Shop::open().await;
    let mut both = Both::enter(&shop);
    both.prepare("DO ?", 1);
    for cut in 0..5 {
        let short = |id: [u8; 4]| [&id[..], &ONCE[..cut]].concat();
        assert_eq!(both.same(EXECUTE, short), error(1835, "HY000"), "{cut}");
    }
    both.same(EXECUTE, |id| id[..2].to_vec());
    let unknown_type = |id: [u8; 4]| [&id[..], &ONCE, &[0, 1, 0x55, 0, 1]].concat();
    assert_eq!(both.same(EXECUTE, unknown_type), error(1210, "HY000"));
    assert_eq!(both.execute(b"a"), Said::Ok);
    both.prepare("DO 1", 0);
    for flags in [2, 4, 8, 0x10] {
        assert_eq!(both.same(EXECUTE, |id| [&id[..], &[flags, 1, 0, 0, 0]].concat()), Said::Ok, "{flags}");
    }
    let nobody = |_| [&[99, 0, 0, 0], &ONCE[..]].concat();
    assert_eq!(both.same(EXECUTE, nobody), error(1243, "HY000"));
    assert_eq!(both.same(RESET, |_| vec![99, 0, 0, 0]), error(1243, "HY000"));
    assert_eq!(both.same_query("SELECT 1"), Said::Rows);
}

#[tokio::test]
async fn there_is_no_cursor_to_fetch_from() {
    let shop = Shop::open().await;
    let mut both = Both::enter(&shop);
    both.prepare("DO 1", 0);
    let fetch = |id: [u8; 4]| [id, [1, 0, 0, 0]].concat();
    assert_eq!(both.same(FETCH, fetch), error(1421, "HY000"));
    // Of servers that count over all their connections it may be anything but another one's.
    assert_eq!(
        both.same(FETCH, |[low, rest @ ..]| fetch([low ^ 0x80, rest[0], rest[1], rest[2]])),
        error(1243, "HY000")
    );
    both.send(CLOSE, |id| id.to_vec());
    assert_eq!(both.same(FETCH, fetch), error(1243, "HY000"));
}

#[tokio::test]
async fn the_statement_prepared_last_has_a_number_of_its_own_on_mariadb() {
    let shop = Shop::open().await;
    let mut both = Both::enter(&shop);
    let last = |_| [&LAST[..], &ONCE].concat();
    assert_eq!(both.same(EXECUTE, last), error(1243, "HY000"), "none is prepared");
    both.prepare("DO 1", 0);
    let expected = if Flavour::chosen() == Flavour::MariaDb { Said::Ok } else { error(1243, "HY000") };
    assert_eq!(both.same(EXECUTE, last), expected);
    assert_eq!(both.same_query("DO 2"), Said::Ok);
    assert_eq!(both.same(RESET, |_| LAST.to_vec()), expected);
    both.same(FETCH, |_| [&LAST[..], &[1, 0, 0, 0]].concat());
    assert_eq!(both.same(EXECUTE, last), expected);
    assert_eq!(both.same(PREPARE, |_| b"SELECT FROM".to_vec()), error(1064, "42000"));
    assert_eq!(both.same(EXECUTE, last), error(1243, "HY000"), "the last one failed");
    both.prepare("DO 1", 0);
    both.send(CLOSE, |id| id.to_vec());
    assert_eq!(both.same(EXECUTE, last), error(1243, "HY000"), "the last one is closed");
    both.prepare("DO 1", 0);
    both.send(CLOSE, |_| LAST.to_vec());
    both.same(EXECUTE, |id| [&id[..], &ONCE].concat());
}

#[tokio::test]
async fn values_sent_ahead_are_bounded_as_on_one_server() {
    let shop = Shop::open().await;
    let mut both = Both::enter(&shop);
    both.prepare("DO LENGTH(?)", 1);
    let piece = vec![b'x'; 8 << 20];
    for _ in 0..8 {
        both.send_ahead(0, &piece);
    }
    assert_eq!(both.execute_sent(), Said::Ok, "as long as it may be");
    for _ in 0..9 {
        both.send_ahead(0, &piece);
    }
    assert_eq!(both.execute_sent(), error(1105, "HY000"));
    assert_eq!(both.execute(b"a"), error(1105, "HY000"), "until it is reset");
    assert_eq!(both.same(RESET, |id| id.to_vec()), Said::Ok);
    assert_eq!(both.execute(b"a"), Said::Ok);
    both.send_ahead(5, b"a");
    assert_eq!(both.execute(b"a"), error(1210, "HY000"), "no such parameter");
    assert_eq!(both.same(RESET, |id| id.to_vec()), Said::Ok);
    both.send_ahead(0, b"");
    assert_eq!(both.execute_sent(), Said::Ok, "nothing is a value");
}

#[tokio::test]
async fn a_session_may_send_only_so_much_ahead() {
    let shop = Shop::open_with("[limits]\nmax_packet = 100000\n").await;
    let mut client = RawClient::log_in(shop.proxy.port());
    let mut ids = Vec::new();
    for _ in 0..5 {
        client.command(PREPARE, b"DO LENGTH(?)");
        let head = client.packet().unwrap();
        ids.push([head[1], head[2], head[3], head[4]]);
        for _ in 0..2 {
            client.packet().unwrap();
        }
    }
    for id in &ids {
        client.command(LONG_DATA, &[&id[..], &[0, 0], &[b'x'; 90_000]].concat());
    }
    let mut execute = |id: &[u8; 4]| {
        client.command(EXECUTE, &[&id[..], &ONCE, &[0, 1, 0xFD, 0]].concat());
        client.packet().unwrap()
    };
    assert_eq!(said(&execute(&ids[3])), Said::Ok);
    let refused = execute(&ids[4]);
    assert_eq!(said(&refused), error(1153, "08S01"));
    assert!(String::from_utf8_lossy(&refused).contains("SHD1306"));
    assert_eq!(said(&execute(&ids[0])), Said::Ok);
}

#[tokio::test]
async fn the_greeting_is_the_servers_in_utf8() {
    let shop = Shop::open().await;
    let [alone, proxied] = [shop.cluster.legacy.port(), shop.proxy.port()].map(|port| {
        let (_client, greeting) = RawClient::connect(port);
        let end = greeting.iter().skip(1).position(|&byte| byte == 0).unwrap() + 1;
        let version = String::from_utf8(greeting[1..end].to_vec()).unwrap();
        // Behind the connection's number, eight bytes of salt, a zero, two of capabilities: collation and status.
        let (collation, status) = (greeting[end + 16], greeting[end + 17]);
        let plugin = greeting[end + 45..].to_vec();
        (version, collation, status, plugin)
    });
    assert_eq!((&proxied.0, proxied.2, &proxied.3), (&alone.0, alone.2, &alone.3));
    // A plain MariaDB has latin1, which drivers would write in without being told better.
    let expected = if Flavour::chosen() == Flavour::MariaDb { 45 } else { alone.1 };
    assert_eq!(proxied.1, expected);
}

#[tokio::test]
async fn a_login_gets_the_character_set_that_the_server_would_give_it() {
    let shop = Shop::open().await;
    let state = "SELECT @@character_set_client, @@character_set_results, @@collation_connection";
    let mut seen = 0;
    for collation in [0, 8, 11, 33, 45, 46, 54, 63, 76, 83, 100, 192, 213, 224, 245, 253, 255] {
        let ports = [shop.cluster.legacy.port(), shop.proxy.port()];
        let (alone, proxied) =
            (RawClient::try_log_in_alone(ports[0], collation), RawClient::try_log_in(ports[1], 0, collation));
        let [expected, found] = [alone, proxied].map(|(mut client, answer)| match said(&answer) {
            Said::Ok => client.query(state.as_bytes()).iter().rev().nth(1).cloned().ok_or(Said::Ok),
            refused => Err(refused),
        });
        assert_eq!(found, expected, "{collation}");
        seen += 1;
    }
    assert_eq!(seen, 17);
}

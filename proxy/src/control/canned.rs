//! An HTTP server for tests that gives the answers it is told, one a connection.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::NamedTempFile;

use crate::tls;

/// The first line and the body of every request.
type Requests = Receiver<(String, String)>;

/// Its address, and what it was asked.
pub(super) fn serve(answers: Vec<(u16, &'static str)>) -> (String, Requests) {
    let (port, requests) = listen(answers, |answer, client| respond(client, answer));
    (format!("http://127.0.0.1:{port}/hook"), requests)
}

/// The same inside TLS, with the file of its certificate. Who does not trust it gets no answer.
pub(super) fn serve_secured(answers: Vec<(u16, &'static str)>) -> (String, Requests, NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .expect("versions that the provider knows")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let config = Arc::new(config.expect("a certificate with its key"));
    let (port, requests) = listen(answers, move |answer, client| {
        let connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut secured = StreamOwned::new(connection, client);
        let request = respond(&mut secured, answer)?;
        secured.conn.send_close_notify();
        secured.flush()?;
        Ok(request)
    });
    (format!("https://localhost:{port}/hook"), requests, file(&made.cert))
}

/// A file with a certificate.
pub(super) fn file(certificate: &rcgen::Certificate) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(certificate.pem().as_bytes()).expect("the file is writable");
    file
}

type Answer = (u16, &'static str);

fn listen(
    answers: Vec<Answer>,
    talk: impl Fn(Answer, std::net::TcpStream) -> io::Result<(String, String)> + Send + 'static,
) -> (u16, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a local socket works");
    let port = listener.local_addr().expect("a local socket works").port();
    let (asked, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            // Who breaks off has not asked.
            while let Ok((client, _)) = listener.accept() {
                if let Ok(request) = talk(answer, client) {
                    let _ = asked.send(request);
                    break;
                }
            }
        }
    });
    (port, requests)
}

fn respond(mut client: impl Read + Write, (status, body): Answer) -> io::Result<(String, String)> {
    let mut reader = BufReader::new(&mut client);
    let mut head = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        head.push(line);
    }
    let mut sent = vec![0; length];
    reader.read_exact(&mut sent)?;
    let size = body.len();
    write!(client, "HTTP/1.1 {status} X\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n{body}")?;
    let sent = String::from_utf8(sent).map_err(io::Error::other)?;
    head.into_iter().next().map(|first| (first, sent)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

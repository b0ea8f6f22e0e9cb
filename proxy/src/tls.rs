//! Certificates, and the TLS handshakes with clients and with backends.
//!
//! TLS 1.2 and 1.3. A certificate is used only with its own key; whether it has expired is for clients to say.

use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::stream::Stream;

/// Whether clients may do without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    Optional,
    Required,
}

/// The proxy's certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
}

/// Which file is of no use, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    Certificate(String),
    Key(String),
}

impl Identity {
    /// The certificate (its chain, the server's own first) with its key, both as PEM.
    ///
    /// # Errors
    /// What is wrong with which of them.
    pub fn new(certificate: &str, key: &str) -> Result<Identity, Wrong> {
        let chain = certificates(certificate).map_err(Wrong::Certificate)?;
        let key = private_key(key).map_err(Wrong::Key)?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Wrong::Certificate(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        match config {
            Ok(config) => Ok(Identity { config: Arc::new(config) }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(Wrong::Key(
                "is not the key of this certificate; give the one it was made with".to_owned(),
            )),
            Err(rustls::Error::General(error)) => Err(Wrong::Key(format!("cannot be used: {error}"))),
            Err(error) => Err(Wrong::Certificate(format!("cannot be used: {error}"))),
        }
    }
}

/// Why a file of TLS cannot be read, behind its name.
#[must_use]
pub fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::InvalidData => "is not PEM, which is text".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// Answers a client's handshake. `ahead`: what it has sent of it already.
///
/// # Errors
/// Whatever the socket reports, and what is wrong with what the client sends.
pub async fn accept(identity: &Identity, socket: TcpStream, ahead: &[u8]) -> io::Result<Stream> {
    let mut taken = Ok(());
    let acceptor = TlsAcceptor::from(Arc::clone(&identity.config));
    let handshake = acceptor.accept_with(socket, |connection| taken = take(connection, ahead));
    taken?;
    Ok(Stream::tls(handshake.await?))
}

/// What came in one segment with the request for TLS belongs to the handshake: were it taken as a packet, whoever can
/// write into the connection could put statements of theirs before those of the client.
fn take(connection: &mut ServerConnection, mut ahead: &[u8]) -> io::Result<()> {
    while !ahead.is_empty() {
        if connection.read_tls(&mut ahead)? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        connection
            .process_new_packets()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    Ok(())
}

/// The cryptography that is used.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of a PEM text, at least one; or what is wrong with it, behind its name.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("has no certificate: PEM with BEGIN CERTIFICATE is needed".to_owned())
        }
        Ok(found) => Ok(found),
        Err(error) => Err(format!("is not PEM: {error}")),
    }
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, String> {
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err("is encrypted, and nobody is there to type its password; decrypt it with `openssl pkey`, and let \
                    only shardway's account read it"
            .to_owned());
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => "has no private key: PEM with BEGIN PRIVATE KEY is needed".to_owned(),
        error => format!("is not PEM: {error}"),
    })
}

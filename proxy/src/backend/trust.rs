//! TLS to backends: whom to take for the server that the rules name.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use shardway_routing::topology::{Server, Tls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::stream::Stream;
use crate::tls;

/// What a connection inside TLS to one server begins with.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// That of one pool, read again when its file of authorities has changed.
#[derive(Default)]
pub struct Kept(RefCell<Option<(Option<SystemTime>, Trust)>>);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trust({})", self.name.to_str())
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl Kept {
    /// `None`: connections to this server are not secured.
    ///
    /// # Errors
    /// Why its authorities cannot be had.
    pub fn trust(&self, server: &Server) -> Result<Option<Trust>, String> {
        let changed = match &server.tls {
            Tls::Off => return Ok(None),
            Tls::Required => None,
            Tls::VerifyIdentity(ca) => {
                let modified = std::fs::metadata(ca).and_then(|file| file.modified());
                Some(modified.map_err(|error| format!("{} {}", ca.display(), tls::unreadable(&error)))?)
            }
        };
        let mut kept = self.0.borrow_mut();
        if let Some((of, trust)) = &*kept
            && *of == changed
        {
            return Ok(Some(trust.clone()));
        }
        let trust = Trust::new(server)?;
        *kept = Some((changed, trust.clone()));
        Ok(Some(trust))
    }
}

impl Trust {
    fn new(server: &Server) -> Result<Trust, String> {
        let name = ServerName::try_from(server.host.clone());
        let name = name.map_err(|_| format!("no certificate can be for `{}`", server.host))?;
        let provider = tls::provider();
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let config = match &server.tls {
            Tls::VerifyIdentity(ca) => config.with_root_certificates(authorities(ca)?),
            Tls::Off | Tls::Required => {
                config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
        };
        Ok(Trust { config: Arc::new(config.with_no_client_auth()), name })
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// Whatever the socket reports, and why the server is not the one that was looked for.
    pub async fn secure(&self, socket: TcpStream) -> io::Result<Stream> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        Ok(Stream::tls(connector.connect(self.name.clone(), socket).await?))
    }
}

/// The authorities of a PEM file.
///
/// # Errors
/// A sentence with the file's name.
pub fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("{} {}", file.display(), tls::unreadable(&error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in tls::certificates(&text).map_err(|why| format!("{} {why}", file.display()))? {
        roots.add(certificate).map_err(|error| format!("{} cannot be used: {error}", file.display()))?;
    }
    Ok(roots)
}

/// Takes every certificate, as `mode = "required"` says; its owner still has to prove that it has the key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

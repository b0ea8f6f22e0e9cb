//! HTTP to addresses that the rules name, plain or inside TLS.
//!
//! Whom `https` takes for the address is the system's to say: its own collection of authorities, or the file that
//! `SSL_CERT_FILE` names. It is read for each request, so that a renewed one needs no restart, and a certificate that none
//! of them has signed is an error like any other. An `https` address is never left for a plain one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::typestate::AgentScope;

use crate::tls;

/// Where systems keep their authorities.
const COLLECTIONS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file of authorities that this process trusts.
pub(super) fn authorities() -> PathBuf {
    let collection = || COLLECTIONS.iter().map(PathBuf::from).find(|file| file.exists());
    let named = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty()).map(PathBuf::from);
    named.or_else(collection).unwrap_or_else(|| PathBuf::from(COLLECTIONS[0]))
}

/// How such an address is asked: with so much patience, trusting that file of authorities.
///
/// # Errors
/// Why nobody could be trusted.
pub(super) fn asking(
    url: &str,
    patience: Duration,
    authorities: &Path,
) -> Result<ConfigBuilder<AgentScope>, String> {
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(patience)).proxy(None);
    if !url.starts_with("https:") {
        return Ok(config);
    }
    let text = std::fs::read_to_string(authorities);
    let text = text.map_err(|error| format!("{} {}", authorities.display(), tls::unreadable(&error)))?;
    let found = tls::certificates(&text).map_err(|why| format!("{} {why}", authorities.display()))?;
    let found: Vec<Certificate<'static>> =
        found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    let secured = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&found))
        .unversioned_rustls_crypto_provider(tls::provider())
        .build();
    Ok(config.https_only(true).tls_config(secured))
}

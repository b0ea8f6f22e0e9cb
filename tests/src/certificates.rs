//! Certificates made for a test, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};

use mysql_async::SslOpts;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::server::{Flavour, base, inside};

/// An authority, and certificates that it has signed.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// A new authority, whose certificate is `ca.pem`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Certificates {
        let folder = tempfile::Builder::new()
            .prefix("shardway-")
            .tempdir_in(base(Flavour::chosen()))
            .expect("a folder");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "An authority of tests");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("the folder is writable");
        Certificates { folder, issuer: Issuer::new(params, key) }
    }

    /// Signs a certificate for a server of these names: `NAME.pem` with the key `NAME.key`, in place of what was there.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn issue(&self, name: &str, of: &[&str]) {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = of.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "A server of tests");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("the folder is writable");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("the folder is writable");
    }

    /// A file of the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `[tls]` with the certificate of that name, and these lines.
    #[must_use]
    pub fn section(&self, name: &str, lines: &str) -> String {
        let at = |end: &str| self.path(&format!("{name}.{end}")).display().to_string();
        format!("[tls]\ncert = \"{}\"\nkey = \"{}\"\n{lines}", at("pem"), at("key"))
    }

    /// Options of a server that shows the certificate of that name.
    #[must_use]
    pub fn options(&self, name: &str) -> [String; 2] {
        let at =
            |end: &str| inside(Flavour::chosen(), &self.path(&format!("{name}.{end}"))).display().to_string();
        [format!("--ssl-cert={}", at("pem")), format!("--ssl-key={}", at("key"))]
    }

    /// For a client that trusts this authority alone.
    #[must_use]
    pub fn trusted(&self) -> SslOpts {
        trusting(&self.path("ca.pem"))
    }
}

impl Default for Certificates {
    fn default() -> Certificates {
        Certificates::new()
    }
}

/// For a client that trusts the authorities of this file alone.
#[must_use]
pub fn trusting(file: &Path) -> SslOpts {
    SslOpts::default().with_root_certs(vec![file.to_owned().into()]).with_disable_built_in_roots(true)
}

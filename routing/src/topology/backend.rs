//! The servers of a backend.

use std::path::PathBuf;

/// A MySQL or MariaDB server with the physical database it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    pub name: String,
    pub primary: Server,
    /// Its copies, watched for their lag.
    pub replicas: Vec<Replica>,
    /// Connections to each of its servers at most, over all workers.
    pub pool_max: u32,
}

impl Backend {
    /// Do reads go to replicas that do not ask for it?
    #[must_use]
    pub fn deals_reads(&self) -> bool {
        self.replicas.iter().any(|replica| replica.weight > 0)
    }
}

/// A copy of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// It carries the same physical database as the primary.
    pub server: Server,
    /// Its part of the backend's reads, beside the others' weights. 0: none but those that ask for a replica.
    pub weight: u16,
    /// Farther behind it gets no reads.
    pub max_lag_ms: u64,
}

/// Where and as whom to connect: a parsed `mysql://user:password@host:port/database`.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    /// The physical database that carries the logical one; `None` uses the logical name.
    pub database: Option<String>,
    pub tls: Tls,
}

/// How connections to a server are secured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tls {
    #[default]
    Off,
    /// Encrypted, whoever answers.
    Required,
    /// Encrypted, with a server that shows a certificate for its name or address; the authorities of this PEM file vouch
    /// for it.
    VerifyIdentity(PathBuf),
}

impl std::fmt::Display for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tls::Off => f.write_str("off"),
            Tls::Required => f.write_str("required"),
            Tls::VerifyIdentity(ca) => write!(f, "verify_identity by {}", ca.display()),
        }
    }
}

impl Server {
    /// Do both name the same server process, whatever user and database?
    #[must_use]
    pub fn is_same_process(&self, other: &Server) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl std::fmt::Debug for Server {
    /// Without the password: topologies end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "mysql://{}@{}:{}/{}",
            self.user,
            self.host,
            self.port,
            self.database.as_deref().unwrap_or("")
        )
    }
}

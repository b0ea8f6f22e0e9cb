//! Which statements an account of the proxy may run: one table decides.
//!
//! Backends know the proxy's own account alone, so the proxy's accounts are as restricted as this module makes them.
//! - What a statement needs beyond reading tables is found when it is planned, from all its tokens, whether the parser
//!   knows it or not; an account is compared with that when it runs.
//! - Nothing passes that a server would refuse an account of that kind: `databases` is all rights on those databases,
//!   `role = "read_only"` is `SELECT`. What nobody has classified is for unrestricted accounts only.
//! - Files, accounts and administration of a server are for nobody: they concern one backend of many.
//!
//! What it cannot see is what a name stands for: that a table is a view, whose text and plan a server hides from who may
//! only read it.

mod asked;
mod called;
mod defined;
mod named;
mod shown;
#[cfg(test)]
mod tests;

pub(super) use asked::{of, of_set};

use crate::bind::Characters;
use crate::refusal::{self, Kind, Refusal};

/// One thing beyond reading tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Writes,
    /// `FOR UPDATE`, where the server takes it for a write.
    Locks,
    Definitions,
    /// Stored programs run or looked at.
    Calls,
    /// Stored programs made, which run with the rights of who made them; views in somebody else's name.
    Programs,
    /// What may tell of databases that the account does not list.
    Lists,
    /// What is about the whole server, or about other sessions.
    Server,
    /// Files of the server's machine.
    Files,
    /// The server's own tables, which hold passwords.
    Own,
    /// Accounts, privileges, what servers are set to.
    Administration,
    /// Nobody has said what the statement does.
    Unclassified,
}

/// Whom a need is denied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Everybody,
    /// Accounts with `databases` or a role that only reads.
    Restricted,
    /// Accounts with `databases`.
    Confined,
    Readers,
}

/// All decisions; the first that applies is told.
const DENIED: [(Need, To, &Kind); 11] = [
    (Need::Files, To::Everybody, &refusal::SERVER_FILES),
    (Need::Own, To::Everybody, &refusal::SERVERS_OWN),
    (Need::Administration, To::Everybody, &refusal::ADMINISTRATION),
    (Need::Writes, To::Readers, &refusal::READ_ONLY),
    (Need::Locks, To::Readers, &refusal::READ_ONLY),
    (Need::Definitions, To::Readers, &refusal::READ_ONLY),
    (Need::Calls, To::Readers, &refusal::READ_ONLY),
    (Need::Server, To::Restricted, &refusal::RESTRICTED),
    (Need::Programs, To::Restricted, &refusal::RESTRICTED),
    (Need::Unclassified, To::Restricted, &refusal::RESTRICTED),
    (Need::Lists, To::Confined, &refusal::OTHERS_LISTED),
];

/// What a statement needs of an account beyond reading tables of the current database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// By bit: [`Need`].
    what: u16,
    /// Databases that it names, as written.
    databases: Vec<String>,
    blanks: Blanks,
}

/// Are there bytes in its names that some character sets take for blanks, so that a server reads other words?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Blanks {
    #[default]
    None,
    Possible,
}

impl Needs {
    pub(super) fn add(&mut self, need: Need) {
        self.what |= 1 << need as u16;
    }

    pub(super) fn name(&mut self, database: String) {
        if !self.databases.contains(&database) {
            self.databases.push(database);
        }
    }

    pub(super) fn join(&mut self, other: Needs) {
        self.what |= other.what;
        if other.blanks == Blanks::Possible {
            self.blanks = Blanks::Possible;
        }
        other.databases.into_iter().for_each(|database| self.name(database));
    }

    /// Does the statement read tables, and nothing else?
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.what == 0 && self.blanks == Blanks::None
    }

    fn has(&self, need: Need) -> bool {
        self.what & (1 << need as u16) != 0
    }
}

/// The logical databases an account may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Databases {
    All,
    Only(Vec<String>),
}

impl Databases {
    #[must_use]
    pub fn allow(&self, database: &str) -> bool {
        match self {
            Databases::All => true,
            Databases::Only(names) => names.iter().any(|name| name == database),
        }
    }
}

/// May an account write?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    Allowed,
    Refused,
}

/// What an account may do.
#[derive(Debug, Clone)]
pub struct Account {
    databases: Databases,
    /// By bit: [`Need`].
    denied: u16,
}

impl Account {
    #[must_use]
    pub fn new(databases: Databases, writes: Writes) -> Account {
        let (confined, reads) = (databases != Databases::All, writes == Writes::Refused);
        let is_denied = |to: To| match to {
            To::Everybody => true,
            To::Restricted => confined || reads,
            To::Confined => confined,
            To::Readers => reads,
        };
        let bits = DENIED.iter().filter(|(_, to, _)| is_denied(*to)).map(|(need, ..)| 1 << *need as u16);
        let denied = bits.fold(0, |all, bit: u16| all | bit);
        Account { databases, denied }
    }

    /// # Errors
    /// What the account may not do that the statement needs; or that nobody can tell, by how its client writes.
    pub fn may_run(&self, needs: &Needs, characters: Characters) -> Result<(), Refusal> {
        if needs.blanks == Blanks::Possible && characters == Characters::Foreign {
            return Err(refusal::BLANK_IN_NAME.because(""));
        }
        if needs.what & self.denied != 0 {
            let denied = |need: Need| needs.has(need) && self.denied & (1 << need as u16) != 0;
            if let Some((need, _, kind)) = DENIED.iter().find(|(need, ..)| denied(*need)) {
                return Err(kind.because(detail(*need)));
            }
        }
        if self.databases == Databases::All {
            return Ok(());
        }
        needs.databases.iter().try_for_each(|database| self.may_name(database))
    }

    /// May it be the current database?
    ///
    /// # Errors
    /// That it may not.
    pub fn may_use(&self, database: &str) -> Result<(), Refusal> {
        if is_own(database) { Err(other(database)) } else { self.may_name(database) }
    }

    /// What is asked of `information_schema` is a need of its own.
    fn may_name(&self, database: &str) -> Result<(), Refusal> {
        let allowed = self.databases.allow(database) || is_information_schema(database);
        if allowed { Ok(()) } else { Err(other(database)) }
    }
}

fn other(database: &str) -> Refusal {
    refusal::OTHER_DATABASE.because(format!("'{database}'"))
}

fn detail(need: Need) -> &'static str {
    match need {
        Need::Locks => "FOR UPDATE",
        Need::Calls => "stored programs",
        Need::Programs => "making stored programs, or in somebody else's name",
        Need::Server => "what is about the whole server",
        Need::Unclassified => "a statement of a kind that is not known",
        Need::Writes | Need::Definitions | Need::Lists | Need::Files | Need::Own | Need::Administration => "",
    }
}

/// The database with the accounts of the server.
#[must_use]
pub fn is_own(database: &str) -> bool {
    database.eq_ignore_ascii_case("mysql")
}

pub(in crate::plan) fn is_information_schema(database: &str) -> bool {
    database.eq_ignore_ascii_case("information_schema")
}

//! The end of a transaction.
//!
//! One branch: its own commit. Several: one commit after the other; when one fails after another has succeeded the
//! client gets a code of its own and the log says which backends have it. A backend that is lost before it has answered
//! may have committed: what is said of it is that nobody knows.

use shardway_routing::refusal;

use super::mirror;
use crate::backend::CommandError;
use crate::session::held::Branch;
use crate::session::{Failure, Session};

/// Commits the open transaction, if there is one. It is over whatever comes back.
///
/// # Errors
/// The commit's own error, or [`Failure::Unknown`] when nobody knows whether it took place.
pub async fn commit(session: &mut Session) -> Result<(), Failure> {
    let Some(mut transaction) = session.transaction.take() else { return Ok(()) };
    session.shows_branches();
    let result = if transaction.touched.is_empty() && transaction.left.is_empty() {
        commit_branches(session).await
    } else {
        mirror::commit(session, &transaction.touched, std::mem::take(&mut transaction.left)).await
    };
    if result.is_err() {
        let _ = rollback_branches(session).await;
    }
    transaction.gates.leave();
    session.settle();
    result
}

/// Rolls the open transaction back, if there is one. It is over whatever comes back.
///
/// # Errors
/// [`Failure`] when a branch could not be asked: its connection is closed, which rolls back as well.
pub async fn rollback(session: &mut Session) -> Result<(), Failure> {
    let Some(mut transaction) = session.transaction.take() else { return Ok(()) };
    let result = rollback_branches(session).await;
    transaction.gates.leave();
    session.settle();
    result
}

/// Commits every branch in turn. What has not been asked to when one fails is left to be rolled back.
pub(super) async fn commit_branches(session: &mut Session) -> Result<(), Failure> {
    let branches = session.branches();
    let name = |place: &usize| session.held[*place].checkout.pool().name.clone();
    let names: Vec<String> = branches.iter().map(name).collect();
    for (nth, place) in branches.into_iter().enumerate() {
        let result = session.at(place).run("COMMIT").await;
        session.held[place].branch = Branch::None;
        if let Err(error) = result {
            session.at(place).spoil();
            return Err(failed_commit(error, &names, nth));
        }
    }
    Ok(())
}

/// The nth of the branches on these backends failed. Those before it are committed, those behind it will not be.
fn failed_commit(error: CommandError, names: &[String], nth: usize) -> Failure {
    let (committed, rest) = names.split_at(nth);
    let (committed, failed, left) = (committed.join(", "), &rest[0], rest[1..].join(", "));
    if rest.len() == names.len() {
        if let (CommandError::Lost(_), false) = (&error, left.is_empty()) {
            tracing::error!(%error, failed, left, "nobody knows whether a transaction over several backends was committed on one; on the others it was not");
        }
        return error.into();
    }
    tracing::error!(%error, committed, failed, left, "a transaction over several backends was committed on some of them");
    match error {
        CommandError::Server(_) => {
            refusal::PARTIAL_COMMIT.because(format!("committed on {committed}, not on {}", rest.join(", ")))
        }
        CommandError::Lost(_) if left.is_empty() => {
            refusal::COMMIT_UNKNOWN.because(format!("committed on {committed}, unknown on {failed}"))
        }
        CommandError::Lost(_) => refusal::COMMIT_UNKNOWN
            .because(format!("committed on {committed}, unknown on {failed}, not on {left}")),
    }
    .into()
}

/// Rolls every branch back; a branch that cannot be asked is closed.
pub(super) async fn rollback_branches(session: &mut Session) -> Result<(), Failure> {
    for place in session.branches() {
        if session.at(place).is_usable() && session.at(place).run("ROLLBACK").await.is_ok() {
            session.held[place].branch = Branch::None;
        } else {
            session.at(place).spoil();
            session.held[place].branch = Branch::None;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse::ErrPacket;

    fn refused() -> CommandError {
        let (sql_state, message) = ("HY000".to_owned(), "read-only".to_owned());
        CommandError::Server(ErrPacket { code: 1290, sql_state, message })
    }

    fn lost() -> CommandError {
        CommandError::Lost(std::io::ErrorKind::UnexpectedEof.into())
    }

    #[test]
    fn what_is_said_of_each_backend_is_what_is_known_of_it() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let told = |error, names: &[String], nth| match failed_commit(error, names, nth) {
            Failure::Refused(refusal) => format!("{} {}", refusal.kind.id, refusal.detail),
            Failure::Server(error) => error.code.to_string(),
            Failure::Unknown(_) => "unknown".to_owned(),
            other => panic!("{other}"),
        };
        assert_eq!(told(refused(), &names, 0), "1290");
        assert_eq!(told(refused(), &names, 1), "SHD1302 committed on a, not on b, c");
        assert_eq!(told(refused(), &names, 2), "SHD1302 committed on a, b, not on c");
        assert_eq!(told(lost(), &names[..1], 0), "unknown");
        assert_eq!(told(lost(), &names, 0), "unknown");
        assert_eq!(told(lost(), &names, 1), "SHD1307 committed on a, unknown on b, not on c");
        assert_eq!(told(lost(), &names, 2), "SHD1307 committed on a, b, unknown on c");
    }
}

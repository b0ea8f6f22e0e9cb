//! The end of a transaction.
//!
//! One branch: its own commit. Several: one commit after the other; when one fails after another has succeeded the
//! client gets a code of its own and the log says which backends have it.

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

/// Commits every branch in turn.
pub(super) async fn commit_branches(session: &mut Session) -> Result<(), Failure> {
    let branches = session.branches();
    let mut committed = Vec::new();
    for place in branches {
        let name = session.held[place].checkout.pool().name.clone();
        let result = session.at(place).run("COMMIT").await;
        session.held[place].branch = Branch::None;
        match result {
            Ok(_) => committed.push(name),
            Err(error) => {
                session.at(place).spoil();
                return Err(failed_commit(error, &name, &committed));
            }
        }
    }
    Ok(())
}

fn failed_commit(error: CommandError, failed: &str, committed: &[String]) -> Failure {
    if committed.is_empty() {
        return error.into();
    }
    tracing::error!(%error, failed, ?committed, "a transaction over several backends was committed on some of them only");
    refusal::PARTIAL_COMMIT.because(format!("committed on {}, not on {failed}", committed.join(", "))).into()
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

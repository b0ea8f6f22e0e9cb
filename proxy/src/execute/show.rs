//! Answers in which a node names itself, given the logical name.
//!
//! The table's name is the first field of every row, in both protocols; the statement that makes the table is the second.

use shardway_routing::lex::Quoting;
use shardway_routing::plan::{Gather, ShownAs, ShownNode, catalogue};

use super::{Job, relay, send};
use crate::session::{Failure, Session};
use crate::wire::cursor::{Cursor, Malformed, put_string};

/// The node that the plan has shown, if it is such a plan.
pub(super) fn shown<'a>(job: &'a Job<'_>) -> Option<&'a ShownNode> {
    match &shardway_routing::bind::side_plan(job.plan, job.route.side)?.gather {
        Gather::Renamed(shown) => Some(shown),
        _ => None,
    }
}

/// Runs the statement on its node and answers the client.
pub(super) async fn renamed(session: &mut Session, job: &Job<'_>, shown: &ShownNode) -> Result<(), Failure> {
    let leg = &job.route.legs[0];
    let place = session.connection(job.view, leg.backend).await?;
    let scanner =
        send::leg(session, place, job, leg).await.map_err(|failure| session.broke(failure, place))?;
    let quoting = session.quoting;
    let is_binary = job.request.execute.is_some();
    let change = |row: &[u8], columns: usize| {
        // A row of the binary protocol begins with a zero byte and a bit for each column.
        let head = if is_binary { 1 + (columns + 9) / 8 } else { 0 };
        row_of_logical(row, head, job, shown, quoting)
    };
    let outcome = relay::packets(session, place, scanner, None, change).await?;
    session.after(place, &outcome).await
}

fn row_of_logical(
    row: &[u8],
    head: usize,
    job: &Job<'_>,
    shown: &ShownNode,
    quoting: Quoting,
) -> Result<Vec<u8>, Malformed> {
    let mut cursor = Cursor(row);
    let mut out = cursor.bytes(head)?.to_vec();
    cursor.string()?;
    put_string(job.topology().table_of(shown.table).name.as_bytes(), &mut out);
    if shown.what == ShownAs::Definition {
        let text = cursor.string()?;
        put_string(&catalogue::definition(job.topology(), shown, text, quoting), &mut out);
    }
    out.extend_from_slice(cursor.0);
    Ok(out)
}

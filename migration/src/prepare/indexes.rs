//! Indexes built once the rows are there.
//!
//! What a table lacks is found by looking at it, so a crash between two tables or inside one is made good by running this
//! again. Indexes that only the target has are left alone.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::topology::{MoveId, Topology};

use super::definition::Definition;
use super::{Done, Model, What, show_create};
use crate::place::{self, Place, failed_at, reach_server};
use crate::tables::WorkError;
use crate::tally::Tally;

/// Gives every table of the target the indexes that the source's has. `tally` counts the target's tables.
///
/// # Errors
/// [`WorkError::Stopped`] with the backend, the statement and what the server said.
pub async fn indexes_after(topology: &Topology, by: MoveId, tally: &Tally) -> Result<Vec<Done>, WorkError> {
    let mut done = Vec::new();
    let all = place::of_move(topology, by);
    tally.expect(all.iter().map(|places| places.new_targets().count() as u64).sum());
    for places in &all {
        let model = Model::read(places).await?;
        for target in places.new_targets() {
            let mut connection = reach_server(&target.backend_name, &target.server).await?;
            done.push(complete(&mut connection, target, &model.definition).await?);
            connection.disconnect().await?;
            tally.did(1);
        }
    }
    Ok(done)
}

/// Adds the indexes that a table lacks. A process that has ended may have left the server with the same to do: then they
/// are there when the table is free, and what is lacking is looked for again.
pub(super) async fn complete(
    connection: &mut Conn,
    target: &Place,
    model: &Definition,
) -> Result<Done, WorkError> {
    const DUPLICATE_NAME: u16 = 1061;
    let (mut added, mut refused) = (Vec::new(), None);
    while let Some((names, sql)) = next_lacking(connection, target, model).await? {
        match connection.query_drop(&sql).await {
            Err(mysql_async::Error::Server(error))
                if error.code == DUPLICATE_NAME && refused.as_ref() != Some(&sql) =>
            {
                refused = Some(sql);
            }
            done => {
                failed_at(done, &target.backend_name, &sql)?;
                added.extend(names);
            }
        }
    }
    let what = if added.is_empty() { What::AlreadyThere } else { What::Indexed(added) };
    Ok(Done::new(&target.backend_name, target.quoted(), what))
}

async fn next_lacking(
    connection: &mut Conn,
    target: &Place,
    model: &Definition,
) -> Result<Option<(Vec<String>, String)>, WorkError> {
    let has = show_create(connection, target).await?;
    Ok(lacking(target, model, &has).into_iter().next())
}

/// Statements that add what is lacking, with the names: ordinary indexes in one, so that the rows are read once, and each
/// full-text or spatial one by itself, because servers build no two of those together.
pub(super) fn lacking(target: &Place, model: &Definition, has: &Definition) -> Vec<(Vec<String>, String)> {
    let there: Vec<&str> = has.indexes().map(|(name, _)| name).collect();
    let missing = model.indexes().filter(|(name, _)| !there.iter().any(|has| has.eq_ignore_ascii_case(name)));
    let (plain, special): (Vec<_>, Vec<_>) =
        missing.partition(|(_, part)| part.starts_with("KEY") || part.starts_with("INDEX"));
    let alter = |indexes: &[(&str, &str)]| {
        let names = indexes.iter().map(|(name, _)| (*name).to_owned()).collect();
        let added: Vec<String> = indexes.iter().map(|(_, part)| format!("ADD {part}")).collect();
        (names, format!("ALTER TABLE {} {}", target.quoted(), added.join(", ")))
    };
    let first = (!plain.is_empty()).then(|| alter(&plain));
    first.into_iter().chain(special.iter().map(|index| alter(std::slice::from_ref(index)))).collect()
}

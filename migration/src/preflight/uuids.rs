//! Tables whose UUIDs are stored in the form that MariaDB had before [MDEV-29959](https://jira.mariadb.org/browse/MDEV-29959):
//! always with their parts in reverse order. A log does not tell which form it has, and the newer one is what streams read.

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use shardway_routing::schema::{Column, ColumnKind};
use shardway_routing::topology::Topology;

use super::facts::{Definition, Facts};
use crate::image::quoted;
use crate::place;
use crate::tables::WorkError;

/// The first release of each series that stores the newer form; every series after them does.
const SINCE: [[u64; 3]; 5] = [[10, 9, 8], [10, 10, 6], [10, 11, 5], [11, 0, 3], [11, 1, 2]];

/// Does a server of that version make tables with the newer form?
fn makes_newer(version: &str) -> bool {
    let numbers: Vec<u64> = version.split(['.', '-']).map_while(|part| part.parse().ok()).take(3).collect();
    let Ok([major, minor, patch]) = <[u64; 3]>::try_from(numbers) else { return false };
    match SINCE.iter().find(|since| since[..2] == [major, minor]) {
        Some(since) => patch >= since[2],
        None => [major, minor] > [11, 1],
    }
}

/// Looks at every table that has UUIDs.
pub(super) async fn look(facts: &mut Facts, topology: &Topology) -> Result<(), WorkError> {
    for physical in facts.tables.iter_mut().flat_map(|table| &mut table.physical) {
        let is_uuid = |column: &Column| column.kind == ColumnKind::Uuid;
        let has_some = |of: &&mut Definition| of.schema.columns.iter().any(is_uuid);
        let Some(definition) = physical.definition.as_mut().filter(has_some) else { continue };
        let backend = topology.backends.iter().find(|backend| backend.name == physical.backend);
        let mut connection = place::reach(backend.expect("facts are of the topology")).await?;
        let told = older(&mut connection, &physical.database, &physical.table).await;
        definition.older_uuids = told.map_err(|error| WorkError::from(error).of(&physical.backend))?;
        connection.disconnect().await?;
    }
    Ok(())
}

/// What speaks for the older form.
async fn older(
    connection: &mut Conn,
    database: &str,
    table: &str,
) -> Result<Option<String>, mysql_async::Error> {
    let version: Option<String> = connection.query_first("SELECT VERSION()").await?;
    let version = version.unwrap_or_default();
    if !makes_newer(&version) {
        return Ok(Some(format!("by {version}")));
    }
    // A table keeps its form when its server becomes newer, until it is built anew; only this tells.
    let check = format!("CHECK TABLE {}.{} FOR UPGRADE", quoted(database), quoted(table));
    let told: Vec<(String, String, String, String)> = connection.query(check).await?;
    Ok(told.into_iter().find(|(_, _, kind, _)| kind.eq_ignore_ascii_case("error")).map(|told| told.3))
}

#[cfg(test)]
mod tests {
    use super::makes_newer;

    #[test]
    fn each_series_has_a_first_release_with_the_newer_form() {
        let newer = [
            "10.11.5-MariaDB",
            "10.11.19-MariaDB-0+deb12u1-log",
            "11.0.3-MariaDB",
            "11.1.2",
            "11.2.1",
            "12.0.2",
        ];
        let older =
            ["10.7.8-MariaDB", "10.9.7-MariaDB", "10.11.4-MariaDB-log", "11.0.2", "11.1.1", "", "10.11"];
        assert!(newer.iter().all(|version| makes_newer(version)));
        assert!(older.iter().all(|version| !makes_newer(version)));
    }
}

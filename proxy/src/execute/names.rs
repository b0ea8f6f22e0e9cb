//! What an answer says of where its columns come from: the logical names, whichever node it came from.

use shardway_routing::bind::{self, Leg};
use shardway_routing::plan::DataPlan;
use shardway_routing::topology::{Side, Topology};

use crate::wire::cursor::{Cursor, Malformed, put_string};

/// The tables of a statement that a node calls otherwise.
#[derive(Debug)]
pub struct Names<'a>(Vec<Name<'a>>);

#[derive(Debug)]
struct Name<'a> {
    /// Database and table.
    physical: (&'a str, &'a str),
    logical: (&'a str, &'a str),
}

impl<'a> Names<'a> {
    /// `None`: the node calls them all by their logical names.
    #[must_use]
    pub fn of(plan: &DataPlan, topology: &'a Topology, side: Side, leg: &Leg) -> Option<Names<'a>> {
        let name = |id| {
            let table = topology.table_of(id);
            let logical = (topology.database_of(table.database).name.as_str(), table.name.as_str());
            Name { physical: bind::place_of(topology, id, side, leg), logical }
        };
        let names = plan.tables.iter().map(|id| name(*id));
        let names: Vec<Name<'_>> = names.filter(|name| name.physical != name.logical).collect();
        (!names.is_empty()).then_some(Names(names))
    }

    /// A column definition under the logical names.
    ///
    /// # Errors
    /// When it is none.
    pub fn column(&self, packet: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut cursor = Cursor(packet);
        let catalogue = cursor.string()?;
        let (database, alias, table) = (cursor.string()?, cursor.string()?, cursor.string()?);
        let same = |physical: &str, said: &[u8]| physical.as_bytes().eq_ignore_ascii_case(said);
        let is_said = |name: &&Name<'_>| same(name.physical.0, database) && same(name.physical.1, table);
        let Some(name) = self.0.iter().find(is_said) else { return Ok(packet.to_vec()) };
        let mut out = Vec::with_capacity(packet.len());
        put_string(catalogue, &mut out);
        put_string(name.logical.0.as_bytes(), &mut out);
        put_string(if alias == table { name.logical.1.as_bytes() } else { alias }, &mut out);
        put_string(name.logical.1.as_bytes(), &mut out);
        out.extend_from_slice(cursor.0);
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_a_node_is_told_as_the_tables() {
        let names = Names(vec![Name { physical: ("shop_0", "users_3"), logical: ("shop", "users") }]);
        let packet = |texts: [&str; 4]| {
            let mut out = Vec::new();
            texts.iter().for_each(|text| put_string(text.as_bytes(), &mut out));
            out.extend_from_slice(b"rest");
            out
        };
        let told = |texts| names.column(&packet(texts)).unwrap();
        assert_eq!(told(["def", "shop_0", "u", "users_3"]), packet(["def", "shop", "u", "users"]));
        assert_eq!(told(["def", "shop_0", "users_3", "users_3"]), packet(["def", "shop", "users", "users"]));
        assert_eq!(told(["def", "", "d", ""]), packet(["def", "", "d", ""]));
    }
}

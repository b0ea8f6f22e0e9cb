//! `COM_FIELD_LIST` and `COM_SET_OPTION`: commands of older clients, which the command line still sends.

use mysql_common::constants::CapabilityFlags;
use shardway_routing::plan::catalogue::{self, Place, Seen};

use super::{Failure, MySqlError, Session};
use crate::backend::CommandError;
use crate::wire::command::Command;
use crate::wire::cursor::{Cursor, Malformed, put_string};
use crate::wire::parse;

impl Session {
    /// Answers with the columns of a table: those of the first node, under the logical names.
    pub(super) async fn field_list(&mut self, argument: &[u8]) -> Result<(), Failure> {
        let end = argument.iter().position(|&byte| byte == 0).unwrap_or(argument.len());
        let table = String::from_utf8_lossy(&argument[..end]).into_owned();
        let result = self.fields(&table, &argument[end..]).await;
        self.settle();
        result
    }

    async fn fields(&mut self, table: &str, pattern: &[u8]) -> Result<(), Failure> {
        self.forget_diagnostics();
        let view = self.worker.view();
        let topology = &view.snapshot.topology;
        let database = self.database.clone();
        let (backend, seen) = match catalogue::place_of(topology, database.as_deref(), None, table)? {
            Place::Node(seen) => (seen.backend, Some(seen)),
            Place::Passed { backend } => {
                (backend.map_or_else(|| topology.home(database.as_deref()), Ok)?, None)
            }
        };
        let physical = seen.as_ref().map_or(table, |seen| &seen.table);
        let argument = [physical.as_bytes(), pattern].concat();
        let place = self.connection(&view, backend).await?;
        self.at(place).send(Command::FieldList, &argument).await.map_err(CommandError::from)?;
        loop {
            let packet = self.at(place).packet().await.map_err(CommandError::from)?;
            match packet.first() {
                Some(0xFF) => {
                    let error = parse::err(&packet).map_err(|error| self.at(place).broken(error))?;
                    return Err(Failure::Server(error));
                }
                Some(0xFE) => return self.answer_end(),
                _ => {}
            }
            let definition = match (&seen, database.as_deref()) {
                (Some(seen), Some(database)) => logical(&packet, seen, database, table),
                _ => Ok(packet),
            };
            let definition = definition.map_err(|error| self.at(place).broken(error))?;
            self.client.packet(&definition);
            self.client.flush_if_large().await.map_err(|_| Failure::Over)?;
        }
    }

    /// Several statements per packet: on (0) or off (1).
    pub(super) fn set_option(&mut self, argument: &[u8]) -> Result<(), Failure> {
        let flag = CapabilityFlags::CLIENT_MULTI_STATEMENTS.bits();
        match argument {
            [0, 0] => self.client.capabilities |= flag,
            [1, 0] => self.client.capabilities &= !flag,
            _ => return Err(Failure::Own(MySqlError::UnknownCommand, "Unknown command".to_owned())),
        }
        self.answer_end()
    }
}

/// A column definition with the logical names of the database and the table.
fn logical(packet: &[u8], seen: &Seen, database: &str, table: &str) -> Result<Vec<u8>, Malformed> {
    let mut cursor = Cursor(packet);
    let mut out = Vec::with_capacity(packet.len());
    put_string(cursor.string()?, &mut out);
    for (physical, logical) in [(&seen.database, database), (&seen.table, table), (&seen.table, table)] {
        let written = cursor.string()?;
        put_string(if written == physical.as_bytes() { logical.as_bytes() } else { written }, &mut out);
    }
    out.extend_from_slice(cursor.0);
    Ok(out)
}

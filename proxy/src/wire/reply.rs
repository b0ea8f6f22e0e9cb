//! Answers to a client.

use mysql_common::constants::{ColumnType, StatusFlags};

use super::cursor::{Cursor, Malformed, put_length, put_string};
use super::frame::{self, begin, finish};
use super::parse::{Column, deprecates_eof};

/// What an OK packet says.
#[derive(Debug, Clone, Copy, Default)]
pub struct OkReply<'a> {
    pub affected: u64,
    pub last_insert_id: u64,
    pub status: u16,
    pub warnings: u16,
    pub info: &'a [u8],
}

/// A column of a table of ours.
#[derive(Debug, Clone, Copy)]
pub struct NewColumn<'a> {
    pub name: &'a str,
    pub column_type: ColumnType,
}

/// Whether another answer to the same packet follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    Follows,
    Nothing,
}

/// What the answer to `COM_STMT_PREPARE` says.
#[derive(Debug, Clone, Copy)]
pub struct PrepareReply<'a> {
    pub statement_id: u32,
    /// Column definition packets.
    pub parameters: &'a [Vec<u8>],
    pub columns: &'a [Vec<u8>],
    pub warnings: u16,
    pub status: u16,
}

const BINARY: u16 = 63;
const UTF8MB4: u16 = 45;
/// `NOT NULL`, `UNSIGNED`, `BINARY`.
const NUMBER: u16 = 1 | 32 | 128;

/// Appends an OK packet.
pub fn ok(reply: &OkReply<'_>, _capabilities: u32, seq: &mut u8, out: &mut Vec<u8>) {
    ok_with_head(0x00, reply, seq, out);
}

fn ok_with_head(head: u8, reply: &OkReply<'_>, seq: &mut u8, out: &mut Vec<u8>) {
    let mark = begin(out);
    out.push(head);
    put_length(reply.affected, out);
    put_length(reply.last_insert_id, out);
    out.extend_from_slice(&reply.status.to_le_bytes());
    out.extend_from_slice(&reply.warnings.to_le_bytes());
    if !reply.info.is_empty() {
        put_string(reply.info, out);
    }
    finish(mark, seq, out);
}

/// Appends an ERR packet.
pub fn err(code: u16, sql_state: &str, message: &str, seq: &mut u8, out: &mut Vec<u8>) {
    let mark = begin(out);
    out.push(0xFF);
    out.extend_from_slice(&code.to_le_bytes());
    out.push(b'#');
    out.extend(sql_state.bytes().chain(std::iter::repeat(b'0')).take(5));
    out.extend_from_slice(message.as_bytes());
    finish(mark, seq, out);
}

/// Appends an EOF packet.
pub fn eof(status: u16, warnings: u16, seq: &mut u8, out: &mut Vec<u8>) {
    let mark = begin(out);
    out.push(0xFE);
    out.extend_from_slice(&warnings.to_le_bytes());
    out.extend_from_slice(&status.to_le_bytes());
    finish(mark, seq, out);
}

/// Appends the head of a result set: what a backend said of its columns.
pub fn columns(columns: &[Column], capabilities: u32, seq: &mut u8, out: &mut Vec<u8>) {
    count(columns.len(), seq, out);
    for column in columns {
        definition(column, seq, out);
    }
    end_of_columns(capabilities, seq, out);
}

/// Appends the head of a result set of ours.
pub fn new_columns(columns: &[NewColumn<'_>], capabilities: u32, seq: &mut u8, out: &mut Vec<u8>) {
    count(columns.len(), seq, out);
    for column in columns {
        let number =
            matches!(column.column_type, ColumnType::MYSQL_TYPE_LONGLONG | ColumnType::MYSQL_TYPE_LONG);
        let full = Column {
            schema: Vec::new(),
            table: Vec::new(),
            org_table: Vec::new(),
            name: column.name.as_bytes().to_vec(),
            org_name: Vec::new(),
            charset: if number { BINARY } else { UTF8MB4 },
            length: if number { 21 } else { 1024 },
            column_type: column.column_type,
            flags: if number { NUMBER } else { 0 },
            decimals: 0,
        };
        definition(&full, seq, out);
    }
    end_of_columns(capabilities, seq, out);
}

fn count(columns: usize, seq: &mut u8, out: &mut Vec<u8>) {
    let mark = begin(out);
    put_length(columns as u64, out);
    finish(mark, seq, out);
}

fn definition(column: &Column, seq: &mut u8, out: &mut Vec<u8>) {
    let mark = begin(out);
    put_string(b"def", out);
    for text in [&column.schema, &column.table, &column.org_table, &column.name, &column.org_name] {
        put_string(text, out);
    }
    out.push(0x0C);
    out.extend_from_slice(&column.charset.to_le_bytes());
    out.extend_from_slice(&column.length.to_le_bytes());
    out.push(column.column_type as u8);
    out.extend_from_slice(&column.flags.to_le_bytes());
    out.extend_from_slice(&[column.decimals, 0, 0]);
    finish(mark, seq, out);
}

fn end_of_columns(capabilities: u32, seq: &mut u8, out: &mut Vec<u8>) {
    if !deprecates_eof(capabilities) {
        eof(2, 0, seq, out);
    }
}

/// Appends a row in the text protocol.
pub fn text_row(fields: &[Option<&[u8]>], seq: &mut u8, out: &mut Vec<u8>) {
    let mark = begin(out);
    for field in fields {
        match field {
            Some(text) => put_string(text, out),
            None => out.push(0xFB),
        }
    }
    finish(mark, seq, out);
}

/// Appends what ends a result set.
pub fn end_of_rows(status: u16, warnings: u16, capabilities: u32, seq: &mut u8, out: &mut Vec<u8>) {
    if deprecates_eof(capabilities) {
        ok_with_head(0xFE, &OkReply { status, warnings, ..OkReply::default() }, seq, out);
    } else {
        eof(status, warnings, seq, out);
    }
}

/// The OK or EOF packet that ends a result, saying besides that more follows if it does.
///
/// # Errors
/// When it is neither.
pub fn followed(payload: &[u8], more: More) -> Result<Vec<u8>, Malformed> {
    let mut packet = payload.to_vec();
    if more == More::Nothing {
        return Ok(packet);
    }
    let mut cursor = Cursor(payload);
    let head = cursor.u8()?;
    if head == 0xFE && payload.len() == 5 {
        // EOF: the warnings come first.
        cursor.u16()?;
    } else {
        cursor.length()?;
        cursor.length()?;
    }
    let at = payload.len() - cursor.0.len();
    let status = cursor.u16()? | StatusFlags::SERVER_MORE_RESULTS_EXISTS.bits();
    packet[at..at + 2].copy_from_slice(&status.to_le_bytes());
    Ok(packet)
}

/// Appends the answer to `COM_STMT_PREPARE`.
pub fn prepared(reply: &PrepareReply<'_>, capabilities: u32, seq: &mut u8, out: &mut Vec<u8>) {
    let mark = begin(out);
    let count = |packets: &[Vec<u8>]| u16::try_from(packets.len()).unwrap_or(u16::MAX).to_le_bytes();
    out.push(0);
    out.extend_from_slice(&reply.statement_id.to_le_bytes());
    out.extend_from_slice(&count(reply.columns));
    out.extend_from_slice(&count(reply.parameters));
    out.push(0);
    out.extend_from_slice(&reply.warnings.to_le_bytes());
    finish(mark, seq, out);
    for packets in [reply.parameters, reply.columns] {
        for packet in packets {
            frame::write(packet, seq, out);
        }
        if !packets.is_empty() && !deprecates_eof(capabilities) {
            eof(reply.status, 0, seq, out);
        }
    }
}

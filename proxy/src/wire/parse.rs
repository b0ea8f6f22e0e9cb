//! Answers of a backend, decoded where the proxy has to understand them.

use mysql_common::constants::{CapabilityFlags, ColumnType};

use shardway_routing::merge::{self, Unsigned};

use super::cursor::{Cursor, Malformed};

/// An OK packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OkPacket {
    pub affected: u64,
    pub last_insert_id: u64,
    pub status: u16,
    pub warnings: u16,
    pub info: Vec<u8>,
}

/// An ERR packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrPacket {
    pub code: u16,
    pub sql_state: String,
    pub message: String,
}

/// A column definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub schema: Vec<u8>,
    pub table: Vec<u8>,
    pub org_table: Vec<u8>,
    pub name: Vec<u8>,
    pub org_name: Vec<u8>,
    pub charset: u16,
    pub length: u32,
    pub column_type: ColumnType,
    pub flags: u16,
    pub decimals: u8,
}

/// The head of an answer to `COM_STMT_PREPARE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrepareOk {
    pub statement_id: u32,
    pub columns: u16,
    pub parameters: u16,
    pub warnings: u16,
}

impl Column {
    /// What the merge must know of the column.
    #[must_use]
    pub fn merge_type(&self) -> merge::ColumnType {
        merge_type(self.column_type, self.flags)
    }
}

/// What a merge must know of a column of this type with these flags.
#[must_use]
pub fn merge_type(of: ColumnType, flags: u16) -> merge::ColumnType {
    const UNSIGNED: u16 = 32;
    let unsigned = if flags & UNSIGNED != 0 { Unsigned::Yes } else { Unsigned::No };
    let integer = |width| merge::ColumnType::Integer { width, unsigned };
    match of {
        ColumnType::MYSQL_TYPE_TINY => integer(1),
        ColumnType::MYSQL_TYPE_SHORT | ColumnType::MYSQL_TYPE_YEAR => integer(2),
        ColumnType::MYSQL_TYPE_LONG | ColumnType::MYSQL_TYPE_INT24 => integer(4),
        ColumnType::MYSQL_TYPE_LONGLONG => integer(8),
        ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL => merge::ColumnType::Decimal,
        ColumnType::MYSQL_TYPE_FLOAT => merge::ColumnType::Float,
        ColumnType::MYSQL_TYPE_DOUBLE => merge::ColumnType::Double,
        ColumnType::MYSQL_TYPE_DATE | ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_TIMESTAMP => {
            merge::ColumnType::Date
        }
        ColumnType::MYSQL_TYPE_TIME => merge::ColumnType::Time,
        _ => merge::ColumnType::Bytes,
    }
}

impl OkPacket {
    /// Adds another shard's part of the same statement.
    pub fn add(&mut self, other: &OkPacket) {
        self.affected = self.affected.saturating_add(other.affected);
        self.warnings = self.warnings.saturating_add(other.warnings);
        if self.last_insert_id == 0 {
            self.last_insert_id = other.last_insert_id;
        }
        self.info = added(&self.info, &other.info).unwrap_or_default();
    }

    /// Rows that an `UPDATE` found, whether it changed them or not: `Rows matched: 3  Changed: 1  Warnings: 0`.
    #[must_use]
    pub fn matched(&self) -> Option<u64> {
        let rest = self.info.strip_prefix(b"Rows matched: ")?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
    }
}

/// Two infos with the same words, their numbers added.
fn added(one: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let mut sum = Vec::new();
    let mut parts = other.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    for part in one.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        let beside = parts.next()?;
        let number = |digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
        match (number(part), number(beside)) {
            (Some(one), Some(other)) => {
                sum.extend_from_slice(one.saturating_add(other).to_string().as_bytes())
            }
            (None, None) if part == beside => sum.extend_from_slice(part),
            _ => return None,
        }
    }
    parts.next().is_none().then_some(sum)
}

/// Do these capabilities end rows with OK instead of EOF?
#[must_use]
pub fn deprecates_eof(capabilities: u32) -> bool {
    capabilities & CapabilityFlags::CLIENT_DEPRECATE_EOF.bits() != 0
}

/// Decodes an OK packet, also one in EOF's place.
///
/// # Errors
/// When it is none.
pub fn ok(payload: &[u8]) -> Result<OkPacket, Malformed> {
    let mut cursor = Cursor(payload);
    if !matches!(cursor.u8()?, 0x00 | 0xFE) {
        return Err(Malformed);
    }
    let affected = cursor.length()?;
    let last_insert_id = cursor.length()?;
    let (status, warnings) = (cursor.u16()?, cursor.u16()?);
    Ok(OkPacket {
        affected,
        last_insert_id,
        status,
        warnings,
        info: cursor.string().unwrap_or(cursor.0).to_vec(),
    })
}

/// Decodes the status and warnings of an EOF packet.
///
/// # Errors
/// When it is none.
pub fn eof(payload: &[u8]) -> Result<OkPacket, Malformed> {
    let mut cursor = Cursor(payload);
    if cursor.u8()? != 0xFE {
        return Err(Malformed);
    }
    let (warnings, status) = (cursor.u16()?, cursor.u16()?);
    Ok(OkPacket { status, warnings, ..OkPacket::default() })
}

/// Decodes an ERR packet.
///
/// # Errors
/// When it is none.
pub fn err(payload: &[u8]) -> Result<ErrPacket, Malformed> {
    let mut cursor = Cursor(payload);
    if cursor.u8()? != 0xFF {
        return Err(Malformed);
    }
    let code = cursor.u16()?;
    let mut sql_state = "HY000".to_owned();
    if cursor.0.first() == Some(&b'#') && cursor.0.len() >= 6 {
        sql_state = String::from_utf8_lossy(&cursor.bytes(6)?[1..]).into_owned();
    }
    Ok(ErrPacket { code, sql_state, message: String::from_utf8_lossy(cursor.0).into_owned() })
}

/// Decodes a column definition.
///
/// # Errors
/// When it is none.
pub fn column(payload: &[u8]) -> Result<Column, Malformed> {
    let mut cursor = Cursor(payload);
    cursor.string()?;
    let mut text = || cursor.string().map(<[u8]>::to_vec);
    let (schema, table, org_table, name, org_name) = (text()?, text()?, text()?, text()?, text()?);
    cursor.length()?;
    Ok(Column {
        schema,
        table,
        org_table,
        name,
        org_name,
        charset: cursor.u16()?,
        length: cursor.u32()?,
        column_type: ColumnType::try_from(cursor.u8()?).map_err(|_| Malformed)?,
        flags: cursor.u16()?,
        decimals: cursor.u8()?,
    })
}

/// Decodes the head of a prepared statement.
///
/// # Errors
/// When it is none.
pub fn prepare_ok(payload: &[u8]) -> Result<PrepareOk, Malformed> {
    let mut cursor = Cursor(payload);
    if cursor.u8()? != 0 {
        return Err(Malformed);
    }
    let statement_id = cursor.u32()?;
    let (columns, parameters) = (cursor.u16()?, cursor.u16()?);
    cursor.u8()?;
    Ok(PrepareOk { statement_id, columns, parameters, warnings: cursor.u16().unwrap_or(0) })
}

/// The fields of a row in the text protocol.
pub fn text_row(payload: &[u8]) -> impl Iterator<Item = Result<Option<&[u8]>, Malformed>> {
    let mut cursor = Cursor(payload);
    std::iter::from_fn(move || {
        if cursor.0.is_empty() {
            return None;
        }
        let field = cursor.string_or_null();
        if field.is_err() {
            cursor.0 = &[];
        }
        Some(field)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infos_of_shards_add_up() {
        let ok = |info: &str| OkPacket { info: info.into(), ..OkPacket::default() };
        let mut sum = ok("Rows matched: 3  Changed: 1  Warnings: 0");
        sum.add(&ok("Rows matched: 12  Changed: 9  Warnings: 2"));
        assert_eq!(sum, ok("Rows matched: 15  Changed: 10  Warnings: 2"));
        assert_eq!(sum.matched(), Some(15));
        sum.add(&ok("Records: 2  Duplicates: 0  Warnings: 0"));
        assert_eq!((sum.info.as_slice(), sum.matched()), (&b""[..], None));
    }
}

//! Reading the protocol's basic types off the front of a packet.

/// A packet ended early, or said something impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Malformed communication packet")]
pub struct Malformed;

/// What is left of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next `count` bytes.
    ///
    /// # Errors
    /// When there are fewer, as with every function here.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.bytes(1)?[0])
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.bytes(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.bytes(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A little-endian number of `width` bytes, 8 at most.
    pub fn number(&mut self, width: usize) -> Result<u64, Malformed> {
        let mut all = [0; 8];
        all[..width].copy_from_slice(self.bytes(width)?);
        Ok(u64::from_le_bytes(all))
    }

    /// A length-encoded integer. `None`: the NULL marker.
    pub fn length_or_null(&mut self) -> Result<Option<u64>, Malformed> {
        match self.u8()? {
            0xFB => Ok(None),
            0xFC => self.number(2).map(Some),
            0xFD => self.number(3).map(Some),
            0xFE => self.number(8).map(Some),
            0xFF => Err(Malformed),
            small => Ok(Some(u64::from(small))),
        }
    }

    pub fn length(&mut self) -> Result<u64, Malformed> {
        self.length_or_null()?.ok_or(Malformed)
    }

    /// A length-encoded string. `None`: NULL.
    pub fn string_or_null(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.length_or_null()? {
            None => Ok(None),
            Some(length) => self.bytes(usize::try_from(length).map_err(|_| Malformed)?).map(Some),
        }
    }

    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        self.string_or_null()?.ok_or(Malformed)
    }

    /// A string that a zero byte ends.
    pub fn zero_ended(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(Malformed)?;
        let text = self.bytes(end)?;
        self.bytes(1)?;
        Ok(text)
    }
}

/// Appends a length-encoded integer.
pub fn put_length(length: u64, out: &mut Vec<u8>) {
    let bytes = length.to_le_bytes();
    match length {
        0..=0xFA => out.push(bytes[0]),
        0xFB..=0xFFFF => {
            out.push(0xFC);
            out.extend_from_slice(&bytes[..2]);
        }
        0x1_0000..=0xFF_FFFF => {
            out.push(0xFD);
            out.extend_from_slice(&bytes[..3]);
        }
        _ => {
            out.push(0xFE);
            out.extend_from_slice(&bytes);
        }
    }
}

/// Appends a length-encoded string.
pub fn put_string(text: &[u8], out: &mut Vec<u8>) {
    put_length(text.len() as u64, out);
    out.extend_from_slice(text);
}

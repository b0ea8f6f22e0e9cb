//! Reading bytes one after the other, never past their end.

use super::error::StreamError;

/// Bytes that are still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], StreamError> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            return Err(StreamError::garbled("an event ends too early"));
        };
        self.0 = rest;
        Ok(taken)
    }

    /// A little-endian number of up to eight bytes.
    pub fn number(&mut self, bytes: usize) -> Result<u64, StreamError> {
        self.take(bytes).map(little)
    }

    pub fn size(&mut self, bytes: usize) -> Result<usize, StreamError> {
        let size = self.number(bytes)?;
        usize::try_from(size).map_err(|_| StreamError::garbled("an event claims an impossible length"))
    }

    pub fn byte(&mut self) -> Result<u8, StreamError> {
        self.take(1).map(|taken| taken[0])
    }

    /// A number in the protocol's own packing.
    pub fn packed(&mut self) -> Result<usize, StreamError> {
        match self.byte()? {
            small @ 0..=250 => Ok(usize::from(small)),
            252 => self.size(2),
            253 => self.size(3),
            254 => self.size(8),
            _ => Err(StreamError::garbled("an event has no length where one belongs")),
        }
    }

    pub fn text(&mut self, bytes: usize) -> Result<String, StreamError> {
        self.take(bytes).map(|taken| String::from_utf8_lossy(taken).into_owned())
    }
}

/// Little-endian bytes as a number; those beyond the eighth do not count.
pub(super) fn little(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Big-endian bytes as a number; only the last eight count.
pub(super) fn big(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The bit of a bit map that begins with the lowest bit of its first byte.
pub(super) fn bit(map: &[u8], place: usize) -> bool {
    map.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1)
}

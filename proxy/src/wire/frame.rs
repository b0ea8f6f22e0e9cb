//! Packets on the wire: a length of three bytes, a sequence number, a payload; payloads of 16 MiB and more are split.

use std::borrow::Cow;

use super::command::Command;

/// The longest payload of one piece; a piece this long is followed by another.
pub const PIECE: usize = 0xFF_FFFF;
/// Bytes before each piece.
pub const HEADER: usize = 4;

/// A whole packet taken from the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken<'a> {
    /// Borrowed unless it came in several pieces.
    pub payload: Cow<'a, [u8]>,
    /// Bytes of the buffer that it took.
    pub consumed: usize,
    pub last_seq: u8,
}

/// Why bytes are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("a packet of more than {limit} bytes")]
    TooLong { limit: usize },
    #[error("packets out of order")]
    OutOfOrder,
}

/// The length that a header announces.
#[must_use]
pub fn length(header: &[u8]) -> usize {
    usize::from(header[0]) | usize::from(header[1]) << 8 | usize::from(header[2]) << 16
}

/// Takes one packet of at most `max` bytes. `None`: it has not all come yet.
///
/// # Errors
/// See [`FrameError`].
pub fn take(buffer: &[u8], max: usize) -> Result<Option<Taken<'_>>, FrameError> {
    // Pieces are joined only once the last one is there: a call for every read must not copy what came before.
    let (mut at, mut total, mut pieces) = (0, 0, 0_usize);
    loop {
        let Some(header) = buffer.get(at..at + HEADER) else { return Ok(None) };
        let (length, seq) = (length(header), header[3]);
        total += length;
        if total > max {
            return Err(FrameError::TooLong { limit: max });
        }
        if seq != buffer[3].wrapping_add(pieces.to_le_bytes()[0]) {
            return Err(FrameError::OutOfOrder);
        }
        at += HEADER + length;
        pieces += 1;
        if at > buffer.len() {
            return Ok(None);
        }
        if length < PIECE {
            let whole = &buffer[..at];
            let payload =
                if pieces == 1 { Cow::Borrowed(&whole[HEADER..]) } else { Cow::Owned(join(whole, total)) };
            return Ok(Some(Taken { payload, consumed: at, last_seq: seq }));
        }
    }
}

fn join(pieces: &[u8], total: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(total);
    for piece in pieces.chunks(HEADER + PIECE) {
        all.extend_from_slice(&piece[HEADER..]);
    }
    all
}

/// Appends a packet; `seq` is its first piece's number and becomes the next packet's.
pub fn write(payload: &[u8], seq: &mut u8, out: &mut Vec<u8>) {
    let mut rest = payload;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(PIECE));
        header(piece.len(), seq, out);
        out.extend_from_slice(piece);
        rest = after;
        // A payload that fills its last piece is ended by an empty one.
        if piece.len() < PIECE {
            return;
        }
    }
}

fn header(length: usize, seq: &mut u8, out: &mut Vec<u8>) {
    let bytes = u32::try_from(length).expect("a piece is shorter than 16 MiB").to_le_bytes();
    out.extend_from_slice(&[bytes[0], bytes[1], bytes[2], *seq]);
    *seq = seq.wrapping_add(1);
}

/// Where a packet begins whose payload is being appended.
#[derive(Debug)]
#[must_use]
pub struct Mark(usize);

/// Leaves room for a header; the payload follows, then [`finish`].
pub fn begin(out: &mut Vec<u8>) -> Mark {
    let mark = Mark(out.len());
    out.extend_from_slice(&[0; HEADER]);
    mark
}

/// Completes the packet begun at `mark`.
pub fn finish(mark: Mark, seq: &mut u8, out: &mut Vec<u8>) {
    let start = mark.0 + HEADER;
    let length = out.len() - start;
    if length < PIECE {
        let bytes = u32::try_from(length).expect("just compared").to_le_bytes();
        out[mark.0..start].copy_from_slice(&[bytes[0], bytes[1], bytes[2], *seq]);
        *seq = seq.wrapping_add(1);
    } else {
        let payload = out.split_off(start);
        out.truncate(mark.0);
        write(&payload, seq, out);
    }
}

/// Appends a command packet.
pub fn write_command(command: Command, argument: &[u8], out: &mut Vec<u8>) {
    let mark = begin(out);
    out.push(command as u8);
    out.extend_from_slice(argument);
    finish(mark, &mut 0, out);
}

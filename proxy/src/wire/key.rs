//! A server's RSA public key, for a password that must travel over a connection without TLS.
//!
//! The library that encrypts panics on a key it cannot read, so every byte is checked here first: what passes is one
//! canonical PEM block around an RSA modulus with room for the password. Nothing is said about whose key it is.

use super::cursor::{Cursor, Malformed};

const HEAD: &str = "-----BEGIN PUBLIC KEY-----";
const TAIL: &str = "-----END PUBLIC KEY-----";
/// What the padding takes of a block: two SHA-1 digests and two bytes.
const PADDING: usize = 42;
/// A modulus of 8,192 bits; more would only cost time.
const MODULUS_MAX: usize = 1024;

/// Encrypts a password for the server that sent this key.
///
/// # Errors
/// When the key is none, or too short for the password.
pub fn encrypt(password: &[u8], pem: &[u8]) -> Result<Vec<u8>, Malformed> {
    let text = std::str::from_utf8(pem).map_err(|_| Malformed)?.trim_matches(['\0', '\n', '\r', ' ']);
    let body = text.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix(TAIL)).ok_or(Malformed)?;
    let modulus = modulus_length(&base64(body)?)?;
    if modulus > MODULUS_MAX || password.len() + PADDING > modulus {
        return Err(Malformed);
    }
    Ok(mysql_common::crypto::encrypt(password, text.as_bytes()))
}

/// Bytes of the modulus in a `SubjectPublicKeyInfo`.
fn modulus_length(der: &[u8]) -> Result<usize, Malformed> {
    let mut info = Cursor(tagged(&mut Cursor(der), 0x30)?);
    tagged(&mut info, 0x30)?;
    let [0, key @ ..] = tagged(&mut info, 0x03)? else { return Err(Malformed) };
    let mut key = Cursor(tagged(&mut Cursor(key), 0x30)?);
    let modulus = tagged(&mut key, 0x02)?;
    let exponent = tagged(&mut key, 0x02)?;
    // A positive integer with its highest bit set is led by a zero byte.
    let [0, digits @ ..] = modulus else { return Err(Malformed) };
    let whole = digits.first().is_some_and(|first| first & 0x80 != 0);
    if !whole || exponent.is_empty() || exponent.len() > 4 {
        return Err(Malformed);
    }
    Ok(digits.len())
}

/// The content of the next DER element, which must have this tag.
fn tagged<'a>(der: &mut Cursor<'a>, tag: u8) -> Result<&'a [u8], Malformed> {
    if der.u8()? != tag {
        return Err(Malformed);
    }
    let length = match der.u8()? {
        short @ 0..=0x7F => usize::from(short),
        0x81 => usize::from(der.u8()?),
        0x82 => usize::from(der.u8()?) << 8 | usize::from(der.u8()?),
        _ => return Err(Malformed),
    };
    der.bytes(length)
}

/// Decodes canonical base64, white space aside.
fn base64(text: &str) -> Result<Vec<u8>, Malformed> {
    let symbols: Vec<u8> = text.bytes().filter(|byte| !b" \n\t\r".contains(byte)).collect();
    let digits = symbols.iter().position(|&byte| byte == b'=').unwrap_or(symbols.len());
    let padding = symbols.len() - digits;
    if !symbols.len().is_multiple_of(4) || padding > 2 || symbols[digits..].iter().any(|&byte| byte != b'=') {
        return Err(Malformed);
    }
    let (mut bits, mut width, mut out) = (0_u32, 0, Vec::with_capacity(symbols.len() / 4 * 3));
    for &symbol in &symbols[..digits] {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(Malformed),
        };
        bits = bits << 6 | u32::from(value);
        width += 6;
        if width >= 8 {
            width -= 8;
            out.extend_from_slice(&(bits >> width).to_le_bytes()[..1]);
            bits &= (1 << width) - 1;
        }
    }
    if bits == 0 { Ok(out) } else { Err(Malformed) }
}

//! `mysql://user:password@host:port/database`.

use crate::topology::{Server, Tls};

/// Reads a backend's URL, with `${NAME}` replaced and percent escapes decoded.
pub(super) fn server(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Server, String> {
    let rest = text.strip_prefix("mysql://").ok_or("must begin with mysql://")?;
    let (address, database) = match rest.split_once('/') {
        Some((address, database)) => (address, (!database.is_empty()).then_some(database)),
        None => (rest, None),
    };
    if database.is_some_and(|database| database.contains(['/', '?'])) {
        return Err("nothing may follow the database".to_owned());
    }
    let (login, place) =
        address.rsplit_once('@').ok_or("a user is missing: mysql://user@host:port/database")?;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            // Not repeated: in a mistyped URL this may be a piece of the password.
            (host, port.parse().map_err(|_| "what follows the host's last `:` is not a port")?)
        }
        _ => (place, 3306),
    };
    if host.is_empty() || user.is_empty() {
        return Err("a user and a host are needed: mysql://user@host:port/database".to_owned());
    }
    let decode = |text: &str| substitute(text, variable).and_then(|text| percent_decoded(&text));
    Ok(Server {
        host: decode(host)?.trim_matches(['[', ']']).to_owned(),
        port,
        user: decode(user)?,
        password: substitute_password(password, variable)?,
        database: database.map(decode).transpose()?,
        tls: Tls::Off,
    })
}

/// A password that comes from the environment is taken as it is; a written one may have percent escapes.
fn substitute_password(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    if text.contains("${") { substitute(text, variable) } else { percent_decoded(text) }
}

fn substitute(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, behind) = after.split_once('}').ok_or("`${` without `}`")?;
        out.push_str(before);
        out.push_str(&variable(name).ok_or_else(|| format!("the environment has no `{name}`"))?);
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
            let digits = std::str::from_utf8(&digits).unwrap_or("?");
            out.push(u8::from_str_radix(digits, 16).map_err(|_| "a `%` without two hexadecimal digits")?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).map_err(|_| "not UTF-8".to_owned())
}

//! `s{0..1}.users_{0..3}`: many names in one.

/// Names one pattern may stand for.
const MOST: usize = 16_384;

/// A node before backends are looked up: a backend's name, and a table's if one is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NodeName {
    pub backend: String,
    pub table: Option<String>,
}

/// The nodes that a pattern stands for, in shard order: tables are dealt evenly over the backends.
pub(super) fn nodes(pattern: &str) -> Result<Vec<NodeName>, String> {
    let Some((backends, tables)) = split(pattern) else {
        let backends = names(pattern)?;
        return Ok(backends.into_iter().map(|backend| NodeName { backend, table: None }).collect());
    };
    let (backends, tables) = (names(backends)?, names(tables)?);
    if let [table] = tables.as_slice() {
        let node = |backend| NodeName { backend, table: Some(table.clone()) };
        return Ok(backends.into_iter().map(node).collect());
    }
    if tables.len() % backends.len() != 0 {
        let message =
            format!("{} tables cannot be dealt evenly over {} backends", tables.len(), backends.len());
        return Err(message);
    }
    let each = tables.len() / backends.len();
    let dealt = tables.into_iter().enumerate();
    Ok(dealt
        .map(|(place, table)| NodeName { backend: backends[place / each].clone(), table: Some(table) })
        .collect())
}

/// At the dot that is not inside of braces.
fn split(pattern: &str) -> Option<(&str, &str)> {
    let mut depth = 0_u32;
    for (at, symbol) in pattern.char_indices() {
        match symbol {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '.' if depth == 0 => return Some((&pattern[..at], &pattern[at + 1..])),
            _ => {}
        }
    }
    None
}

/// `a{0..2}b{x,y}` as `a0bx, a0by, a1bx, …`.
pub(super) fn names(pattern: &str) -> Result<Vec<String>, String> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return if pattern.is_empty() {
            Err("an empty name".to_owned())
        } else {
            Ok(vec![pattern.to_owned()])
        };
    };
    let (inner, after) = rest.split_once('}').ok_or("`{` without `}`")?;
    let middles = alternatives(inner)?;
    let ends = if after.is_empty() { vec![String::new()] } else { names(after)? };
    if middles.len().saturating_mul(ends.len()) > MOST {
        return Err(format!("more than {MOST} names"));
    }
    let join = |middle: &String| ends.iter().map(|end| format!("{before}{middle}{end}")).collect::<Vec<_>>();
    Ok(middles.iter().flat_map(join).collect())
}

fn alternatives(inner: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = inner.split_once("..") else {
        return Ok(inner.split(',').map(|part| part.trim().to_owned()).collect());
    };
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("`{text}` is not a number"));
    let (low, high) = (number(first)?, number(last)?);
    if low > high || high - low >= MOST {
        return Err(format!("`{inner}` is not a range of at most {MOST} numbers, written from low to high"));
    }
    // `{00..11}` keeps its zeros.
    let width = if first.starts_with('0') { first.len() } else { 0 };
    Ok((low..=high).map(|number| format!("{number:0width$}")).collect())
}

//! A node's definition under the names of the logical tables.

use super::super::ShownNode;
use crate::lex::words::{self, Token, TokenKind};
use crate::lex::{self, Lexed, Quoting};
use crate::topology::{BackendId, Placement, Topology};

/// The text of `SHOW CREATE TABLE` with the logical names in the place of the physical ones: the table's own, those of
/// tables it refers to, and in the names that a server makes for constraints. Everything else is left as it is.
#[must_use]
pub fn definition(topology: &Topology, shown: &ShownNode, text: &[u8], quoting: Quoting) -> Vec<u8> {
    let mut lexed = Lexed::default();
    lex::lex(text, quoting, &mut lexed);
    let tokens = words::tokens(text, &lexed.regions);
    let logical = &topology.table_of(shown.table).name;
    let mut out = Vec::with_capacity(text.len());
    let mut copied = 0;
    for (at, token) in tokens.iter().enumerate() {
        let Some(name) = token.name(text) else { continue };
        let Some(before) = at.checked_sub(1).map(|before| &tokens[before]) else { continue };
        let new = if at == 2 && before.is(text, "table") {
            Some(logical.clone())
        } else if before.is(text, "references") {
            logical_name(topology, shown.backend, &name)
        } else if before.is(text, "constraint") {
            generated(&name, &shown.node, logical)
        } else {
            None
        };
        if let Some(new) = new {
            out.extend_from_slice(&text[copied..token.start]);
            write(&new, token, text, &mut out);
            copied = token.end;
        }
    }
    out.extend_from_slice(&text[copied..]);
    out
}

/// In the quotes that the server uses.
fn write(name: &str, token: &Token, text: &[u8], out: &mut Vec<u8>) {
    if token.kind != TokenKind::Quoted {
        return out.extend_from_slice(name.as_bytes());
    }
    let quote = text[token.start];
    out.push(quote);
    for &byte in name.as_bytes() {
        if byte == quote {
            out.push(quote);
        }
        out.push(byte);
    }
    out.push(quote);
}

/// The logical table that has this node.
fn logical_name(topology: &Topology, backend: BackendId, node: &str) -> Option<String> {
    let has =
        |placement: &Placement| placement.nodes().iter().any(|of| of.backend == backend && of.table == node);
    let found = topology.tables.iter().find(|table| {
        has(&table.placement) || table.moving.as_ref().is_some_and(|moving| has(&moving.source))
    });
    found.map(|table| table.name.clone())
}

/// `users_0_ibfk_1`, `users_0_chk_2`: a server numbers nameless constraints by their table.
fn generated(name: &str, node: &str, logical: &str) -> Option<String> {
    let rest = name.strip_prefix(node)?;
    let made = ["_ibfk_", "_chk_"].iter().any(|kind| {
        rest.strip_prefix(kind).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    made.then(|| format!("{logical}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::super::super::ShownAs;
    use super::*;
    use crate::rules;
    use crate::topology::TableId;

    const RULES: &str = r#"
[backends.s0]
primary = "mysql://u@h:2/shop"
[databases.shop]
default = "s0"
[tables.users]
shard_key = "id"
function = { kind = "mod", shards = 2 }
nodes = "s0.users_{0..1}"
[tables.orders]
shard_key = "user_id"
with = "users"
nodes = "s0.orders_{0..1}"
"#;

    fn check(text: &str, expected: &str) {
        let topology = rules::load(RULES, &|_| None, 1).expect("valid rules");
        let table = (0..2).map(TableId).find(|id| topology.table_of(*id).name == "orders").expect("a table");
        let shown = ShownNode {
            table,
            backend: BackendId(0),
            node: "orders_0".to_owned(),
            what: ShownAs::Definition,
        };
        let found = definition(&topology, &shown, text.as_bytes(), Quoting::default());
        assert_eq!(String::from_utf8_lossy(&found), expected);
    }

    #[test]
    fn names_are_replaced_by_token() {
        check(
            "CREATE TABLE `orders_0` (\n  `orders_0` int COMMENT 'REFERENCES `users_0`',\n  KEY `orders_0` (`a`),\n  \
             CONSTRAINT `orders_0_ibfk_1` FOREIGN KEY (`a`) REFERENCES `users_0` (`id`),\n  \
             CONSTRAINT `orders_0_mine` FOREIGN KEY (`b`) REFERENCES `others` (`id`),\n  \
             CONSTRAINT `orders_0_chk_2` CHECK (`a` > 1)\n) COMMENT='orders_0'",
            "CREATE TABLE `orders` (\n  `orders_0` int COMMENT 'REFERENCES `users_0`',\n  KEY `orders_0` (`a`),\n  \
             CONSTRAINT `orders_ibfk_1` FOREIGN KEY (`a`) REFERENCES `users` (`id`),\n  \
             CONSTRAINT `orders_0_mine` FOREIGN KEY (`b`) REFERENCES `others` (`id`),\n  \
             CONSTRAINT `orders_chk_2` CHECK (`a` > 1)\n) COMMENT='orders_0'",
        );
        check("CREATE TABLE orders_0 (a int)", "CREATE TABLE orders (a int)");
        check("CREATE VIEW `orders_0` AS select 1", "CREATE VIEW `orders_0` AS select 1");
    }
}

//! What conditions say about shard keys: which tables they tie together, and which keys they leave.

use sqlparser::ast::{BinaryOperator, Expr, Ident};

use super::parse::Parsed;
use super::scopes::{Kind, Scopes};
use super::{Keys, Operand};

/// The shard keys of a statement's sharded tables, on one side.
pub(super) struct Shardings<'a> {
    pub parsed: &'a Parsed<'a>,
    pub scopes: &'a Scopes,
    /// By instance: the shard-key column, lower case, of the sharded ones.
    pub keys: Vec<Option<String>>,
}

impl Shardings<'_> {
    /// The keys of each group of tables that equalities on their shard keys tie together; the group of the first
    /// table comes first.
    pub fn groups(&self) -> Vec<Keys> {
        let doubtful = self.parsed.has_doubtful_operators();
        let mut group: Vec<usize> = (0..self.keys.len()).collect();
        if !doubtful {
            self.tie(&mut group);
        }
        let mut done = Vec::new();
        let mut found = Vec::new();
        for instance in (0..self.keys.len()).filter(|&instance| self.keys[instance].is_some()) {
            let leader = leader(&group, instance);
            if done.contains(&leader) {
                continue;
            }
            done.push(leader);
            let members: Vec<usize> = (0..self.keys.len())
                .filter(|&other| self.keys[other].is_some() && self::leader(&group, other) == leader)
                .collect();
            found.push(if doubtful { Keys::All } else { self.of_group(&members) });
        }
        found
    }

    /// What the conditions around the outermost members leave: conditions further inside restrict less.
    fn of_group(&self, members: &[usize]) -> Keys {
        let depth = |instance: &usize| self.scopes.depth(self.scopes.instances[*instance].scope);
        let Some(outermost) = members.iter().min_by_key(|instance| depth(instance)) else { return Keys::All };
        let scope = self.scopes.instances[*outermost].scope;
        let of = &self.scopes.scopes[scope];
        let parts = of.condition.iter().chain(&of.inner).map(|expr| self.keys_of(expr, scope, members));
        and(parts.collect())
    }

    fn tie(&self, group: &mut [usize]) {
        for (scope, of) in self.scopes.scopes.iter().enumerate() {
            for expr in of.condition.iter().chain(&of.inner).chain(&of.outer) {
                for conjunct in conjuncts(expr) {
                    if let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = conjunct
                        && let (Some(one), Some(other)) =
                            (self.column(left, scope), self.column(right, scope))
                    {
                        let (one, other) = (leader(group, one), leader(group, other));
                        group[one.max(other)] = one.min(other);
                    }
                }
            }
            for column in &of.using {
                let mut having = self
                    .scopes
                    .of_scope(scope)
                    .filter(|(instance, _)| self.keys[*instance].as_ref() == Some(column));
                if let Some((first, _)) = having.next() {
                    for (other, _) in having {
                        let (one, other) = (leader(group, first), leader(group, other));
                        group[one.max(other)] = one.min(other);
                    }
                }
            }
        }
    }

    fn keys_of(&self, expr: &Expr, scope: usize, members: &[usize]) -> Keys {
        let is_key =
            |expr: &Expr| self.column(expr, scope).is_some_and(|instance| members.contains(&instance));
        match expr {
            Expr::Nested(inner) => self.keys_of(inner, scope, members),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                and(vec![self.keys_of(left, scope, members), self.keys_of(right, scope, members)])
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                or(vec![self.keys_of(left, scope, members), self.keys_of(right, scope, members)])
            }
            Expr::BinaryOp { left, op, right } if is_key(left) => compare(op, self.parsed.operand(right)),
            Expr::BinaryOp { left, op, right } if is_key(right) => {
                mirrored(op).map_or(Keys::All, |op| compare(&op, self.parsed.operand(left)))
            }
            Expr::InList { expr, list, negated: false } if is_key(expr) => {
                let operands: Vec<Operand> = list.iter().map(|item| self.parsed.operand(item)).collect();
                if operands.contains(&Operand::Computed) { Keys::All } else { Keys::In(operands) }
            }
            Expr::Between { expr, negated: false, low, high } if is_key(expr) => {
                Keys::Between(known(self.parsed.operand(low)), known(self.parsed.operand(high)))
            }
            _ => Keys::All,
        }
    }

    /// The table whose shard key an expression is.
    fn column(&self, expr: &Expr, scope: usize) -> Option<usize> {
        match expr {
            Expr::Nested(inner) => self.column(inner, scope),
            Expr::Identifier(ident) => self.unqualified(ident, scope),
            Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                [table, column] | [_, table, column] => self.qualified(table, column, scope),
                _ => None,
            },
            _ => None,
        }
    }

    /// A bare name is a shard key if a table of this very scope has that key; a second one would make the name
    /// ambiguous to the server, unless `USING` has made them one.
    fn unqualified(&self, ident: &Ident, scope: usize) -> Option<usize> {
        let name = ident.value.to_lowercase();
        self.scopes
            .of_scope(scope)
            .find(|(instance, _)| self.keys[*instance].as_ref() == Some(&name))
            .map(|(found, _)| found)
    }

    fn qualified(&self, table: &Ident, column: &Ident, scope: usize) -> Option<usize> {
        let (table, column) = (table.value.to_lowercase(), column.value.to_lowercase());
        let mut at = Some(scope);
        while let Some(scope) = at {
            let of = &self.scopes.scopes[scope];
            if of.opaque.contains(&table) {
                return None;
            }
            if let Some((instance, _)) =
                self.scopes.of_scope(scope).find(|(_, instance)| instance.called == table)
            {
                return (self.keys[instance].as_ref() == Some(&column)).then_some(instance);
            }
            // A derived table does not see what is beside it.
            at = of.parent.filter(|_| of.kind != Kind::Apart);
        }
        None
    }
}

fn leader(group: &[usize], mut member: usize) -> usize {
    while group[member] != member {
        member = group[member];
    }
    member
}

fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Nested(inner) => conjuncts(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        other => vec![other],
    }
}

fn compare(op: &BinaryOperator, operand: Operand) -> Keys {
    let Some(operand) = known(operand) else { return Keys::All };
    match op {
        BinaryOperator::Eq => Keys::Equal(operand),
        BinaryOperator::Gt | BinaryOperator::GtEq => Keys::Between(Some(operand), None),
        BinaryOperator::Lt | BinaryOperator::LtEq => Keys::Between(None, Some(operand)),
        _ => Keys::All,
    }
}

fn mirrored(op: &BinaryOperator) -> Option<BinaryOperator> {
    match op {
        BinaryOperator::Eq => Some(BinaryOperator::Eq),
        BinaryOperator::Gt => Some(BinaryOperator::Lt),
        BinaryOperator::GtEq => Some(BinaryOperator::LtEq),
        BinaryOperator::Lt => Some(BinaryOperator::Gt),
        BinaryOperator::LtEq => Some(BinaryOperator::GtEq),
        _ => None,
    }
}

fn known(operand: Operand) -> Option<Operand> {
    (operand != Operand::Computed).then_some(operand)
}

pub(super) fn and(parts: Vec<Keys>) -> Keys {
    let mut parts: Vec<Keys> = parts.into_iter().filter(|part| *part != Keys::All).collect();
    match parts.len() {
        0 => Keys::All,
        1 => parts.remove(0),
        _ => Keys::And(parts),
    }
}

fn or(parts: Vec<Keys>) -> Keys {
    if parts.contains(&Keys::All) { Keys::All } else { Keys::Or(parts) }
}

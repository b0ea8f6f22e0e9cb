//! What conditions say about shard keys: which tables they tie together, and which keys they leave.

use std::ops::Range;

use sqlparser::ast::{BinaryOperator, Expr, Ident};

use super::parse::Parsed;
use super::scopes::{Demand, Joined, Kind, Preserves, Scope, Scopes};
use super::{Keys, Operand};

/// The shard keys of a statement's sharded tables, on one side; or other columns whose conditions matter.
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
        let group = if doubtful { Ties::none(self.scopes) } else { self.ties() };
        let of = |members: Vec<usize>| if doubtful { Keys::All } else { self.of_group(&members) };
        self.members(&group).into_iter().map(of).collect()
    }

    /// The tables of each group.
    fn members(&self, ties: &Ties<'_>) -> Vec<Vec<usize>> {
        let mut found: Vec<Vec<usize>> = Vec::new();
        for instance in (0..self.keys.len()).filter(|&instance| self.keys[instance].is_some()) {
            let leader = ties.leader(instance);
            match found.iter_mut().find(|members| ties.leader(members[0]) == leader) {
                Some(members) => members.push(instance),
                None => found.push(vec![instance]),
            }
        }
        found
    }

    /// What the conditions on the column of one table leave of its values.
    pub fn left_of(&self, instance: usize) -> Keys {
        if self.parsed.has_doubtful_operators() { Keys::All } else { self.of_group(&[instance]) }
    }

    /// What `of` says of a value that a condition on every row demands of the key: of each group, in an `=` or an `IN`
    /// of nothing else. `None`: not of each.
    pub fn fixed<T>(&self, of: impl Fn(&Expr) -> Option<T>) -> Option<Vec<T>> {
        if self.parsed.has_doubtful_operators() {
            return None;
        }
        let mut found = Vec::new();
        for members in self.members(&self.ties()) {
            found.extend(self.fixed_for(&members, &of)?);
        }
        Some(found)
    }

    fn fixed_for<T>(&self, members: &[usize], of: &impl Fn(&Expr) -> Option<T>) -> Option<Vec<T>> {
        let scope = self.outermost(members)?;
        let around = &self.scopes.scopes[scope];
        let is_key = |expr: &Expr| self.column(expr, scope).is_some_and(|key| members.contains(&key));
        let values = |conjunct: &Expr| match conjunct {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } if is_key(left) => Some(vec![of(right)?]),
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } if is_key(right) => Some(vec![of(left)?]),
            Expr::InList { expr, list, negated: false } if is_key(expr) => list.iter().map(of).collect(),
            _ => None,
        };
        let all = around.condition.iter().chain(restricting(around)).flat_map(conjuncts);
        all.into_iter().find_map(values)
    }

    fn outermost(&self, members: &[usize]) -> Option<usize> {
        let depth = |instance: &usize| self.scopes.depth(self.scopes.instances[*instance].scope);
        let outermost = members.iter().min_by_key(|instance| depth(instance))?;
        Some(self.scopes.instances[*outermost].scope)
    }

    /// What the conditions around the outermost members leave: conditions further inside restrict less.
    fn of_group(&self, members: &[usize]) -> Keys {
        let Some(scope) = self.outermost(members) else { return Keys::All };
        let of = &self.scopes.scopes[scope];
        let parts = of.condition.iter().chain(restricting(of)).map(|expr| self.keys_of(expr, scope, members));
        and(parts.collect())
    }

    /// Conditions and inner joins hold for every row. What an outer join demands holds only where its optional tables
    /// have found a partner, so it ties those to one group of the tables it preserves, and never two of these.
    fn ties(&self) -> Ties<'_> {
        let mut ties = Ties::none(self.scopes);
        // Scopes come after those around them, so what is around a scope is tied before it.
        for (scope, of) in self.scopes.scopes.iter().enumerate() {
            for (one, other) in of.condition.iter().flat_map(|expr| self.equalities(expr, scope)) {
                ties.tie(scope, one, other);
            }
            for join in of.joins.iter().filter(|join| join.preserves == Preserves::Nothing) {
                for (one, other) in self.demanded(join, scope) {
                    ties.tie(scope, one, other);
                }
            }
            for join in &of.joins {
                if let Some(optional) = join.optional() {
                    ties.tie_optional(scope, optional, self.demanded(join, scope));
                }
            }
        }
        ties
    }

    /// Pairs of tables whose shard keys a join demands to be equal.
    fn demanded(&self, join: &Joined, scope: usize) -> Vec<(usize, usize)> {
        match &join.demand {
            Demand::Nothing => Vec::new(),
            Demand::On(expr) => self.equalities(expr, scope),
            Demand::Using(columns) => {
                let keyed = |tables: &Range<usize>, column: &String| {
                    tables.clone().find(|instance| self.keys[*instance].as_ref() == Some(column))
                };
                let pair = |column| Some((keyed(&join.left, column)?, keyed(&join.right, column)?));
                columns.iter().filter_map(pair).collect()
            }
        }
    }

    fn equalities(&self, expr: &Expr, scope: usize) -> Vec<(usize, usize)> {
        let pair = |conjunct: &Expr| match conjunct {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                Some((self.column(left, scope)?, self.column(right, scope)?))
            }
            _ => None,
        };
        conjuncts(expr).into_iter().filter_map(pair).collect()
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
                match (self.parsed.operand(low), self.parsed.operand(high)) {
                    (Operand::Computed, Operand::Computed) => Keys::All,
                    (low, high) => Keys::Between(Some(low), Some(high)),
                }
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

/// What a scope's inner joins demand of every row: not those whose result an outer join may leave out.
fn restricting(of: &Scope) -> impl Iterator<Item = &Expr> {
    let optional: Vec<&Range<usize>> = of.joins.iter().filter_map(Joined::optional).collect();
    of.joins.iter().filter_map(move |join| match &join.demand {
        Demand::On(expr)
            if join.preserves == Preserves::Nothing
                && !optional.iter().any(|optional| join.is_within(optional)) =>
        {
            Some(&**expr)
        }
        _ => None,
    })
}

/// Which tables have the same shard key wherever rows of them meet.
struct Ties<'a> {
    scopes: &'a Scopes,
    /// By instance: another one of its group, or itself.
    group: Vec<usize>,
}

impl Ties<'_> {
    fn none(scopes: &Scopes) -> Ties<'_> {
        Ties { scopes, group: (0..scopes.instances.len()).collect() }
    }

    /// What a scope demands decides about its own rows alone: it may attach its own tables to one group of those around
    /// it, and never ties two of these, not even through a table of its own.
    fn tie(&mut self, scope: usize, one: usize, other: usize) {
        let (one, other) = (self.leader(one), self.leader(other));
        if one != other && !(self.reaches_out(scope, one) && self.reaches_out(scope, other)) {
            self.group[one.max(other)] = one.min(other);
        }
    }

    fn reaches_out(&self, scope: usize, leader: usize) -> bool {
        let outside = |instance: &usize| self.scopes.instances[*instance].scope != scope;
        (0..self.group.len()).filter(outside).any(|instance| self.leader(instance) == leader)
    }

    fn tie_optional(&mut self, scope: usize, optional: &Range<usize>, pairs: Vec<(usize, usize)>) {
        let mut attached: Vec<(usize, usize)> = Vec::new();
        for (one, other) in pairs {
            let (inside, outside) = match (optional.contains(&one), optional.contains(&other)) {
                (true, false) => (one, other),
                (false, true) => (other, one),
                (true, true) => {
                    self.tie(scope, one, other);
                    continue;
                }
                (false, false) => continue,
            };
            let to = self.leader(outside);
            let elsewhere = attached.iter().any(|(known, before)| {
                self.leader(*known) == self.leader(inside) && self.leader(*before) != to
            });
            if !elsewhere {
                attached.push((inside, outside));
                self.tie(scope, inside, outside);
            }
        }
    }

    fn leader(&self, mut member: usize) -> usize {
        while self.group[member] != member {
            member = self.group[member];
        }
        member
    }
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

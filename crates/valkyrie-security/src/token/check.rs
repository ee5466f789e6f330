//! Checks of a token: conditions over the facts of one call.
//!
//! Biscuit's checks are Datalog, and deciding one may take as long as its author likes. What is taken here is the part
//! that a token for calls needs: each fact of the call has one value, and expressions have no loops, no regular
//! expressions and no functions. Deciding a check takes one pass over it.

use std::cmp::Ordering;

/// What is known about a call. Each has one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ambient {
    Service,
    Method,
    Class,
    Time,
    Peer,
}

impl Ambient {
    pub(super) const ALL: [Self; 5] = [Self::Service, Self::Method, Self::Class, Self::Time, Self::Peer];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Method => "method",
            Self::Class => "class",
            Self::Time => "time",
            Self::Peer => "peer",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ambient| ambient.name() == name)
    }

    /// Whether it says which call is made, and not when or by whom.
    pub(super) const fn is_about_call(self) -> bool {
        matches!(self, Self::Service | Self::Method | Self::Class)
    }
}

/// A call, as checks see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) service: &'a str,
    pub(super) method: &'a str,
    pub(super) class: &'a str,
    /// Seconds since 1970.
    pub(super) time: u64,
    pub(super) peer: &'a str,
}

impl Facts<'_> {
    fn term(&self, ambient: Ambient) -> Term {
        match ambient {
            Ambient::Service => Term::Text(self.service.into()),
            Ambient::Method => Term::Text(self.method.into()),
            Ambient::Class => Term::Text(self.class.into()),
            Ambient::Time => Term::Date(self.time),
            Ambient::Peer => Term::Text(self.peer.into()),
        }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    Integer(i64),
    Text(Box<str>),
    /// Seconds since 1970.
    Date(u64),
    Bytes(Box<[u8]>),
    Bool(bool),
    /// A set or an array, which are asked for their members only.
    Many(Box<[Term]>),
}

/// A value, or a variable's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Term(Term),
    Variable(u32),
}

/// A condition on one call.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// `reject if`: holds when no query does.
    pub(super) reject: bool,
    /// Holds when one of them does.
    pub(super) queries: Vec<Query>,
}

/// Facts that must be so, and expressions that must be true.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) facts: Vec<(Ambient, Slot)>,
    pub(super) expressions: Vec<Vec<Op>>,
}

/// A step of an expression, which is written behind its operands.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Value(Slot),
    Not,
    Length,
    Binary(Binary),
    /// What stands to the right of `&&` and `||`; looked at only when the left side does not decide.
    Lazy(Vec<Op>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    Equal,
    NotEqual,
    Contains,
    Prefix,
    Suffix,
    And,
    Or,
    LazyAnd,
    LazyOr,
}

/// An expression has no value: its types do not fit, or it is written wrongly. The check does not hold then, whatever
/// its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoValue;

/// Expressions within expressions; more than a person writes.
pub(super) const DEPTH_MAX: usize = 8;

impl Check {
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        for query in &self.queries {
            match query.holds(facts) {
                Ok(true) => return !self.reject,
                Ok(false) => {}
                Err(NoValue) => return false,
            }
        }
        self.reject
    }

    /// What it asks for.
    pub(super) fn asks(&self) -> impl Iterator<Item = Ambient> {
        let facts = self.queries.iter().flat_map(|query| &query.facts);
        facts.map(|(ambient, _)| *ambient)
    }

    /// The moments at which its answer may change: dates that it names, in seconds.
    pub(super) fn dates(&self) -> impl Iterator<Item = u64> {
        let mut dates = Vec::new();
        for query in &self.queries {
            for (_, slot) in &query.facts {
                slot_dates(slot, &mut dates);
            }
            for expression in &query.expressions {
                op_dates(expression, &mut dates);
            }
        }
        dates.into_iter()
    }
}

impl Query {
    fn holds(&self, facts: &Facts<'_>) -> Result<bool, NoValue> {
        let mut variables: Vec<(u32, Term)> = Vec::new();
        for (ambient, slot) in &self.facts {
            let term = facts.term(*ambient);
            let fits = match slot {
                Slot::Term(wanted) => *wanted == term,
                Slot::Variable(name) => match variables.iter().find(|(bound, _)| bound == name) {
                    Some((_, bound)) => *bound == term,
                    None => {
                        variables.push((*name, term));
                        true
                    }
                },
            };
            if !fits {
                return Ok(false);
            }
        }
        for expression in &self.expressions {
            match evaluate(expression, &variables, 0)? {
                Term::Bool(true) => {}
                Term::Bool(false) => return Ok(false),
                _ => return Err(NoValue),
            }
        }
        Ok(true)
    }
}

/// What is on the stack while an expression is worked out.
enum Item<'a> {
    Term(Term),
    Lazy(&'a [Op]),
}

fn evaluate(ops: &[Op], variables: &[(u32, Term)], depth: usize) -> Result<Term, NoValue> {
    if depth > DEPTH_MAX {
        return Err(NoValue);
    }
    let mut stack: Vec<Item<'_>> = Vec::new();
    for op in ops {
        let item = match op {
            Op::Value(Slot::Term(term)) => Item::Term(term.clone()),
            Op::Value(Slot::Variable(name)) => {
                let bound = variables.iter().find(|(bound, _)| bound == name).ok_or(NoValue)?;
                Item::Term(bound.1.clone())
            }
            Op::Lazy(inner) => Item::Lazy(inner),
            Op::Not => match pop(&mut stack)? {
                Term::Bool(value) => Item::Term(Term::Bool(!value)),
                _ => return Err(NoValue),
            },
            Op::Length => Item::Term(Term::Integer(length(&pop(&mut stack)?)?)),
            Op::Binary(binary @ (Binary::LazyAnd | Binary::LazyOr)) => {
                let Some(Item::Lazy(right)) = stack.pop() else {
                    return Err(NoValue);
                };
                Item::Term(match (binary, pop(&mut stack)?) {
                    (Binary::LazyAnd, Term::Bool(true)) | (Binary::LazyOr, Term::Bool(false)) => {
                        evaluate(right, variables, depth + 1)?
                    }
                    (_, decided @ Term::Bool(_)) => decided,
                    _ => return Err(NoValue),
                })
            }
            Op::Binary(binary) => {
                let right = pop(&mut stack)?;
                let left = pop(&mut stack)?;
                Item::Term(Term::Bool(compare(*binary, &left, &right)?))
            }
        };
        stack.push(item);
    }
    let value = pop(&mut stack)?;
    stack.is_empty().then_some(value).ok_or(NoValue)
}

fn pop(stack: &mut Vec<Item<'_>>) -> Result<Term, NoValue> {
    match stack.pop() {
        Some(Item::Term(term)) => Ok(term),
        _ => Err(NoValue),
    }
}

fn length(term: &Term) -> Result<i64, NoValue> {
    let length = match term {
        Term::Text(text) => text.len(),
        Term::Bytes(bytes) => bytes.len(),
        Term::Many(terms) => terms.len(),
        _ => return Err(NoValue),
    };
    i64::try_from(length).map_err(|_| NoValue)
}

fn compare(binary: Binary, left: &Term, right: &Term) -> Result<bool, NoValue> {
    let order = |test: fn(Ordering) -> bool| match (left, right) {
        (Term::Integer(left), Term::Integer(right)) => Ok(test(left.cmp(right))),
        (Term::Date(left), Term::Date(right)) => Ok(test(left.cmp(right))),
        _ => Err(NoValue),
    };
    match binary {
        Binary::Less => order(Ordering::is_lt),
        Binary::Greater => order(Ordering::is_gt),
        Binary::LessOrEqual => order(Ordering::is_le),
        Binary::GreaterOrEqual => order(Ordering::is_ge),
        Binary::Equal => equal(left, right),
        Binary::NotEqual => equal(left, right).map(|equal| !equal),
        Binary::Contains => match (left, right) {
            (Term::Many(_), Term::Many(_)) => Err(NoValue),
            (Term::Many(terms), member) => Ok(terms.contains(member)),
            (Term::Text(text), Term::Text(part)) => Ok(text.contains(&**part)),
            _ => Err(NoValue),
        },
        Binary::Prefix => texts(left, right, |text, part| text.starts_with(part)),
        Binary::Suffix => texts(left, right, |text, part| text.ends_with(part)),
        Binary::And | Binary::Or => match (left, right) {
            (Term::Bool(left), Term::Bool(right)) => Ok(match binary {
                Binary::And => left & right,
                _ => left | right,
            }),
            _ => Err(NoValue),
        },
        Binary::LazyAnd | Binary::LazyOr => Err(NoValue),
    }
}

/// Values of two types are not compared: one that never equals would make `!=` hold for a slip of the pen. Nor are
/// sets, whose order on the wire says nothing.
fn equal(left: &Term, right: &Term) -> Result<bool, NoValue> {
    let same = std::mem::discriminant(left) == std::mem::discriminant(right);
    match left {
        Term::Many(_) => Err(NoValue),
        _ if same => Ok(left == right),
        _ => Err(NoValue),
    }
}

fn texts(left: &Term, right: &Term, test: fn(&str, &str) -> bool) -> Result<bool, NoValue> {
    match (left, right) {
        (Term::Text(left), Term::Text(right)) => Ok(test(left, right)),
        _ => Err(NoValue),
    }
}

fn slot_dates(slot: &Slot, dates: &mut Vec<u64>) {
    match slot {
        Slot::Term(Term::Date(date)) => dates.push(*date),
        Slot::Term(Term::Many(terms)) => dates.extend(terms.iter().filter_map(|term| match term {
            Term::Date(date) => Some(*date),
            _ => None,
        })),
        Slot::Term(_) | Slot::Variable(_) => {}
    }
}

fn op_dates(ops: &[Op], dates: &mut Vec<u64>) {
    for op in ops {
        match op {
            Op::Value(slot) => slot_dates(slot, dates),
            Op::Lazy(inner) => op_dates(inner, dates),
            Op::Not | Op::Length | Op::Binary(_) => {}
        }
    }
}

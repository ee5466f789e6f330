//! What the blocks of a token say: rights in the first, checks in all of them.

use super::check::{Ambient, Binary, Check, DEPTH_MAX, Op, Query, Slot, Term};
use super::wire::{Fields, Value, once};
use super::{Right, TokenError};
use valkyrie_frame::Class;

/// Rights of a token. Who needs more grants a whole service.
const RIGHTS_MAX: usize = 64;
/// Checks of a token, of all its blocks together.
const CHECKS_MAX: usize = 32;
/// Ways in which one check can hold.
const QUERIES_MAX: usize = 8;
/// Facts that one query asks for, and expressions that it has.
const CLAUSES_MAX: usize = 8;
/// Steps of one expression, those within it included.
const OPS_MAX: usize = 64;
/// Members of a set.
const MEMBERS_MAX: usize = 256;

/// Versions of Datalog whose checks are read: Biscuit 3.0 to 3.3.
const VERSIONS: std::ops::RangeInclusive<u64> = 3..=6;

/// Symbols below this number are the same in every token.
const OWN_SYMBOLS: u64 = 1024;
const DEFAULT_SYMBOLS: [&str; 28] = [
    "read",
    "write",
    "resource",
    "operation",
    "right",
    "time",
    "role",
    "owner",
    "tenant",
    "namespace",
    "user",
    "team",
    "service",
    "admin",
    "email",
    "group",
    "member",
    "ip_address",
    "client",
    "client_ip",
    "domain",
    "path",
    "version",
    "cluster",
    "node",
    "hostname",
    "nonce",
    "query",
];

/// The texts of a token, by number. Blocks add to it in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Symbols {
    own: Vec<Box<str>>,
}

impl Symbols {
    /// The texts of these blocks together.
    pub(super) fn of<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, TokenError> {
        let mut symbols = Self::default();
        for block in blocks {
            let mut fields = Fields::new(block);
            while let Some((number, value)) = fields.next()? {
                if number == 1 {
                    symbols.add(value.text()?)?;
                }
            }
        }
        Ok(symbols)
    }

    pub(super) fn len(&self) -> usize {
        self.own.len()
    }

    /// The number of a text, which is added where it is not there.
    pub(super) fn number(&mut self, text: &str) -> u64 {
        let known = (0..).zip(DEFAULT_SYMBOLS).find(|(_, known)| *known == text);
        let own = (OWN_SYMBOLS..).zip(&self.own).find(|(_, own)| ***own == *text);
        match (known, own) {
            (Some((number, _)), _) | (None, Some((number, _))) => number,
            (None, None) => {
                self.own.push(text.into());
                OWN_SYMBOLS + self.own.len() as u64 - 1
            }
        }
    }

    /// The texts from this place on.
    pub(super) fn since(&self, place: usize) -> impl Iterator<Item = &str> {
        self.own.iter().skip(place).map(|text| &**text)
    }

    fn add(&mut self, text: &str) -> Result<(), TokenError> {
        let known = DEFAULT_SYMBOLS.contains(&text) || self.own.iter().any(|own| **own == *text);
        if known {
            return Err(TokenError::Malformed("a symbol is declared twice"));
        }
        self.own.push(text.into());
        Ok(())
    }

    fn text(&self, number: u64) -> Result<&str, TokenError> {
        let text = match number.checked_sub(OWN_SYMBOLS) {
            Some(own) => usize::try_from(own)
                .ok()
                .and_then(|own| self.own.get(own))
                .map(|text| &**text),
            None => usize::try_from(number)
                .ok()
                .and_then(|known| DEFAULT_SYMBOLS.get(known))
                .copied(),
        };
        text.ok_or(TokenError::Malformed("a symbol was never declared"))
    }
}

/// What a token says, all blocks together.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) rights: Vec<Right>,
    pub(super) checks: Vec<Check>,
}

impl Program {
    /// Reads the blocks of a token, the authority's first.
    pub(super) fn read<'a>(blocks: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, TokenError> {
        let mut reader = Reader::default();
        for (place, block) in blocks.into_iter().enumerate() {
            reader.block(block, place == 0)?;
        }
        Ok(reader.program)
    }
}

#[derive(Default)]
struct Reader {
    symbols: Symbols,
    program: Program,
    ops: usize,
}

impl Reader {
    fn block(&mut self, block: &[u8], is_authority: bool) -> Result<(), TokenError> {
        let (mut version, mut context) = (None, None);
        // A block may use its symbols before it declares them.
        let mut fields = Fields::new(block);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                self.symbols.add(value.text()?)?;
            }
        }
        let mut fields = Fields::new(block);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => {}
                2 => once(&mut context, value.text()?)?,
                3 => once(&mut version, value.number()?)?,
                4 if is_authority => self.right(value.bytes()?)?,
                4 => return Err(TokenError::Unsupported("facts in a later block")),
                5 => return Err(TokenError::Unsupported("rules")),
                6 => {
                    let check = self.check(value.bytes()?)?;
                    within("checks", self.program.checks.len(), CHECKS_MAX)?;
                    self.program.checks.push(check);
                }
                7 | 8 => return Err(TokenError::Unsupported("scopes or keys of others")),
                _ => return Err(TokenError::Unsupported("a part of a later version")),
            }
        }
        match version {
            Some(version) if VERSIONS.contains(&version) => Ok(()),
            _ => Err(TokenError::Unsupported(
                "another version of Datalog than 3.0 to 3.3",
            )),
        }
    }

    /// The fact `right(service, method, class)`.
    fn right(&mut self, fact: &[u8]) -> Result<(), TokenError> {
        let (mut fields, mut predicate) = (Fields::new(fact), None);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => once(&mut predicate, value.bytes()?)?,
                _ => return Err(TokenError::Unsupported("a part of a later version")),
            }
        }
        let (name, terms) = self.predicate(predicate.ok_or(TokenError::Malformed("a fact says nothing"))?)?;
        if name != "right" {
            return Err(TokenError::Unsupported("facts other than rights"));
        }
        let [
            Slot::Term(Term::Text(service)),
            Slot::Term(Term::Text(method)),
            Slot::Term(Term::Text(class)),
        ] = terms.as_slice()
        else {
            return Err(TokenError::Unsupported(
                "a right that is not of service, method and class",
            ));
        };
        let right = Right::read(service, method, class)?;
        within("rights", self.program.rights.len(), RIGHTS_MAX)?;
        self.program.rights.push(right);
        Ok(())
    }

    fn check(&mut self, check: &[u8]) -> Result<Check, TokenError> {
        let (mut fields, mut kind, mut queries) = (Fields::new(check), None, Vec::new());
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => {
                    within("ways for a check to hold", queries.len(), QUERIES_MAX)?;
                    queries.push(self.query(value.bytes()?)?);
                }
                2 => once(&mut kind, value.number()?)?,
                _ => return Err(TokenError::Unsupported("a part of a later version")),
            }
        }
        if queries.is_empty() {
            return Err(TokenError::Malformed("a check asks for nothing"));
        }
        // `check all` says the same as `check if` where each fact has one value.
        match kind {
            None | Some(0 | 1) => Ok(Check {
                reject: false,
                queries,
            }),
            Some(2) => Ok(Check {
                reject: true,
                queries,
            }),
            Some(_) => Err(TokenError::Unsupported("a check of another kind")),
        }
    }

    /// A query is written as a rule whose head says nothing.
    fn query(&mut self, rule: &[u8]) -> Result<Query, TokenError> {
        let (mut fields, mut head, mut query) = (Fields::new(rule), None, Query::default());
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => once(&mut head, value.bytes()?)?,
                2 => {
                    within("facts in a check", query.facts.len(), CLAUSES_MAX)?;
                    let (name, terms) = self.predicate(value.bytes()?)?;
                    let ambient = Ambient::named(name);
                    let (Some(ambient), [slot]) = (ambient, terms.as_slice()) else {
                        return Err(TokenError::Unsupported(
                            "a check about something else than service, method, class, time and peer",
                        ));
                    };
                    query.facts.push((ambient, slot.clone()));
                }
                3 => {
                    within("expressions in a check", query.expressions.len(), CLAUSES_MAX)?;
                    self.ops = 0;
                    let ops = self.ops(value.bytes()?, 1, 0)?;
                    query.expressions.push(ops);
                }
                _ => return Err(TokenError::Unsupported("scopes or keys of others")),
            }
        }
        Ok(query)
    }

    fn predicate(&self, predicate: &[u8]) -> Result<(&str, Vec<Slot>), TokenError> {
        let (mut fields, mut name, mut terms) = (Fields::new(predicate), None, Vec::new());
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => once(&mut name, value.number()?)?,
                2 => {
                    within("terms in a fact", terms.len(), CLAUSES_MAX)?;
                    terms.push(self.slot(value.bytes()?, true)?);
                }
                _ => return Err(TokenError::Unsupported("a part of a later version")),
            }
        }
        let name = name.ok_or(TokenError::Malformed("a fact has no name"))?;
        Ok((self.symbols.text(name)?, terms))
    }

    fn slot(&self, term: &[u8], may_hold_many: bool) -> Result<Slot, TokenError> {
        let mut fields = Fields::new(term);
        let Some((number, value)) = fields.next()? else {
            return Err(TokenError::Malformed("a term has no value"));
        };
        let term = match number {
            1 => return only(fields, Slot::Variable(value.small()?)),
            // Two's complement, as Protocol Buffers write negative numbers.
            2 => Term::Integer(value.number()?.cast_signed()),
            3 => Term::Text(self.symbols.text(value.number()?)?.into()),
            4 => Term::Date(value.number()?),
            5 => Term::Bytes(value.bytes()?.into()),
            6 => Term::Bool(value.number()? != 0),
            7 | 9 if may_hold_many => Term::Many(self.members(value)?),
            _ => {
                return Err(TokenError::Unsupported(
                    "values other than texts, numbers, dates, bytes and sets of them",
                ));
            }
        };
        only(fields, Slot::Term(term))
    }

    fn members(&self, set: Value<'_>) -> Result<Box<[Term]>, TokenError> {
        let (mut fields, mut members) = (Fields::new(set.bytes()?), Vec::new());
        while let Some((number, value)) = fields.next()? {
            within("members of a set", members.len(), MEMBERS_MAX)?;
            match (number, self.slot(value.bytes()?, false)?) {
                (1, Slot::Term(term)) => members.push(term),
                _ => return Err(TokenError::Malformed("a set has a member that is no value")),
            }
        }
        Ok(members.into())
    }

    /// The steps in field `field` of a message.
    fn ops(&mut self, message: &[u8], field: u32, depth: usize) -> Result<Vec<Op>, TokenError> {
        if depth > DEPTH_MAX {
            return Err(TokenError::TooMany {
                what: "expressions within expressions",
                bound: DEPTH_MAX,
            });
        }
        let (mut fields, mut ops) = (Fields::new(message), Vec::new());
        while let Some((number, value)) = fields.next()? {
            if number != field {
                return Err(TokenError::Unsupported("functions in an expression"));
            }
            within("steps in an expression", self.ops, OPS_MAX)?;
            self.ops += 1;
            let op = self.op(value.bytes()?, depth)?;
            // Parentheses are for people.
            ops.extend(op);
        }
        Ok(ops)
    }

    fn op(&mut self, op: &[u8], depth: usize) -> Result<Option<Op>, TokenError> {
        let mut fields = Fields::new(op);
        let Some((number, value)) = fields.next()? else {
            return Err(TokenError::Malformed("an expression has an empty step"));
        };
        let op = match number {
            1 => Some(Op::Value(self.slot(value.bytes()?, true)?)),
            2 => match kind(value)? {
                0 => Some(Op::Not),
                1 => None,
                2 => Some(Op::Length),
                _ => return Err(TokenError::Unsupported("functions in an expression")),
            },
            3 => Some(Op::Binary(binary(kind(value)?)?)),
            // A closure without parameters; one with any is for going through a set.
            4 => Some(Op::Lazy(self.ops(value.bytes()?, 2, depth + 1)?)),
            _ => return Err(TokenError::Unsupported("a part of a later version")),
        };
        only(fields, op)
    }
}

/// The number of an operation, whose message has nothing else.
fn kind(operation: Value<'_>) -> Result<u64, TokenError> {
    let mut fields = Fields::new(operation.bytes()?);
    match fields.next()? {
        Some((1, value)) => only(fields, value.number()?),
        _ => Err(TokenError::Unsupported("functions in an expression")),
    }
}

fn binary(kind: u64) -> Result<Binary, TokenError> {
    Ok(match kind {
        0 => Binary::Less,
        1 => Binary::Greater,
        2 => Binary::LessOrEqual,
        3 => Binary::GreaterOrEqual,
        4 | 21 => Binary::Equal,
        5 => Binary::Contains,
        6 => Binary::Prefix,
        7 => Binary::Suffix,
        13 => Binary::And,
        14 => Binary::Or,
        20 | 22 => Binary::NotEqual,
        23 => Binary::LazyAnd,
        24 => Binary::LazyOr,
        8 => return Err(TokenError::Unsupported("regular expressions")),
        25 | 26 => return Err(TokenError::Unsupported("loops over sets")),
        _ => return Err(TokenError::Unsupported("calculations")),
    })
}

/// `value`, when nothing follows.
fn only<T>(mut fields: Fields<'_>, value: T) -> Result<T, TokenError> {
    match fields.next()? {
        None => Ok(value),
        Some(_) => Err(TokenError::Malformed("something has two values")),
    }
}

fn within(what: &'static str, have: usize, bound: usize) -> Result<(), TokenError> {
    match have < bound {
        true => Ok(()),
        false => Err(TokenError::TooMany { what, bound }),
    }
}

impl Right {
    fn read(service: &str, method: &str, class: &str) -> Result<Self, TokenError> {
        let name = |text: &str| (text != "*").then(|| text.to_owned());
        let class = match class {
            "*" => None,
            class => {
                Some(Class::from_name(class).ok_or(TokenError::Unsupported("a class that does not exist"))?)
            }
        };
        Ok(Self {
            service: name(service),
            method: name(method),
            class,
        })
    }
}

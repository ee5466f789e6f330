//! Reading label expressions: a scanner, and a parser that descends by precedence. Faults say in which column.

use super::labels::{LabelTest, Node};
use crate::agent::{LabelValue, Word, is_value_byte};

pub(super) fn parse(text: &str) -> Result<Node, LabelExprError> {
    let mut parser = Parser {
        tokens: scan(text)?,
        next: 0,
        end: text.chars().count() + 1,
        depth: 0,
    };
    let node = parser.any()?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.fault(LabelExprFault::Expected("`and`, `or` or the end"))),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A word as it stands.
    Bare(String),
    /// Between double quotes; never a keyword.
    Quoted(String),
    Open,
    Close,
    Comma,
    Equal,
    Unequal,
    And,
    Or,
    Not,
    In,
}

/// Tokens, each with its column.
fn scan(text: &str) -> Result<Vec<(Token, usize)>, LabelExprError> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().enumerate().peekable();
    while let Some((index, c)) = chars.next() {
        let column = index + 1;
        let mut followed_by = |wanted: char| chars.next_if(|(_, c)| *c == wanted).is_some();
        let token = match c {
            ' ' | '\t' => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '=' => {
                followed_by('=');
                Token::Equal
            }
            '!' if followed_by('=') => Token::Unequal,
            '!' => Token::Not,
            '&' if followed_by('&') => Token::And,
            '|' if followed_by('|') => Token::Or,
            '"' => {
                let mut quoted = String::new();
                loop {
                    match chars.next() {
                        Some((_, '"')) => break,
                        Some((_, c)) => quoted.push(c),
                        None => return Err(LabelExprError::at(column, LabelExprFault::OpenQuote)),
                    }
                }
                Token::Quoted(quoted)
            }
            c if is_bare(c) => {
                let mut word = String::from(c);
                while let Some((_, c)) = chars.next_if(|(_, c)| is_bare(*c)) {
                    word.push(c);
                }
                match word.to_ascii_lowercase().as_str() {
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    "in" => Token::In,
                    _ => Token::Bare(word),
                }
            }
            c => return Err(LabelExprError::at(column, LabelExprFault::Character(c))),
        };
        if tokens.len() == EXPR_TOKENS_MAX {
            return Err(LabelExprError::at(column, LabelExprFault::TooLong));
        }
        tokens.push((token, column));
    }
    Ok(tokens)
}

fn is_bare(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_value_byte)
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    /// The column after the last character.
    end: usize,
    depth: usize,
}

impl Parser {
    fn any(&mut self) -> Result<Node, LabelExprError> {
        let mut nodes = vec![self.all()?];
        while self.take(&Token::Or) {
            nodes.push(self.all()?);
        }
        Ok(joined(nodes, Node::Any))
    }

    fn all(&mut self) -> Result<Node, LabelExprError> {
        let mut nodes = vec![self.one()?];
        while self.take(&Token::And) || self.take(&Token::Comma) {
            nodes.push(self.one()?);
        }
        Ok(joined(nodes, Node::All))
    }

    fn one(&mut self) -> Result<Node, LabelExprError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.fault(LabelExprFault::TooDeep));
        }
        let node = if self.take(&Token::Not) {
            Node::Not(Box::new(self.one()?))
        } else if self.take(&Token::Open) {
            let node = self.any()?;
            self.expect(&Token::Close, "`)`")?;
            node
        } else {
            Node::Test(self.test()?)
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<LabelTest, LabelExprError> {
        let fault = self.fault(LabelExprFault::Expected("the name of a label, `not` or `(`"));
        let column = self.column();
        let name: Word = match self.text() {
            Some(text) => text
                .parse()
                .map_err(|_| LabelExprError::at(column, LabelExprFault::Name(text)))?,
            None => return Err(fault),
        };
        if self.take(&Token::Equal) {
            return Ok(LabelTest::In(name, vec![self.value()?]));
        }
        if self.take(&Token::Unequal) {
            return Ok(LabelTest::NotIn(name, vec![self.value()?]));
        }
        if self.take(&Token::In) {
            return Ok(LabelTest::In(name, self.values()?));
        }
        if self.peek() == Some(&Token::Not) {
            self.next += 1;
            self.expect(&Token::In, "`in`")?;
            return Ok(LabelTest::NotIn(name, self.values()?));
        }
        Ok(LabelTest::Has(name))
    }

    fn values(&mut self) -> Result<Vec<LabelValue>, LabelExprError> {
        self.expect(&Token::Open, "`(`")?;
        let mut values = vec![self.value()?];
        while self.take(&Token::Comma) {
            values.push(self.value()?);
        }
        self.expect(&Token::Close, "`,` or `)`")?;
        Ok(values)
    }

    fn value(&mut self) -> Result<LabelValue, LabelExprError> {
        let column = self.column();
        match self.text() {
            Some(text) => text
                .parse()
                .map_err(|_| LabelExprError::at(column, LabelExprFault::Value(text))),
            None => Err(self.fault(LabelExprFault::Expected("a value"))),
        }
    }

    fn text(&mut self) -> Option<String> {
        let text = match self.peek() {
            Some(Token::Bare(text) | Token::Quoted(text)) => text.clone(),
            _ => return None,
        };
        self.next += 1;
        Some(text)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }

    fn take(&mut self, token: &Token) -> bool {
        let there = self.peek() == Some(token);
        self.next += usize::from(there);
        there
    }

    fn expect(&mut self, token: &Token, what: &'static str) -> Result<(), LabelExprError> {
        match self.take(token) {
            true => Ok(()),
            false => Err(self.fault(LabelExprFault::Expected(what))),
        }
    }

    fn column(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(_, column)| *column)
    }

    fn fault(&self, fault: LabelExprFault) -> LabelExprError {
        LabelExprError::at(self.column(), fault)
    }
}

fn joined(mut nodes: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    match nodes.len() {
        1 => nodes.remove(0),
        _ => join(nodes),
    }
}

/// A label expression that cannot be read. Whoever wrote it is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {fault}")]
pub struct LabelExprError {
    /// The character at which it is wrong, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: LabelExprFault,
}

impl LabelExprError {
    fn at(column: usize, fault: LabelExprFault) -> Self {
        Self { column, fault }
    }
}

/// What is wrong with a label expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelExprFault {
    /// Something else should stand there.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A character that means nothing here.
    #[error("`{0}` has no meaning here")]
    Character(char),
    /// A quote without its end.
    #[error("the quote has no end")]
    OpenQuote,
    /// Not what a label can be called.
    #[error("`{0}` cannot be the name of a label")]
    Name(String),
    /// Not what a label's value can be.
    #[error("`{0}` cannot be the value of a label")]
    Value(String),
    /// Longer than anybody writes by hand.
    #[error("the expression is longer than {EXPR_TOKENS_MAX} words and signs")]
    TooLong,
    /// Too many parentheses within each other.
    #[error("more than {DEPTH_MAX} parentheses or `not` within each other")]
    TooDeep,
}

/// Words and signs of an expression: a screen of text. Not bytes, so that an expression which was read can always be written and
/// read again: what is written has no more words and signs than what was read, but may have more bytes (`!` becomes `not`).
const EXPR_TOKENS_MAX: usize = 1024;
/// Parentheses within each other: far more than are understood, far less than a stack holds.
const DEPTH_MAX: usize = 32;

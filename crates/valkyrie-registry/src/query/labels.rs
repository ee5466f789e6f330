//! Label expressions as trees, and what they mean.

use std::fmt;
use std::str::FromStr;

use super::parse::{self, LabelExprError};
use crate::agent::{LabelValue, Service, Word};

/// What the labels of a service must be:
///
/// ```text
/// tier = gold and (region in (eu, us) or canary) and not deprecated
/// ```
///
/// `name` asks whether there is such a label, `name = value` and `name != value` compare, `name in (a, b)` and `name not in (a,
/// b)` compare with several; a comma is an `and`. A label that is not there is unlike every value, so `tier != gold` and
/// `tier not in (gold)` hold of a service without `tier`. `not` binds closest, then `and`, then `or`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LabelExpr(pub(super) Node);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node {
    Test(LabelTest),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
}

/// One question about one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LabelTest {
    /// There is such a label.
    Has(Word),
    /// Its value is one of these.
    In(Word, Vec<LabelValue>),
    /// Its value is none of these, or it is not there.
    NotIn(Word, Vec<LabelValue>),
}

impl LabelExpr {
    /// Whether it holds of a service.
    pub fn matches(&self, service: &Service) -> bool {
        self.0.matches(service)
    }

    /// The tests that must hold for the whole to hold. An index that narrows by any of them misses nothing.
    pub fn necessary(&self) -> impl Iterator<Item = &LabelTest> {
        let nodes = match &self.0 {
            Node::All(nodes) => nodes.as_slice(),
            node => std::slice::from_ref(node),
        };
        nodes.iter().filter_map(|node| match node {
            Node::Test(test) => Some(test),
            _ => None,
        })
    }
}

impl Node {
    fn matches(&self, service: &Service) -> bool {
        match self {
            Self::Test(test) => test.matches(service),
            Self::Not(node) => !node.matches(service),
            Self::All(nodes) => nodes.iter().all(|node| node.matches(service)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(service)),
        }
    }
}

impl LabelTest {
    fn matches(&self, service: &Service) -> bool {
        match self {
            Self::Has(name) => service.label_value(name.as_str()).is_some(),
            Self::In(name, values) => service
                .label_value(name.as_str())
                .is_some_and(|value| values.contains(value)),
            Self::NotIn(name, values) => service
                .label_value(name.as_str())
                .is_none_or(|value| !values.contains(value)),
        }
    }
}

impl FromStr for LabelExpr {
    type Err = LabelExprError;

    fn from_str(text: &str) -> Result<Self, LabelExprError> {
        parse::parse(text).map(Self)
    }
}

/// A text that parses to the same expression. Names and values are quoted, so that none is taken for a keyword; parentheses stand
/// only where the meaning needs them, so that nothing is deeper or longer than the text it was read from.
impl fmt::Display for LabelExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(&self.0, f)
    }
}

impl fmt::Debug for LabelExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelExpr({self})")
    }
}

fn write(node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match node {
        Node::Test(LabelTest::Has(name)) => write!(f, "\"{name}\""),
        Node::Test(LabelTest::In(name, values)) => write_values(f, name, "=", "in", values),
        Node::Test(LabelTest::NotIn(name, values)) => write_values(f, name, "!=", "not in", values),
        Node::Not(node) => {
            f.write_str("not ")?;
            write_part(node, Binds::NOT, f)
        }
        Node::All(nodes) => write_joined(nodes, " and ", Binds::AND, f),
        Node::Any(nodes) => write_joined(nodes, " or ", Binds::OR, f),
    }
}

/// How close the parts of a node are bound to each other: what binds no closer than what it stands in needs parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Binds(u8);

impl Binds {
    const OR: Self = Self(0);
    const AND: Self = Self(1);
    const NOT: Self = Self(2);

    /// `not` stands before its part, so there is nothing to take apart in `not not a`; a test is of one piece.
    fn of(node: &Node) -> Option<Self> {
        match node {
            Node::Test(_) | Node::Not(_) => None,
            Node::All(_) => Some(Self::AND),
            Node::Any(_) => Some(Self::OR),
        }
    }
}

fn write_joined(nodes: &[Node], between: &str, binds: Binds, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, node) in nodes.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        write_part(node, binds, f)?;
    }
    Ok(())
}

fn write_part(node: &Node, within: Binds, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if Binds::of(node).is_none_or(|binds| binds > within) {
        return write(node, f);
    }
    f.write_str("(")?;
    write(node, f)?;
    f.write_str(")")
}

fn write_values(
    f: &mut fmt::Formatter<'_>,
    name: &Word,
    one: &str,
    several: &str,
    values: &[LabelValue],
) -> fmt::Result {
    if let [value] = values {
        return write!(f, "\"{name}\" {one} \"{value}\"");
    }
    write!(f, "\"{name}\" {several} (")?;
    for (index, value) in values.iter().enumerate() {
        let between = if index > 0 { ", " } else { "" };
        write!(f, "{between}\"{value}\"")?;
    }
    f.write_str(")")
}

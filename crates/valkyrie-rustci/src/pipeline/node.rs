//! YAML as a tree with positions, bounded in size, depth and alias expansion.
//!
//! This is the only file that knows the YAML library. It refuses what a pipeline file has no use
//! for: tags, several documents, keys that are not plain text, the same key twice.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as YamlSpan};

use super::diagnostic::Diagnostic;
use super::limits::{DEPTH_MAX, EXPANDED_BYTES_MAX, FILE_BYTES_MAX, NODES_MAX};

/// Where something stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) length: usize,
}

impl Span {
    pub(super) const START: Self = Self {
        line: 1,
        column: 1,
        length: 1,
    };

    fn of(span: &YamlSpan) -> Self {
        let length = match span.start.line() == span.end.line() {
            true => span.end.col().saturating_sub(span.start.col()).max(1),
            false => 1,
        };
        Self {
            line: span.start.line(),
            column: span.start.col() + 1,
            length,
        }
    }

    pub(super) fn error(self, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            message: message.into(),
            line: self.line,
            column: self.column,
            length: self.length,
            help: None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) span: Span,
    size: Size,
}

/// What a node and everything under it count towards the bounds.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `plain` is false when the text was quoted or a block, and so is text whatever it looks like.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) span: Span,
}

/// A list or map whose end has not been seen.
struct Open {
    value: Value,
    key: Option<Key>,
    span: Span,
    anchor: usize,
    size: Size,
}

/// Reads one document.
pub(super) fn parse(source: &str) -> Result<Node, Diagnostic> {
    if source.len() > FILE_BYTES_MAX {
        return Err(Span::START.error(format!(
            "the file has {} bytes, and at most {FILE_BYTES_MAX} are read",
            source.len()
        )));
    }
    let mut tree = Tree {
        open: Vec::new(),
        root: None,
        anchors: HashMap::new(),
        total: Size::default(),
    };
    let mut documents = 0_usize;
    let mut parser = Parser::new_from_str(source);
    while let Some(event) = parser.next_event() {
        let (event, at) = event.map_err(|error| {
            let at = Span {
                line: error.marker().line(),
                column: error.marker().col() + 1,
                length: 1,
            };
            syntax_error(source, at, error.info())
        })?;
        let span = Span::of(&at);
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(span.error("a second document: a pipeline file holds one"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                let size = Size {
                    nodes: 1,
                    bytes: text.len(),
                    depth: 1,
                };
                let plain = style == ScalarStyle::Plain;
                let span = if plain || span.length > 1 {
                    span
                } else {
                    Span { length: 1, ..span }
                };
                let value = Value::Scalar {
                    text: text.into_owned(),
                    plain,
                };
                tree.count(size, span)?;
                tree.place(Node { value, span, size }, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                tree.open(Value::Sequence(Vec::new()), span, anchor)?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.is_some(), span)?;
                tree.open(Value::Mapping(Vec::new()), span, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => tree.close()?,
            Event::Alias(anchor) => tree.alias(anchor, span)?,
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => {}
        }
    }
    tree.root.ok_or_else(|| Span::START.error("the file is empty"))
}

struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    total: Size,
}

impl Tree {
    /// Adds to the totals, before anything of that size is made.
    fn count(&mut self, size: Size, span: Span) -> Result<(), Diagnostic> {
        self.total.nodes += size.nodes;
        self.total.bytes += size.bytes;
        if self.total.nodes > NODES_MAX {
            return Err(span.error(format!(
                "the file holds more than {NODES_MAX} values, aliases expanded"
            )));
        }
        if self.total.bytes > EXPANDED_BYTES_MAX {
            return Err(span.error(format!(
                "the file holds more than {EXPANDED_BYTES_MAX} bytes, aliases expanded"
            )));
        }
        if self.open.len() + size.depth > DEPTH_MAX {
            return Err(span.error(format!("lists and maps are nested more than {DEPTH_MAX} deep")));
        }
        Ok(())
    }

    fn open(&mut self, value: Value, span: Span, anchor: usize) -> Result<(), Diagnostic> {
        let size = Size {
            nodes: 1,
            bytes: 0,
            depth: 1,
        };
        self.count(size, span)?;
        if let Some(Open {
            value: Value::Mapping(_),
            key: None,
            ..
        }) = self.open.last()
        {
            return Err(span.error("a key must be plain text"));
        }
        self.open.push(Open {
            value,
            key: None,
            span,
            anchor,
            size,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let Some(Open {
            value,
            span,
            anchor,
            size,
            ..
        }) = self.open.pop()
        else {
            return Err(Span::START.error("a list or map ends that never began"));
        };
        self.place(Node { value, span, size }, anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Diagnostic> {
        // An anchor is known once its node has ended, so a node cannot contain itself.
        let Some(size) = self.anchors.get(&anchor).map(|node| node.size) else {
            return Err(span.error("an alias to a value that contains it, or to none"));
        };
        self.count(size, span)?;
        match self.anchors.get(&anchor).cloned() {
            Some(node) => self.place(node, 0),
            None => Ok(()),
        }
    }

    /// Puts a finished node where it belongs: into the innermost open list or map, or at the root.
    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Diagnostic> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.size.nodes += node.size.nodes;
        parent.size.bytes += node.size.bytes;
        parent.size.depth = parent.size.depth.max(node.size.depth + 1);
        match &mut parent.value {
            Value::Sequence(items) => items.push(node),
            Value::Mapping(entries) => match parent.key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(node.span.error("a key must be plain text"));
                    };
                    if let Some((first, _)) = entries.iter().find(|(key, _)| key.text == text) {
                        let mut error = node.span.error(format!("key `{text}` appears twice"));
                        error.help = Some(format!("it is first given on line {}", first.span.line));
                        return Err(error);
                    }
                    parent.key = Some(Key {
                        text,
                        span: node.span,
                    });
                }
            },
            Value::Scalar { .. } => {}
        }
        Ok(())
    }
}

fn refuse_tag(tagged: bool, span: Span) -> Result<(), Diagnostic> {
    match tagged {
        true => Err(span.error("tags (`!…`) have no meaning in a pipeline file")),
        false => Ok(()),
    }
}

/// A tab in the indentation is by far the likeliest cause of a syntax error on or before its line,
/// and the scanner's own words for it are hard to read.
fn syntax_error(source: &str, at: Span, info: &str) -> Diagnostic {
    for (number, line) in source
        .lines()
        .enumerate()
        .take(at.line)
        .skip(at.line.saturating_sub(2))
    {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indent].find('\t') {
            let mut error = Span {
                line: number + 1,
                column: tab + 1,
                length: 1,
            }
            .error("a tab in the indentation: YAML allows only spaces there");
            error.help = Some(String::from("replace the tab by spaces"));
            return error;
        }
    }
    at.error(format!("not valid YAML: {info}"))
}

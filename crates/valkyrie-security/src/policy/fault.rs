//! What is wrong with a policy file, and where. Files of other kinds tell their mistakes in the same way.

use std::fmt::{self, Write as _};

use super::entry;

/// Characters of a source line that are kept. A longer line is cut around the mistake.
const SHOWN_MAX: usize = 160;

/// A policy file that was refused. Nothing of it is used; the policy that was in force stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    faults: Vec<PolicyFault>,
}

impl PolicyError {
    /// These mistakes, in any order; at least one.
    pub fn new(mut faults: Vec<PolicyFault>) -> Self {
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.dedup();
        Self { faults }
    }

    /// Every mistake, in the order of the file. Never empty.
    pub fn faults(&self) -> &[PolicyFault] {
        &self.faults
    }

    /// All mistakes with their lines, for people. `file` is the name to show.
    pub fn render(&self, file: &str) -> String {
        let mut out = String::new();
        for fault in &self.faults {
            fault.render_into(&mut out, file);
        }
        out
    }
}

impl std::error::Error for PolicyError {}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render("policy").trim_end())
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyFault {
    /// What is wrong, without a full stop.
    pub message: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What to do about it.
    pub help: Option<String>,
    excerpt: String,
    /// Characters before the mark, and marked.
    mark: (usize, usize),
}

impl PolicyFault {
    /// A mistake in these bytes of `source`, with a hint what to do about it.
    pub fn new(source: &str, span: std::ops::Range<usize>, message: String, help: Option<String>) -> Self {
        let begin = source.floor_char_boundary(span.start);
        let (before, after) = source.split_at(begin);
        let line_begin = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(line_begin..).map_or(0, |text| text.chars().count());
        let length = after
            .get(..source.ceil_char_boundary(span.end).saturating_sub(begin))
            .map_or(1, |text| text.chars().take_while(|&c| c != '\n').count());
        let line_text = source.get(line_begin..).and_then(|rest| rest.lines().next());
        // A cut keeps some of what is left of the mistake.
        let skipped = column.saturating_sub(SHOWN_MAX / 2);
        let excerpt: String = line_text
            .unwrap_or("")
            .chars()
            .skip(skipped)
            .take(SHOWN_MAX)
            .map(printable)
            .collect();
        let marked = length
            .min(excerpt.chars().count().saturating_sub(column - skipped))
            .max(1);
        Self {
            message: message.chars().map(printable).collect(),
            line: before.matches('\n').count() + 1,
            column: column + 1,
            help,
            excerpt,
            mark: (column - skipped, marked),
        }
    }

    /// "did you mean", when one of the names that are `known` is few slips away from `text`.
    pub fn did_you_mean(text: &str, known: &[&str]) -> Option<String> {
        entry::near(text, known)
    }

    /// The line of the file, as far as it is shown; what is no printable character is replaced.
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }

    fn render_into(&self, out: &mut String, file: &str) {
        let gutter = self.line.to_string().len();
        let (before, marked) = self.mark;
        // Writing to a string does not fail.
        let _ = writeln!(out, "{file}:{}:{}: {}", self.line, self.column, self.message);
        let _ = writeln!(out, "{} | {}", self.line, self.excerpt);
        let _ = writeln!(out, "{:gutter$} | {:before$}{}", "", "", "^".repeat(marked));
        if let Some(help) = &self.help {
            let _ = writeln!(
                out,
                "{:gutter$} = help: {}",
                "",
                help.chars().map(printable).collect::<String>()
            );
        }
    }
}

/// Text of the file must not drive the reader's terminal. A tab is one space, so that the mark lines up.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

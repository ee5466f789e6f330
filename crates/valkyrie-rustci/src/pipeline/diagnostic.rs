//! What is wrong with a pipeline file, and where, in the manner of rustc.

use std::fmt::Write as _;

/// Columns of a source line that are shown. A longer line is cut around the mistake.
const SHOWN_COLUMNS_MAX: usize = 160;

/// A pipeline file that was refused. Nothing of it is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", summary(.diagnostics))]
pub struct PipelineError {
    diagnostics: Vec<Diagnostic>,
}

impl PipelineError {
    pub(super) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|found| (found.line, found.column));
        Self { diagnostics }
    }

    /// Every mistake, in the order of the file. Never empty.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// All mistakes with their source lines, ready for a terminal. `file` is the name to show and
    /// `source` the text that was parsed.
    pub fn render(&self, file: &str, source: &str, colour: bool) -> String {
        let mut out = String::new();
        for diagnostic in &self.diagnostics {
            diagnostic.render_into(&mut out, file, source, colour);
            out.push('\n');
        }
        out
    }
}

fn summary(diagnostics: &[Diagnostic]) -> String {
    let mut out = match diagnostics.first() {
        Some(first) => format!("line {}, column {}: {}", first.line, first.column, first.message),
        None => String::from("the pipeline file is not valid"),
    };
    if diagnostics.len() > 1 {
        let _ = write!(out, " (and {} more)", diagnostics.len() - 1);
    }
    out
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, without a full stop.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Characters to underline, at least 1.
    pub length: usize,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    fn render_into(&self, out: &mut String, file: &str, source: &str, colour: bool) {
        let (red, blue, bold, plain) = match colour {
            true => ("\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"),
            false => ("", "", "", ""),
        };
        let gutter = self.line.to_string().len();
        let _ = writeln!(
            out,
            "{red}error{plain}{bold}: {}{plain}",
            printable(&self.message)
        );
        let _ = writeln!(
            out,
            "{:gutter$}{blue}-->{plain} {}:{}:{}",
            "",
            printable(file),
            self.line,
            self.column
        );
        let (text, before, marked) = self.excerpt(source);
        let _ = writeln!(out, "{:gutter$} {blue}|{plain}", "");
        let _ = writeln!(out, "{blue}{} |{plain} {text}", self.line);
        let _ = writeln!(
            out,
            "{:gutter$} {blue}|{plain} {:before$}{red}{}{plain}",
            "",
            "",
            "^".repeat(marked)
        );
        if let Some(help) = &self.help {
            let _ = writeln!(
                out,
                "{:gutter$} {blue}={plain} {bold}help{plain}: {}",
                "",
                printable(help)
            );
        }
    }

    /// The source line made safe to print, the columns before the mark, and the mark's width.
    fn excerpt(&self, source: &str) -> (String, usize, usize) {
        let line = source.lines().nth(self.line.saturating_sub(1)).unwrap_or("");
        let column = self.column.saturating_sub(1);
        // A cut keeps some context on the left of the mistake.
        let skipped = column.saturating_sub(SHOWN_COLUMNS_MAX / 2);
        let (mut text, mut before, mut marked) = (String::new(), 0, 0);
        for (at, character) in line.chars().enumerate().skip(skipped).take(SHOWN_COLUMNS_MAX) {
            let shown = match character {
                // A tab is shown as an arrow so that the mark below it lines up.
                '\t' => '→',
                other if other.is_control() => '\u{fffd}',
                other => other,
            };
            text.push(shown);
            if at < column {
                before += 1;
            } else if at < column + self.length {
                marked += 1;
            }
        }
        (text, before, marked.max(1))
    }
}

/// Text from the file inside a message must not drive the reader's terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

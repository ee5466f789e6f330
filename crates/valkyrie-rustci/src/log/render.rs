//! Records as lines for a person, each with the name of its job.

use std::collections::BTreeMap;

use super::clean::{Cleaner, Piece};
use super::{LogRecord, Stream};
use crate::pipeline::JobIndex;

/// Bytes of a line before it is broken. A job that never ends a line must not grow memory, and
/// lines beyond this are data rather than text.
pub const LINE_BYTES_MAX: usize = 8 << 10;

/// Six colours that read well on light and dark grounds, none of which means success or failure.
const COLOURS: [&str; 6] = [
    "\x1b[36m", "\x1b[35m", "\x1b[34m", "\x1b[33m", "\x1b[96m", "\x1b[95m",
];
const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";

/// How lines are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// Whether names are coloured and the job's own colours pass.
    pub colour: bool,
    /// Whether lines begin with the job's name.
    pub prefix: bool,
}

/// Turns records of many jobs into whole lines, appended to a string.
///
/// A line appears when it is complete, so lines of parallel jobs never mix. What a progress bar
/// overwrites with carriage returns is replaced as a terminal would show it: only the last state of
/// the line appears. Standard output and standard error of a job are kept apart for the same reason.
#[derive(Debug)]
pub struct LineRenderer {
    options: RenderOptions,
    names: Vec<String>,
    width: usize,
    lines: BTreeMap<(JobIndex, Stream), Line>,
}

#[derive(Debug, Default)]
struct Line {
    cleaner: Cleaner,
    text: String,
    /// A carriage return came; the next character starts the line anew.
    returned: bool,
    coloured: bool,
}

impl LineRenderer {
    /// A renderer for these jobs, named in the order of the pipeline.
    pub fn new(names: impl IntoIterator<Item = String>, options: RenderOptions) -> Self {
        let names: Vec<String> = names.into_iter().collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        Self {
            options,
            names,
            width,
            lines: BTreeMap::new(),
        }
    }

    /// Adds a record; complete lines are appended to `out`.
    pub fn push(&mut self, record: &LogRecord, out: &mut String) {
        let prefix = self.prefix(record.job, record.stream);
        let line = self.lines.entry((record.job, record.stream)).or_default();
        let colour = self.options.colour;
        let Line {
            cleaner,
            text,
            returned,
            coloured,
        } = line;
        cleaner.push(&record.bytes, |piece| {
            match piece {
                Piece::Newline => {
                    emit(out, &prefix, text, *coloured);
                    (*returned, *coloured) = (false, false);
                }
                Piece::Return => *returned = true,
                Piece::Backspace => {
                    text.pop_if_character();
                }
                Piece::Colour(sequence) => {
                    if colour {
                        restart(text, returned, coloured);
                        text.push_str(&sequence);
                        *coloured = true;
                    }
                }
                Piece::Text(character) => {
                    restart(text, returned, coloured);
                    text.push(character);
                }
            }
            if text.len() >= LINE_BYTES_MAX {
                emit(out, &prefix, text, *coloured);
                *coloured = false;
            }
        });
    }

    /// The job has ended: what it left without a newline becomes a line.
    pub fn finish(&mut self, job: JobIndex, out: &mut String) {
        for stream in [Stream::Stdout, Stream::Stderr, Stream::Notice] {
            let prefix = self.prefix(job, stream);
            let Some(mut line) = self.lines.remove(&(job, stream)) else {
                continue;
            };
            let text = &mut line.text;
            line.cleaner.finish(|piece| {
                if let Piece::Text(character) = piece {
                    text.push(character);
                }
            });
            if !line.text.is_empty() {
                emit(out, &prefix, &mut line.text, line.coloured);
            }
        }
    }

    fn prefix(&self, job: JobIndex, stream: Stream) -> String {
        if !self.options.prefix {
            return String::new();
        }
        let name = self.names.get(job.as_usize()).map_or("?", String::as_str);
        let padding = " ".repeat(self.width.saturating_sub(name.chars().count()));
        let mark = match stream {
            Stream::Stdout => '|',
            Stream::Stderr => '!',
            Stream::Notice => '#',
        };
        match self.options.colour {
            true => {
                let colour = COLOURS[job.as_usize() % COLOURS.len()];
                format!("{colour}{name}{padding}{RESET} {DIM}{mark}{RESET} ")
            }
            false => format!("{name}{padding} {mark} "),
        }
    }
}

/// After a carriage return, new text replaces the line; a return right before the newline does not.
fn restart(text: &mut String, returned: &mut bool, coloured: &mut bool) {
    if std::mem::take(returned) {
        text.clear();
        *coloured = false;
    }
}

fn emit(out: &mut String, prefix: &str, text: &mut String, coloured: bool) {
    out.push_str(prefix);
    out.push_str(text);
    if coloured {
        out.push_str(RESET);
    }
    out.push('\n');
    text.clear();
}

/// Removing the last character must not cut a colour sequence in two.
trait PopCharacter {
    fn pop_if_character(&mut self);
}

impl PopCharacter for String {
    fn pop_if_character(&mut self) {
        let ends_in_colour = self.ends_with('m')
            && self
                .rfind('\x1b')
                .is_some_and(|at| !self[at..self.len() - 1].contains('m'));
        if !ends_in_colour {
            self.pop();
        }
    }
}

//! Standard output and standard error, as every command uses them.
//!
//! Results go to standard output: lines for people, or with `--json` one JSON value a line. Progress and errors go to
//! standard error, so that a pipe sees results alone. Read [`Out`] first.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::exit::CliError;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always, for a pager that understands it.
    Always,
    /// Never.
    Never,
}

impl ColorWhen {
    fn on(self, terminal: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }
}

/// Standard output. What is printed stays in a buffer until [`Out::flush`].
pub(crate) struct Out {
    writer: BufWriter<Stdout>,
    json: bool,
    paint: Paint,
}

impl Out {
    pub(crate) fn new(color: ColorWhen, json: bool) -> Self {
        let stdout = io::stdout();
        let colored = color.on(stdout.is_terminal()) && !json;
        Self {
            writer: BufWriter::new(stdout),
            json,
            paint: Paint { colored },
        }
    }

    /// Whether results are to be JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result<(), CliError> {
        writeln!(self.writer, "{text}").map_err(|error| CliError::output(&error))
    }

    /// Prints one JSON value on a line of its own and lets readers see it at once.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.writer, value).map_err(|error| CliError::output(&error.into()))?;
        self.line("")?;
        self.flush()
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.writer
            .write_all(bytes)
            .map_err(|error| CliError::output(&error))
    }

    /// Lets readers see what was printed.
    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        self.writer.flush().map_err(|error| CliError::output(&error))
    }
}

/// Standard error: errors for everybody, progress for people at a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notes {
    json: bool,
    terminal: bool,
    paint: Paint,
}

impl Notes {
    pub(crate) fn new(color: ColorWhen, json: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            json,
            terminal,
            paint: Paint {
                colored: color.on(terminal),
            },
        }
    }

    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Says in one sentence what went wrong, and what to do about it.
    pub(crate) fn error(&self, error: &CliError) {
        if error.message.is_empty() {
            return;
        }
        if self.json {
            let value = serde_json::json!({
                "error": error.message, "hint": error.hint, "exit_code": error.exit as u8,
            });
            Self::write(format_args!("{value}\n"));
            return;
        }
        let paint = self.paint;
        Self::write(format_args!("{} {}\n", paint.error("error:"), error.message));
        if let Some(hint) = &error.hint {
            Self::write(format_args!("{} {hint}\n", paint.hint(" hint:")));
        }
    }

    /// A remark for people: nothing with `--json`.
    pub(crate) fn remark(&self, text: impl fmt::Display) {
        if !self.json {
            Self::write(format_args!("{text}\n"));
        }
    }

    /// Something that a person should know and that ends nothing.
    pub(crate) fn warning(&self, text: impl fmt::Display) {
        if self.json {
            Self::write(format_args!(
                "{}\n",
                serde_json::json!({"warning": text.to_string()})
            ));
        } else {
            Self::write(format_args!("{} {text}\n", self.paint.warn("warning:")));
        }
    }

    /// Whether a question would be seen by a person and not by a script.
    pub(crate) fn may_ask(&self) -> bool {
        self.terminal && !self.json
    }

    /// Whether a line that rewrites itself makes sense.
    pub(crate) fn is_live(&self) -> bool {
        self.terminal && !self.json
    }

    /// Rewrites the live line.
    pub(crate) fn live(&self, text: impl fmt::Display) {
        if self.is_live() {
            Self::write(format_args!("\r\x1b[2K{text}"));
        }
    }

    /// Takes the live line away.
    pub(crate) fn end_live(&self) {
        self.live("");
    }

    /// What cannot be said on standard error cannot be said anywhere.
    fn write(text: fmt::Arguments<'_>) {
        let _ = io::stderr().lock().write_fmt(text);
    }
}

/// Puts colour on words, or leaves them plain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    colored: bool,
}

impl Paint {
    pub(crate) fn with<T: fmt::Display>(self, style: Style, text: T) -> Painted<T> {
        Painted {
            style: self.colored.then_some(style),
            text,
        }
    }

    pub(crate) fn bold<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(Style::new().bold(), text)
    }

    pub(crate) fn dim<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(Style::new().dimmed(), text)
    }

    pub(crate) fn good<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(fg(AnsiColor::Green), text)
    }

    pub(crate) fn name<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(fg(AnsiColor::Cyan), text)
    }

    pub(crate) fn warn<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(fg(AnsiColor::Yellow), text)
    }

    pub(crate) fn error<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(fg(AnsiColor::Red).bold(), text)
    }

    pub(crate) fn hint<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(fg(AnsiColor::Yellow), text)
    }
}

/// A foreground colour.
pub(crate) fn fg(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(color.into()))
}

/// Text with a style. Width and alignment apply to the text, not to the escapes around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Painted<T> {
    style: Option<Style>,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(style) = self.style else {
            return self.text.fmt(f);
        };
        write!(f, "{}", style.render())?;
        self.text.fmt(f)?;
        write!(f, "{}", style.render_reset())
    }
}

//! The text below a command's options, for a terminal of any width.
//!
//! In the source it is broken where lines of code are. Here prose becomes one line a paragraph, which clap breaks where the terminal ends,
//! and an example that a narrow terminal would break goes on in the next line as a shell reads it.

use std::fmt::Write;

use clap::Command;

/// Does so for a command and all below it.
pub(crate) fn flow(command: Command) -> Command {
    let text = command.get_after_help().map(|text| flowed(&text.to_string()));
    let command = match text {
        Some(text) => command.after_help(text),
        None => command,
    };
    command.mut_subcommands(flow)
}

fn flowed(text: &str) -> String {
    let mut out = String::new();
    let mut in_prose = false;
    for line in text.lines() {
        // What is set in is an example, or a line of a table.
        let is_prose = !line.is_empty() && !line.starts_with(' ');
        match (out.is_empty(), is_prose && in_prose) {
            (true, _) => {}
            (_, true) => out.push(' '),
            (_, false) => out.push('\n'),
        }
        in_prose = is_prose;
        // A sentence may go on with the name of the program, at the beginning of a line.
        let is_example = !is_prose && line.trim_start().starts_with("valkyrie ");
        match is_example && line.len() > COLUMNS {
            true => break_example(line, &mut out),
            false => out.push_str(line),
        }
    }
    out
}

fn break_example(line: &str, out: &mut String) {
    let indent = line.len() - line.trim_start().len();
    let mut column = indent;
    let _ = write!(out, "{:indent$}", "");
    for (place, argument) in arguments(line.trim_start()).into_iter().enumerate() {
        // Behind it there has to be room for what says that the example goes on.
        if place > 0 && column + 1 + argument.len() + 2 > COLUMNS {
            column = indent + 4;
            let _ = write!(out, " \\\n{:column$}", "");
        } else if place > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(argument);
        column += argument.len();
    }
}

/// What an example consists of: words, and options with their values. What is quoted stays together, as nothing may be put between its words.
fn arguments(example: &str) -> Vec<&str> {
    let mut arguments = Vec::new();
    let (mut begun, mut quote) = (0, None);
    for (at, byte) in example.bytes().enumerate() {
        match (byte, quote) {
            (b'\'' | b'"', None) => quote = Some(byte),
            (byte, Some(open)) if byte == open => quote = None,
            // An option and its value stay together as well.
            (b' ', None)
                if !example[begun..].starts_with("--")
                    || example[begun..at].contains(' ')
                    || example[at..].starts_with(" -") =>
            {
                arguments.push(&example[begun..at]);
                begun = at + 1;
            }
            _ => {}
        }
    }
    arguments.push(&example[begun..]);
    arguments
}

/// The narrowest terminal in which no example is broken otherwise.
const COLUMNS: usize = 80;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn prose_is_one_line_a_paragraph_and_examples_stay() {
        let text = "One sentence\nthat goes on.\n\nExamples:\n  valkyrie ls\n  other text";
        assert_eq!(
            flowed(text),
            "One sentence that goes on.\n\nExamples:\n  valkyrie ls\n  other text"
        );
        let text = format!(
            "Its directory is, else\nvalkyrie in {}",
            "another place ".repeat(9)
        );
        assert_eq!(flowed(&text), text.replace('\n', " "));
    }

    #[test]
    fn a_long_example_goes_on_in_the_next_line_and_what_is_quoted_stays_together() {
        let text = "  valkyrie registry ls --service orders --version '>=1.2, <2' --labels 'tier in (gold, platinum)'";
        let broken = flowed(text);
        assert_eq!(
            broken,
            "  valkyrie registry ls --service orders --version '>=1.2, <2' \\\n      --labels 'tier in (gold, platinum)'"
        );
        assert_eq!(broken.replace(" \\\n      ", " "), text);
    }

    #[test]
    fn no_example_of_any_command_is_wider_than_a_narrow_terminal() {
        let mut commands = vec![flow(Cli::command())];
        let mut looked_at = 0;
        while let Some(command) = commands.pop() {
            let text = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            for line in text.lines().filter(|line| line.starts_with(' ')) {
                assert!(line.chars().count() <= COLUMNS, "{}: {line}", command.get_name());
                looked_at += 1;
            }
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(looked_at > 50, "there are examples: {looked_at}");
    }
}

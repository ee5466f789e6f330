//! Makes a job's bytes safe for a terminal: text and colours pass, everything else is taken out.
//!
//! A log is untrusted. Escape sequences can move the cursor over other lines, change the title,
//! write to the clipboard or make the terminal type. So this knows the few sequences that are
//! harmless (colours and weights, `ESC [ … m`) and drops the rest, whole.

/// Parameter bytes of a colour sequence. The longest useful one sets both colours in full.
const SGR_BYTES_MAX: usize = 48;

/// What one character of input amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A character to show.
    Text(char),
    /// A whole colour sequence.
    Colour(String),
    /// End of the line.
    Newline,
    /// Back to the start of the line.
    Return,
    /// Back by one character.
    Backspace,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: one more byte ends it.
    Intermediate,
    /// In `ESC [`; the parameters so far, or nothing when they cannot be a colour.
    Control(Option<String>),
    /// In a string (title, clipboard, device control) until BEL or ST.
    Text,
    /// After ESC inside such a string.
    TextEscape,
}

/// Decodes UTF-8 and filters, keeping its place between calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Cleaner {
    state: State,
    /// The bytes of a character whose end has not arrived: at most three.
    partial: Vec<u8>,
}

impl Cleaner {
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Piece)) {
        let joined;
        let mut rest = if self.partial.is_empty() {
            bytes
        } else {
            joined = [std::mem::take(&mut self.partial).as_slice(), bytes].concat();
            &joined
        };
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    text.chars().for_each(|character| self.step(character, &mut each));
                    return;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    for character in std::str::from_utf8(valid).unwrap_or_default().chars() {
                        self.step(character, &mut each);
                    }
                    match error.error_len() {
                        Some(bad) => {
                            self.step(char::REPLACEMENT_CHARACTER, &mut each);
                            rest = &after[bad..];
                        }
                        None => {
                            self.partial = after.to_vec();
                            return;
                        }
                    }
                }
            }
        }
    }

    /// The stream has ended: an unfinished character becomes a replacement.
    pub(super) fn finish(&mut self, mut each: impl FnMut(Piece)) {
        if !std::mem::take(&mut self.partial).is_empty() {
            self.step(char::REPLACEMENT_CHARACTER, &mut each);
        }
        self.state = State::Ground;
    }

    fn step(&mut self, character: char, each: &mut impl FnMut(Piece)) {
        // A line's end ends any sequence, so that one unclosed string does not swallow a whole log.
        if character == '\n' {
            self.state = State::Ground;
            return each(Piece::Newline);
        }
        self.state = match (std::mem::take(&mut self.state), character) {
            (State::Text, '\x1b') => State::TextEscape,
            (State::Text, '\x07' | '\u{9c}') => State::Ground,
            (State::TextEscape, '\\') => State::Ground,
            (State::Text | State::TextEscape, _) => State::Text,
            (_, '\x1b') => State::Escape,
            (State::Escape, '[') => State::Control(Some(String::new())),
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => State::Text,
            (State::Escape, ' '..='/') => State::Intermediate,
            (State::Escape, _) => State::Ground,
            (State::Intermediate, ' '..='/') => State::Intermediate,
            (State::Intermediate, _) => State::Ground,
            (State::Control(Some(mut parameters)), '0'..='9' | ';' | ':')
                if parameters.len() < SGR_BYTES_MAX =>
            {
                parameters.push(character);
                State::Control(Some(parameters))
            }
            (State::Control(_), ' '..='?') => State::Control(None),
            (State::Control(parameters), '@'..='~') => {
                if let (Some(parameters), 'm') = (parameters, character) {
                    each(Piece::Colour(format!("\x1b[{parameters}m")));
                }
                State::Ground
            }
            (State::Control(_), _) => State::Ground,
            (State::Ground, _) => {
                self.ground(character, each);
                return;
            }
        };
    }

    fn ground(&mut self, character: char, each: &mut impl FnMut(Piece)) {
        self.state = match character {
            '\r' => return each(Piece::Return),
            '\x08' => return each(Piece::Backspace),
            '\t' => return each(Piece::Text('\t')),
            // The eight-bit forms of the same introducers.
            '\u{9b}' => State::Control(Some(String::new())),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => State::Text,
            other if other.is_control() || reorders(other) => return,
            other => return each(Piece::Text(other)),
        };
    }
}

/// Characters that change the order in which others are shown, or break lines behind our back.
fn reorders(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

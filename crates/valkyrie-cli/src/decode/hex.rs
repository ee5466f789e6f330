//! Hexadecimal as people have it: bare, with separators, with comments, or out of xxd and hexdump -C.

use std::fmt;

/// A place where the text is not hex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HexError {
    line: usize,
    column: usize,
    /// The character at fault; `None` when a second digit is missing.
    found: Option<char>,
}

impl HexError {
    /// Whether the fault is the mark with which hexdump leaves out repeated lines.
    pub(crate) fn is_squeezed_dump(&self) -> bool {
        self.found == Some('*')
    }
}

impl fmt::Display for HexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, found } = self;
        match found {
            Some(found) => write!(f, "{found:?} at line {line}, column {column}"),
            None => write!(
                f,
                "the last byte, at line {line}, column {column}, has one digit instead of two"
            ),
        }
    }
}

/// Reads hex digits in pairs. White space, `:`, `,`, `-`, `_`, `0x` and what follows a `#` are passed over, and so are
/// the offsets and the text column of xxd and hexdump -C.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, HexError> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut high: Option<(u8, HexError)> = None;
    let mut in_dump = false;
    for (index, line) in text.lines().enumerate() {
        let (digits, skipped) = match dump_digits(line) {
            Some(found) => {
                in_dump = true;
                found
            }
            // hexdump -C ends with the offset of the end, alone.
            None if in_dump && is_offset(line.trim()) => continue,
            None => (line, 0),
        };
        let mut chars = digits.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let place = |found| HexError {
                line: index + 1,
                column: skipped + at + 1,
                found,
            };
            match c {
                '#' => break,
                '0' if high.is_none() && matches!(chars.peek(), Some((_, 'x' | 'X'))) => {
                    chars.next();
                }
                c if c.is_whitespace() || matches!(c, ':' | ',' | '-' | '_') => {}
                c => {
                    let digit = c.to_digit(16).ok_or_else(|| place(Some(c)))? as u8;
                    match high.take() {
                        Some((high, _)) => bytes.push(high << 4 | digit),
                        None => high = Some((digit, place(None))),
                    }
                }
            }
        }
    }
    match high {
        Some((_, error)) => Err(error),
        None => Ok(bytes),
    }
}

/// The digits of a dump's line, without offset and text column, and how many bytes were passed over in front.
fn dump_digits(line: &str) -> Option<(&str, usize)> {
    let (offset, rest) = line.split_once(' ')?;
    // xxd: `00000010: 5243 0202 …  RC..`
    if let Some(offset) = offset.strip_suffix(':') {
        if !is_offset(offset) {
            return None;
        }
        let rest_at = line.len() - rest.len();
        let digits = rest.split_once("  ").map_or(rest, |(digits, _)| digits);
        return Some((digits, rest_at));
    }
    // hexdump -C: `00000010  52 43 …  |RC..|`
    let rest = rest.strip_prefix(' ').filter(|_| is_offset(offset))?;
    let rest_at = line.len() - rest.len();
    let digits = rest.split_once('|').map_or(rest, |(digits, _)| digits);
    Some((digits, rest_at))
}

fn is_offset(text: &str) -> bool {
    (7..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Bytes as lower-case hex.
pub(crate) fn encode(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 4] = [0x52, 0x43, 0x02, 0xff];

    #[test]
    fn separators_prefixes_and_comments_are_passed_over() {
        for text in [
            "524302ff",
            "52 43 02 FF",
            "52:43:02:ff",
            "0x52, 0x43, 0x02, 0xff",
            "52_43\n 02-ff # a comment",
            "5 2 4 3 0 2 f f",
        ] {
            assert_eq!(decode(text).as_deref(), Ok(&BYTES[..]), "{text}");
        }
    }

    #[test]
    fn dumps_lose_their_offsets_and_text() {
        let xxd = "00000000: 5243 02ff                                RC..\n00000004: 5243 02ff  RC..\n";
        let hexdump = "00000000  52 43 02 ff  52 43 02 ff                    |RC..RC..|\n00000008\n";
        let twice = [BYTES, BYTES].concat();
        assert_eq!(decode(xxd).as_ref(), Ok(&twice));
        assert_eq!(decode(hexdump).as_ref(), Ok(&twice));
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        let error = decode("52\n4g").expect_err("g is no digit");
        assert_eq!(error.to_string(), "'g' at line 2, column 2");
        let error = decode("52 4").expect_err("half a byte");
        assert!(error.to_string().contains("line 1, column 4"), "{error}");
    }

    #[test]
    fn encode_is_the_inverse() {
        assert_eq!(decode(&encode(&BYTES)).as_deref(), Ok(&BYTES[..]));
    }
}

//! The search for secrets in texts: any eight bytes of one in a row, in each form in which bytes become text by accident, which are
//! hexadecimal, base64, a list of numbers and an escaped string.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;

/// How many bytes of a secret in a row are a leak.
const WINDOW: usize = 8;

/// What is wrong with a text, if it shows a part of a secret.
pub(crate) fn leak(text: &str, secret: &[u8]) -> Option<String> {
    // Pretty printing puts each number on a line of its own, and people put colons between bytes.
    let plain: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    let lower = plain.to_ascii_lowercase();
    for at in 0..=secret.len().saturating_sub(WINDOW) {
        let part = &secret[at..at + WINDOW];
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers: Vec<String> = part.iter().map(u8::to_string).collect();
        let hex_numbers: Vec<String> = part.iter().map(|byte| format!("{byte:x}")).collect();
        let with_prefix: Vec<String> = part.iter().map(|byte| format!("0x{byte:x}")).collect();
        let escaped: String = format!("{:?}", Bytes::copy_from_slice(part))
            .chars()
            .filter(|c| !c.is_whitespace() && *c != ':')
            .collect();
        let escaped = &escaped[2..escaped.len() - 1];
        if lower.contains(&hex) {
            return Some(format!("hexadecimal from byte {at}"));
        }
        if [numbers, hex_numbers, with_prefix]
            .iter()
            .any(|list| lower.contains(&list.join(",")))
        {
            return Some(format!("numbers from byte {at}"));
        }
        if plain.contains(escaped) {
            return Some(format!("escapes from byte {at}"));
        }
    }
    // Three bytes are four letters; where in a triple the secret begins is not known.
    for skip in 0..3 {
        let part = &secret[skip..secret.len() - (secret.len() - skip) % 3];
        for encoded in [STANDARD.encode(part), URL_SAFE.encode(part)] {
            let letters = encoded.as_bytes().windows(WINDOW / 3 * 4 + 4).step_by(4);
            for window in letters {
                let window = String::from_utf8_lossy(window);
                if plain.contains(&*window) {
                    return Some(format!("base64 `{window}`"));
                }
            }
        }
    }
    None
}

//! Telling whether a file is still the one that was read.

use std::path::Path;

use rustix::fs::Stat;

use crate::error::KeystoreError;

/// What tells one state of a file from another: its inode, its size and when it was changed. A file that is replaced by
/// renaming has another inode; one that is edited in place has another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, u64),
}

impl Stamp {
    /// The state of a file anywhere, links followed; `None` where there is none.
    pub fn read(path: impl AsRef<Path>) -> Option<Self> {
        rustix::fs::stat(path.as_ref()).ok().map(|found| Self::of(&found))
    }

    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the widths of these fields differ between systems"
    )]
    pub(crate) fn of(found: &Stat) -> Self {
        Self {
            device: found.st_dev as u64,
            inode: found.st_ino as u64,
            bytes: found.st_size as u64,
            modified: (found.st_mtime as i64, found.st_mtime_nsec as u64),
        }
    }
}

/// Letters that nobody guesses.
pub(crate) fn random_suffix() -> Result<String, KeystoreError> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| KeystoreError::System)?;
    Ok(hex(&bytes))
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends bytes as lower-case hexadecimal. Where there is room nothing is left behind elsewhere.
pub(crate) fn push_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |value: u8| char::from_digit(value.into(), 16).map_or(b'?', |digit| digit as u8);
    for byte in bytes {
        text.extend([digit(byte >> 4), digit(byte & 15)]);
    }
}

/// The inverse of [`hex`], for any case; `None` where the text is something else.
pub(crate) fn unhex(text: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let digit = |letter: u8| char::from(letter).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    for [high, low] in pairs {
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
    }
    Some(())
}

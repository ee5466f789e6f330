//! Tokens whose blocks are anybody's bytes, signed as they have to be: what a fuzzer cannot make by itself. Compiled for
//! fuzzing alone.

use super::container::{Container, pair};
use super::{Right, Token, TokenError, TokenKey};
use crate::time::UnixTime;
use zeroize::Zeroizing;

/// A token of this block alone; and one that grants `right`, before and after this block was appended.
///
/// # Errors
/// [`TokenError`]
pub fn signed(key: &TokenKey, right: &Right, block: &[u8]) -> Result<(Token, (Token, Token)), TokenError> {
    let token = |bytes: Zeroizing<Vec<u8>>| Token::from_bytes(&bytes);
    let alone = token(Container::new(&pair(&*key.seed())?, block)?.write())?;
    let before = Token::mint(
        key,
        std::slice::from_ref(right),
        UnixTime::from_secs(1_900_000_000),
    )?;
    let after = token(Container::read(before.as_bytes())?.append(block)?.write())?;
    Ok((alone, (before, after)))
}

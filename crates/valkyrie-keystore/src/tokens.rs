//! The key that signs capability tokens, in `tokens/root.key`.

use std::path::Path;

use valkyrie_security::token::TokenKey;
use zeroize::Zeroizing;

use crate::error::KeystoreError;
use crate::file::{push_hex, unhex};
use crate::home::{Home, Privacy};
use crate::keystore::Made;

/// The key that signs tokens for this directory, if there is one.
///
/// # Errors
/// Others may read it, or it is damaged.
pub fn token_key(home: &Home) -> Result<Option<TokenKey>, KeystoreError> {
    let path = home.path_of(KEY_FILE);
    let Some(contents) = home.read(KEY_FILE, Privacy::Secret, FILE_BYTES_MAX)? else {
        return Ok(None);
    };
    let seed = seed(&path, &contents.bytes)?;
    TokenKey::from_seed(&seed)
        .map(Some)
        .map_err(|_| KeystoreError::System)
}

/// The same, made where there is none.
///
/// # Errors
/// As [`token_key`], or it cannot be made or written.
pub fn make_token_key(home: &Home) -> Result<(TokenKey, Made), KeystoreError> {
    let _lock = home.lock()?;
    if let Some(key) = token_key(home)? {
        return Ok((key, Made::Found));
    }
    let key = TokenKey::generate().map_err(|_| KeystoreError::System)?;
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX));
    text.extend_from_slice(HEAD.as_bytes());
    push_hex(&mut text, &*key.seed());
    text.push(b'\n');
    home.make_inside(FOLDER)?;
    home.write(KEY_FILE, &text, Privacy::Secret)?;
    Ok((key, Made::New))
}

fn seed(path: &Path, text: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let malformed = |line, why: &str| KeystoreError::malformed(path, line, why);
    let text = std::str::from_utf8(text).map_err(|_| malformed(0, "not a token key: it is not text"))?;
    let digits = text
        .strip_prefix(HEAD)
        .ok_or_else(|| malformed(1, "not a token key of a version that this program knows"))?;
    let digits = digits.strip_suffix('\n').unwrap_or(digits);
    let mut bytes = Zeroizing::new(Vec::with_capacity(digits.len()));
    let read = unhex(digits, &mut bytes);
    if read.is_none() || bytes.len() != 32 {
        return Err(malformed(2, "not `ed25519` and 32 bytes in hexadecimal"));
    }
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&bytes);
    Ok(seed)
}

const FOLDER: &str = "tokens";
const KEY_FILE: &str = "tokens/root.key";
const HEAD: &str = "valkyrie token key 1\ned25519 ";
const FILE_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_key_is_made_once_and_found_afterwards() {
        let kept = tempfile::tempdir().unwrap();
        let home = Home::make(kept.path().join("node")).unwrap();
        assert!(token_key(&home).unwrap().is_none());
        let (key, made) = make_token_key(&home).unwrap();
        assert_eq!(made, Made::New);
        let (again, made) = make_token_key(&home).unwrap();
        assert_eq!((again.root(), made), (key.root(), Made::Found));
        let path = home.path_of(KEY_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        for broken in [
            text.replace("key 1", "key 2"),
            text.replace("ed25519 ", "ed25519 0"),
            String::new(),
        ] {
            std::fs::write(&path, broken).unwrap();
            assert!(matches!(token_key(&home), Err(KeystoreError::Malformed { .. })));
        }
    }
}

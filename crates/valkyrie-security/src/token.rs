//! Capability tokens: what a caller may do who has no identity of its own.
//!
//! A token is a [Biscuit](https://doc.biscuitsec.org/reference/specifications.html). It is signed by a root key that the
//! receiver was told, states rights in its first block, and may be narrowed by whoever holds it. This module makes,
//! narrows and verifies tokens and says what they grant; whether any are taken, and for which classes, is for the
//! [policy](crate::policy).
//!
//! It takes the part of Biscuit that calls need, and refuses the rest: a holder writes the checks, and with all of
//! Datalog a check of a few hundred bytes can keep a receiver busy for as long as it likes. Read [`Token`] first, then
//! [`TokenRights`].

mod block;
mod check;
mod container;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod mint;
mod revocation;
mod rights;
mod root;
#[cfg(test)]
mod tests;
mod wire;

pub use error::TokenError;
pub use mint::{Narrowing, Right, Token, TokenKey};
pub use revocation::{RevocationId, RevocationIdError};
pub use rights::TokenRights;
pub use root::{TokenRoot, TokenRootError};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |character: u8| char::from(character).to_digit(16);
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(bytes)
}

//! Tokens made, narrowed, shown by others and tampered with.

mod attacks;
mod grants;
mod interop;

use std::time::Duration;

use valkyrie_frame::Class;

use super::*;
use crate::UnixTime;
use crate::provider::PublicKey;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn root() -> TokenKey {
    TokenKey::from_seed(&[7; 32]).unwrap()
}

fn peer() -> PublicKey {
    PublicKey::from_bytes([9; 32])
}

fn mint(rights: &[Right]) -> Token {
    Token::mint(&root(), rights, NOW.saturating_add(HOUR)).unwrap()
}

fn verify(token: &[u8]) -> Result<TokenRights, TokenError> {
    TokenRights::verify(token, &peer(), &[root().root()], &[], NOW)
}

/// The classes in which a token gives a call now.
fn classes(token: &Token, service: &str, method: &str) -> String {
    let rights = verify(token.as_bytes()).unwrap();
    rights.ask(service, method, NOW).classes.to_string()
}

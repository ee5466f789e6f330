//! What shows that a link continues a session: tokens that only the session's two sides can make, each good once.
//!
//! Who the peer is has been settled by the handshake of the new link before any of this is looked at.

use aws_lc_rs::{digest, hmac, rand};

/// The token of one attempt to continue a session.
//= protocol/resume.md#resuming
pub fn token(secret: &[u8; SECRET_LEN], session: &[u8; SESSION_LEN], epoch: u64) -> [u8; TOKEN_LEN] {
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        &subject(session, epoch),
    );
    let mut token = [0; TOKEN_LEN];
    token.copy_from_slice(tag.as_ref());
    token
}

/// Whether a token is right; compared in constant time.
pub fn verify(
    secret: &[u8; SECRET_LEN],
    session: &[u8; SESSION_LEN],
    epoch: u64,
    token: &[u8; TOKEN_LEN],
) -> bool {
    hmac::verify(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        &subject(session, epoch),
        token,
    )
    .is_ok()
}

fn subject(session: &[u8; SESSION_LEN], epoch: u64) -> Vec<u8> {
    [LABEL, session, &epoch.to_be_bytes()].concat()
}

/// Random bytes, for the id and the secret of a session; `None` when the system has none to give.
pub fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// A name for a machine, made of what tells it apart, from which that cannot be learned.
pub fn machine_name(told_apart_by: &[u8]) -> [u8; MACHINE_LEN] {
    let mut input = MACHINE_LABEL.to_vec();
    input.extend_from_slice(told_apart_by);
    let digest = digest::digest(&digest::SHA256, &input);
    let mut name = [0; MACHINE_LEN];
    name.copy_from_slice(&digest.as_ref()[..MACHINE_LEN]);
    name
}

/// Bytes of a session's id.
pub const SESSION_LEN: usize = 16;

/// Bytes of a session's secret.
pub const SECRET_LEN: usize = 32;

/// Bytes of a token.
pub const TOKEN_LEN: usize = 32;

/// Bytes of a machine's name.
pub const MACHINE_LEN: usize = 16;

const LABEL: &[u8] = b"valkyrie resume";
const MACHINE_LABEL: &[u8] = b"valkyrie machine";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_session_one_epoch_and_one_secret() {
        let made = token(&[1; 32], &[2; 16], 3);
        assert!(verify(&[1; 32], &[2; 16], 3, &made));
        assert!(!verify(&[1; 32], &[2; 16], 4, &made));
        assert!(!verify(&[1; 32], &[3; 16], 3, &made));
        assert!(!verify(&[2; 32], &[2; 16], 3, &made));
        for bit in 0..8 * TOKEN_LEN {
            let mut bent = made;
            bent[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&[1; 32], &[2; 16], 3, &bent));
        }
    }

    #[test]
    fn machines_are_told_apart() {
        assert_ne!(machine_name(b"one"), machine_name(b"two"));
        assert_eq!(machine_name(b"one"), machine_name(b"one"));
    }
}

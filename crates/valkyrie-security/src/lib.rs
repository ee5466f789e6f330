//! Who is at the other end, and a channel that only that peer can read: the Noise handshake with hybrid forward
//! secrecy, records, identities, trust, policy and audit. Bytes and times come in, bytes and events go out.
//!
//! It does no I/O, reads no clock and knows of frames only what carries its handshake. The protocol it speaks is
//! `docs/protocol/security.md`. Read [`suite`] first: it says what may be agreed on.

pub mod audit;
pub mod channel;
pub mod continuation;
pub mod credentials;
pub mod handshake;
pub mod identity;
pub mod live;
pub mod noise;
pub mod policy;
pub mod provider;
pub mod role;
pub mod security;
#[cfg(feature = "spiffe")]
pub mod spiffe;
pub mod suite;
pub mod time;
pub mod token;
pub mod trust;
pub mod verified;

pub use credentials::Credentials;
pub use handshake::{AcceptorHandshake, DiallerHandshake, HandshakeError, Suites};
pub use identity::{Fingerprint, Identity, IdentityDocument};
pub use live::Live;
pub use role::Role;
pub use security::Security;
pub use suite::{Cipher, Kem, Pattern, Suite, SuiteId};
pub use time::UnixTime;
pub use trust::{Place, Trust, TrustError};
pub use verified::Verified;

#[cfg(test)]
#[path = "tests/vectors.rs"]
mod vectors;

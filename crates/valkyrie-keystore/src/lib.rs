//! Where a node keeps what `valkyrie-security` works with: its identity, whom it trusts, its tokens and its audit log, as
//! files in one directory.
//!
//! Security does no I/O; this crate does, and knows nothing of connections. It has no thread of its own: what changed on disk is read
//! when it is asked to.

mod audit;
mod error;
mod file;
mod home;
mod keyfiles;
mod keyring;
mod keystore;
mod passphrase;
mod secret;
mod tokens;
mod trustfiles;

pub use audit::{AUDIT_TURN_EVERY, AuditFile, AuditRotation, audit_files, kept_head};
pub use error::KeystoreError;
pub use file::Stamp;
pub use home::Home;
pub use keyfiles::{KeyFiles, Unlock};
pub use keyring::{KeyRing, NewIdentity, Rotated, Terms};
pub use keystore::{Changes, Keystore, Made};
pub use passphrase::{Cost, Passphrase};
pub use tokens::{make_token_key, token_key};
pub use trustfiles::revoke;

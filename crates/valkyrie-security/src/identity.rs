//! Identities: who somebody is, in a signed document, and the keys that sign.
//!
//! It says what a document is and whether its signatures are good. Whether to believe it is for [`crate::trust`]. Read
//! [`IdentityDocument`] first, then [`Identity`], which is one's own.

mod builder;
mod document;
mod fingerprint;
mod own;
mod signing;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod text;
pub(crate) mod wire;

pub use builder::{BuildError, DocumentBuilder, SignedIdentity};
pub use document::{DocumentError, IdentityDocument, Kind};
pub use fingerprint::{Fingerprint, FingerprintFormatError};
pub use own::{Identity, IdentityError};
pub use signing::{Algorithm, SEED_LEN, Signature, SignatureError, SigningError, SigningKey, SigningKeys};
pub(crate) use text::{is_name, is_word};

/// The most bytes a document can have within its bounds, signatures included: 26 of fixed fields, a name of 200, 16 roles
/// of 64, 16 labels of 64 and 200, four static keys, both signing keys, the issuer and both signatures.
pub const DOCUMENT_BYTES_MAX: usize = 26
    + (1 + NAME_BYTES_MAX)
    + (1 + ROLES_MAX * 65)
    + (1 + LABELS_MAX * 266)
    + (1 + 4 * 35 + 35 + 1955)
    + 32
    + (1 + 67 + 3312);
/// Bytes of a name: enough for a host name of any length in use and a word before it.
pub const NAME_BYTES_MAX: usize = 200;
/// Roles of a document: what one machine does, not a directory.
pub const ROLES_MAX: usize = 16;
/// Labels of a document, likewise.
pub const LABELS_MAX: usize = 16;
/// Bytes of a role or of a label's name: a word that a policy file spells out.
pub const WORD_BYTES_MAX: usize = 64;
/// Bytes of a label's value, the same as of a name.
pub const LABEL_VALUE_BYTES_MAX: usize = 200;
/// Static keys of a document: the current one, its successor, and two that still overlap.
pub const STATIC_KEYS_MAX: usize = 4;

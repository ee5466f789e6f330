//! A record of who was let in, refused and caught, in lines that cannot be changed unnoticed.
//!
//! Every line is JSON and ends with a hash over itself, the hash of the line before it included, so a line that is edited,
//! removed, put in or moved breaks the chain from there on. What no chain can tell is that its end is missing, or that
//! all of it was written anew: for that, keep an [`AuditHead`] where the writer of the log cannot reach it.
//!
//! A line is one JSON object whose last member is `hash`: SHA-256 over `"valkyrie 2 audit" 0x00` and the line up to the
//! comma before `"hash"`, in small hexadecimal letters. `prev` is the hash of the line before, zeros in the first, and `n`
//! counts from 0. So a log can be checked with a few lines of any language.
//!
//! It does no I/O: events go in, lines come out, and somebody else puts them into a file. Read [`AuditLog`] first.

mod chain;
mod event;
mod log;
#[cfg(test)]
mod tests;
mod verify;

pub use chain::{AuditChain, AuditHead, AuditHeadError};
pub use event::{AuditEvent, TEXT_BYTES_MAX};
pub use log::{AuditLimits, AuditLog, AuditStats};
pub use verify::{AuditFault, AuditFaultKind, AuditSummary, AuditVerifier, verify};

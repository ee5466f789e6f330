//! Capability tokens: what a caller may do who has no identity of its own.
//!
//! A token is a Biscuit. It is signed by a root key that the receiver was told, states rights in its first block, and
//! may be narrowed by whoever holds it. This module verifies tokens and says what they grant; whether any are taken,
//! and for which classes, is for the [policy](crate::policy).

mod rights;
mod root;

pub use rights::TokenRights;
pub use root::{TokenRoot, TokenRootError};

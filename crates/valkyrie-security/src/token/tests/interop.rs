//! Tokens of another implementation.

//! A run as a person sees it: lines, a table, or a block that is redrawn in place.
//!
//! [`RunView`] takes in [`StatusUpdate`](crate::wire::StatusUpdate)s and produces text; it writes nowhere and reads no clock.
//! For programs, every update is one line of JSON ([`json_line`]). Read [`RunView`] first.

mod paint;
#[cfg(test)]
mod tests;
mod view;

pub use paint::LiveBlock;
pub use view::{RunView, json_line};

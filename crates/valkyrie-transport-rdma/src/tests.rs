//! Tests that need the layer below the link: peers that break the rules. What a link promises is in `tests/`.

mod opening;
mod peers;
mod raw;
mod rude;
#[path = "../tests/support/mod.rs"]
mod support;

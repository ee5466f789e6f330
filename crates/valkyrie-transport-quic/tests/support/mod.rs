//! What the tests share.

pub(crate) mod ends;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "the tests of the crate `valkyrie` share it")]
pub(crate) mod netns;
pub(crate) mod relay;

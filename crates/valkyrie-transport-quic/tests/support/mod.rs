//! What the tests share.

pub(crate) mod ends;
#[cfg(target_os = "linux")]
pub(crate) mod netns;
pub(crate) mod relay;

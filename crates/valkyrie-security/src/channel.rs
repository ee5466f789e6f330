//! The channel: from two keys of a finished handshake to sealed records, in both directions.
//!
//! A [`KeySchedule`] turns the handshake's hash and keys into everything else: a [`Sealer`] and an [`Opener`] for a
//! link that keeps order, a [`DatagramSealer`] and a [`DatagramOpener`] for one that does not, the exporter and the
//! keys of tickets. Records know nothing of frames, except that a control record holds exactly one.
//!
//! It never releases a byte that has not been verified, and after its first failure an opener opens nothing more.
//! Read [`Sealer::seal`] and [`Opener::open`] first.

mod aead;
mod config;
mod control;
mod datagram;
mod keys;
mod opener;
mod record;
mod sealer;
mod window;

#[cfg(test)]
mod tests;

pub use config::{ChannelConfig, Padding, RekeyLimits};
pub use control::Control;
pub use datagram::{DATAGRAM_HEADER_BYTES, DatagramDrop, DatagramOpener, DatagramSealer, DatagramStats};
pub use keys::{Exports, KeySchedule};
pub use opener::{OpenError, Opener, Within};
pub use record::{RECORD_HEADER_BYTES, RECORD_PLAINTEXT_MAX, RECORD_TAG_BYTES};
pub use sealer::{SealError, Sealer};
pub use window::{WINDOW_NUMBERS, Window};

/// What one direction of a channel has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelStats {
    /// Records, control and REKEY among them.
    pub records: u64,
    /// Bytes of plaintext, padding not counted.
    pub bytes: u64,
    /// Epochs begun after the first.
    pub rekeys: u64,
}

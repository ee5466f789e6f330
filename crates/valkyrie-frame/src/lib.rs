//! The Valkyrie frame: a 20-byte header, optional extension words and a payload.
//!
//! This crate is the alphabet of the protocol. It knows what a frame looks like and nothing
//! about what a conversation is: no session, no credit, no clock, no I/O. It is `no_std` with
//! `alloc`, and `bytes` is its only dependency, so that a program in need of the codec alone can
//! take just this.
//!
//! Read [`Header`] first, then [`Frame::decode`] and [`Frames`] for the way in and [`Batch`]
//! for the way out.

#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod batch;
mod class;
mod error_code;
mod extension;
mod flags;
mod frame;
mod frames;
mod header;
mod kind;
mod stream_id;

/// The crate whose buffers payloads travel in, so that a user of the codec need not name it.
pub use bytes;

pub use batch::{Appended, Batch, BatchMark, COPY_THRESHOLD_BYTES};
pub use class::{Class, Priority};
pub use error_code::{ErrorCode, Family};
pub use extension::{
    Extension, ExtensionError, Extensions, ExtensionsBuilder, ExtensionsRef, extension_type,
};
pub use flags::Flags;
pub use frame::{DecodeError, Frame};
pub use frames::{FrameRef, Frames};
pub use header::{Header, HeaderError, MAX_PAYLOAD_BYTES};
pub use kind::{Group, Kind};
pub use stream_id::{Side, StreamId};

/// The first two bytes of every frame, the letters `RC`.
//= protocol/header.md#layout
pub const MAGIC: u16 = 0x5243;

/// The version of the wire that this crate speaks.
//= protocol/header.md#layout
pub const VERSION: u8 = 2;

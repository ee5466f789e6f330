//! What a control record holds: one frame of the auth group.

use bytes::Bytes;
use valkyrie_frame::{Flags, FrameRef, Group, Header, Kind, Priority, StreamId};

use super::opener::OpenError;
use super::record::RECORD_PLAINTEXT_MAX;

/// One encoded frame of the auth group, as it came in a control record.
#[derive(Clone, PartialEq, Eq)]
pub struct Control {
    kind: Kind,
    frame: Bytes,
}

impl Control {
    /// What the frame is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The whole frame.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The whole frame, to keep.
    pub fn into_frame(self) -> Bytes {
        self.frame
    }

    /// The frame's payload.
    pub fn payload(&self) -> Bytes {
        match decode(&self.frame) {
            Some(frame) => self.frame.slice_ref(frame.payload),
            None => Bytes::new(),
        }
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Credentials may ride in it.
        write!(f, "Control({}, {} bytes)", self.kind, self.frame.len())
    }
}

/// What the plaintext of a control record says.
#[derive(Debug)]
pub(super) enum Said {
    /// The sender's next record belongs to this epoch.
    Rekey(u32),
    /// Something for the handshake.
    Other(Control),
}

/// Reads the plaintext of a control record.
pub(super) fn read(plain: &[u8]) -> Result<Said, OpenError> {
    let frame = decode(plain).ok_or(OpenError::Control)?;
    if frame.header.kind != Kind::REKEY {
        return Ok(Said::Other(Control {
            kind: frame.header.kind,
            frame: Bytes::copy_from_slice(plain),
        }));
    }
    let epoch = frame.payload.try_into().map_err(|_| OpenError::Control)?;
    Ok(Said::Rekey(u32::from_be_bytes(epoch)))
}

/// What `plain` is when it is a frame that a caller may seal as control: a whole one of the auth group, and not
/// REKEY, which is the sealer's own.
pub(super) fn may_be_sealed(plain: &[u8]) -> bool {
    decode(plain).is_some_and(|frame| frame.header.kind != Kind::REKEY)
}

/// Bytes of a REKEY frame.
pub(super) const REKEY_BYTES: usize = Header::LEN + 4;

/// The frame that announces `epoch`.
//= protocol/security.md#rekey
pub(super) fn rekey(epoch: u32) -> [u8; REKEY_BYTES] {
    let header = Header {
        flags: Flags::CRITICAL,
        priority: Priority::from_byte(255),
        length: 4,
        ..Header::new(Kind::REKEY, StreamId::new(0))
    };
    let mut frame = [0; REKEY_BYTES];
    let (head, payload) = frame.split_at_mut(Header::LEN);
    head.copy_from_slice(&header.encode());
    payload.copy_from_slice(&epoch.to_be_bytes());
    frame
}

//= protocol/security.md#records
fn decode(plain: &[u8]) -> Option<FrameRef<'_>> {
    const MAX: u32 = RECORD_PLAINTEXT_MAX as u32;
    match FrameRef::decode(plain, MAX) {
        Ok(Some((frame, []))) if frame.header.kind.group() == Some(Group::Auth) => Some(frame),
        _ => None,
    }
}

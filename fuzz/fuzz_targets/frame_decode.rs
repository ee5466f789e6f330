//! Any bytes: decoding never panics, both ways to read agree, and what is taken is written back as
//! the bytes it came from.

#![no_main]

use bytes::{Buf, Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use valkyrie_frame::{Batch, Frame, FrameRef, Frames, Header, MAX_PAYLOAD_BYTES};

fuzz_target!(|data: &[u8]| {
    let mut buf = BytesMut::from(data);
    let mut rest = data;
    loop {
        let view = FrameRef::decode(rest, MAX_PAYLOAD_BYTES);
        let frame = Frame::decode(&mut buf, MAX_PAYLOAD_BYTES);
        match (view, frame) {
            (Ok(Some((view, behind))), Ok(Some(frame))) => {
                let whole = &rest[..rest.len() - behind.len()];
                assert_eq!(view.header, frame.header);
                assert_eq!(view.payload, &frame.payload[..]);
                assert_eq!(view.extensions, frame.extensions.as_view());
                assert_eq!(whole.len(), frame.header.frame_len());
                written_again(&frame, whole);
                torn(whole);
                rest = behind;
            }
            (view, frame) => {
                assert_eq!(view.map(|_| ()), frame.map(|_| ()));
                assert_eq!(rest, &buf[..], "an end or a refusal leaves the bytes alone");
                break;
            }
        }
    }
    let owner = Bytes::copy_from_slice(data);
    let mut frames = Frames::new(&owner, MAX_PAYLOAD_BYTES);
    for view in frames.by_ref().flatten() {
        assert_eq!(view.to_frame(&owner).header, view.header);
    }
    assert_eq!(frames.rest(), rest);
});

/// A frame that was taken has exactly one encoding, and every accessor can be called on it.
fn written_again(frame: &Frame, bytes: &[u8]) {
    let extensions = &frame.extensions;
    let _ = (
        extensions.timestamp(),
        extensions.route(),
        extensions.deadline_ms(),
    );
    let _ = (extensions.iter().count(), frame.header.is_ignorable());
    let mut batch = Batch::default();
    let pushed = batch.push(frame.header, extensions.as_bytes(), frame.payload.clone());
    assert_eq!(pushed, Ok(()), "what is taken can be sent");
    assert_eq!(&batch.copy_to_bytes(batch.len())[..], bytes);
}

/// The header without its last byte and the frame without its last byte are incomplete.
fn torn(whole: &[u8]) {
    for end in [Header::LEN - 1, whole.len() - 1] {
        assert_eq!(FrameRef::decode(&whole[..end], MAX_PAYLOAD_BYTES), Ok(None));
    }
}

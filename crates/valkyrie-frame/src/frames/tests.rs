use alloc::vec::Vec;

use super::*;
use crate::{Batch, Kind, StreamId};

fn three() -> Bytes {
    let mut batch = Batch::default();
    for correlation in 1..=3 {
        let header = Header {
            correlation,
            ..Header::new(Kind::NOTIFY, StreamId::new(1))
        };
        batch.push_copied(header, &[], b"abc").unwrap();
    }
    batch.into_buffer().freeze()
}

#[test]
fn frames_come_in_order_and_the_torn_last_one_is_the_rest() {
    let bytes = three();
    for end in 0..=bytes.len() {
        let mut frames = Frames::new(&bytes[..end], 3);
        let seen: Vec<u32> = frames
            .by_ref()
            .map(|frame| frame.unwrap().header.correlation)
            .collect();
        let whole = end / (Header::LEN + 3);
        assert_eq!(seen, (1..=whole as u32).collect::<Vec<_>>());
        assert_eq!(frames.rest().len(), end % (Header::LEN + 3));
    }
}

#[test]
fn after_an_error_nothing_more_is_read() {
    let mut bytes = three().to_vec();
    let second = Header::LEN + 3;
    bytes[second] = b'X';
    let mut frames = Frames::new(&bytes, 3);
    assert!(frames.next().is_some_and(|frame| frame.is_ok()));
    let refusal = DecodeError::from(HeaderError::Magic { found: 0x5843 });
    assert_eq!(frames.next(), Some(Err(refusal)));
    assert_eq!(frames.next(), None);
    assert_eq!(frames.rest(), &bytes[second..]);
}

#[test]
fn a_view_becomes_a_frame_of_the_same_memory() {
    let owner = three();
    let view = Frames::new(&owner, 3).next().unwrap().unwrap();
    let frame = view.to_frame(&owner);
    assert_eq!(frame.header, view.header);
    assert_eq!(frame.payload.as_ptr(), view.payload.as_ptr());
    let mut buf = bytes::BytesMut::from(&owner[..]);
    assert_eq!(Frame::decode(&mut buf, 3), Ok(Some(frame)));
}

#[test]
fn the_agreed_limit_holds_here_too() {
    let bytes = three();
    let refusal = DecodeError::from(HeaderError::Length { found: 3, max: 2 });
    assert_eq!(FrameRef::decode(&bytes, 2), Err(refusal));
    assert_eq!(FrameRef::decode(&bytes[..Header::LEN], 2), Err(refusal));
}

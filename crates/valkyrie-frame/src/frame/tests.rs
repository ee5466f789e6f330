use alloc::string::ToString;

use super::*;
use crate::{Batch, Flags, Kind, MAX_PAYLOAD_BYTES, StreamId};

fn encoded(payload: &[u8], extensions: &Extensions) -> BytesMut {
    let header = Header {
        flags: extensions.flags(),
        correlation: 42,
        ..Header::new(Kind::REQUEST, StreamId::new(101))
    };
    let mut batch = Batch::default();
    batch.push_copied(header, extensions.as_bytes(), payload).unwrap();
    batch.into_buffer()
}

#[test]
fn a_frame_comes_out_whole_and_the_rest_stays() {
    let extensions = Extensions::builder()
        .timestamp(9)
        .deadline_ms(5)
        .finish()
        .unwrap();
    let mut buf = encoded(b"payload", &extensions);
    buf.extend_from_slice(b"RC\x02");
    let frame = Frame::decode(&mut buf, 7).unwrap().unwrap();
    assert_eq!(frame.header.correlation, 42);
    assert_eq!(frame.header.flags, Flags::TS);
    assert_eq!(frame.extensions, extensions);
    assert_eq!(&frame.payload[..], b"payload");
    assert_eq!(&buf[..], b"RC\x02");
    assert_eq!(Frame::decode(&mut buf, 7), Ok(None));
    assert_eq!(&buf[..], b"RC\x02");
}

#[test]
fn payload_and_extensions_share_the_buffer() {
    let extensions = Extensions::builder().deadline_ms(5).finish().unwrap();
    let mut buf = encoded(b"payload", &extensions);
    let start = buf.as_ptr() as usize;
    let frame = Frame::decode(&mut buf, 100).unwrap().unwrap();
    assert_eq!(frame.extensions.as_bytes().as_ptr() as usize, start + Header::LEN);
    assert_eq!(frame.payload.as_ptr() as usize, start + frame.header.head_len());
}

#[test]
fn an_empty_payload_keeps_no_memory_alive() {
    let mut buf = encoded(b"", &Extensions::EMPTY);
    let frame = Frame::decode(&mut buf, 0).unwrap().unwrap();
    // The buffer is the memory's only owner, so the whole of it can be reclaimed.
    assert!(buf.try_reclaim(Header::LEN));
    assert!(frame.payload.is_empty() && frame.extensions.is_empty());
}

#[test]
fn the_agreed_limit_is_checked_before_the_payload_has_come() {
    let mut buf = BytesMut::from(&encoded(b"12345678", &Extensions::EMPTY)[..Header::LEN]);
    let refusal = HeaderError::Length { found: 8, max: 7 };
    assert_eq!(Frame::decode(&mut buf, 7), Err(refusal.into()));
    assert_eq!(buf.len(), Header::LEN);
    assert_eq!(Frame::decode(&mut buf, 8), Ok(None));
}

#[test]
fn the_protocols_own_limit_holds_whatever_was_agreed() {
    let header = Header {
        length: MAX_PAYLOAD_BYTES + 1,
        ..Header::new(Kind::DATA, StreamId::new(1))
    };
    let mut buf = BytesMut::from(&header.encode()[..]);
    let refusal = HeaderError::Length {
        found: MAX_PAYLOAD_BYTES + 1,
        max: MAX_PAYLOAD_BYTES,
    };
    assert_eq!(Frame::decode(&mut buf, u32::MAX), Err(refusal.into()));
}

#[test]
fn waiting_for_the_rest_reserves_nothing() {
    let header = Header {
        length: MAX_PAYLOAD_BYTES,
        ..Header::new(Kind::DATA, StreamId::new(1))
    };
    let mut buf = BytesMut::from(&header.encode()[..]);
    let capacity = buf.capacity();
    assert_eq!(Frame::decode(&mut buf, MAX_PAYLOAD_BYTES), Ok(None));
    assert_eq!(buf.capacity(), capacity);
}

#[test]
fn a_refused_frame_leaves_the_buffer_as_it_was() {
    let mut buf = encoded(b"x", &Extensions::builder().deadline_ms(5).finish().unwrap());
    buf[Header::LEN] = 0x9A;
    let before = buf.clone();
    let refusal = DecodeError::from(ExtensionError::NotUnderstood { kind: 0x9A });
    assert_eq!(Frame::decode(&mut buf, 100), Err(refusal));
    assert_eq!(buf, before);
    assert_eq!(
        refusal.to_string(),
        ExtensionError::NotUnderstood { kind: 0x9A }.to_string()
    );
    assert!(core::error::Error::source(&refusal).is_some());
}

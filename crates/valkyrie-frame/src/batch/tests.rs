use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::{Flags, Kind, MAX_PAYLOAD_BYTES, StreamId};

fn header() -> Header {
    Header::new(Kind::DATA, StreamId::new(1001))
}

fn written(batch: &Batch) -> Vec<u8> {
    batch.chunks().collect::<Vec<_>>().concat()
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    let mut bytes = Header { length, ..header() }.encode().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn small_payloads_make_one_chunk() {
    let mut batch = Batch::default();
    let payload = vec![5; COPY_THRESHOLD_BYTES];
    batch.push(header(), &[], Bytes::from(payload.clone())).unwrap();
    batch.push(header(), &[], Bytes::from_static(b"x")).unwrap();
    batch.push(header(), &[], Bytes::new()).unwrap();
    assert_eq!(batch.chunks().count(), 1);
    assert_eq!(
        written(&batch),
        [frame(&payload), frame(b"x"), frame(b"")].concat()
    );
    assert_eq!(batch.len(), written(&batch).len());
}

#[test]
fn large_payloads_are_chained_without_a_copy() {
    let mut batch = Batch::default();
    let large = Bytes::from(vec![5; COPY_THRESHOLD_BYTES + 1]);
    batch.push(header(), &[], large.clone()).unwrap();
    batch.push(header(), &[], Bytes::from_static(b"x")).unwrap();
    batch.push(header(), &[], large.clone()).unwrap();
    let chunks: Vec<_> = batch.chunks().collect();
    assert_eq!(chunks.len(), 4);
    assert_eq!(
        (chunks[1].as_ptr(), chunks[3].as_ptr()),
        (large.as_ptr(), large.as_ptr())
    );
    assert_eq!(
        written(&batch),
        [frame(&large), frame(b"x"), frame(&large)].concat()
    );
}

#[test]
fn push_copied_copies_whatever_the_length() {
    let mut batch = Batch::default();
    let large = vec![5; 3 * COPY_THRESHOLD_BYTES];
    batch.push_copied(header(), &[], &large).unwrap();
    assert_eq!(batch.chunks().count(), 1);
    assert_eq!(written(&batch), frame(&large));
}

#[test]
fn length_and_words_are_set_from_what_is_given() {
    let mut batch = Batch::default();
    let wrong = Header {
        length: 99,
        extension_words: 9,
        ..header()
    };
    batch
        .push(wrong, &[0x1A, 0, 0, 0, 0x2A, 0, 0, 0], Bytes::from_static(b"abc"))
        .unwrap();
    let found = Header::peek(&written(&batch)).unwrap().unwrap();
    assert_eq!((found.length, found.extension_words), (3, 2));
}

#[test]
fn a_refused_frame_leaves_the_batch_as_it_was() {
    let mut batch = Batch::default();
    batch.push(header(), &[], Bytes::from_static(b"first")).unwrap();
    let before = written(&batch);
    let too_long = Bytes::from(vec![0; MAX_PAYLOAD_BYTES as usize + 1]);
    let stamped = Header {
        flags: Flags::TS,
        ..header()
    };
    let refusals = [
        batch.push(header(), &[], too_long),
        batch.push(stamped, &[], Bytes::new()),
        batch.push(header(), &[0x1A, 0, 0], Bytes::new()),
        batch.push_copied(header(), &[0; 4 * 256], b""),
    ];
    let length = HeaderError::Length {
        found: MAX_PAYLOAD_BYTES + 1,
        max: MAX_PAYLOAD_BYTES,
    };
    let expected = [
        length,
        HeaderError::TimestampMissing,
        HeaderError::ExtensionArea { found: 3 },
        HeaderError::ExtensionArea { found: 1024 },
    ];
    assert_eq!(refusals, expected.map(Err));
    assert_eq!(written(&batch), before);
}

#[test]
fn advancing_by_any_step_writes_the_same_bytes() {
    let large = Bytes::from((0..=255).cycle().take(2000).collect::<Vec<u8>>());
    let fill = |batch: &mut Batch| {
        for payload in [
            Bytes::from_static(b"a"),
            large.clone(),
            large.clone(),
            Bytes::from_static(b"b"),
        ] {
            batch.push(header(), &[], payload).unwrap();
        }
    };
    let mut whole = Batch::default();
    fill(&mut whole);
    let whole = written(&whole);
    // A byte at a time is thousands of steps, which Miri takes minutes for.
    let steps = [1, 7, 20, 21, 1024, 2000, 2020, whole.len()];
    for step in steps.into_iter().skip(if cfg!(miri) { 2 } else { 0 }) {
        let mut batch = Batch::default();
        fill(&mut batch);
        let mut out = Vec::new();
        while batch.has_remaining() {
            assert_eq!(batch.remaining(), whole.len() - out.len());
            let taken = batch.chunk().len().min(step);
            out.extend_from_slice(&batch.chunk()[..taken]);
            batch.advance(taken);
        }
        assert!(batch.is_empty() && batch.chunk().is_empty());
        assert_eq!(out, whole, "step {step}");
    }
}

#[test]
fn one_advance_may_cross_segments() {
    let large = Bytes::from(vec![5; 2000]);
    let mut batch = Batch::default();
    for _ in 0..3 {
        batch.push(header(), &[], large.clone()).unwrap();
    }
    let whole = written(&batch);
    batch.advance(2 * 2020 + 5);
    assert_eq!(written(&batch), &whole[2 * 2020 + 5..]);
    batch.push(header(), &[], Bytes::from_static(b"tail")).unwrap();
    assert_eq!(
        written(&batch),
        [&whole[2 * 2020 + 5..], &frame(b"tail")].concat()
    );
}

#[test]
fn a_written_payload_is_let_go_at_once() {
    let mut large = Bytes::from(vec![5; 2000]);
    let mut batch = Batch::default();
    batch.push(header(), &[], large.split_to(1500)).unwrap();
    batch.push(header(), &[], Bytes::from_static(b"x")).unwrap();
    batch.advance(Header::LEN + 1499);
    assert!(!large.is_unique());
    batch.advance(1);
    assert!(large.is_unique());
    assert_eq!(written(&batch), frame(b"x"));
}

#[test]
fn the_buffer_is_used_again_after_writing() {
    let mut batch = Batch::with_buffer(BytesMut::with_capacity(4096));
    batch.push(header(), &[], Bytes::from_static(b"x")).unwrap();
    let memory = batch.chunk().as_ptr();
    // Either writes more than the buffer holds; Miri takes its time.
    let rounds = if cfg!(miri) { 250 } else { 10_000 };
    for round in 0..rounds {
        batch.advance(batch.len());
        batch.push(header(), &[], Bytes::from_static(b"x")).unwrap();
        // The place moves on through the buffer and comes back; it never leaves it.
        let place = batch.chunk().as_ptr() as usize - memory as usize;
        assert!(place < 4096, "round {round}");
    }
}

#[test]
fn a_given_buffer_is_emptied_first() {
    let batch = Batch::with_buffer(BytesMut::from(&b"old"[..]));
    assert!(batch.is_empty());
    assert!(batch.into_buffer().capacity() >= 3);
}

#[cfg(feature = "std")]
#[test]
fn vectored_chunks_are_the_chunks() {
    let large = Bytes::from(vec![5; 2000]);
    let mut batch = Batch::default();
    for _ in 0..3 {
        batch.push(header(), &[], large.clone()).unwrap();
    }
    let mut slices = [std::io::IoSlice::new(&[]); 4];
    assert_eq!(batch.chunks_vectored(&mut slices), 4);
    let seen: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
    assert_eq!(seen, &written(&batch)[..2 * 2020]);
}

#[test]
fn what_was_appended_since_a_mark_is_what_was_appended() {
    let large = Bytes::from(vec![5; 2000]);
    let small = Bytes::from_static(b"small");
    for before in [&[][..], &[&small], &[&large], &[&small, &large, &small]] {
        for after in [
            &[][..],
            &[&small],
            &[&large],
            &[&large, &large],
            &[&small, &large, &small],
        ] {
            let mut batch = Batch::default();
            for payload in before {
                batch.push(header(), &[], Bytes::clone(payload)).unwrap();
            }
            let mark = batch.mark();
            for payload in after {
                batch.push(header(), &[], Bytes::clone(payload)).unwrap();
            }
            let mut seen = Vec::new();
            for part in batch.since(mark) {
                match part {
                    Appended::Copied(bytes) => seen.extend_from_slice(bytes),
                    Appended::Chained(bytes) => {
                        assert!(bytes.len() > COPY_THRESHOLD_BYTES);
                        seen.extend_from_slice(bytes);
                    }
                }
            }
            let wanted = after
                .iter()
                .map(|payload| frame(payload))
                .collect::<Vec<_>>()
                .concat();
            assert_eq!(seen, wanted, "{} before, {} after", before.len(), after.len());
        }
    }
}

#[test]
fn shared_frames_are_copied_only_when_they_are_small() {
    let mut batch = Batch::default();
    let large = Bytes::from(frame(&[7; 3000]));
    batch.extend_shared(Bytes::from(frame(b"x")));
    batch.extend_shared(large.clone());
    assert!(batch.chunks().any(|chunk| chunk.as_ptr() == large.as_ptr()));
    assert_eq!(written(&batch), [frame(b"x"), frame(&[7; 3000])].concat());
}

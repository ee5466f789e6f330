//! What is written is read, whatever it is and however the bytes are cut.

use bytes::{Buf, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use valkyrie_frame::{
    Batch, COPY_THRESHOLD_BYTES, Extensions, ExtensionsBuilder, Flags, Frame, FrameRef, Frames, Header, Kind,
    MAX_PAYLOAD_BYTES, Priority, StreamId,
};

const MAX_PAYLOAD: u32 = 1 << 20;

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (0..=Kind::LAST.byte()).prop_map(Kind::from_byte),
        proptest::sample::select(&Kind::GREASE[..])
    ]
}

prop_compose! {
    /// Any header without extensions and payload.
    fn any_header()(
        kind in any_kind(),
        flags in any::<u8>().prop_map(Flags::from_bits),
        bytes in any::<[u8; 2]>(),
        numbers in any::<[u32; 2]>(),
    ) -> Header {
        let flags = if flags.contains(Flags::MORE) { flags.without(Flags::EOS) } else { flags };
        Header {
            kind,
            flags: flags.without(Flags::TS),
            priority: Priority::from_byte(bytes[0]),
            trace: bytes[1],
            extension_words: 0,
            stream: StreamId::new(numbers[0]),
            length: 0,
            correlation: numbers[1],
        }
    }
}

/// Any area that fits: each known value or not, the timestamp or not, one unknown value or not.
fn any_extensions() -> impl Strategy<Value = Extensions> {
    let known = (
        any::<Option<u32>>(),
        any::<Option<u32>>(),
        any::<Option<[u8; 16]>>(),
        any::<Option<u64>>(),
        any::<Option<u64>>(),
    );
    let texts = (
        proptest::option::of(vec(any::<u8>(), 1..=255)),
        proptest::option::of(("[a-zé.]{1,60}", "[a-z/ü]{1,40}")),
        proptest::option::of((0x08_u8..=0x7F, vec(any::<u8>(), 0..=255))),
    );
    (known, texts).prop_map(|((stamp, deadline, key, sent, echo), (state, route, unknown))| {
        let mut builder = Extensions::builder();
        // Deliberately not in the order of types.
        if let Some((kind, value)) = unknown {
            builder = builder.raw(kind, &value).unwrap();
        }
        if let Some((service, method)) = route {
            builder = builder.route(&service, &method).unwrap();
        }
        builder = sent.into_iter().fold(builder, ExtensionsBuilder::sent_at);
        builder = stamp.into_iter().fold(builder, ExtensionsBuilder::timestamp);
        builder = key.iter().fold(builder, ExtensionsBuilder::idempotency_key);
        builder = deadline.into_iter().fold(builder, ExtensionsBuilder::deadline_ms);
        builder = echo.into_iter().fold(builder, ExtensionsBuilder::sent_at_echo);
        if let Some(state) = state {
            builder = builder.raw(0x02, &state).unwrap();
        }
        builder.finish().unwrap()
    })
}

fn any_payload() -> impl Strategy<Value = Bytes> {
    let edge = COPY_THRESHOLD_BYTES;
    prop_oneof![
        4 => vec(any::<u8>(), 0..80),
        1 => vec(any::<u8>(), edge - 2..edge + 3),
        1 => vec(any::<u8>(), 2000..4000),
    ]
    .prop_map(Bytes::from)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    (any_header(), any_extensions(), any_payload()).prop_map(|(header, extensions, payload)| Frame {
        header: Header {
            flags: header.flags | extensions.flags(),
            extension_words: (extensions.as_bytes().len() / 4) as u8,
            length: payload.len() as u32,
            ..header
        },
        extensions,
        payload,
    })
}

fn batch_of(frames: &[Frame]) -> Batch {
    let mut batch = Batch::default();
    for frame in frames {
        batch
            .push(frame.header, frame.extensions.as_bytes(), frame.payload.clone())
            .unwrap();
    }
    batch
}

fn written(batch: &Batch) -> Vec<u8> {
    batch.chunks().flatten().copied().collect()
}

proptest! {
    #[test]
    fn headers_come_back(header in any_header(), words in any::<u8>(), length in 0..=MAX_PAYLOAD_BYTES) {
        let header = Header { extension_words: words, length, ..header };
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        for end in 0..Header::LEN {
            prop_assert_eq!(Header::peek(&header.encode()[..end]), Ok(None));
        }
    }

    #[test]
    fn a_header_that_is_taken_is_written_the_same(bytes in any::<[u8; 20]>(), proper in any::<bool>()) {
        let mut bytes = bytes;
        if proper {
            bytes[..3].copy_from_slice(b"RC\x02");
        }
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
            prop_assert_eq!(header.check(), Ok(()));
        }
    }

    #[test]
    fn extensions_come_back(extensions in any_extensions()) {
        let header = Header { flags: extensions.flags(), ..Header::new(Kind::DATA, StreamId::new(1)) };
        prop_assert_eq!(Extensions::check(&header, extensions.as_bytes()), Ok(()));
        let again = Extensions::from_checked(&header, Bytes::copy_from_slice(extensions.as_bytes()));
        prop_assert_eq!(again.timestamp(), extensions.timestamp());
        prop_assert!(again.iter().eq(extensions.iter()));
        prop_assert_eq!(again.route(), extensions.route());
        prop_assert_eq!(again.deadline_ms(), extensions.deadline_ms());
    }

    /// One encoding for each meaning: an area that is taken is the one that the builder makes.
    #[test]
    fn any_area_that_is_taken_has_one_encoding(words in vec(any::<[u8; 4]>(), 0..12), short in any::<bool>()) {
        let mut area = words.concat();
        if short {
            // Small types and lengths, or hardly any random area would be taken.
            area.iter_mut().enumerate().for_each(|(place, byte)| *byte %= [8, 6, 2, 1][place % 4]);
        }
        let header = Header::new(Kind::DATA, StreamId::new(1));
        if Extensions::check(&header, &area).is_ok() {
            let mut rest = &area[..];
            let mut builder = Extensions::builder();
            while let [kind, len, ..] = *rest {
                builder = builder.raw(kind, &rest[2..2 + usize::from(len)]).unwrap();
                rest = &rest[(2 + usize::from(len)).next_multiple_of(4)..];
            }
            let built = builder.finish().unwrap();
            prop_assert_eq!(built.as_bytes(), &area[..]);
        }
    }

    #[test]
    fn frames_come_back_in_order(frames in vec(any_frame(), 0..12)) {
        let bytes = written(&batch_of(&frames));
        let mut buf = BytesMut::from(&bytes[..]);
        for frame in &frames {
            let found = Frame::decode(&mut buf, MAX_PAYLOAD);
            prop_assert_eq!(found.as_ref(), Ok(&Some(frame.clone())));
        }
        prop_assert_eq!(Frame::decode(&mut buf, MAX_PAYLOAD), Ok(None));
        prop_assert!(buf.is_empty());
        let owner = Bytes::from(bytes);
        let views: Result<Vec<_>, _> = Frames::new(&owner, MAX_PAYLOAD).collect();
        let owned: Vec<_> = views.unwrap().iter().map(|view| view.to_frame(&owner)).collect();
        prop_assert_eq!(owned, frames);
    }

    #[test]
    fn a_batch_written_in_pieces_is_the_same_bytes(
        frames in vec(any_frame(), 1..8),
        pieces in vec(1_usize..3000, 1..60),
    ) {
        let mut batch = Batch::default();
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        let mut pieces = pieces.into_iter().cycle();
        for frame in &frames {
            let bytes = frame.extensions.as_bytes();
            batch.push(frame.header, bytes, frame.payload.clone()).unwrap();
            expected.extend(written(&batch_of(std::slice::from_ref(frame))));
            // Some is written between pushes, across the edges of chunks as well.
            let taken = pieces.next().unwrap().min(batch.len());
            out.extend(batch.copy_to_bytes(taken));
        }
        while batch.has_remaining() {
            let left = batch.len();
            let taken = pieces.next().unwrap().min(left);
            out.extend(batch.chunks().flatten().take(taken));
            batch.advance(taken);
            prop_assert_eq!(batch.len(), left - taken);
        }
        prop_assert_eq!(out, expected);
    }

    /// Both ways to read agree on every run of bytes, and neither panics.
    #[test]
    fn owned_and_borrowed_reading_agree(
        mut bytes in vec(any::<u8>(), 0..200),
        frames in vec(any_frame(), 0..2),
        noise in vec((any::<usize>(), any::<u8>()), 0..4),
    ) {
        let mut all = written(&batch_of(&frames));
        all.append(&mut bytes);
        for (place, byte) in noise {
            if !all.is_empty() {
                let place = place % all.len();
                all[place] = byte;
            }
        }
        let mut buf = BytesMut::from(&all[..]);
        let mut rest = &all[..];
        loop {
            let view = FrameRef::decode(rest, MAX_PAYLOAD);
            let frame = Frame::decode(&mut buf, MAX_PAYLOAD);
            match (view, frame) {
                (Ok(Some((view, behind))), Ok(Some(frame))) => {
                    prop_assert_eq!(view.header, frame.header);
                    prop_assert_eq!(view.extensions, frame.extensions.as_view());
                    prop_assert_eq!(view.payload, &frame.payload[..]);
                    rest = behind;
                }
                (view, frame) => {
                    prop_assert_eq!(view.map(|_| ()), frame.map(|_| ()));
                    prop_assert_eq!(rest, &buf[..]);
                    break;
                }
            }
        }
    }
}

proptest! {
    // Each case reads its input once for every byte of it, which is thousands of times.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn input_cut_at_any_byte_gives_the_same_frames(frames in vec(any_frame(), 1..4)) {
        let bytes = written(&batch_of(&frames));
        for cut in 0..=bytes.len() {
            let mut buf = BytesMut::from(&bytes[..cut]);
            let mut found = Vec::new();
            while let Some(frame) = Frame::decode(&mut buf, MAX_PAYLOAD).unwrap() {
                found.push(frame);
            }
            buf.extend_from_slice(&bytes[cut..]);
            while let Some(frame) = Frame::decode(&mut buf, MAX_PAYLOAD).unwrap() {
                found.push(frame);
            }
            prop_assert_eq!(&found, &frames, "cut at {}", cut);
        }
    }

    #[test]
    fn input_a_byte_at_a_time_gives_the_same_frames(frames in vec(any_frame(), 1..4)) {
        let mut buf = BytesMut::new();
        let mut found = Vec::new();
        for byte in written(&batch_of(&frames)) {
            buf.extend_from_slice(&[byte]);
            found.extend(Frame::decode(&mut buf, MAX_PAYLOAD).unwrap());
        }
        prop_assert_eq!(found, frames);
    }
}

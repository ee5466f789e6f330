//! Any frames that the bytes describe: what is written, in any pieces, is read as it was meant.
//!
//! The input is a recipe. Each frame takes one byte that says which extensions it has, 12 for its
//! header, three for its payload, and then what its extensions need.

#![no_main]

use bytes::{Buf, Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use valkyrie_frame::{Batch, Extensions, Flags, Frame, Header, Kind, MAX_PAYLOAD_BYTES, Priority, StreamId};

fuzz_target!(|data: &[u8]| {
    let mut recipe = data;
    let mut batch = Batch::default();
    let mut sent = Vec::new();
    let mut arrived = BytesMut::new();
    while let Some(frame) = describe(&mut recipe) {
        let pushed = batch.push(frame.header, frame.extensions.as_bytes(), frame.payload.clone());
        if frame.header.check().is_err() {
            assert!(pushed.is_err(), "what a receiver refuses is not sent");
            continue;
        }
        assert_eq!(pushed, Ok(()));
        sent.push(frame);
        // Part of the batch is written between pushes.
        let part = usize::from(recipe.first().copied().unwrap_or(0)) * 5;
        write(&mut batch, part, &mut arrived);
    }
    while !batch.is_empty() {
        write(&mut batch, 333, &mut arrived);
    }
    for frame in sent {
        let found = Frame::decode(&mut arrived, MAX_PAYLOAD_BYTES);
        assert_eq!(found, Ok(Some(frame)));
    }
    assert!(arrived.is_empty());
});

fn write(batch: &mut Batch, part: usize, arrived: &mut BytesMut) {
    let part = part.min(batch.len());
    let left = batch.len() - part;
    arrived.extend(batch.chunks().flatten().take(part));
    batch.advance(part);
    assert_eq!(batch.len(), left);
}

/// The next frame of the recipe, or `None` at its end. Its header may contradict itself.
fn describe(recipe: &mut &[u8]) -> Option<Frame> {
    let shape = take::<1>(recipe)?[0];
    let [kind, flags, priority, trace, s0, s1, s2, s3, c0, c1, c2, c3] = take(recipe)?;
    let payload = payload(take(recipe)?);
    let extensions = extensions(shape, recipe)?;
    let header = Header {
        kind: Kind::from_byte(kind),
        flags: Flags::from_bits(flags).without(Flags::TS) | extensions.flags(),
        priority: Priority::from_byte(priority),
        trace,
        extension_words: u8::try_from(extensions.as_bytes().len() / 4).ok()?,
        stream: StreamId::new(u32::from_be_bytes([s0, s1, s2, s3])),
        length: u32::try_from(payload.len()).ok()?,
        correlation: u32::from_be_bytes([c0, c1, c2, c3]),
    };
    Some(Frame {
        header,
        extensions,
        payload,
    })
}

/// 0 to 65,535 bytes, most of them few.
fn payload([high, low, byte]: [u8; 3]) -> Bytes {
    let length = u16::from_be_bytes([high, low]);
    let length = if byte % 4 == 0 { length } else { length % 1100 };
    Bytes::from(vec![byte; usize::from(length)])
}

/// The extensions that the bits of `shape` ask for.
fn extensions(shape: u8, recipe: &mut &[u8]) -> Option<Extensions> {
    let mut builder = Extensions::builder();
    if shape & 1 != 0 {
        builder = builder.timestamp(u32::from_be_bytes(take(recipe)?));
    }
    if shape & 2 != 0 {
        builder = builder.deadline_ms(u32::from_be_bytes(take(recipe)?));
    }
    if shape & 4 != 0 {
        builder = builder.sent_at(u64::from_be_bytes(take(recipe)?));
    }
    if shape & 8 != 0 {
        builder = builder.idempotency_key(&take(recipe)?);
    }
    if shape & 16 != 0 {
        builder = builder.trace_context(&take(recipe)?);
    }
    if shape & 32 != 0 {
        let [service, method] = take(recipe)?;
        let (service, method) = ("s".repeat(service.into()), "m".repeat(method.into()));
        builder = builder.route(&service, &method).ok()?;
    }
    if shape & 64 != 0 {
        let [kind, len] = take(recipe)?;
        // An unknown type that must be understood is refused by every receiver.
        let kind = if kind & 0x7F > 0x07 { kind & 0x7F } else { kind };
        let value = recipe.split_off(..usize::from(len))?;
        builder = builder.raw(kind, value).ok()?;
    }
    builder.finish().ok()
}

fn take<const N: usize>(recipe: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = recipe.split_first_chunk()?;
    *recipe = rest;
    Some(*head)
}

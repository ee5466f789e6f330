//! What the codec costs: `cargo bench -p valkyrie-frame`.
//!
//! Batches are 1,000 frames of 64 bytes payload; the rate that criterion prints counts frames. The
//! last group shows where copying a payload stops being cheaper than chaining it, which is where
//! `COPY_THRESHOLD_BYTES` comes from.

use std::fs::File;
use std::hint::black_box;
use std::io::{IoSlice, Write};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use valkyrie_frame::{
    Batch, COPY_THRESHOLD_BYTES, Extensions, Frame, Frames, Header, Kind, MAX_PAYLOAD_BYTES, StreamId,
};

const FRAMES: usize = 1000;
const PAYLOAD: [u8; 64] = [7; 64];

fn header() -> Header {
    Header {
        correlation: 42,
        length: PAYLOAD.len() as u32,
        ..Header::new(Kind::REQUEST, StreamId::new(101))
    }
}

fn encoded(extensions: &Extensions) -> Bytes {
    let mut batch = Batch::default();
    let mut header = header();
    header.flags |= extensions.flags();
    for _ in 0..FRAMES {
        batch
            .push_copied(header, extensions.as_bytes(), &PAYLOAD)
            .unwrap();
    }
    batch.into_buffer().freeze()
}

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    let header = header();
    let bytes = header.encode();
    group.bench_function("decode", |b| b.iter(|| Header::decode(black_box(&bytes))));
    group.bench_function("encode", |b| b.iter(|| black_box(&header).encode()));
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode 1000 x 64 B");
    group.throughput(Throughput::Elements(FRAMES as u64));
    let plain = encoded(&Extensions::EMPTY);
    let routed = Extensions::builder()
        .deadline_ms(1500)
        .route("ci.Jobs", "submit")
        .unwrap();
    let routed = encoded(&routed.finish().unwrap());
    for (name, bytes) in [("plain", &plain), ("deadline and route", &routed)] {
        group.bench_function(BenchmarkId::new("borrowed", name), |b| {
            b.iter(|| {
                for frame in Frames::new(black_box(bytes), MAX_PAYLOAD_BYTES) {
                    black_box(frame.unwrap());
                }
            });
        });
        group.bench_function(BenchmarkId::new("borrowed, then shared", name), |b| {
            b.iter(|| {
                for frame in Frames::new(black_box(bytes), MAX_PAYLOAD_BYTES) {
                    black_box(frame.unwrap().to_frame(bytes));
                }
            });
        });
        group.bench_function(BenchmarkId::new("owned", name), |b| {
            b.iter_batched_ref(
                || BytesMut::from(&bytes[..]),
                |buf| {
                    while let Some(frame) = Frame::decode(buf, MAX_PAYLOAD_BYTES).unwrap() {
                        black_box(frame);
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode 1000 x 64 B");
    group.throughput(Throughput::Elements(FRAMES as u64));
    let header = header();
    let payload = Bytes::from_static(&PAYLOAD);
    let routed = Extensions::builder()
        .deadline_ms(1500)
        .route("ci.Jobs", "submit")
        .unwrap();
    let routed = routed.finish().unwrap();
    for (name, extensions) in [("plain", &Extensions::EMPTY), ("deadline and route", &routed)] {
        group.bench_function(BenchmarkId::new("push_copied", name), |b| {
            let mut batch = Batch::with_buffer(BytesMut::with_capacity(256 * 1024));
            b.iter(|| {
                for _ in 0..FRAMES {
                    batch
                        .push_copied(black_box(header), extensions.as_bytes(), black_box(&PAYLOAD))
                        .unwrap();
                }
                batch.advance(batch.len());
            });
        });
        group.bench_function(BenchmarkId::new("push", name), |b| {
            let mut batch = Batch::with_buffer(BytesMut::with_capacity(256 * 1024));
            b.iter(|| {
                for _ in 0..FRAMES {
                    batch
                        .push(black_box(header), extensions.as_bytes(), payload.clone())
                        .unwrap();
                }
                batch.advance(batch.len());
            });
        });
    }
    group.bench_function("build deadline and route", |b| {
        b.iter(|| {
            let builder = Extensions::builder().deadline_ms(black_box(1500));
            builder
                .route(black_box("ci.Jobs"), "submit")
                .unwrap()
                .finish()
                .unwrap()
        });
    });
    group.finish();
}

/// One batch of 32 frames, encoded and written to `/dev/null` with one vectored write, so that both
/// sides pay what they cost in the kernel. The sizes lie on both sides of the threshold; `copied`
/// and `chained` force the one or the other, whatever the threshold is.
fn copy_or_chain(c: &mut Criterion) {
    const IN_BATCH: usize = 32;
    let Ok(mut null) = File::options().write(true).open("/dev/null") else {
        return;
    };
    let mut group = c.benchmark_group(format!("copy or chain (threshold {COPY_THRESHOLD_BYTES} B)"));
    group.throughput(Throughput::Elements(IN_BATCH as u64));
    for size in [128, 256, 512, 1024, 2048, 4096, 8192, 16384] {
        let payload = Bytes::from(vec![7; size]);
        group.bench_function(BenchmarkId::new("copied", size), |b| {
            let mut batch = Batch::with_buffer(BytesMut::with_capacity(1024 * 1024));
            b.iter(|| {
                for _ in 0..IN_BATCH {
                    batch.push_copied(header(), &[], &payload.clone()).unwrap();
                }
                let written = null.write(batch.chunk()).unwrap();
                batch.advance(written);
            });
        });
        group.bench_function(BenchmarkId::new("chained", size), |b| {
            let mut heads = BytesMut::with_capacity(1024 * 1024);
            let mut segments = std::collections::VecDeque::with_capacity(2 * IN_BATCH);
            b.iter(|| {
                for _ in 0..IN_BATCH {
                    // What `Batch` does with a payload above its threshold.
                    heads.reserve(Header::LEN);
                    let header = Header {
                        length: size as u32,
                        ..header()
                    };
                    heads.extend_from_slice(&header.encode());
                    segments.push_back(heads.split().freeze());
                    segments.push_back(payload.clone());
                }
                let slices: [IoSlice<'_>; 2 * IN_BATCH] =
                    std::array::from_fn(|index| IoSlice::new(&segments[index]));
                black_box(null.write_vectored(&slices).unwrap());
                segments.clear();
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = headers, decode, encode, copy_or_chain
}
criterion_main!(benches);

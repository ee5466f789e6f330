//! What the channel costs: `cargo bench -p valkyrie-security --bench channel`.
//!
//! Every figure is seal plus open on one core, keys and buffers warm, with AES-256-GCM unless the name says otherwise. Rates
//! count the plaintext once. Where the kernel says what a thread has used, that is what is measured, so that a busy machine
//! gives nearly the figures of an idle one.

use std::fs;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::BytesMut;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkId, Throughput, criterion_group, criterion_main};
use valkyrie_security::channel::{ChannelConfig, KeySchedule, Opener, Padding, Sealer, Within};
use valkyrie_security::{Cipher, Role};

type Criterion = criterion::Criterion<CpuTime>;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The two ends of a channel, and the buffer between them: records are sealed into it and opened where they lie, as a connection does
/// with what it has read.
struct Ends {
    now: Instant,
    sealer: Sealer,
    opener: Opener,
    wire: BytesMut,
    /// Where the first record goes: with room before it where that saves a copy.
    start: usize,
}

impl Ends {
    fn new(cipher: Cipher, change: impl FnOnce(&mut ChannelConfig)) -> Self {
        let mut config = ChannelConfig::default();
        change(&mut config);
        let schedule = |role| KeySchedule::new(&[1; 32], &[2; 32], &[3; 32], cipher, role);
        let opener = schedule(Role::Acceptor).channel(config).1;
        Self {
            now: Instant::now(),
            sealer: schedule(Role::Dialler).channel(config).0,
            start: if opener.opens_far_ahead() {
                config.record_bytes
            } else {
                0
            },
            opener,
            wire: BytesMut::with_capacity(MIB),
        }
    }

    /// A virtual clock, so that epochs of 2^22 small records are not taken for a flood of rekeys.
    fn tick(&mut self) {
        self.now += Duration::from_nanos(200);
    }

    fn carry<'a>(&mut self, chunks: impl IntoIterator<Item = &'a [u8]>) {
        self.tick();
        self.wire.resize(self.start, 0);
        self.sealer.seal(self.now, chunks, &mut self.wire).unwrap();
        let mut at = Within {
            plain: 0,
            sealed: self.start,
        };
        self.opener
            .open_within(self.now, &mut self.wire, &mut at)
            .unwrap();
        black_box(&self.wire[..at.plain]);
        self.wire.truncate(self.start);
    }
}

fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal_open");
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        for size in [64, KIB, 16 * KIB, 64 * KIB] {
            let message = vec![7; size];
            let mut ends = Ends::new(cipher, |_| {});
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(format!("{cipher:?}"), size), |b| {
                b.iter(|| ends.carry([black_box(&message[..])]));
            });
        }
    }
    group.finish();
}

/// Many small frames that go out together, header and payload a chunk each; the rate is frames.
fn coalesced(c: &mut Criterion) {
    const FRAMES: usize = 1000;
    let (header, payload) = ([1; 20], [7; 64]);
    let mut group = c.benchmark_group("coalesced");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for (name, padding) in [
        ("64", Padding::None),
        ("64_padded_to_256", Padding::Multiple(256)),
    ] {
        let mut ends = Ends::new(Cipher::Aes256Gcm, |config| config.padding = padding);
        group.bench_function(name, |b| {
            b.iter(|| {
                let frames = (0..FRAMES).flat_map(|_| [&header[..], &payload[..]]);
                ends.carry(black_box(frames));
            });
        });
    }
    group.finish();
}

/// What a link does with a long transfer: 64 KiB at a time, from 64 MiB that no cache holds.
fn streaming(c: &mut Criterion) {
    let message = vec![7; 64 * MIB];
    let mut group = c.benchmark_group("streaming");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(message.len() as u64));
    for record in [16 * KIB, 64 * KIB] {
        let mut ends = Ends::new(Cipher::Aes256Gcm, |config| config.record_bytes = record);
        group.bench_function(BenchmarkId::new("by_64KiB_records_of", record), |b| {
            b.iter(|| {
                for piece in message.chunks(64 * KIB) {
                    ends.carry([black_box(piece)]);
                }
            });
        });
    }
    let (header, mut ends) = ([1; 20], Ends::new(Cipher::Aes256Gcm, |_| {}));
    group.bench_function("by_64KiB_behind_headers", |b| {
        b.iter(|| {
            for piece in message.chunks(64 * KIB) {
                ends.carry([black_box(&header[..]), black_box(piece)]);
            }
        });
    });
    let mut ends = Ends::new(Cipher::Aes256Gcm, |_| {});
    group.bench_function("64MiB_at_once", |b| {
        b.iter(|| ends.carry([black_box(&message[..])]));
    });
    let (mut ends, mut plain) = (Ends::new(Cipher::Aes256Gcm, |_| {}), BytesMut::with_capacity(MIB));
    group.bench_function("by_64KiB_opened_to_another_buffer", |b| {
        b.iter(|| {
            for piece in message.chunks(64 * KIB) {
                ends.tick();
                ends.wire.clear();
                ends.sealer.seal(ends.now, [piece], &mut ends.wire).unwrap();
                ends.opener.open(ends.now, &mut ends.wire, &mut plain).unwrap();
                black_box(&plain[..]);
                plain.clear();
            }
        });
    });
    group.finish();
}

/// A yardstick for the machine: AES-256-GCM as AWS-LC has it, alone, sealing and opening in place again and again what stays in the
/// cache. Records are sealed by ring where this has the slower of AWS-LC's two versions.
fn cipher_alone(c: &mut Criterion) {
    let mut group = c.benchmark_group("cipher_alone");
    group.throughput(Throughput::Bytes(64 * KIB as u64));
    let key = || LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).unwrap());
    let (sealing, opening) = (key(), key());
    for record in [16 * KIB, 64 * KIB] {
        let mut records = vec![vec![7_u8; record]; 64 * KIB / record];
        group.bench_function(BenchmarkId::new("64KiB_in_records_of", record), |b| {
            b.iter(|| {
                for record in &mut records {
                    let nonce = || Nonce::assume_unique_for_key([3; NONCE_LEN]);
                    let sealed = sealing.seal_in_place_separate_tag(nonce(), Aad::from([0; 5]), record);
                    record.extend_from_slice(sealed.unwrap().as_ref());
                    let opened = opening.open_in_place(nonce(), Aad::from([0; 5]), record).unwrap();
                    let len = black_box(opened).len();
                    record.truncate(len);
                }
            });
        });
    }
    group.finish();
}

/// What copying costs on the same machine, in one go and in pieces, with the two addresses as far apart modulo 4,096 as the name says.
/// Where the first is slow at small distances, copies of more than two kilobytes are best avoided.
fn copy(c: &mut Criterion) {
    const LEN: usize = 64 * KIB;
    let from = vec![7_u8; LEN];
    let mut group = c.benchmark_group("copy_64KiB");
    group.throughput(Throughput::Bytes(LEN as u64));
    for distance in [16, 2048] {
        let mut to = vec![0_u8; LEN + 4096];
        let start = (from.as_ptr() as usize + distance).wrapping_sub(to.as_ptr() as usize) % 4096;
        let to = &mut to[start..start + LEN];
        for piece in [512, 1024, 2048, LEN] {
            group.bench_function(format!("{distance}_apart_by_{piece}"), |b| {
                b.iter(|| {
                    for (to, from) in to.chunks_mut(piece).zip(black_box(&from).chunks(piece)) {
                        to.copy_from_slice(from);
                    }
                    black_box(&*to);
                });
            });
        }
    }
    group.finish();
}

fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("keys");
    group.bench_function("channel_of_a_handshake", |b| {
        b.iter(|| {
            KeySchedule::new(
                &[1; 32],
                black_box(&[2; 32]),
                &[3; 32],
                Cipher::Aes256Gcm,
                Role::Dialler,
            )
            .channel(ChannelConfig::default())
        });
    });
    // Two records to an epoch, one of them REKEY, so this is a record and a rekey of both ends.
    let mut ends = Ends::new(Cipher::Aes256Gcm, |config| config.rekey.records = 2);
    group.bench_function("record_of_64_and_rekey", |b| {
        b.iter(|| {
            ends.now += Duration::from_secs(1);
            ends.carry([&[7; 64][..]]);
        });
    });
    group.finish();
}

/// What the thread has used of a core, or the clock on the wall where that is not known.
struct CpuTime;

impl CpuTime {
    fn now() -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let used = || {
            let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
            let nanos = stat.split_ascii_whitespace().next()?.parse().ok()?;
            Some(Duration::from_nanos(nanos))
        };
        used().unwrap_or_else(|| START.elapsed())
    }
}

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        Self::now()
    }

    fn end(&self, start: Duration) -> Duration {
        // Criterion takes logarithms; the kernel may not have counted at all yet.
        (Self::now() - start).max(Duration::from_nanos(1))
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

criterion_group! {
    name = channel;
    config = criterion::Criterion::default()
        .with_measurement(CpuTime)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = sizes, coalesced, streaming, cipher_alone, copy, keys
}
criterion_main!(channel);

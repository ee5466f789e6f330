//! What a message costs in the session alone: two of them in memory, no link between.
#![allow(missing_docs, reason = "criterion's macros make items without them")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use valkyrie_proto::{Batch, Class, Config, Event, Extensions, Inbox, Message, Session, Side, StreamKey};

/// Messages that share a write, as they do on a busy connection.
const BATCH: u64 = 256;

struct Pair {
    now: Instant,
    dialer: Session,
    acceptor: Session,
    buffer: BytesMut,
}

impl Pair {
    fn open() -> Self {
        let now = Instant::now();
        let config = Arc::new(Config::default());
        let mut pair = Self {
            now,
            dialer: Session::new(Side::Dialer, config.clone(), now),
            acceptor: Session::new(Side::Acceptor, config, now),
            buffer: BytesMut::with_capacity(1 << 18),
        };
        for _ in 0..3 {
            pair.forth();
            pair.back();
        }
        assert!(pair.dialer.is_open() && pair.acceptor.is_open());
        while pair.dialer.poll_event().is_some() {}
        while pair.acceptor.poll_event().is_some() {}
        pair
    }

    fn forth(&mut self) {
        carry(self.now, &mut self.dialer, &mut self.acceptor, &mut self.buffer);
    }

    fn back(&mut self) {
        carry(self.now, &mut self.acceptor, &mut self.dialer, &mut self.buffer);
    }
}

/// One write and one read: a copy from batch to buffer, as the kernel makes.
fn carry(now: Instant, from: &mut Session, to: &mut Session, buffer: &mut BytesMut) {
    let mut batch = Batch::default();
    from.poll_transmit(now, &mut batch, 1 << 18);
    buffer.reserve(batch.len());
    for chunk in batch.chunks() {
        buffer.extend_from_slice(chunk);
    }
    to.handle_input(now, buffer).expect("our own frames are good");
}

/// Asks `calls` times in one write, answers in one write.
fn round_trip(pair: &mut Pair, payload: &Bytes, calls: u64) {
    for _ in 0..calls {
        pair.dialer
            .call(pair.now, Class::Job, None, Message::data(payload.clone()), None)
            .expect("room");
    }
    pair.forth();
    while let Some(event) = pair.acceptor.poll_event() {
        if let Event::Incoming(incoming) = event
            && let Some(id) = incoming.id
        {
            pair.acceptor
                .respond(pair.now, id, Ok(Message::data(incoming.payload)))
                .expect("once");
        }
    }
    pair.back();
    while let Some(event) = pair.dialer.poll_event() {
        if let Event::Completed(key) = event {
            black_box(pair.dialer.take_response(key))
                .expect("it is there")
                .expect("an answer");
        }
    }
}

fn calls(c: &mut Criterion) {
    let payload = Bytes::from_static(&[7; 64]);
    let mut group = c.benchmark_group("call");
    for calls in [1, BATCH] {
        let mut pair = Pair::open();
        group.throughput(Throughput::Elements(calls));
        group.bench_function(format!("{calls} of 64 B"), |b| {
            b.iter(|| round_trip(&mut pair, &payload, calls));
        });
        assert_eq!(pair.dialer.outstanding(), 0);
    }
    group.finish();
}

fn accepted(pair: &mut Pair) -> StreamKey {
    loop {
        match pair.acceptor.poll_event() {
            Some(Event::Opened(opened)) => return opened.key,
            Some(_) => {}
            None => panic!("the stream was opened"),
        }
    }
}

fn one_way(c: &mut Criterion) {
    let mut group = c.benchmark_group("one way");
    for (name, len) in [("64 B", 64), ("1 KiB", 1024), ("64 KiB", 64 * 1024)] {
        let payload = Bytes::from(vec![7; len]);
        let messages = (BATCH * 64 / len as u64).clamp(4, BATCH);
        let mut pair = Pair::open();
        let key = pair
            .dialer
            .open(pair.now, Class::Job, None, Extensions::EMPTY, Bytes::new(), None)
            .expect("a stream is free");
        pair.forth();
        let far = accepted(&mut pair);
        let mut inbox = Inbox::new();
        group.throughput(Throughput::Elements(messages));
        group.bench_function(format!("{messages} of {name}"), |b| {
            b.iter(|| {
                for _ in 0..messages {
                    pair.dialer
                        .send(key, Message::data(payload.clone()))
                        .expect("room");
                }
                pair.forth();
                pair.acceptor.recv(far, &mut inbox).expect("open");
                let mut got = 0;
                while let Some(message) = inbox.pop_front() {
                    black_box(message);
                    got += 1;
                }
                assert_eq!(got, messages);
                while pair.acceptor.poll_event().is_some() {}
                if pair.acceptor.wants_transmit() {
                    pair.back();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, calls, one_way);
criterion_main!(benches);

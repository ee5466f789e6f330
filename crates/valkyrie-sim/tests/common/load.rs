//! One side that sends as much as it may.

use std::time::Duration;

use bytes::Bytes;
use valkyrie_proto::{
    Class, Config, DelayTarget, Extensions, Inbox, Limits, Policy, Shares, Side, StreamKey,
};
use valkyrie_sim::Pair;

use super::message;

/// Bytes per second: 20 Mbit/s, so that a second is soon computed.
pub(crate) const RATE: u64 = 2_500_000;

/// Windows so wide that credit is never what holds a class back.
pub(crate) fn wide(shares: Shares) -> Config {
    let limits = Limits {
        window_system: 8 << 20,
        window_job: 8 << 20,
        window_job_max: 8 << 20,
        window_data: 8 << 20,
        window_connection: 64 << 20,
        best_effort_queue_max: 1 << 20,
        ..Limits::default()
    };
    Config {
        limits,
        policy: Policy {
            shares,
            // Delay is another test's matter.
            data_delay_target: DelayTarget(Duration::from_secs(10)),
            ..Policy::default()
        },
        ..Config::default()
    }
}

pub(crate) fn open(pair: &mut Pair, class: Class) -> StreamKey {
    let now = pair.now();
    pair.session(Side::Dialer)
        .open(now, class, None, Extensions::EMPTY, Bytes::new(), None)
        .expect("a stream is free")
}

/// Keeps a stream's queue full.
pub(crate) fn fill(pair: &mut Pair, key: StreamKey, class: Class, len: usize) {
    if class == Class::Bulk {
        // Best effort never blocks; as much as a step can send is enough.
        for _ in 0..8 {
            let _ = pair.session(Side::Dialer).send(key, message(len));
        }
        return;
    }
    while pair.session(Side::Dialer).send(key, message(len)).is_ok() {}
}

pub(crate) fn read_all(pair: &mut Pair, keys: &[StreamKey]) {
    let mut inbox = Inbox::new();
    for key in keys {
        let _ = pair.session(Side::Acceptor).recv(*key, &mut inbox);
        while inbox.pop_front().is_some() {}
    }
}

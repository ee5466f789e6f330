//! The conformance suite for links over a real redis-server, one for each behaviour.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use support::Redis;
use valkyrie_transport::Locator;
use valkyrie_transport::conformance::{Harness, Rudeness};
use valkyrie_transport::conformance_tests;
use valkyrie_transport_redis::{OUTBOX_BYTES_MAX, RedisTransport, WINDOW_BYTES};

fn harness() -> Option<Harness> {
    let redis = Arc::new(Redis::start()?);
    let nobody = redis.at("nobody");
    let rude = Arc::clone(&redis);
    let harness = Harness::new(
        Arc::new(RedisTransport::new()),
        move || redis.at("kitchen"),
        nobody,
    )
    .with_in_flight_bytes_max(WINDOW_BYTES as usize + OUTBOX_BYTES_MAX)
    .with_rude_peer(move |locator, how| rude_peer(Arc::clone(&rude), locator, how));
    Some(harness)
}

/// A client of the broker that knows the node's name and means no good, or does not know what it does.
async fn rude_peer(redis: Arc<Redis>, locator: Locator, how: Rudeness) {
    let (_, node) = locator.rest().split_once('/').unwrap();
    let channel = format!("valkyrie.2.node.{node}");
    match how {
        Rudeness::Garbage => {
            redis.publish(&channel, &[0xff; 10_000]);
            redis.publish(&channel, b"");
            // The kinds of packets that there are, and others, all of them without what belongs to them.
            for kind in 0..20 {
                redis.publish(&channel, &[b'V', 2, kind, 0]);
                redis.publish(&channel, &[&[b'V', 2, kind, 0][..], &[0xff; 16]].concat());
                redis.publish(&channel, &[&[b'V', 2, kind, 0][..], &[0xff; 33]].concat());
            }
            // An opening by a dialler who is not there.
            redis.publish(&channel, &[&[b'V', 2, 1, 0][..], &[0; 32]].concat());
        }
        _ => {
            let mut stream = TcpStream::connect(("127.0.0.1", redis.port)).unwrap();
            let _ = write!(
                stream,
                "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n$100\r\nhalf",
                channel.len()
            );
            if how == Rudeness::Reset {
                socket2::SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
            }
        }
    }
}

conformance_tests!(harness());

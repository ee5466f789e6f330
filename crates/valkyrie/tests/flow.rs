//! Flow control by class on real links, over TCP and over QUIC, between network namespaces.
//!
//! What is asserted are parts and orders and not times, since a busy machine is late. `examples/flow` measures the times. This needs root,
//! network namespaces and `tc`. Where those are missing the tests say so and end.
#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/flow/delay.rs"]
mod delay;
#[allow(dead_code, reason = "shared with the examples that measure")]
#[path = "../examples/support/ends.rs"]
mod ends;
#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/flow/measure.rs"]
mod measure;
#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/flow/measure_delay.rs"]
mod measure_delay;
#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/flow/measure_drops.rs"]
mod measure_drops;
#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/flow/measure_growth.rs"]
mod measure_growth;
#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/flow/measure_shaper.rs"]
mod measure_shaper;
#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/flow/measure_yield.rs"]
mod measure_yield;
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../../valkyrie-transport-quic/tests/support/netns.rs"]
mod netns;

use std::io::Write;

use measure::Network;
use measure_delay::Load;
use measure_yield::Phase;
use valkyrie::Class;

/// Links that a busy machine fills.
const SLOW: Network = Network {
    kbit: 20_000,
    ..measure_yield::NETWORK
};

/// Points that a class may be from what the policy gives it. Turns come to a few tenths.
const POINTS: f64 = 1.0;

/// What was measured, or nothing where the machine cannot.
fn tested<T>(measured: Result<T, netns::Missing>) -> Option<T> {
    match measured {
        Ok(measured) => Some(measured),
        Err(missing) => {
            let _ = writeln!(std::io::stderr(), "NOT TESTED: {missing}");
            None
        }
    }
}

#[test]
fn data_leaves_the_link_to_others_and_takes_it_again() {
    for scheme in ["tcp", "quic"] {
        let Some(run) = tested(measure_yield::measure(scheme, Some(Class::Data), SLOW, 4)) else {
            return;
        };
        let [alone, beside, again] =
            [Phase::Alone, Phase::Beside, Phase::AloneAgain].map(|phase| run.got(phase));
        let text = measure_yield::table(&[run]);
        assert!(beside.other > 1.5 * beside.ours, "the other has more:\n{text}");
        assert!(beside.ours > 0.1, "data is not starved:\n{text}");
        assert!(again.ours > 0.6 * alone.ours, "it takes the link again:\n{text}");
    }
}

#[test]
fn a_job_window_grows_to_what_the_path_holds() {
    for scheme in ["tcp", "quic"] {
        let runs =
            [false, true].map(|grows| measure_growth::measure(scheme, grows, measure_growth::NETWORK, 3));
        let [Some(fixed), Some(grows)] = runs.map(tested) else {
            return;
        };
        let right = grows.rate() > 3.0 * fixed.rate() && grows.window() > 8 * fixed.window();
        assert!(right, "{}", measure_growth::table(&[fixed, grows]));
    }
}

#[test]
fn bulk_drops_the_oldest_and_counts_every_one() {
    for scheme in ["tcp", "quic"] {
        let Some(run) = tested(measure_drops::measure(scheme, SLOW, 2)) else {
            return;
        };
        let dropped = run.dropped[0] + run.dropped[1];
        let (_, missing) = run.gaps();
        assert!(run.in_order());
        // The newest of what a queue held are there to the last, so those that went were older.
        let right = dropped > 0 && missing == dropped && run.whole_tail() >= 8;
        assert!(right, "{}", measure_drops::table(&[run]));
    }
}

#[test]
fn with_its_capacity_known_the_queue_of_a_link_stays_with_us() {
    for scheme in ["tcp", "quic"] {
        let network = Network {
            kbit: 20_000,
            ..measure_delay::NETWORK
        };
        let loads = [Load::Idle, Load::Full, Load::Shaped];
        let runs = loads.map(|load| measure_delay::measure(scheme, load, network, 3));
        let [Some(idle), Some(full), Some(shaped)] = runs.map(tested) else {
            return;
        };
        let right = full.delays.before(50) >= 2 * shaped.delays.before(50).max(measure::FRAGMENT_BYTES)
            && shaped.delays.before(90) <= 2 * measure::FRAGMENT_BYTES
            && shaped.carried > 0.7 * full.carried;
        assert!(right, "{}", measure_delay::table(&[idle, full, shaped], network));
    }
}

#[test]
fn several_connections_share_a_capacity_by_class() {
    for scheme in ["tcp", "quic"] {
        let network = Network {
            kbit: 50_000,
            ..measure_delay::NETWORK
        };
        let Some(run) = tested(measure_shaper::measure(scheme, network, 3)) else {
            return;
        };
        let [system, job, data, bulk] = run.shares();
        let near = |got: f64, wanted: f64| (got - wanted).abs() <= POINTS;
        let (most, least) = run.parts();
        // Data yields to bulk when delays grow, which they do when the machine is busy. All else the shaper decides, however slow that is.
        let right = near(system, 80.0)
            && near(job, 12.0)
            && near(data + bulk, 8.0)
            && bulk >= 4.8 - POINTS
            && most < 1.1 * least;
        assert!(right, "{}", measure_shaper::table(&[run]));
    }
}

#[cfg(all(feature = "http", feature = "ws"))]
#[test]
fn a_link_over_tcp_finds_out_that_it_is_slow_and_prepares_less() {
    use std::io::IoSlice;
    use std::task::Poll;

    use bytes::BytesMut;
    use netns::End;
    use tokio::sync::oneshot;
    use valkyrie::transport::{Lane, Link, Locator, PACE_BYTES_MIN, Transport, accept};

    for scheme in ["tcp", "ws", "http"] {
        let Some(cable) = tested(SLOW.lay()) else { return };
        let transport = || -> Box<dyn Transport> {
            match scheme {
                "tcp" => Box::new(valkyrie::TcpTransport::new()),
                "ws" => Box::new(valkyrie::WsTransport::new()),
                _ => Box::new(valkyrie::HttpTransport::new()),
            }
        };
        let place: Locator = format!("{scheme}://{}:7000", cable.ipv4(End::Far))
            .parse()
            .expect("a locator");
        let (ready, is_ready) = oneshot::channel();
        let (listens, there) = (transport(), place.clone());
        let far = cable.run_at(End::Far, async move {
            let mut listener = listens.listen(&there).await.expect("it is free");
            ready.send(()).expect("the dialler waits");
            let mut link = accept(&mut *listener).await.expect("one comes");
            let mut input = BytesMut::new();
            loop {
                input.clear();
                let read = std::future::poll_fn(|cx| link.poll_read(cx, Lane::FIRST, &mut input)).await;
                let Ok(1..) = read else { return };
            }
        });
        let dials = transport();
        let near = cable.run_at(End::Near, async move {
            is_ready.await.expect("it listens");
            let mut link: Box<dyn Link> = dials.dial(&place).await.expect("it answers");
            let (block, mut sent) = ([0; 64 * 1024], 0);
            std::future::poll_fn(|cx| {
                loop {
                    let bound = link.batch_bytes();
                    if bound.is_some_and(|bytes| bytes <= 2 * PACE_BYTES_MIN as usize) || sent > SENT_MAX {
                        return Poll::Ready(bound);
                    }
                    match link.poll_write(cx, Lane::FIRST, &[IoSlice::new(&block)]) {
                        Poll::Ready(written) => sent += written.expect("it takes more"),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await
        });
        let bound = near.result();
        far.result();
        let right = bound.is_some_and(|bytes| bytes <= 2 * PACE_BYTES_MIN as usize);
        assert!(right, "{scheme}: {bound:?}, where 2 ms carry 5,000 bytes");
    }
}

/// Three seconds' worth, in which it has to be found out.
#[cfg(all(feature = "http", feature = "ws"))]
const SENT_MAX: usize = 7_500_000;

//! A flood of half-open connections on a real server over loopback: its bounds hold, everybody else gets in, and whoever is in is served.
//!
//! The example of the same name measures it with a hundred times as many. Nothing here is timed: what is counted is the same on a slow machine.
#![cfg(unix)]

#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/flood/attack.rs"]
mod attack;
#[allow(dead_code, reason = "shared with the example that measures")]
#[path = "../examples/flood/people.rs"]
mod people;

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use attack::{Attack, Flood, Made};
use people::{Regulars, newcomers, server};
use valkyrie::security::handshake::Rate;
use valkyrie::{Endpoint, HandshakeLimits, Locator};

/// Small ones, so that a small flood meets every one of them.
fn limits() -> HandshakeLimits {
    let mut limits = HandshakeLimits::default();
    limits.half_open_max = HALF_OPEN_MAX;
    limits.cookies_above = COOKIES_ABOVE;
    limits
}

async fn listening(limits: HandshakeLimits) -> (Endpoint, Locator) {
    let server = server().handshake_limits(limits).build().expect("no mistake");
    let place = server.listen("tcp://127.0.0.1:0").await.expect("it is free");
    (server, place)
}

/// From a thread of its own, as an attacker does not wait for its victim.
fn flood(place: &Locator, attacks: &'static [Attack]) -> JoinHandle<Made> {
    let target: SocketAddr = place.rest().parse().expect("an address");
    let flood = Flood {
        target,
        source: Ipv4Addr::new(127, 66, 0, 1),
        // Other systems have one address of this kind, and no rule of the server's depends on which.
        sources: if cfg!(target_os = "linux") { 256 } else { 1 },
        attacks,
        per_s: 1000,
        attempts: ATTEMPTS,
        held_max: 256,
        hold: Duration::from_secs(1),
    };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(flood.run())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newcomers_get_in_and_regulars_are_served_while_half_open_connections_flood_a_server() {
    let (server, place) = listening(limits()).await;
    let here = [Ipv4Addr::LOCALHOST];
    let regulars = Regulars::connect(&place, &[here[0]; 2]).await;
    let flood = flood(&place, &Attack::ALL);
    let (calls, newcomers) = tokio::join!(
        regulars.call(Duration::from_millis(10), 100),
        newcomers(
            &place,
            &here,
            Duration::from_millis(50),
            20,
            Duration::from_secs(120)
        )
    );
    let made = tokio::task::spawn_blocking(|| flood.join())
        .await
        .unwrap()
        .unwrap();
    let stats = server.security_stats();
    let told = format!("{made:?} {newcomers:?} {stats:?}");
    assert_eq!(calls.len(), 200, "{told}");
    assert_eq!(newcomers.times.len(), newcomers.tried, "{told}");
    assert_eq!(newcomers.otherwise, Vec::<String>::new(), "{told}");
    assert_eq!(made.connected, ATTEMPTS, "{told}");
    // Each defence has had its part.
    let admission = stats.admission;
    assert!(admission.half_open <= HALF_OPEN_MAX, "{told}");
    assert!(admission.evicted > 0 && admission.challenged > 0, "{told}");
    assert!(made.challenged > 0 && made.answered > 0, "{told}");
    assert!(u64::from(made.answered) <= admission.computed, "{told}");
    // No flooder has come as far as a key, so none was refused for it.
    assert!(server.connections().len() <= 2 + newcomers.tried, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_computed_for_all_together_is_bounded_whoever_brings_cookies() {
    let mut limits = limits();
    limits.total = Rate::new(1, 40);
    let (server, place) = listening(limits).await;
    let regulars = Regulars::connect(&place, &[Ipv4Addr::LOCALHOST; 2]).await;
    let flood = flood(&place, &[Attack::Cookie]);
    let calls = regulars.call(Duration::from_millis(10), 100).await;
    let made = tokio::task::spawn_blocking(|| flood.join())
        .await
        .unwrap()
        .unwrap();
    let admission = server.security_stats().admission;
    assert_eq!(calls.len(), 200, "{made:?} {admission:?}");
    assert!(admission.refused_in_total > 0, "{made:?} {admission:?}");
    // A burst, and what the seconds bring that it takes: the machine may be slow, but not by minutes.
    assert!(admission.computed < 200, "{made:?} {admission:?}");
}

const ATTEMPTS: u32 = 1000;
const HALF_OPEN_MAX: usize = 64;
const COOKIES_ABOVE: usize = 16;

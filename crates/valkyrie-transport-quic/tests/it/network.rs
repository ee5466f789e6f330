//! Networks that are worse than the loopback: a small MTU, and UDP blocked.
//!
//! These need root, network namespaces and iptables. Where those are missing each test says so and ends.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::oneshot;
use valkyrie_transport::{Lane, Transport, TransportError, accept};
use valkyrie_transport_quic::{LANES, QuicTransport};

use crate::support::ends::{at, close, dial_error, read, write};
use crate::support::netns::{Cable, End};

/// A cable, or the reason why there is none, said.
fn cable(mtu: u16) -> Option<Cable> {
    match Cable::lay(mtu) {
        Ok(cable) => Some(cable),
        Err(missing) => {
            let _ = writeln!(std::io::stderr(), "NOT TESTED: {missing}");
            None
        }
    }
}

const PORT: u16 = 4433;

#[test]
fn a_megabyte_passes_where_packets_have_1280_bytes() {
    let Some(cable) = cable(1280) else { return };
    for (near, far) in [
        (cable.ipv4(End::Near), cable.ipv4(End::Far)),
        (cable.ipv6(End::Near), cable.ipv6(End::Far)),
    ] {
        let place = at(SocketAddr::new(far, PORT));
        let (ready, is_ready) = oneshot::channel();
        let acceptor = cable.run_at(End::Far, {
            let place = place.clone();
            async move {
                let mut listener = QuicTransport::new().listen(&place).await.unwrap();
                ready.send(()).unwrap();
                let mut link = accept(&mut *listener).await.unwrap();
                let all = read(&mut *link, Lane(3), 1 << 20).await.unwrap();
                write(&mut *link, Lane(3), &all).await.unwrap();
                close(&mut *link).await.unwrap();
                link.peer_address()
            }
        });
        let dialler = cable.run_at(End::Near, async move {
            is_ready.await.unwrap();
            let mut link = QuicTransport::new().dial(&place).await.unwrap();
            let all: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
            write(&mut *link, Lane(3), &all).await.unwrap();
            assert_eq!(read(&mut *link, Lane(3), 1 << 20).await.unwrap(), all);
            close(&mut *link).await.unwrap();
            for lane in (0..LANES).map(Lane) {
                assert!(read(&mut *link, lane, 1).await.unwrap().is_empty());
            }
        });
        dialler.result();
        assert_eq!(acceptor.result(), Some(near));
    }
}

#[test]
fn where_udp_is_blocked_a_dial_times_out_and_a_link_is_found_dead() {
    let Some(cable) = cable(1500) else { return };
    let place = at(SocketAddr::new(cable.ipv4(End::Far), PORT));
    let transport = QuicTransport::new()
        .with_connect_timeout(Duration::from_secs(2))
        .with_idle_timeout(Duration::from_secs(3));
    let (ready, is_ready) = oneshot::channel();
    let (linked, is_linked) = oneshot::channel();
    let (blocked, is_blocked) = oneshot::channel();
    let acceptor = cable.run_at(End::Far, {
        let (transport, place) = (transport.clone(), place.clone());
        async move {
            let mut listener = transport.listen(&place).await.unwrap();
            ready.send(()).unwrap();
            let mut link = accept(&mut *listener).await.unwrap();
            write(&mut *link, Lane(1), b"hello").await.unwrap();
            read(&mut *link, Lane(1), 1).await.unwrap_err().kind()
        }
    });
    let dialler = cable.run_at(End::Near, async move {
        is_ready.await.unwrap();
        let mut link = transport.dial(&place).await.unwrap();
        assert_eq!(read(&mut *link, Lane(1), 5).await.unwrap(), "hello");
        linked.send(()).unwrap();
        is_blocked.await.unwrap();
        let error = dial_error(&transport, &place).await;
        assert!(matches!(error, TransportError::TimedOut { .. }), "{error:?}");
        read(&mut *link, Lane(1), 1).await.unwrap_err().kind()
    });
    is_linked.blocking_recv().unwrap();
    if let Err(missing) = cable.block(End::Far, "udp", true) {
        let _ = writeln!(std::io::stderr(), "NOT TESTED: {missing}");
        return;
    }
    blocked.send(()).unwrap();
    assert_eq!(dialler.result(), ErrorKind::TimedOut);
    assert_eq!(acceptor.result(), ErrorKind::TimedOut);
}

#[test]
fn everything_arrives_in_order_where_packets_are_lost() {
    let Some(cable) = cable(1500) else { return };
    let limited = cable
        .limit(End::Near, 50_000, 256 * 1024)
        .and_then(|()| cable.lose(End::Far, 5.0));
    if let Err(missing) = limited {
        let _ = writeln!(std::io::stderr(), "NOT TESTED: {missing}");
        return;
    }
    let place = at(SocketAddr::new(cable.ipv4(End::Far), PORT));
    let (ready, is_ready) = oneshot::channel();
    let acceptor = cable.run_at(End::Far, {
        let place = place.clone();
        async move {
            let mut listener = QuicTransport::new().listen(&place).await.unwrap();
            ready.send(()).unwrap();
            let mut link = accept(&mut *listener).await.unwrap();
            let all = read(&mut *link, Lane(4), 1 << 19).await.unwrap();
            write(&mut *link, Lane(0), b"all").await.unwrap();
            // Until the dialler says so, or is gone: what it lacks is sent again as long as this link lives.
            let _ = read(&mut *link, Lane(0), 1).await;
            all
        }
    });
    let all: Vec<u8> = (0..1 << 19).map(|at: u32| (at % 251) as u8).collect();
    let dialler = cable.run_at(End::Near, {
        let all = all.clone();
        async move {
            is_ready.await.unwrap();
            let transport = QuicTransport::new().with_connect_timeout(Duration::from_secs(20));
            let mut link = transport.dial(&place).await.unwrap();
            write(&mut *link, Lane(4), &all).await.unwrap();
            assert_eq!(read(&mut *link, Lane(0), 3).await.unwrap(), "all");
            close(&mut *link).await.unwrap();
        }
    });
    dialler.result();
    assert_eq!(acceptor.result(), all);
}

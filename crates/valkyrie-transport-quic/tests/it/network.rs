//! Networks that are not as the loopback is: packets of other sizes, and UDP blocked.
//!
//! These need root, network namespaces and iptables. Where those are missing each test says so and ends.
#![cfg(target_os = "linux")]

use std::future::poll_fn;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::oneshot;
use valkyrie_transport::{Lane, Transport, TransportError, accept};
use valkyrie_transport_quic::QuicTransport;

use crate::support::ends::{at, dial_error, fill_now, part, read, write};
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

/// The least that IPv6 has, what most networks have, and what those of a data centre have.
#[test]
fn a_megabyte_passes_whatever_packets_the_network_carries() {
    for mtu in [1280, 1500, 9000] {
        let Some(cable) = cable(mtu) else { return };
        a_megabyte_passes(&cable);
    }
}

fn a_megabyte_passes(cable: &Cable) {
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
                let peer = link.peer_address();
                part(link).await;
                peer
            }
        });
        let dialler = cable.run_at(End::Near, async move {
            is_ready.await.unwrap();
            let mut link = QuicTransport::new().dial(&place).await.unwrap();
            let all: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
            write(&mut *link, Lane(3), &all).await.unwrap();
            assert_eq!(read(&mut *link, Lane(3), 1 << 20).await.unwrap(), all);
            part(link).await;
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
            part(link).await;
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
            part(link).await;
        }
    });
    dialler.result();
    assert_eq!(acceptor.result(), all);
}

#[test]
fn what_is_critical_does_not_wait_behind_a_link_full_of_bulk() {
    let Some(cable) = cable(1500) else { return };
    if let Err(missing) = cable.limit(End::Near, 8_000, 64 * 1024) {
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
            // Says that bulk is wanted, and counts how much of it has come when the critical word is here.
            write(&mut *link, Lane(4), b"go").await.unwrap();
            let (mut bulk, mut critical) = (BytesMut::new(), BytesMut::new());
            poll_fn(|cx| {
                while let Poll::Ready(count) = link.poll_read(cx, Lane(4), &mut bulk) {
                    assert!(count.unwrap() > 0);
                }
                link.poll_read(cx, Lane(0), &mut critical)
            })
            .await
            .unwrap();
            assert_eq!(critical, "critical");
            bulk.len()
        }
    });
    let dialler = cable.run_at(End::Near, async move {
        is_ready.await.unwrap();
        let mut link = QuicTransport::new().dial(&place).await.unwrap();
        read(&mut *link, Lane(4), 2).await.unwrap();
        let taken = fill_now(&mut *link, Lane(4));
        write(&mut *link, Lane(0), b"critical").await.unwrap();
        (taken, link)
    });
    let (taken, _link) = dialler.result();
    let before = acceptor.result();
    // A second's worth of bulk was taken, and what had come of it is what was on the wire.
    assert!(
        before < taken / 2,
        "critical came behind {before} of {taken} bytes"
    );
}

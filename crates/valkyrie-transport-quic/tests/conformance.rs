//! The conformance suite over QUIC.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpStream, UdpSocket};
use valkyrie_transport::conformance::{Harness, Rudeness};
use valkyrie_transport::{Locator, Transport, conformance_tests};
use valkyrie_transport_quic::QuicTransport;

fn harness(host: &'static str) -> Harness {
    let at = move |port: u16| Locator::new("quic", &format!("{host}:{port}")).unwrap();
    // Port 1 is never handed out by the system, and has never had a service over UDP that anybody runs.
    Harness::new(Arc::new(QuicTransport::new()), move || at(0), at(1)).with_rude_peer(rude_peer)
}

async fn rude_peer(locator: Locator, how: Rudeness) {
    let address: SocketAddr = locator.rest().parse().unwrap();
    let any = if address.is_ipv6() {
        "[::1]:0"
    } else {
        "127.0.0.1:0"
    };
    let socket = UdpSocket::bind(any).await.unwrap();
    match how {
        Rudeness::CloseAtOnce => {
            let _ = socket.send_to(&[], address).await;
            // Nobody listens on TCP there, but a peer that is wrong about the transport tries.
            let _ = TcpStream::connect(address).await;
        }
        Rudeness::Garbage => {
            for first in [0x00, 0x40, 0x80, 0xc0, 0xff] {
                for length in [1, 7, 20, 1199, 1200, 1472] {
                    let mut datagram = vec![first; length];
                    // Version 1, so that it is taken for the beginning of a connection.
                    if length > 5 {
                        datagram[1..5].copy_from_slice(&[0, 0, 0, 1]);
                    }
                    let _ = socket.send_to(&datagram, address).await;
                }
            }
        }
        // A handshake that is begun, and given up at an arbitrary point.
        _ => {
            let transport = QuicTransport::new();
            let dial = transport.dial(&locator);
            let _ = tokio::time::timeout(std::time::Duration::from_millis(1), dial).await;
        }
    }
}

mod ipv4 {
    use super::*;

    conformance_tests!(harness("127.0.0.1"));
}

/// On a machine without IPv6 these would say nothing about this crate, so there they fall back to IPv4.
mod ipv6 {
    use super::*;

    fn host() -> &'static str {
        if std::net::UdpSocket::bind("[::1]:0").is_ok() {
            "[::1]"
        } else {
            "127.0.0.1"
        }
    }

    conformance_tests!(harness(host()));
}

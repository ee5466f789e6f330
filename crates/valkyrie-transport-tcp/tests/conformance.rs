//! The conformance suite over TCP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use valkyrie_transport::conformance::{Harness, Rudeness};
use valkyrie_transport::{Locator, conformance_tests};
use valkyrie_transport_tcp::TcpTransport;

fn harness(host: &'static str) -> Harness {
    let at = move |port: u16| Locator::new("tcp", &format!("{host}:{port}")).unwrap();
    // Port 1 (tcpmux) is never handed out by the system and nobody has served it for decades.
    Harness::new(Arc::new(TcpTransport::new()), move || at(0), at(1)).with_rude_peer(rude_peer)
}

async fn rude_peer(locator: Locator, how: Rudeness) {
    let address: SocketAddr = locator.rest().parse().unwrap();
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return;
    };
    match how {
        Rudeness::Garbage => drop(stream.write_all(&[0xff; 10_000]).await),
        // With no time to linger, dropping the socket resets the connection.
        Rudeness::Reset => socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap(),
        _ => {}
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
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            "[::1]"
        } else {
            "127.0.0.1"
        }
    }

    conformance_tests!(harness(host()));
}

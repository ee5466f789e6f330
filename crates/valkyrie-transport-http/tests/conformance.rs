//! The conformance suite over HTTP/2, plain and over TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use valkyrie_transport::conformance::{Harness, Rudeness};
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport::{Locator, Transport, conformance_tests};
use valkyrie_transport_http::HttpTransport;

fn harness(transport: HttpTransport) -> Harness {
    let scheme = transport.scheme();
    let at = move |port: u16| Locator::new(scheme, &format!("127.0.0.1:{port}")).unwrap();
    // Port 1 (tcpmux) is never handed out by the system and nobody has served it for decades.
    Harness::new(Arc::new(transport), move || at(0), at(1)).with_rude_peer(rude_peer)
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

mod http {
    use super::*;

    conformance_tests!(harness(HttpTransport::new()));
}

mod https {
    use super::*;

    conformance_tests!(harness(HttpTransport::secure(
        Certificates::self_signed(),
        Roots::Any
    )));
}

//! WebSocket over TLS, to the end and to a proxy that ends it: what is bound, what is sealed, and what is refused.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use valkyrie_endpoint::{ConnectError, Endpoint, ErrorCode, HandshakeError, Locator, Services};
use valkyrie_transport::tls::{Certificates, Roots};
use valkyrie_transport_ws::WsTransport;

use crate::people::{Person, who};
use crate::support::within;

const ALPN: &[&[u8]] = &[b"http/1.1"];

fn wss() -> WsTransport {
    WsTransport::secure(Certificates::self_signed(), Roots::Any)
}

/// What lies between a proxy and the endpoint behind it.
#[derive(Clone, Copy, Debug)]
enum Behind {
    Plain,
    Tls,
}

/// A proxy that ends TLS and passes on what is inside, and the locator to dial it by.
async fn proxy_to(behind: &Locator, how: Behind) -> Locator {
    let place: SocketAddr = behind.rest().trim_end_matches('/').parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Certificates::self_signed().server_config(ALPN).unwrap());
    let connector = TlsConnector::from(Roots::Any.client_config(ALPN).unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, connector) = (acceptor.clone(), connector.clone());
            // What goes wrong between two others is theirs to say.
            tokio::spawn(async move {
                let mut front = acceptor.accept(stream).await?;
                let mut back = TcpStream::connect(place).await?;
                match how {
                    Behind::Plain => copy_bidirectional(&mut front, &mut back).await,
                    Behind::Tls => {
                        let name = ServerName::try_from("localhost").unwrap();
                        let mut back = connector.connect(name, back).await?;
                        copy_bidirectional(&mut front, &mut back).await
                    }
                }
            });
        }
    });
    Locator::new("wss", &format!("{front}/")).unwrap()
}

/// Bob, listening behind a proxy of which he was told or not, and where to dial him.
async fn behind_a_proxy(bob: &Person, how: Behind, told: bool) -> (Endpoint, Locator) {
    let (transport, text) = match how {
        Behind::Plain => (WsTransport::new(), "ws://127.0.0.1:0/"),
        Behind::Tls if told => (wss().without_binding(), "wss://127.0.0.1:0/"),
        Behind::Tls => (wss(), "wss://127.0.0.1:0/"),
    };
    let server = bob.endpoint(transport, who(&Arc::default()));
    let place = server.listen(text).await.unwrap();
    let front = proxy_to(&place, how).await;
    (server, front)
}

#[tokio::test]
async fn tls_to_the_end_is_bound() {
    let (ada, bob) = Person::friends("ada", "bob");
    let server = bob.endpoint(wss(), who(&Arc::default()));
    let place = server.listen("wss://127.0.0.1:0/").await.unwrap();
    let client = ada.endpoint(wss(), Services::default());
    let connection = within(client.connect(&place)).await.unwrap();
    assert_eq!(connection.identity().fingerprint(), Some(bob.fingerprint));
    let answer = within(connection.call(("who", "am-i"), "")).await.unwrap();
    assert_eq!(answer, format!("ada ({}), pinned", ada.fingerprint).as_bytes());
}

#[tokio::test]
async fn a_proxy_that_ends_tls_is_found_out() {
    for how in [Behind::Plain, Behind::Tls] {
        let (ada, bob) = Person::friends("ada", "bob");
        let (_server, front) = behind_a_proxy(&bob, how, false).await;
        let client = ada.endpoint(wss(), Services::default());
        let error = within(client.connect(&front)).await.unwrap_err();
        let ConnectError::Handshake { source, .. } = &error else {
            panic!("{how:?}: {error}")
        };
        if let Behind::Plain = how {
            assert!(
                matches!(&**source, HandshakeError::RefusedInClear(refusal) if refusal.code == ErrorCode::DOWNGRADE),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn ends_that_are_told_of_the_proxy_get_through_sealed() {
    for how in [Behind::Plain, Behind::Tls] {
        let (ada, bob) = Person::friends("ada", "bob");
        let (_server, front) = behind_a_proxy(&bob, how, true).await;
        let client = ada.endpoint(wss().without_binding(), Services::default());
        let connection = within(client.connect(&front)).await.unwrap();
        assert_eq!(
            connection.identity().fingerprint(),
            Some(bob.fingerprint),
            "{how:?}"
        );
        let answer = within(connection.call(("who", "am-i"), "")).await.unwrap();
        assert_eq!(answer, format!("ada ({}), pinned", ada.fingerprint).as_bytes());
    }
}

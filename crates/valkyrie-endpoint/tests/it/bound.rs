//! Links that are encrypted themselves: the handshake is bound to the very link, and records are not sealed twice.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use valkyrie_endpoint::{
    ConnectError, ErrorCode, HandshakeError, Listener, Locator, Services, Transport, TransportError,
};
use valkyrie_security::Pattern;
use valkyrie_transport::mem::MemTransport;
use valkyrie_transport::{Action, BoxFuture, Capabilities, Lane, Link, reserve_for_read};

use crate::people::{Middle, Person, Way, who};
use crate::support::within;

fn contains(seen: &[u8], text: &str) -> bool {
    seen.windows(text.len()).any(|bytes| bytes == text.as_bytes())
}

#[tokio::test]
async fn a_bound_link_carries_frames_as_they_are_and_its_peers_are_known() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let mut middle = Middle::new(&mem);
    middle.bindings = Some([[7; 32]; 2]);
    let server = bob.endpoint(middle.clone(), who(&Arc::default()));
    server.listen("mem://bound").await.unwrap();
    let client = ada.endpoint(middle.clone(), Services::default());
    let mut patterns = Vec::new();
    for _ in 0..2 {
        let connection = within(client.connect("mem://bound")).await.unwrap();
        assert_eq!(connection.identity().fingerprint(), Some(bob.fingerprint));
        let answer = within(connection.call(("who", "am-i"), "")).await.unwrap();
        assert_eq!(answer, format!("ada ({}), pinned", ada.fingerprint).as_bytes());
        let large = Bytes::from(vec![9; 500_000]);
        assert_eq!(
            within(connection.call(("echo", "echo"), large.clone()))
                .await
                .unwrap(),
            large
        );
        patterns.push(connection.identity().suite().unwrap().suite().unwrap().pattern);
        // The link's own encryption is not there in this test, so the session is to be seen. Who they are is not.
        assert!(contains(&middle.seen(Way::There), "am-i"));
        assert!(!contains(&middle.seen(Way::There)[..4000], "ada"));
    }
    // Tickets come on bound channels too.
    assert_eq!(patterns, [Pattern::Xx, Pattern::IkPsk0]);
}

#[tokio::test]
async fn a_side_that_seals_everything_seals_on_bound_links() {
    let mem = MemTransport::new();
    let (mut ada, bob) = Person::friends("ada", "bob");
    let mut middle = Middle::new(&mem);
    middle.bindings = Some([[7; 32]; 2]);
    let server = bob.endpoint(middle.clone(), who(&Arc::default()));
    server.listen("mem://bound").await.unwrap();
    ada.security = ada.security.clone().with_bound_links_sealed(true);
    let client = ada.endpoint(middle.clone(), Services::default());
    let connection = within(client.connect("mem://bound")).await.unwrap();
    within(connection.call(("who", "am-i"), "")).await.unwrap();
    assert!(!contains(&middle.seen(Way::There), "am-i"));
}

#[tokio::test]
async fn two_links_that_somebody_joined_are_refused() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let mut middle = Middle::new(&mem);
    middle.bindings = Some([[7; 32], [8; 32]]);
    let server = bob.endpoint(middle.clone(), who(&Arc::default()));
    server.listen("mem://bound").await.unwrap();
    let client = ada.endpoint(middle, Services::default());
    let error = within(client.connect("mem://bound")).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error}");
}

#[tokio::test]
async fn an_acceptor_whose_link_gives_no_secret_takes_nothing_unsealed() {
    let mem = MemTransport::new();
    let (ada, bob) = Person::friends("ada", "bob");
    // Only the dialler believes that the link is safe.
    let server = bob.endpoint(mem.clone(), who(&Arc::default()));
    server.listen("mem://bound").await.unwrap();
    let mut middle = Middle::new(&mem);
    middle.bindings = Some([[7; 32]; 2]);
    let client = ada.endpoint(middle, Services::default());
    let error = within(client.connect("mem://bound")).await.unwrap_err();
    let ConnectError::Handshake { source, .. } = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(&**source, HandshakeError::RefusedInClear(refusal) if refusal.code == ErrorCode::DOWNGRADE),
        "{error}"
    );
}

#[tokio::test]
async fn over_tls_the_peers_of_the_handshake_are_the_ends_of_the_tls_session() {
    let tls = Tls::new();
    let (ada, bob) = Person::friends("ada", "bob");
    let server = bob.endpoint(tls.clone(), who(&Arc::default()));
    let place = server.listen("tls://127.0.0.1:0").await.unwrap();
    let client = ada.endpoint(tls.clone(), Services::default());
    let connection = within(client.connect(&place)).await.unwrap();
    assert_eq!(connection.identity().fingerprint(), Some(bob.fingerprint));
    let answer = within(connection.call(("who", "am-i"), "")).await.unwrap();
    assert_eq!(answer, format!("ada ({}), pinned", ada.fingerprint).as_bytes());
    let large = Bytes::from(vec![9; 2_000_000]);
    assert_eq!(
        within(connection.call(("echo", "echo"), large.clone()))
            .await
            .unwrap(),
        large
    );

    // Somebody whom TLS takes for the server joins two sessions.
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let joined: Locator = format!("tls://{}", between.local_addr().unwrap())
        .parse()
        .unwrap();
    let middle = tokio::spawn({
        let (tls, place) = (tls.clone(), place.clone());
        async move {
            let (socket, _) = between.accept().await.unwrap();
            let mut near = tls.acceptor.accept(socket).await.unwrap();
            let socket = TcpStream::connect(place.rest()).await.unwrap();
            let name = ServerName::try_from("valkyrie").unwrap();
            let mut far = tls.connector.connect(name, socket).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    });
    let error = within(client.connect(&joined)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error}");
    // The dialler finds out first: the second message does not verify.
    assert_eq!(client.security_stats().security_violations, 1);
    assert_eq!(server.connections().len(), 1);
    within(middle).await.unwrap();
}

/// TLS 1.3 over TCP, whose certificate nobody looks at: who is there is for the handshake to find out.
#[derive(Clone)]
struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    fn new() -> Self {
        let certified = rcgen::generate_simple_self_signed(["valkyrie".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = [&rustls::version::TLS13];
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        }
    }
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 alone".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Transport for Tls {
    fn scheme(&self) -> &'static str {
        "tls"
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        Box::pin(async move {
            let failed = |error| TransportError::from_io(Action::Dial, locator, error);
            let socket = TcpStream::connect(locator.rest()).await.map_err(failed)?;
            let peer = socket.peer_addr().map_err(failed)?;
            let name = ServerName::try_from("valkyrie").unwrap();
            let stream = self.connector.connect(name, socket).await.map_err(failed)?;
            Ok(Box::new(TlsLink::new(stream.into(), peer)) as Box<dyn Link>)
        })
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            let failed = |error| TransportError::from_io(Action::Listen, locator, error);
            let socket = TcpListener::bind(locator.rest()).await.map_err(failed)?;
            let address = socket.local_addr().map_err(failed)?;
            let (send, links) = mpsc::channel(16);
            let acceptor = self.acceptor.clone();
            tokio::spawn(async move {
                while let Ok((socket, peer)) = socket.accept().await {
                    let Ok(stream) = acceptor.accept(socket).await else {
                        continue;
                    };
                    if send.send(TlsLink::new(stream.into(), peer)).await.is_err() {
                        return;
                    }
                }
            });
            let locator = format!("tls://{address}").parse().unwrap();
            Ok(Box::new(TlsListener { locator, links }) as Box<dyn Listener>)
        })
    }
}

struct TlsListener {
    locator: Locator,
    links: mpsc::Receiver<TlsLink>,
}

impl Listener for TlsListener {
    fn locator(&self) -> &Locator {
        &self.locator
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        match self.links.poll_recv(cx) {
            Poll::Ready(Some(link)) => Poll::Ready(Ok(Box::new(link))),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

struct TlsLink {
    stream: TlsStream<TcpStream>,
    peer: SocketAddr,
    binding: [u8; 32],
}

impl TlsLink {
    fn new(stream: TlsStream<TcpStream>, peer: SocketAddr) -> Self {
        let label = b"EXPORTER-valkyrie-2";
        let binding = match &stream {
            TlsStream::Client(client) => client.get_ref().1.export_keying_material([0; 32], label, None),
            TlsStream::Server(server) => server.get_ref().1.export_keying_material([0; 32], label, None),
        };
        Self {
            binding: binding.unwrap(),
            stream,
            peer,
        }
    }
}

impl Link for TlsLink {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().with_secure(true)
    }

    fn peer(&self) -> String {
        format!("tls {}", self.peer)
    }

    fn peer_address(&self) -> Option<IpAddr> {
        Some(self.peer.ip())
    }

    fn channel_binding(&self) -> Option<[u8; 32]> {
        Some(self.binding)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, lane: Lane, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        // What TLS holds of what was written goes out beside the reading.
        let _ = Pin::new(&mut self.stream).poll_flush(cx)?;
        reserve_for_read(buf);
        pin!(self.stream.read_buf(buf)).poll(cx)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        lane: Lane,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lane.check(1)?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)?;
        let _ = Pin::new(&mut self.stream).poll_flush(cx)?;
        written.map(Ok)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

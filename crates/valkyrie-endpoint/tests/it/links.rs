//! Listening and dialling over every scheme, and what an accept loop survives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use valkyrie_endpoint::{
    AccessPolicy, Connection, Endpoint, Listener, Locator, Services, Transport, TransportError,
};
use valkyrie_transport::mem::MemTransport;
use valkyrie_transport::{Action, BoxFuture, Link};
use valkyrie_transport_tcp::TcpTransport;
use valkyrie_transport_uds::UdsTransport;

use crate::support::{echo, within};

fn endpoint(services: Services) -> Endpoint {
    Endpoint::builder()
        .transport(TcpTransport::default())
        .transport(UdsTransport::default())
        .transport(MemTransport::process_wide())
        .services(services)
        .policy(AccessPolicy::allow_authenticated())
        .build()
        .unwrap()
}

async fn echoes(connection: &Connection) {
    for size in [0, 1, 64, 5000, 1_000_000] {
        let payload = Bytes::from(vec![3; size]);
        assert_eq!(
            within(connection.call(("echo", "echo"), payload.clone()))
                .await
                .unwrap(),
            payload
        );
    }
}

#[tokio::test]
async fn one_endpoint_listens_on_and_dials_every_scheme() {
    let server = endpoint(echo());
    let client = endpoint(Services::default());
    let abstract_name = format!("uds://@valkyrie-endpoint-{}", std::process::id());
    for place in [
        "tcp://127.0.0.1:0",
        "tcp://[::1]:0",
        &abstract_name,
        "mem://links",
    ] {
        let bound = match server.listen(place).await {
            Ok(bound) => bound,
            // A machine without IPv6.
            Err(_) if place.contains("::1") => continue,
            Err(error) => panic!("{place}: {error}"),
        };
        let connection = within(client.connect(&bound)).await.unwrap();
        assert!(
            connection.peer().starts_with(bound.scheme()),
            "{}",
            connection.peer()
        );
        echoes(&connection).await;
    }
}

#[tokio::test]
async fn the_accept_loop_survives_garbage() {
    let server = endpoint(echo());
    let bound = server.listen("tcp://127.0.0.1:0").await.unwrap();
    let address = bound.rest().to_owned();
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: valkyrie\r\n\r\n"[..],
        &[0; 4096],
        &[0x52, 0x43],
        b"",
    ] {
        let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        if garbage.len() > 2 {
            // It is told that it makes no sense, and then hung up on.
            let mut rest = Vec::new();
            let _ = within(socket.read_to_end(&mut rest)).await;
        }
        drop(socket);
    }
    let mut half_open = Vec::new();
    for _ in 0..50 {
        half_open.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    let client = endpoint(Services::default());
    echoes(&within(client.connect(&bound)).await.unwrap()).await;
}

#[tokio::test]
async fn an_endpoint_that_is_dropped_stops_listening_and_its_connections_live() {
    let server = endpoint(echo());
    let bound = server.listen("tcp://127.0.0.1:0").await.unwrap();
    let client = endpoint(Services::default());
    let connection = within(client.connect(&bound)).await.unwrap();
    drop(server);
    echoes(&connection).await;
    within(async {
        while client.connect(&bound).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_hung_up_on_and_the_others_live() {
    let server = Endpoint::builder()
        .transport(TcpTransport::default())
        .services(echo())
        .policy(AccessPolicy::allow_authenticated())
        .connections_max(2)
        .build()
        .unwrap();
    let bound = server.listen("tcp://127.0.0.1:0").await.unwrap();
    let client = endpoint(Services::default());
    let first = within(client.connect(&bound)).await.unwrap();
    let second = within(client.connect(&bound)).await.unwrap();
    assert!(within(client.connect(&bound)).await.is_err());
    echoes(&first).await;
    first.close();
    within(first.closed()).await;
    within(async {
        while server.connections().len() > 1 {
            tokio::task::yield_now().await
        }
    })
    .await;
    echoes(&second).await;
}

/// A transport whose listener fails every other time.
#[derive(Clone)]
struct Flaky(MemTransport, Arc<AtomicUsize>);

struct FlakyListener(Box<dyn Listener>, Arc<AtomicUsize>);

impl Transport for Flaky {
    fn scheme(&self) -> &'static str {
        self.0.scheme()
    }

    fn dial<'a>(&'a self, locator: &'a Locator) -> BoxFuture<'a, Result<Box<dyn Link>, TransportError>> {
        self.0.dial(locator)
    }

    fn listen<'a>(
        &'a self,
        locator: &'a Locator,
    ) -> BoxFuture<'a, Result<Box<dyn Listener>, TransportError>> {
        Box::pin(async move {
            let inner = self.0.listen(locator).await?;
            Ok(Box::new(FlakyListener(inner, Arc::clone(&self.1))) as Box<dyn Listener>)
        })
    }
}

impl Listener for FlakyListener {
    fn locator(&self) -> &Locator {
        self.0.locator()
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Link>, TransportError>> {
        if self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            let error = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
            return Poll::Ready(Err(TransportError::from_io(
                Action::Accept,
                self.0.locator(),
                error,
            )));
        }
        self.0.poll_accept(cx)
    }
}

#[tokio::test]
async fn the_accept_loop_survives_a_listener_that_fails() {
    let errors = Arc::new(AtomicUsize::new(0));
    let transport = Flaky(MemTransport::new(), Arc::clone(&errors));
    let server = Endpoint::builder()
        .transport(transport.clone())
        .services(echo())
        .policy(AccessPolicy::allow_authenticated())
        .build()
        .unwrap();
    let bound = server.listen("mem://flaky").await.unwrap();
    let client = Endpoint::builder().transport(transport).build().unwrap();
    for _ in 0..20 {
        echoes(&within(client.connect(&bound)).await.unwrap()).await;
    }
    assert!(errors.load(Ordering::Relaxed) >= 20);
}

#[tokio::test]
async fn a_link_that_breaks_ends_the_connection_and_its_calls() {
    let services = Services::builder()
        .unary("never", "answers", |_, _| std::future::pending())
        .build()
        .unwrap();
    let transport = MemTransport::new();
    let server = Endpoint::builder()
        .transport(transport.clone())
        .services(services)
        .policy(AccessPolicy::allow_authenticated())
        .build()
        .unwrap();
    // The server lives on a runtime of its own, which is shut down under it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let bound = {
        let server = server.clone();
        runtime
            .spawn(async move { server.listen("mem://breaks").await.unwrap() })
            .await
            .unwrap()
    };
    let client = Endpoint::builder().transport(transport).build().unwrap();
    let connection = within(client.connect(&bound)).await.unwrap();
    let calling = connection.clone();
    let call = tokio::spawn(async move { calling.call(("never", "answers"), "").await });
    within(connection.ping()).await.unwrap();
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10)))
        .await
        .unwrap();
    assert!(within(call).await.unwrap().is_err());
    assert!(within(connection.closed()).await.is_transient());
}

//! gRPC over HTTP/2 with tonic, written by hand so that no compiler of interface files is needed.
//!
//! The codec (`codec.rs`) passes bytes through, which spares tonic the cost of Protocol Buffers, and its windows are opened wide.

mod codec;

use std::any::Any;
use std::convert::Infallible;
use std::future::{Ready as Immediate, ready as immediately};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::client;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Service, http};
use tonic::server::{self, ClientStreamingService, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use self::codec::BytesCodec;
use super::{Client, Ready, Running};
use crate::address::{Address, Socket};
use crate::failure::Failure;
use crate::frames::Listener;
use crate::load::{Caller, Done, Load, call_once, closed_loop};
use crate::scenario::Shape;

/// Serves with tonic's own server.
pub(super) async fn serve(socket: Socket, ready: Ready) -> Result<(), Failure> {
    let (listener, address) = Listener::bind(socket).await?;
    ready(address);
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(Bench);
    let ended = match listener {
        Listener::Tcp(listener) => {
            server
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
                .await
        }
        Listener::Uds(listener) => {
            server
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
        }
    };
    ended.map_err(Failure::of("tonic"))
}

/// Opens one channel.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    Ok(Box::new(open(address).await?))
}

/// Opens one channel and makes one call.
pub(super) async fn connect_idle(address: &Address) -> Result<Box<dyn Any>, Failure> {
    let client = open(address).await?;
    call_once(client.clone(), &Bytes::from_static(&[7; 64])).await?;
    Ok(Box::new(client))
}

async fn open(address: &Address) -> Result<TonicClient, Failure> {
    let uri = match address {
        Address::Uds(path) => format!("unix://{}", path.display()),
        other => format!("http://{}", other.port()?),
    };
    let channel = Endpoint::from_shared(uri)
        .map_err(Failure::of("tonic"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect()
        .await
        .map_err(Failure::of("tonic"))?;
    Ok(TonicClient {
        grpc: client::Grpc::new(channel),
    })
}

#[derive(Clone)]
struct TonicClient {
    grpc: client::Grpc<Channel>,
}

impl Caller for TonicClient {
    async fn call(&mut self, payload: Bytes) -> Result<Bytes, Failure> {
        self.grpc.ready().await.map_err(Failure::of("tonic"))?;
        let path = PathAndQuery::from_static(ECHO);
        let answer = self.grpc.unary(Request::new(payload), path, BytesCodec).await;
        answer.map(Response::into_inner).map_err(Failure::of("tonic"))
    }
}

impl Client for TonicClient {
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done> {
        Box::pin(async move {
            match shape {
                Shape::Unary { .. } => closed_loop(self, load).await,
                Shape::Echo { .. } => Err(Failure::Control("echoes no streams".to_owned())),
                Shape::Stream => self.stream(load).await,
            }
        })
    }
}

impl TonicClient {
    /// One streaming call; the answer is the number of messages that arrived.
    async fn stream(&mut self, load: &Load) -> Result<Done, Failure> {
        self.grpc.ready().await.map_err(Failure::of("tonic"))?;
        let began = Instant::now();
        let (sent, messages) = tokio::sync::oneshot::channel();
        let source = Source {
            load: load.clone(),
            end: began + load.duration,
            made: 0,
            sent: Some(sent),
        };
        let path = PathAndQuery::from_static(SINK);
        let answer = self
            .grpc
            .client_streaming(Request::new(source), path, BytesCodec)
            .await;
        let count = answer.map_err(Failure::of("tonic"))?.into_inner();
        let messages = messages.await.map_err(Failure::of("tonic"))?;
        let received = count.first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
        if received != messages {
            return Err(Failure::Lost {
                sent: messages,
                received,
            });
        }
        Ok(Done {
            messages,
            elapsed: began.elapsed(),
            latency_ns: None,
        })
    }
}

/// Yields the payload until the time is up.
struct Source {
    load: Load,
    end: Instant,
    made: u64,
    sent: Option<tokio::sync::oneshot::Sender<u64>>,
}

impl tokio_stream::Stream for Source {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.made.is_multiple_of(MESSAGES_PER_CLOCK) && Instant::now() >= self.end {
            if let Some(sent) = self.sent.take() {
                // The driver's side of the call may have failed first, and says so itself.
                let _ = sent.send(self.made);
            }
            return Poll::Ready(None);
        }
        self.made += 1;
        Poll::Ready(Some(self.load.payload.clone()))
    }
}

/// The service `peers.Bench`.
#[derive(Clone)]
struct Bench;

impl NamedService for Bench {
    const NAME: &'static str = "peers.Bench";
}

type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Bench {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        match request.uri().path() {
            ECHO => Box::pin(async move { Ok(server::Grpc::new(BytesCodec).unary(Echo, request).await) }),
            SINK => Box::pin(async move {
                Ok(server::Grpc::new(BytesCodec)
                    .client_streaming(Sink, request)
                    .await)
            }),
            _ => Box::pin(immediately(Ok(
                Status::unimplemented("no such method").into_http()
            ))),
        }
    }
}

struct Echo;

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Immediate<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        immediately(Ok(Response::new(request.into_inner())))
    }
}

struct Sink;

impl ClientStreamingService<Bytes> for Sink {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let mut messages = request.into_inner();
            let mut count = 0_u64;
            while messages.message().await?.is_some() {
                count += 1;
            }
            Ok(Response::new(Bytes::copy_from_slice(&count.to_le_bytes())))
        })
    }
}

const ECHO: &str = "/peers.Bench/Echo";
const SINK: &str = "/peers.Bench/Sink";
/// As for Valkyrie's streams; tonic's own default of 64 KiB would hold up large messages.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Reading the clock for each message would be a good part of the cost of a small one.
const MESSAGES_PER_CLOCK: u64 = 64;

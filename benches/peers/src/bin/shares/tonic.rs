//! tonic's part: four methods of one service, called over one channel, and a unary call beside them.
//!
//! gRPC has no classes. HTTP/2 had priorities, which its second edition deprecates and tonic never had; streams take turns.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{Service, http};
use tonic::server::{self, ClientStreamingService, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming, client};

use crate::codec::BytesCodec;
use crate::measure::{BLOCK, CALL, Flows, PORT, Run, STREAMS, lay};
use crate::netns::{End, Missing};

/// Sends four times [`STREAMS`] client-streaming calls over one channel.
pub(crate) fn measure(kbit: u32, seconds: u64) -> Result<Run, Missing> {
    let cable = lay(kbit)?;
    let host = cable.ipv4(End::Far);
    let flows = Flows::default();
    let (ready, is_ready) = oneshot::channel();
    let (over, is_over) = oneshot::channel::<()>();
    let server = cable.run_at(End::Far, {
        let flows = flows.clone();
        async move {
            let listener = TcpListener::bind((host, PORT)).await.expect("it is free");
            ready.send(()).expect("the dialler waits");
            let serving = Server::builder()
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .add_service(Shares { flows })
                .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
            tokio::select! {
                served = serving => served.expect("it serves until the end"),
                _ = is_over => {}
            }
        }
    });
    let dialler = cable.run_at(End::Near, async move {
        is_ready.await.expect("it listens");
        let channel = Endpoint::from_shared(format!("http://{host}:{PORT}"))
            .expect("an address")
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .connect()
            .await
            .expect("it answers");
        for (flow, path) in FLOWS.into_iter().enumerate() {
            for _ in 0..STREAMS {
                let (mut grpc, source) = (
                    ready_client(&channel).await,
                    Source {
                        flows: flows.clone(),
                        flow,
                    },
                );
                tokio::spawn(async move {
                    let path = PathAndQuery::from_static(path);
                    // The last flow is still sending when the connection ends.
                    let _ = grpc
                        .client_streaming(Request::new(source), path, BytesCodec)
                        .await;
                });
            }
        }
        let seen = flows.observe(seconds, || {
            let channel = channel.clone();
            async move {
                let mut grpc = ready_client(&channel).await;
                let path = PathAndQuery::from_static(URGENT);
                let answer = grpc.unary(Request::new(CALL), path, BytesCodec).await;
                answer.expect("it is answered");
            }
        });
        let seen = seen.await;
        let _ = over.send(());
        seen
    });
    let seen = dialler.result();
    server.result();
    Ok(Run {
        scheme: "tonic over tcp",
        flows: ["first", "second", "third", "fourth"],
        wanted: None,
        seconds,
        seen,
    })
}

async fn ready_client(channel: &Channel) -> client::Grpc<Channel> {
    let mut grpc = client::Grpc::new(channel.clone());
    grpc.ready().await.expect("the channel is open");
    grpc
}

/// Yields blocks until the flow is to be silent.
struct Source {
    flows: Flows,
    flow: usize,
}

impl tokio_stream::Stream for Source {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let block = (!self.flows.is_silent(self.flow)).then_some(Bytes::from_static(&BLOCK));
        Poll::Ready(block)
    }
}

/// The service `peers.Shares`.
#[derive(Clone)]
struct Shares {
    flows: Flows,
}

impl NamedService for Shares {
    const NAME: &'static str = "peers.Shares";
}

type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl Service<http::Request<Body>> for Shares {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answering {
        let path = request.uri().path();
        if path == URGENT {
            return Box::pin(async move { Ok(server::Grpc::new(BytesCodec).unary(Echo, request).await) });
        }
        let Some(flow) = FLOWS.into_iter().position(|flow| flow == path) else {
            return Box::pin(ready(Ok(Status::unimplemented("no such method").into_http())));
        };
        let sink = Sink {
            flows: self.flows.clone(),
            flow,
        };
        Box::pin(async move {
            Ok(server::Grpc::new(BytesCodec)
                .client_streaming(sink, request)
                .await)
        })
    }
}

struct Echo;

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

/// Counts what arrives.
struct Sink {
    flows: Flows,
    flow: usize,
}

impl ClientStreamingService<Bytes> for Sink {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (flows, flow) = (self.flows.clone(), self.flow);
        Box::pin(async move {
            let mut messages = request.into_inner();
            while let Some(message) = messages.message().await? {
                flows.arrived(flow, message.len());
            }
            Ok(Response::new(Bytes::new()))
        })
    }
}

const FLOWS: [&str; 4] = [
    "/peers.Shares/First",
    "/peers.Shares/Second",
    "/peers.Shares/Third",
    "/peers.Shares/Fourth",
];
const URGENT: &str = "/peers.Shares/Urgent";
/// As in the measurements beside other libraries, and more than the cable holds.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

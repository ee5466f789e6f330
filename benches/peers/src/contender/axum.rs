//! Requests to a bare axum handler, as an RPC over HTTP is commonly had: a `POST` for each call, whose answer is its body.
//!
//! The client is hyper's own connection, without a pool or a URL to look at. Over HTTP/1.1 a connection carries one call at a
//! time, so there are as many connections as calls in flight.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::post;
use axum::serve::ListenerExt;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Client, Ready, Running};
use crate::address::{Address, Socket};
use crate::failure::Failure;
use crate::frames::{self, Listener};
use crate::load::{Caller, Done, Load, closed_loop};
use crate::scenario::Shape;

/// Serves both versions of HTTP on one port.
pub(super) async fn serve(socket: Socket, ready: Ready) -> Result<(), Failure> {
    let (Listener::Tcp(listener), address) = Listener::bind(socket).await? else {
        return Err(Failure::Control(format!("speaks no HTTP over {socket}")));
    };
    ready(address);
    let router = Router::new().route(PATH, post(|body: Bytes| async move { body }));
    let listener = listener.tap_io(|stream| {
        // Without it the calls are slower and still right.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await.map_err(Failure::io("serve"))
}

/// Opens connections of HTTP/1.1 as they are needed.
pub(super) async fn connect_h1(address: &Address) -> Result<Box<dyn Client>, Failure> {
    let address = address.port()?;
    let free = Arc::default();
    Ok(Box::new(Http1 {
        address,
        free,
        own: None,
    }))
}

/// Opens one connection of HTTP/2.
pub(super) async fn connect_h2(address: &Address) -> Result<Box<dyn Client>, Failure> {
    let stream = frames::dial_tcp(address.port()?).await?;
    let (requests, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::of(H2))?;
    tokio::spawn(connection);
    Ok(Box::new(Http2 { requests }))
}

fn request(payload: Bytes) -> Result<http::Request<Full<Bytes>>, Failure> {
    http::Request::post(format!("http://localhost{PATH}"))
        .header(http::header::HOST, "localhost")
        .body(Full::new(payload))
        .map_err(Failure::of("http"))
}

async fn body(name: &'static str, response: http::Response<hyper::body::Incoming>) -> Result<Bytes, Failure> {
    if response.status() != http::StatusCode::OK {
        return Err(Failure::of(name)(response.status()));
    }
    let collected = response.into_body().collect().await.map_err(Failure::of(name))?;
    Ok(collected.to_bytes())
}

/// One caller's connection, which others use once it is done.
struct Http1 {
    address: SocketAddr,
    free: Arc<Mutex<Vec<Connection>>>,
    own: Option<Connection>,
}

type Connection = http1::SendRequest<Full<Bytes>>;

impl Clone for Http1 {
    fn clone(&self) -> Self {
        Self {
            address: self.address,
            free: Arc::clone(&self.free),
            own: None,
        }
    }
}

impl Drop for Http1 {
    fn drop(&mut self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend(self.own.take());
    }
}

impl Caller for Http1 {
    async fn call(&mut self, payload: Bytes) -> Result<Bytes, Failure> {
        let own = match &mut self.own {
            Some(own) => own,
            none => {
                let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let fresh = match free {
                    Some(free) => free,
                    None => {
                        let stream = frames::dial_tcp(self.address).await?;
                        let shaken = http1::handshake(TokioIo::new(stream)).await;
                        let (requests, connection) = shaken.map_err(Failure::of(H1))?;
                        tokio::spawn(connection);
                        requests
                    }
                };
                none.insert(fresh)
            }
        };
        own.ready().await.map_err(Failure::of(H1))?;
        let response = own
            .send_request(request(payload)?)
            .await
            .map_err(Failure::of(H1))?;
        body(H1, response).await
    }
}

#[derive(Clone)]
struct Http2 {
    requests: http2::SendRequest<Full<Bytes>>,
}

impl Caller for Http2 {
    async fn call(&mut self, payload: Bytes) -> Result<Bytes, Failure> {
        self.requests.ready().await.map_err(Failure::of(H2))?;
        let response = self.requests.send_request(request(payload)?).await;
        body(H2, response.map_err(Failure::of(H2))?).await
    }
}

impl Client for Http1 {
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done> {
        Box::pin(async move {
            match shape {
                Shape::Unary { .. } => closed_loop(self, load).await,
                Shape::Echo { .. } | Shape::Stream => Err(Failure::Control("streams nothing".to_owned())),
            }
        })
    }
}

impl Client for Http2 {
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done> {
        Box::pin(async move {
            match shape {
                Shape::Unary { .. } => closed_loop(self, load).await,
                Shape::Echo { .. } | Shape::Stream => Err(Failure::Control("streams nothing".to_owned())),
            }
        })
    }
}

const H1: &str = "axum-h1";
const H2: &str = "axum-h2";
const PATH: &str = "/echo";

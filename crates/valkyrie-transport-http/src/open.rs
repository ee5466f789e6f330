//! The opening: one request and its answer, from either end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::{CACHE_CONTROL, CONTENT_TYPE as CONTENT_TYPE_FIELD, HeaderMap};
use http::{Method, Request, Response, StatusCode};

use crate::conn::{self, Conn};
use crate::error::OpenError;
use crate::io::Io;
use crate::plain::expect_http2;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::state::Opened;
use crate::stream::Stream;

/// Asks for a link at the place `authority`.
//= protocol/transports.md#http
pub(crate) async fn request(stream: Stream, scheme: &str, authority: &str) -> Result<Opened, OpenError> {
    let (io, gauge) = Io::new(stream, Default::default());
    let (mut requests, conn) = conn::client()
        .handshake::<_, Bytes>(io)
        .await
        .map_err(OpenError::from_h2)?;
    let request = Request::post(format!("{scheme}://{authority}{LINK_PATH}"))
        .header(CONTENT_TYPE_FIELD, CONTENT_TYPE)
        .header(CACHE_CONTROL, "no-store")
        .body(())
        .map_err(|error| OpenError::NotHttp2(error.to_string()))?;
    let (response, send) = requests
        .send_request(request, false)
        .map_err(OpenError::from_h2)?;
    let mut conn = Conn::Client(Box::new(conn));
    let response = answer(&mut conn, response).await?;
    if response.status() != StatusCode::OK {
        return Err(OpenError::Status {
            status: response.status().as_u16(),
        });
    }
    if !is_link(response.headers()) {
        return Err(OpenError::NoLink);
    }
    let mut recv = response.into_body();
    let early = greeting(&mut conn, &mut recv).await?;
    Ok(Opened {
        conn,
        send,
        recv,
        early,
        gauge,
    })
}

/// Takes the first byte of the answer's body. What came with it is returned.
async fn greeting(conn: &mut Conn, recv: &mut RecvStream) -> Result<BytesMut, OpenError> {
    let first = poll_fn(|cx| {
        let over = conn.poll(cx);
        if let Poll::Ready(first) = recv.poll_data(cx) {
            let first = first.transpose().map_err(OpenError::from_h2);
            return Poll::Ready(first.and_then(|first| first.ok_or(OpenError::HungUp)));
        }
        over.map(|over| Err(over.map_or_else(OpenError::from_h2, |()| OpenError::HungUp)))
    });
    let first = first.await?;
    let Some(rest) = first.strip_prefix(GREETING) else {
        return Err(OpenError::NoLink);
    };
    recv.flow_control()
        .release_capacity(GREETING.len())
        .map_err(OpenError::from_h2)?;
    Ok(BytesMut::from(rest))
}

/// The answer to a request, while the connection it comes on is driven.
async fn answer(conn: &mut Conn, response: ResponseFuture) -> Result<Response<RecvStream>, OpenError> {
    let mut response = pin!(response);
    poll_fn(|cx| {
        let over = conn.poll(cx);
        if let Poll::Ready(answered) = response.as_mut().poll(cx) {
            return Poll::Ready(answered.map_err(OpenError::from_h2));
        }
        over.map(|over| Err(over.map_or_else(OpenError::from_h2, |()| OpenError::HungUp)))
    })
    .await
}

/// Waits for the request of a link and grants it. Whatever else the peer asks for it is told so, and the connection ends.
//= protocol/transports.md#http
pub(crate) async fn accept(mut stream: Stream) -> Result<Opened, OpenError> {
    let ahead = expect_http2(&mut stream).await?;
    let (io, gauge) = Io::new(stream, ahead);
    let mut conn = conn::server()
        .handshake::<_, Bytes>(io)
        .await
        .map_err(OpenError::from_h2)?;
    let asked = conn.accept().await.ok_or(OpenError::HungUp)?;
    let (request, mut respond) = asked.map_err(OpenError::from_h2)?;
    // A connection carries one link: whoever keeps connections to use them again is told that this one is not.
    conn.graceful_shutdown();
    if let Some(problem) = judge(&request) {
        turn_away(&mut respond, problem)?;
        drop((request, respond));
        // Until the peer has the answer and hangs up; the time for an opening bounds it.
        poll_fn(|cx| conn.poll_closed(cx))
            .await
            .map_err(OpenError::from_h2)?;
        return Err(OpenError::Turned {
            status: problem.status,
            why: problem.detail,
        });
    }
    let response = Response::builder()
        .header(CONTENT_TYPE_FIELD, CONTENT_TYPE)
        .header(CACHE_CONTROL, "no-store")
        // nginx, and those that follow it, would gather the answer before they pass it on.
        .header("x-accel-buffering", "no")
        .body(())
        .map_err(|error| OpenError::NotHttp2(error.to_string()))?;
    let mut send = respond
        .send_response(response, false)
        .map_err(OpenError::from_h2)?;
    send.send_data(Bytes::from_static(GREETING), false)
        .map_err(OpenError::from_h2)?;
    let mut conn = Conn::Server(Box::new(conn));
    // Once, so that the answer is on its way when the link is handed out.
    let first = poll_fn(|cx| Poll::Ready(conn.poll(cx))).await;
    if let Poll::Ready(over) = first {
        return Err(over.map_or_else(OpenError::from_h2, |()| OpenError::HungUp));
    }
    Ok(Opened {
        conn,
        send,
        recv: request.into_body(),
        early: BytesMut::new(),
        gauge,
    })
}

/// What is wrong with a request, if anything.
fn judge<T>(request: &Request<T>) -> Option<Problem> {
    if request.uri().path() != LINK_PATH {
        return Some(NOT_FOUND);
    }
    if request.method() != Method::POST {
        return Some(METHOD);
    }
    // A web page cannot send this type to another origin unasked, so no page opens a link in its reader's name.
    (!is_link(request.headers())).then_some(UNSUPPORTED)
}

fn is_link(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE_FIELD)
        .is_some_and(|value| value.as_bytes() == CONTENT_TYPE.as_bytes())
}

fn turn_away(respond: &mut SendResponse<Bytes>, problem: Problem) -> Result<(), OpenError> {
    let mut response = Response::builder()
        .status(problem.status)
        .header(CONTENT_TYPE_FIELD, PROBLEM_JSON);
    if let Some((name, value)) = problem.field {
        response = response.header(name, value);
    }
    let response = response
        .body(())
        .map_err(|error| OpenError::NotHttp2(error.to_string()))?;
    let mut body: SendStream<Bytes> = respond
        .send_response(response, false)
        .map_err(OpenError::from_h2)?;
    body.send_data(problem.json().into(), true)
        .map_err(OpenError::from_h2)
}

const NOT_FOUND: Problem = Problem::new(
    404,
    "Not Found",
    "Nothing but links is served here. Services are given to HTTP clients by a gateway.",
);
const METHOD: Problem =
    Problem::new(405, "Method Not Allowed", "A link is opened with POST.").with_field("allow", "POST");
const UNSUPPORTED: Problem = Problem::new(
    415,
    "Unsupported Media Type",
    "A link is opened with the content type application/vnd.valkyrie.v2.",
);

/// The path of every link.
pub const LINK_PATH: &str = "/v2/link";

/// How the acceptor's body begins. Some proxies keep the head of an answer to themselves until its body begins: nginx does,
/// above TLS.
const GREETING: &[u8] = b"V";

/// The content type of both bodies of a link.
pub const CONTENT_TYPE: &str = "application/vnd.valkyrie.v2";

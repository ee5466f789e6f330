//! Answers as Server-Sent Events.
//!
//! Each answer is an event; text goes as it is, a line of `data` for each of its lines, and what is not text as base64 in an
//! event named `bytes`. The last event is `end`, or `error` with what would be the body of a failure.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};
use valkyrie_frame::ErrorCode;

use super::answer::failure_json;
use super::upstream::{Failure, Replies};

/// A streaming answer that lasts until `deadline` at most.
//= protocol/transports.md#gateway
pub(super) fn events(replies: Box<dyn Replies>, deadline: Instant) -> Response<Body> {
    let mut response = Response::new(Body::new(Events {
        replies: Some(replies),
        deadline,
        timer: Box::pin(sleep_until(deadline.min(Instant::now() + KEEPALIVE_INTERVAL))),
    }));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx, and those that follow it, would gather events before they pass them on.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Events {
    /// Gone after the last event.
    replies: Option<Box<dyn Replies>>,
    deadline: Instant,
    /// Whichever comes first of the deadline and the next sign of life.
    timer: Pin<Box<Sleep>>,
}

impl Events {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(replies) = &mut self.replies else {
            return Poll::Ready(None);
        };
        let event = match replies.poll_next(cx) {
            Poll::Ready(Some(Ok(reply))) => {
                self.rest();
                return Poll::Ready(Some(event(&reply)));
            }
            Poll::Ready(Some(Err(failure))) => error_event(&failure),
            Poll::Ready(None) => Bytes::from_static(b"event: end\ndata:\n\n"),
            Poll::Pending => {
                if self.timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if Instant::now() < self.deadline {
                    self.rest();
                    // The new timer learns the waker when it is polled.
                    cx.waker().wake_by_ref();
                    return Poll::Ready(Some(Bytes::from_static(b":\n\n")));
                }
                error_event(&Failure::new(
                    ErrorCode::DEADLINE_EXCEEDED,
                    "the time that the client allowed is over",
                ))
            }
        };
        self.replies = None;
        Poll::Ready(Some(event))
    }

    fn rest(&mut self) {
        let next = Instant::now() + KEEPALIVE_INTERVAL;
        self.timer.as_mut().reset(next.min(self.deadline));
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_event(cx)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }

    fn is_end_stream(&self) -> bool {
        self.replies.is_none()
    }
}

/// One answer.
pub(super) fn event(reply: &[u8]) -> Bytes {
    let text = std::str::from_utf8(reply)
        .ok()
        // A carriage return would end a line, and come out as another letter.
        .filter(|text| !text.contains('\r'));
    let mut event = String::with_capacity(reply.len() + 16);
    match text {
        Some(text) => {
            for line in text.split('\n') {
                event.push_str("data: ");
                event.push_str(line);
                event.push('\n');
            }
        }
        None => {
            event.push_str("event: bytes\ndata: ");
            STANDARD.encode_string(reply, &mut event);
            event.push('\n');
        }
    }
    event.push('\n');
    event.into()
}

fn error_event(failure: &Failure) -> Bytes {
    let status =
        StatusCode::from_u16(failure.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    format!("event: error\ndata: {}\n\n", failure_json(failure, status)).into()
}

/// How long a stream of events may be silent before a comment says that it lives. Proxies cut what is silent for a minute.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

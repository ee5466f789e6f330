//! Those who do not speak HTTP/2: what they speak is found out from their first bytes, and HTTP/1 is answered.

use std::time::Duration;

use bytes::BytesMut;
use httparse::{EMPTY_HEADER, Request, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::conn::HEAD_BYTES_MAX;
use crate::error::OpenError;
use crate::open::LINK_PATH;
use crate::problem::{PROBLEM_JSON, Problem};
use crate::stream::Stream;

/// Reads until it is clear that the peer speaks HTTP/2, and gives back what was read; answers it where it does not.
pub(crate) async fn expect_http2(stream: &mut Stream) -> Result<BytesMut, OpenError> {
    let mut buf = BytesMut::new();
    let problem = loop {
        let bounded = HEAD_BYTES_MAX as usize - buf.len().min(HEAD_BYTES_MAX as usize);
        buf.reserve(bounded.clamp(1, PREFACE.len() * 8));
        match stream.read_buf(&mut buf).await {
            Ok(0) => return Err(OpenError::HungUp),
            Ok(_) => {}
            Err(error) => return Err(OpenError::from_io(error)),
        }
        if buf.starts_with(PREFACE) {
            return Ok(buf);
        }
        if PREFACE.starts_with(&buf) {
            continue;
        }
        if buf.starts_with(TLS_RECORD) {
            return Err(OpenError::TlsOnPlain);
        }
        match judge(&buf) {
            Some(problem) => break problem,
            None if buf.len() >= HEAD_BYTES_MAX as usize => break TOO_LONG,
            None => {}
        }
    };
    answer(stream, problem).await?;
    Err(OpenError::Turned {
        status: problem.status,
        why: problem.detail,
    })
}

/// The answer to what is no HTTP/2; `None` as long as the head has not arrived.
fn judge(bytes: &[u8]) -> Option<Problem> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Partial) => None,
        Ok(Status::Complete(_)) => {
            let path = request.path.unwrap_or_default();
            Some(match path.split('?').next() == Some(LINK_PATH) {
                true => UPGRADE,
                false => NOT_FOUND,
            })
        }
        Err(httparse::Error::TooManyHeaders) => Some(TOO_LONG),
        Err(_) => Some(NOT_HTTP),
    }
}

async fn answer(stream: &mut Stream, problem: Problem) -> Result<(), OpenError> {
    let body = problem.json();
    let field = problem
        .field
        .map_or_else(String::new, |(name, value)| format!("{name}: {value}\r\n"));
    let answer = format!(
        "HTTP/1.1 {} {}\r\n{field}content-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        problem.status,
        problem.title,
        body.len()
    );
    stream
        .write_all(answer.as_bytes())
        .await
        .map_err(OpenError::from_io)?;
    stream.flush().await.map_err(OpenError::from_io)?;
    linger(stream).await;
    Ok(())
}

/// Lets a peer that was turned away read why: a connection that is closed with bytes unread is reset, and the reset may
/// take the answer with it.
async fn linger(stream: &mut Stream) {
    let mut left = LINGER_BYTES_MAX;
    let mut rest = [0; 1024];
    let reading = async {
        // A peer that cannot be told will find out.
        let _ = stream.shutdown().await;
        while let Ok(count @ 1..) = stream.read(&mut rest).await {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
    };
    // Whether it ends or its time is up is the same.
    let _ = timeout(LINGER_TIME_MAX, reading).await;
}

const UPGRADE: Problem = Problem::new(
    426,
    "Upgrade Required",
    "A link is opened with HTTP/2. Dial it with a Valkyrie program.",
)
.with_field("upgrade", "HTTP/2.0");
const NOT_FOUND: Problem = Problem::new(
    404,
    "Not Found",
    "This is a place of Valkyrie over HTTP/2, which browsers and HTTP clients do not read as a page. \
     Services are given to them by a gateway.",
);
const TOO_LONG: Problem = Problem::new(
    431,
    "Request Header Fields Too Large",
    "The head of the request is too long.",
);
const NOT_HTTP: Problem = Problem::new(400, "Bad Request", "This is not HTTP.");

/// How an HTTP/2 connection begins, RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How a TLS client begins: a handshake record of some version 3.
const TLS_RECORD: &[u8] = &[0x16, 0x03];

/// The most fields of a head that is not HTTP/2. Browsers send some twenty, and proxies add a few.
pub const HEADERS_MAX: usize = 64;

/// How much a peer that was turned away may still send, and for how long it is waited for.
const LINGER_BYTES_MAX: usize = 64 * 1024;
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

//! The opening: one HTTP/1.1 request and its answer, RFC 6455, section 4.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use httparse::{EMPTY_HEADER, Header, Request, Response, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::error::UpgradeError;
use crate::origin;
use crate::stream::Stream;

/// What an acceptor asks of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) path: &'a str,
    pub(crate) origins: &'a [String],
}

/// Reads a request and answers it. What came behind it is returned.
//= protocol/transports.md#opening
pub(crate) async fn accept(stream: &mut Stream, rules: Rules<'_>) -> Result<BytesMut, UpgradeError> {
    let mut buf = BytesMut::new();
    let mut looked_at = 0;
    let verdict = loop {
        receive(stream, &mut buf).await?;
        if buf.starts_with(TLS_RECORD) {
            return Err(UpgradeError::TlsOnPlain);
        }
        // The first look finds out who does not speak HTTP at all. More of them before the head is whole would cost the
        // square of what trickles in.
        let fresh = buf.get(usize::saturating_sub(looked_at, 2)..).unwrap_or_default();
        let whole = looked_at == 0 || ends_a_head(fresh) || buf.len() >= HEAD_BYTES_MAX;
        looked_at = buf.len();
        if !whole {
            continue;
        }
        match judge(&buf, rules) {
            Ok(None) if buf.len() >= HEAD_BYTES_MAX => break Err(TOO_LONG),
            Ok(None) => {}
            Ok(Some(accepted)) => break Ok(accepted),
            Err(turned) => break Err(turned),
        }
    };
    match verdict {
        Ok(Accepted { head_bytes, answer }) => {
            send(stream, answer.as_bytes()).await?;
            buf.advance(head_bytes);
            Ok(buf)
        }
        Err(Turned { status, headers, why }) => {
            let answer = format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Type: text/plain; charset=utf-8\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{why}\n",
                why.len() + 1
            );
            send(stream, answer.as_bytes()).await?;
            linger(stream).await;
            let status = status
                .get(..3)
                .and_then(|digits| digits.parse().ok())
                .unwrap_or(400);
            Err(UpgradeError::Turned { status, why })
        }
    }
}

/// Whether an empty line is in `bytes`; a line may end without a carriage return.
fn ends_a_head(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}

/// Asks for the upgrade and reads the answer. What came behind it is returned.
//= protocol/transports.md#opening
pub(crate) async fn request(stream: &mut Stream, host: &str, path: &str) -> Result<BytesMut, UpgradeError> {
    let key = generate_key();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    );
    send(stream, head.as_bytes()).await?;
    let mut buf = BytesMut::new();
    loop {
        receive(stream, &mut buf).await?;
        if let Some(head_bytes) = check_answer(&buf, &key)? {
            buf.advance(head_bytes);
            return Ok(buf);
        }
        if buf.len() >= HEAD_BYTES_MAX {
            return Err(UpgradeError::TooLong);
        }
    }
}

async fn receive(stream: &mut Stream, buf: &mut BytesMut) -> Result<(), UpgradeError> {
    // What is behind a head within the same read may be frames, so it is read into room that is bounded, not sized.
    let room = (HEAD_BYTES_MAX - buf.len().min(HEAD_BYTES_MAX)).max(1);
    buf.reserve(room);
    match stream.read_buf(buf).await {
        Ok(0) => Err(UpgradeError::HungUp),
        Ok(_) => Ok(()),
        Err(error) => Err(lost(error)),
    }
}

async fn send(stream: &mut Stream, bytes: &[u8]) -> Result<(), UpgradeError> {
    stream.write_all(bytes).await.map_err(lost)?;
    stream.flush().await.map_err(lost)
}

fn lost(error: io::Error) -> UpgradeError {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionAborted => UpgradeError::HungUp,
        _ => UpgradeError::Io(error),
    }
}

/// Lets a peer that was turned away read why: a connection that is closed with bytes unread is reset, and the reset may
/// take the answer with it.
async fn linger(stream: &mut Stream) {
    stream.shut_down();
    let mut left = LINGER_BYTES_MAX;
    let mut rest = [0; 1024];
    let reading = async {
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

/// A request that is granted.
#[derive(Debug)]
pub(crate) struct Accepted {
    head_bytes: usize,
    answer: String,
}

/// A request that is not granted, and the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turned {
    /// Code and phrase.
    pub(crate) status: &'static str,
    /// Lines that this status calls for.
    headers: &'static str,
    why: &'static str,
}

impl Turned {
    const fn new(status: &'static str, why: &'static str) -> Self {
        Self {
            status,
            headers: "",
            why,
        }
    }
}

/// What becomes of a request; `None` as long as it has not arrived.
pub(crate) fn judge(bytes: &[u8], rules: Rules<'_>) -> Result<Option<Accepted>, Turned> {
    let head = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let head_bytes = match request.parse(head) {
        Ok(Status::Complete(head_bytes)) => head_bytes,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LONG),
        Err(httparse::Error::Version) => return Err(VERSION),
        Err(_) => return Err(Turned::new("400 Bad Request", "This is not HTTP/1.1.")),
    };
    if request.version != Some(1) {
        return Err(VERSION);
    }
    if request.method != Some("GET") {
        return Err(Turned {
            status: "405 Method Not Allowed",
            headers: "Allow: GET\r\n",
            why: "A WebSocket is opened with GET.",
        });
    }
    let headers = Headers(request.headers);
    let path = request.path.unwrap_or_default();
    if path.split('?').next() != Some(rules.path) {
        return Err(Turned::new("404 Not Found", "Nothing is served at this path."));
    }
    if !headers.has_token("upgrade", "websocket") || !headers.has_token("connection", "upgrade") {
        return Err(UPGRADE);
    }
    if headers.only("sec-websocket-version") != Some("13") {
        return Err(Turned {
            status: "426 Upgrade Required",
            headers: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            why: "Only version 13 of WebSocket is spoken here.",
        });
    }
    let Some(host) = headers.only("host") else {
        return Err(Turned::new(
            "400 Bad Request",
            "The request names no host, or several.",
        ));
    };
    let key = headers.only("sec-websocket-key").filter(|key| is_key(key));
    let Some(key) = key else {
        return Err(Turned::new(
            "400 Bad Request",
            "The request has no Sec-WebSocket-Key of 16 bytes in base64.",
        ));
    };
    if headers
        .all("origin")
        .any(|page| !origin::permits(rules.origins, page, host))
    {
        return Err(Turned::new(
            "403 Forbidden",
            "Pages of this origin may not open a WebSocket here.",
        ));
    }
    if !headers.has_exact_token("sec-websocket-protocol", SUBPROTOCOL) {
        return Err(Turned::new(
            "400 Bad Request",
            "The request does not offer the subprotocol valkyrie.v2.",
        ));
    }
    let accept = derive_accept_key(key.as_bytes());
    // Extensions that are offered are not mentioned, and so not agreed on: nothing is compressed.
    Ok(Some(Accepted {
        head_bytes,
        answer: format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        ),
    }))
}

/// How long the head of a right answer is; `None` as long as it has not arrived.
fn check_answer(bytes: &[u8], key: &str) -> Result<Option<usize>, UpgradeError> {
    let head = bytes.get(..HEAD_BYTES_MAX).unwrap_or(bytes);
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let head_bytes = match response.parse(head) {
        Ok(Status::Complete(head_bytes)) => head_bytes,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(UpgradeError::TooLong),
        Err(_) => return Err(UpgradeError::NotHttp),
    };
    let headers = Headers(response.headers);
    let wrong = |why| Err(UpgradeError::Answer { why });
    match response.code {
        Some(101) => {}
        status => {
            return Err(UpgradeError::Status {
                status: status.unwrap_or_default(),
            });
        }
    }
    if !headers.has_token("upgrade", "websocket") || !headers.has_token("connection", "upgrade") {
        return wrong("it does not say that it upgrades to websocket");
    }
    if headers.only("sec-websocket-accept") != Some(&derive_accept_key(key.as_bytes())) {
        return wrong("its Sec-WebSocket-Accept does not answer our key");
    }
    if headers.only("sec-websocket-protocol") != Some(SUBPROTOCOL) {
        return wrong("it does not name the subprotocol");
    }
    if headers.all("sec-websocket-extensions").next().is_some() {
        return wrong("it uses an extension, such as compression, that was not offered");
    }
    Ok(Some(head_bytes))
}

struct Headers<'h, 'b>(&'h [Header<'b>]);

impl<'b> Headers<'_, 'b> {
    /// Every value of a field that is text.
    fn all(&self, name: &str) -> impl Iterator<Item = &'b str> {
        self.0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            // A value that is not text is there nonetheless, and matches nothing.
            .map(|header| std::str::from_utf8(header.value).unwrap_or("\u{fffd}").trim())
    }

    /// The value of a field that is there exactly once.
    fn only(&self, name: &str) -> Option<&'b str> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    fn tokens(&self, name: &str) -> impl Iterator<Item = &'b str> {
        self.all(name).flat_map(|value| value.split(',')).map(str::trim)
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|each| each.eq_ignore_ascii_case(token))
    }

    fn has_exact_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|each| each == token)
    }
}

/// 16 bytes in base64 are 22 letters and two signs of padding.
fn is_key(key: &str) -> bool {
    key.len() == 24
        && key.strip_suffix("==").is_some_and(|letters| {
            letters
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        })
}

const VERSION: Turned = Turned::new(
    "505 HTTP Version Not Supported",
    "Only HTTP/1.1 opens a WebSocket here.",
);
const TOO_LONG: Turned = Turned::new(
    "431 Request Header Fields Too Large",
    "The head of the request is too long.",
);
const UPGRADE: Turned = Turned {
    status: "426 Upgrade Required",
    headers: "Upgrade: websocket\r\n",
    why: "This is a place of Valkyrie over WebSocket, which browsers and HTTP clients do not read as a page. \
          Dial it with a Valkyrie program, or open a WebSocket with the subprotocol valkyrie.v2.",
};

/// The subprotocol, without which nothing is opened.
pub const SUBPROTOCOL: &str = "valkyrie.v2";

/// The longest head, of a request or an answer. Browsers send a tenth of that, cookies aside.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The most fields of a head. Browsers send some twenty, and proxies add a few.
pub const HEADERS_MAX: usize = 64;

/// How a TLS client begins: a handshake record of some version 3.
const TLS_RECORD: &[u8] = &[0x16, 0x03];

/// How much a peer that was turned away may still send, and for how long it is waited for.
const LINGER_BYTES_MAX: usize = 64 * 1024;
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

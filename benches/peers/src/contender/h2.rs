//! What [`raw`](super::raw) does, over the body of one HTTP/2 request each way: the `h2` library by itself, with a task for each
//! connection, as its documentation uses it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Client, Ready, raw};
use crate::address::{Address, Socket};
use crate::failure::Failure;
use crate::frames::{self, Listener};

/// Accepts connections, and serves each request in a task of its own.
pub(super) async fn serve(socket: Socket, ready: Ready) -> Result<(), Failure> {
    let (Listener::Tcp(listener), address) = Listener::bind(socket).await? else {
        return Err(Failure::Control(format!("speaks no HTTP over {socket}")));
    };
    ready(address);
    let refused = Failure::io("accept");
    loop {
        let (stream, _) = listener.accept().await.map_err(&refused)?;
        stream.set_nodelay(true).map_err(&refused)?;
        tokio::spawn(serve_one(stream));
    }
}

async fn serve_one(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        let send = respond.send_response(http::Response::new(()), false)?;
        tokio::spawn(raw::serve_one(Body::new(send, request.into_body())));
    }
    Ok(())
}

/// Opens a connection for each purpose; only one is used in a window.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    raw::pair(open(address).await?, open(address).await?).await
}

async fn open(address: &Address) -> Result<Body, Failure> {
    let stream = frames::dial_tcp(address.port()?).await?;
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(stream)
        .await
        .map_err(Failure::of(NAME))?;
    tokio::spawn(connection);
    let mut requests = requests.ready().await.map_err(Failure::of(NAME))?;
    let request = http::Request::post("http://localhost/")
        .body(())
        .map_err(Failure::of(NAME))?;
    let (response, send) = requests.send_request(request, false).map_err(Failure::of(NAME))?;
    let recv = response.await.map_err(Failure::of(NAME))?.into_body();
    Ok(Body::new(send, recv))
}

/// Both bodies as one stream of bytes.
struct Body {
    send: h2::SendStream<Bytes>,
    recv: h2::RecvStream,
    /// What came and is not read yet.
    rest: Bytes,
}

impl Body {
    fn new(send: h2::SendStream<Bytes>, recv: h2::RecvStream) -> Self {
        let rest = Bytes::new();
        Self { send, recv, rest }
    }
}

impl AsyncRead for Body {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        while buf.remaining() > 0 {
            if self.rest.is_empty() {
                match self.recv.poll_data(cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        let released = self.recv.flow_control().release_capacity(bytes.len());
                        released.map_err(io::Error::other)?;
                        self.rest = bytes;
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io::Error::other(error))),
                    Poll::Pending if buf.filled().len() == before => return Poll::Pending,
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            let count = self.rest.len().min(buf.remaining());
            buf.put_slice(&self.rest[..count]);
            self.rest.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Body {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(buf.len());
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(cx)) {
                Some(granted) => granted.map_err(io::Error::other)?,
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
        }
        let count = self.send.capacity().min(buf.len());
        let sent = self.send.send_data(Bytes::copy_from_slice(&buf[..count]), false);
        sent.map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}

const NAME: &str = "h2";
/// As for Valkyrie's links; the default of 64 KiB would hold up large messages.
const WINDOW: u32 = 1024 * 1024;

//! One adapter alone: bytes over a WebSocket, without the protocol, the session or the endpoint.
//!
//! `cargo run -p example-ws-alone` listens, dials itself, sends a line and prints what comes back.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, BytesMut};
use valkyrie_transport::{Lane, Link, Transport, accept};
use valkyrie_transport_ws::WsTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transport = WsTransport::new();
    let mut listener = transport.listen(&"ws://127.0.0.1:0/echo".parse()?).await?;
    let locator = listener.locator().clone();

    let server = tokio::spawn(async move {
        let mut link = accept(&mut *listener).await?;
        let mut buf = BytesMut::new();
        while receive(&mut *link, &mut buf).await? > 0 {
            send(&mut *link, &mut buf).await?;
        }
        poll_fn(|cx| link.poll_close(cx)).await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    });

    let mut link = transport.dial(&locator).await?;
    send(&mut *link, &mut BytesMut::from("a link is all there is")).await?;
    poll_fn(|cx| link.poll_close(cx)).await?;
    let mut answer = BytesMut::new();
    while receive(&mut *link, &mut answer).await? > 0 {}
    server.await?.map_err(|error| error.to_string())?;

    let answer = String::from_utf8_lossy(&answer);
    writeln!(io::stdout(), "{} echoed: {answer}", link.peer())?;
    Ok(())
}

/// Appends what has arrived; none is the end.
async fn receive(link: &mut dyn Link, bytes: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| link.poll_read(cx, Lane::FIRST, bytes)).await
}

/// Writes all of `bytes`; a link may take less at a time.
async fn send(link: &mut dyn Link, bytes: &mut BytesMut) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(bytes)])).await?;
        bytes.advance(count);
    }
    Ok(())
}

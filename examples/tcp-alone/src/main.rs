//! One adapter alone: bytes over a TCP link, without the protocol, the session or the endpoint.
//!
//! `cargo run -p example-tcp-alone` listens, dials itself, sends a line and prints what comes back.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, BytesMut};
use valkyrie_transport::{Lane, Link, Transport, accept};
use valkyrie_transport_tcp::TcpTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transport = TcpTransport::new();
    let mut listener = transport.listen(&"tcp://127.0.0.1:0".parse()?).await?;
    let locator = listener.locator().clone();

    let server = tokio::spawn(async move {
        let mut link = accept(&mut *listener).await?;
        let mut buf = BytesMut::new();
        while poll_fn(|cx| link.poll_read(cx, Lane::FIRST, &mut buf)).await? > 0 {
            send(&mut *link, &mut buf).await?;
        }
        poll_fn(|cx| link.poll_close(cx)).await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    });

    let mut link = transport.dial(&locator).await?;
    send(&mut *link, &mut BytesMut::from("a link is all there is")).await?;
    poll_fn(|cx| link.poll_close(cx)).await?;
    let mut answer = BytesMut::new();
    while poll_fn(|cx| link.poll_read(cx, Lane::FIRST, &mut answer)).await? > 0 {}
    server.await?.map_err(|error| error.to_string())?;

    writeln!(
        io::stdout(),
        "{} echoed: {}",
        link.peer(),
        String::from_utf8_lossy(&answer)
    )?;
    Ok(())
}

/// Writes all of `bytes`; a link may take less at a time.
async fn send(link: &mut dyn Link, bytes: &mut BytesMut) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(bytes)])).await?;
        bytes.advance(count);
    }
    Ok(())
}

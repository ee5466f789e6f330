//! One adapter alone: a link over one HTTP/2 request, without the protocol, the session or the endpoint.
//!
//! `cargo run -p example-http-alone` listens, dials itself, sends a line and prints what comes back. Nobody proves who they
//! are here, and nothing is encrypted: whoever uses links without Valkyrie's handshake takes `HttpTransport::secure` and
//! gives it certificates and roots.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, BytesMut};
use valkyrie_transport::{Lane, Link, Transport, accept};
use valkyrie_transport_http::HttpTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transport = HttpTransport::new();
    let mut listener = transport.listen(&"http://127.0.0.1:0".parse()?).await?;
    let locator = listener.locator().clone();

    let server = tokio::spawn(async move {
        let mut link = accept(&mut *listener).await.map_err(io::Error::other)?;
        let mut line = read_to_end(&mut *link).await?;
        send(&mut *link, &mut line).await?;
        poll_fn(|cx| link.poll_close(cx)).await
    });

    let mut link = transport.dial(&locator).await?;
    let mut line = BytesMut::from("both directions of one request");
    send(&mut *link, &mut line).await?;
    poll_fn(|cx| link.poll_close(cx)).await?;
    let answer = read_to_end(&mut *link).await?;
    let text = String::from_utf8_lossy(&answer);
    writeln!(io::stdout(), "{} echoed: {text}", link.peer())?;
    Ok(server.await??)
}

async fn read_to_end(link: &mut dyn Link) -> io::Result<BytesMut> {
    let mut buf = BytesMut::new();
    while poll_fn(|cx| link.poll_read(cx, Lane::FIRST, &mut buf)).await? > 0 {}
    Ok(buf)
}

/// Writes all of `bytes`; a link may take less at a time.
async fn send(link: &mut dyn Link, bytes: &mut BytesMut) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(bytes)])).await?;
        bytes.advance(count);
    }
    Ok(())
}

//! An echo server and a client in one program: `cargo run -p valkyrie-transport-http --example http_echo`.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, BytesMut};
use valkyrie_transport::{Lane, Link, Transport, accept};
use valkyrie_transport_http::HttpTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transport = HttpTransport::new();
    let mut listener = transport.listen(&"http://localhost:0".parse()?).await?;
    let locator = listener.locator().clone();
    writeln!(io::stdout(), "listening on {locator}")?;

    let serving = tokio::spawn(async move {
        let mut server = accept(&mut *listener).await.map_err(io::Error::other)?;
        let mut buf = BytesMut::new();
        while read(&mut *server, &mut buf).await? > 0 {
            write_all(&mut *server, &mut buf).await?;
        }
        poll_fn(|cx| server.poll_close(cx)).await
    });

    let mut client = transport.dial(&locator).await?;
    let mut hello = BytesMut::from("hello over HTTP/2");
    write_all(&mut *client, &mut hello).await?;
    poll_fn(|cx| client.poll_close(cx)).await?;
    let mut answer = BytesMut::new();
    while read(&mut *client, &mut answer).await? > 0 {}
    writeln!(
        io::stdout(),
        "{} answered: {}",
        client.peer(),
        String::from_utf8_lossy(&answer)
    )?;
    Ok(serving.await??)
}

async fn read(link: &mut dyn Link, buf: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| link.poll_read(cx, Lane::FIRST, buf)).await
}

async fn write_all(link: &mut dyn Link, buf: &mut BytesMut) -> io::Result<()> {
    while !buf.is_empty() {
        let count = poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(buf)])).await?;
        buf.advance(count);
    }
    Ok(())
}

//! An echo over QUIC: `cargo run -p valkyrie-transport-quic --example quic_echo`, or with the locator to listen at.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, BytesMut};
use valkyrie_transport::{Lane, Link, Transport, accept};
use valkyrie_transport_quic::QuicTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let locator = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "quic://127.0.0.1:0".to_owned());
    let transport = QuicTransport::new();
    let mut listener = transport.listen(&locator.parse()?).await?;
    writeln!(io::stdout(), "listening at {}", listener.locator())?;

    let mut client = transport.dial(listener.locator()).await?;
    let mut server = accept(&mut *listener).await?;
    let serving = tokio::spawn(async move {
        let mut buf = BytesMut::new();
        while read(&mut *server, &mut buf).await? > 0 {
            write_all(&mut *server, &mut buf).await?;
        }
        poll_fn(|cx| server.poll_close(cx)).await
    });

    let mut hello = BytesMut::from("hello over quic");
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

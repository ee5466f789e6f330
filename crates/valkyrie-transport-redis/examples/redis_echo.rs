//! An echo server and a client that meet at a broker: `cargo run -p valkyrie-transport-redis --example redis_echo`, with a
//! redis-server at its usual port, or `-- redis://host:port/node`.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, BytesMut};
use valkyrie_transport::{Lane, Link, Locator, Transport, accept};
use valkyrie_transport_redis::RedisTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args().nth(1);
    let locator: Locator = argument
        .as_deref()
        .unwrap_or("redis://127.0.0.1:6379/echo")
        .parse()?;
    let transport = RedisTransport::new();
    let mut listener = transport.listen(&locator).await?;
    writeln!(io::stdout(), "listening on {}", listener.locator())?;

    let serving = tokio::spawn(async move {
        let mut server = accept(&mut *listener).await.map_err(io::Error::other)?;
        let mut buf = BytesMut::new();
        while read(&mut *server, &mut buf).await? > 0 {
            write_all(&mut *server, &mut buf).await?;
        }
        poll_fn(|cx| server.poll_close(cx)).await
    });

    let mut client = transport.dial(&locator).await?;
    let mut hello = BytesMut::from("hello through a broker");
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

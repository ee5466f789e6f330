//! One adapter alone: five ordered lanes over one QUIC link, without the protocol, the session or the endpoint.
//!
//! `cargo run -p example-quic-alone` listens, dials itself, sends a line on every lane and prints what comes back. Nobody
//! proves who they are here: what the two ends have is a secret that they share, and whoever uses links without
//! Valkyrie's handshake gives the transport certificates and roots.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, BytesMut};
use valkyrie_transport::{Lane, Link, Transport, accept};
use valkyrie_transport_quic::{LANES, QuicTransport};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transport = QuicTransport::new();
    let mut listener = transport.listen(&"quic://127.0.0.1:0".parse()?).await?;
    let locator = listener.locator().clone();

    let server = tokio::spawn(async move {
        let mut link = accept(&mut *listener).await?;
        for lane in (0..LANES).map(Lane) {
            let mut line = read_to_end(&mut *link, lane).await?;
            send(&mut *link, lane, &mut line).await?;
        }
        poll_fn(|cx| link.poll_close(cx)).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(link.channel_binding())
    });

    let mut link = transport.dial(&locator).await?;
    for lane in (0..LANES).map(Lane) {
        let mut line = BytesMut::from(format!("this is {lane}").as_str());
        send(&mut *link, lane, &mut line).await?;
    }
    poll_fn(|cx| link.poll_close(cx)).await?;
    for lane in (0..LANES).map(Lane) {
        let answer = read_to_end(&mut *link, lane).await?;
        writeln!(
            io::stdout(),
            "{} echoed: {}",
            link.peer(),
            String::from_utf8_lossy(&answer)
        )?;
    }
    let theirs = server.await?.map_err(|error| error.to_string())?;
    assert!(theirs.is_some() && theirs == link.channel_binding());
    writeln!(io::stdout(), "both ends have the same secret")?;
    Ok(())
}

async fn read_to_end(link: &mut dyn Link, lane: Lane) -> io::Result<BytesMut> {
    let mut buf = BytesMut::new();
    while poll_fn(|cx| link.poll_read(cx, lane, &mut buf)).await? > 0 {}
    Ok(buf)
}

/// Writes all of `bytes`; a link may take less at a time.
async fn send(link: &mut dyn Link, lane: Lane, bytes: &mut BytesMut) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = poll_fn(|cx| link.poll_write(cx, lane, &[IoSlice::new(bytes)])).await?;
        bytes.advance(count);
    }
    Ok(())
}

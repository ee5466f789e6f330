//! One adapter alone: bytes over one RDMA link, without the protocol, the session or the endpoint.
//!
//! `cargo run -p example-rdma-alone --features verbs` listens on every RDMA device, dials itself at the first address that it
//! is given, or at one of a device, sends a line and a megabyte, and says what came back. On a machine without RDMA, or
//! built without `verbs`, it says what is missing and ends well.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::net::{IpAddr, Ipv6Addr};

use bytes::{Buf, BytesMut};
use valkyrie_transport::{Lane, Link, Locator, Transport, TransportError, accept};
use valkyrie_transport_rdma::RdmaTransport;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let transport = RdmaTransport::new();
    let mut listener = match transport.listen(&"rdma://0.0.0.0:0".parse()?).await {
        Ok(listener) => listener,
        Err(error @ TransportError::Unusable { .. }) => return say(&format!("no RDMA here: {error}")),
        Err(error) => return Err(error.into()),
    };
    let Some(address) = address() else {
        return say("no RDMA here: no device has an IPv4 address; give one to its network device");
    };
    let port = listener.locator().host_port()?.port;
    let locator = Locator::new("rdma", &format!("{address}:{port}"))?;

    let server = tokio::spawn(async move {
        let mut link = accept(&mut *listener).await?;
        let mut all = read_to_end(&mut *link).await?;
        send(&mut *link, &mut all).await?;
        poll_fn(|cx| link.poll_close(cx)).await?;
        // Given back, not dropped: a link that is dropped takes along what was under way.
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(link)
    });

    let mut link = transport.dial(&locator).await?;
    send(&mut *link, &mut BytesMut::from("a line, and ")).await?;
    send(&mut *link, &mut BytesMut::zeroed(1024 * 1024)).await?;
    poll_fn(|cx| link.poll_close(cx)).await?;
    let answer = read_to_end(&mut *link).await?;
    let line = String::from_utf8_lossy(&answer[..12]);
    say(&format!(
        "{} echoed: {line}{} bytes more",
        link.peer(),
        answer.len() - 12
    ))?;
    let _held = server.await?.map_err(|error| error.to_string())?;
    Ok(())
}

fn say(what: &str) -> Result<(), Box<dyn std::error::Error>> {
    Ok(writeln!(io::stdout(), "{what}")?)
}

/// The address that the program was given, or one among the ids of the ports of RDMA devices, as RoCE has them.
fn address() -> Option<IpAddr> {
    if let Some(given) = std::env::args().nth(1) {
        return given.parse().ok();
    }
    let entries = |folder: &str| {
        let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
        found.map(|entry| entry.path().to_string_lossy().into_owned())
    };
    entries("/sys/class/infiniband")
        .flat_map(|device| entries(&format!("{device}/ports")))
        .flat_map(|port| entries(&format!("{port}/gids")))
        .filter_map(|gid| std::fs::read_to_string(gid).ok()?.trim().parse::<Ipv6Addr>().ok())
        .find_map(|gid| gid.to_ipv4_mapped().map(IpAddr::from))
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

//! Two ends of a memory link: `cargo run -p valkyrie-transport --example memory_echo`.
//!
//! There is no runtime here: the memory link works under any executor, this one of five lines included.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use valkyrie_transport::mem::MemTransport;
use valkyrie_transport::{Lane, Locator, Transport, accept};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    block_on(async {
        let transport = MemTransport::new().with_lanes(2);
        let place: Locator = "mem://parlour".parse()?;
        let mut listener = transport.listen(&place).await?;
        let mut here = transport.dial(&place).await?;
        let mut there = accept(&mut *listener).await?;

        // Two buffers go out in one write, on the second lane.
        let hello = [
            IoSlice::new(b"hello from "),
            IoSlice::new(place.as_str().as_bytes()),
        ];
        poll_fn(|cx| here.poll_write(cx, Lane(1), &hello)).await?;

        let mut buf = BytesMut::new();
        let count = poll_fn(|cx| there.poll_read(cx, Lane(1), &mut buf)).await?;
        writeln!(
            io::stdout(),
            "{} sent {count} bytes: {}",
            there.peer(),
            String::from_utf8_lossy(&buf)
        )?;
        Ok(())
    })
}

/// Nothing here ever has to wait, because both ends are polled by the same thread in the right order.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

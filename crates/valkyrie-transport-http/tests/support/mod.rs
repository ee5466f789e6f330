//! Reading and writing links in tests.
#![allow(dead_code, reason = "each test uses some of it")]

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use valkyrie_transport::{Lane, Link};

pub(crate) async fn write_all(link: &mut dyn Link, bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        let count = poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(left)])).await?;
        left.advance(count);
    }
    Ok(())
}

/// Reads until there are `count` bytes, or the end.
pub(crate) async fn read(link: &mut dyn Link, count: usize) -> io::Result<BytesMut> {
    let mut buf = BytesMut::new();
    while buf.len() < count {
        if poll_fn(|cx| link.poll_read(cx, Lane::FIRST, &mut buf)).await? == 0 {
            break;
        }
    }
    Ok(buf)
}

pub(crate) async fn close(link: &mut dyn Link) -> io::Result<()> {
    poll_fn(|cx| link.poll_close(cx)).await
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it hangs")
}

//! The two ends of a link as these tests use them.

use std::future::poll_fn;
use std::io::{self, IoSlice};

use bytes::BytesMut;
use valkyrie_transport::{Lane, Link, Listener, Locator, Transport, accept};
use valkyrie_transport_redis::{LinkFault, RedisTransport};

pub(crate) async fn pair(
    transport: &RedisTransport,
    at: &Locator,
) -> (Box<dyn Link>, Box<dyn Link>, Box<dyn Listener>) {
    let mut listener = transport.listen(at).await.unwrap();
    let (dialled, accepted) = tokio::join!(transport.dial(at), accept(&mut *listener));
    (dialled.unwrap(), accepted.unwrap(), listener)
}

pub(crate) async fn write(link: &mut dyn Link, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(bytes)])).await
}

pub(crate) async fn read(link: &mut dyn Link) -> io::Result<BytesMut> {
    let mut buf = BytesMut::new();
    poll_fn(|cx| link.poll_read(cx, Lane::FIRST, &mut buf)).await?;
    Ok(buf)
}

/// Expects bytes to come through from one end to the other.
pub(crate) async fn expect_alive(from: &mut dyn Link, to: &mut dyn Link) {
    assert_eq!(write(from, b"are you there?").await.unwrap(), 14);
    let mut heard = BytesMut::new();
    while heard.len() < 14 {
        heard.extend_from_slice(&read(to).await.unwrap());
    }
    assert_eq!(heard, &b"are you there?"[..]);
}

/// Reads until the link fails, and says why.
pub(crate) async fn fault(link: &mut dyn Link) -> LinkFault {
    loop {
        match read(link).await {
            Ok(bytes) => assert!(!bytes.is_empty(), "the link ended in good order"),
            Err(error) => return fault_of(&error),
        }
    }
}

pub(crate) fn fault_of(error: &io::Error) -> LinkFault {
    let inner = error
        .get_ref()
        .unwrap_or_else(|| panic!("no reason given: {error}"));
    *inner
        .downcast_ref()
        .unwrap_or_else(|| panic!("another reason: {error}"))
}

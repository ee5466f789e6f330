//! Peers that break the rules of an established link: each is an error that says so, and the peer is hung up on.

use std::future::poll_fn;
use std::io;

use bytes::BytesMut;
use valkyrie_transport::{Lane, Link, Transport, accept};

use super::raw::Raw;
use super::support::{anywhere, device};
use crate::wire::{Grant, HEADER_BYTES, Header, Hello, Kind, MessageError};
use crate::{RdmaError, RdmaTransport};

fn message(kind: Kind, grant: Grant, bytes: &[u8]) -> Vec<u8> {
    [&Header { kind, grant }.encode()[..], bytes].concat()
}

fn data(bytes: &[u8]) -> Vec<u8> {
    message(Kind::Data, Grant::default(), bytes)
}

/// A link whose dialler is raw, and what the acceptor said of itself.
async fn pair(options: RdmaTransport) -> Option<(Raw, Hello, Box<dyn Link>)> {
    let mut listener = options.listen(&anywhere(device()?)).await.unwrap();
    let address = listener.locator().rest().parse().unwrap();
    let (raw, hello) = Raw::connect(address).await;
    Some((raw, hello, accept(&mut *listener).await.unwrap()))
}

async fn read(link: &mut dyn Link) -> io::Result<BytesMut> {
    let mut buf = BytesMut::new();
    let count = poll_fn(|cx| link.poll_read(cx, Lane::FIRST, &mut buf)).await?;
    assert_eq!(count, buf.len());
    Ok(buf)
}

/// Reads until the link fails.
async fn failure(link: &mut dyn Link) -> RdmaError {
    loop {
        if let Err(error) = read(link).await {
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            let error = error
                .get_ref()
                .and_then(|error| error.downcast_ref::<RdmaError>());
            return error.expect("a link fails with an error of its own").clone();
        }
    }
}

#[tokio::test]
async fn messages_of_the_wrong_shape_end_the_link() {
    let grant = |slots, ring_bytes| Grant { slots, ring_bytes };
    let cases = [
        (vec![0; HEADER_BYTES - 1], MessageError::Truncated),
        (vec![9; HEADER_BYTES], MessageError::UnknownKind { kind: 9 }),
        (data(b""), MessageError::WrongLength),
        (
            message(Kind::End, grant(0, 0), b"more"),
            MessageError::WrongLength,
        ),
        (message(Kind::Credit, grant(1, 0), b""), MessageError::Overgranted),
        (message(Kind::Credit, grant(0, 1), b""), MessageError::Overgranted),
        (message(Kind::Data, grant(7, 7), b"x"), MessageError::Overgranted),
    ];
    for (bytes, expected) in cases {
        let Some((mut raw, _, mut link)) = pair(RdmaTransport::new()).await else {
            return;
        };
        raw.send(&data(b"hello"));
        assert_eq!(&read(&mut *link).await.unwrap()[..], b"hello");
        raw.send(&bytes);
        assert_eq!(failure(&mut *link).await, RdmaError::Message(expected));
        raw.hung_up().await;
    }
}

#[tokio::test]
async fn bytes_after_the_end_end_the_link() {
    let Some((mut raw, _, mut link)) = pair(RdmaTransport::new()).await else {
        return;
    };
    raw.send(&message(Kind::End, Grant::default(), b""));
    assert!(read(&mut *link).await.unwrap().is_empty());
    raw.send(&data(b"late"));
    // The end is an end, whatever comes after it; who writes is told.
    let error = loop {
        let slices = [io::IoSlice::new(b"answer")];
        match poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &slices)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let error = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<RdmaError>());
    assert_eq!(error, Some(&RdmaError::Message(MessageError::AfterEnd)));
    assert!(read(&mut *link).await.unwrap().is_empty());
}

#[tokio::test]
async fn more_messages_than_there_is_credit_for_end_the_link() {
    let little = RdmaTransport::new().with_slots(4);
    let Some((mut raw, hello, mut link)) = pair(little).await else {
        return;
    };
    assert_eq!(hello.slots, 4);
    for _ in 0..5 {
        raw.send(&data(b"x"));
    }
    raw.hung_up_or(&mut *link, MessageError::Overrun).await;
}

#[tokio::test]
async fn a_write_beyond_its_place_ends_the_link() {
    let small = RdmaTransport::new().with_ring_bytes(8192);
    let Some((mut raw, hello, mut link)) = pair(small).await else {
        return;
    };
    let write = |raw: &mut Raw, length: u32, number: u32| {
        raw.pair()
            .write(0, 0, length, hello.ring_address, hello.ring_key, number)
            .unwrap();
    };
    write(&mut raw, 100, 100);
    assert_eq!(read(&mut *link).await.unwrap().len(), 100);
    // It says that it wrote more than there is room for before the end of the ring.
    write(&mut raw, 8192, 8192);
    assert_eq!(
        failure(&mut *link).await,
        RdmaError::Message(MessageError::Overrun)
    );
}

#[tokio::test]
async fn a_write_that_lies_about_its_length_ends_the_link() {
    let Some((mut raw, hello, mut link)) = pair(RdmaTransport::new()).await else {
        return;
    };
    raw.pair()
        .write(0, 0, 10, hello.ring_address, hello.ring_key, 1000)
        .unwrap();
    assert_eq!(
        failure(&mut *link).await,
        RdmaError::Message(MessageError::WrongLength)
    );
}

#[tokio::test]
async fn a_write_past_the_ring_touches_nothing() {
    let Some((mut raw, hello, mut link)) = pair(RdmaTransport::new()).await else {
        return;
    };
    // The device checks the key and the bounds, and ends the connection by itself.
    let past = hello.ring_address + u64::from(hello.ring_bytes) - 5;
    raw.pair().write(0, 0, 10, past, hello.ring_key, 10).unwrap();
    let error = loop {
        match read(&mut *link).await {
            Ok(bytes) => assert!(bytes.is_empty(), "bytes came from nowhere"),
            Err(error) => break error,
        }
    };
    assert!(
        error.get_ref().is_some_and(|error| error.is::<RdmaError>()),
        "{error}"
    );
}

impl Raw {
    async fn hung_up_or(&mut self, link: &mut dyn Link, expected: MessageError) {
        assert_eq!(failure(link).await, RdmaError::Message(expected));
        self.hung_up().await;
    }
}

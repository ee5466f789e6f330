//! Lanes: who may begin, how they end, and peers that get them wrong.

use std::io::ErrorKind;

use quinn::{Connection, ConnectionError, VarInt};
use tokio::time::timeout;
use valkyrie_transport::{Lane, Listener, TransportError, accept};
use valkyrie_transport_quic::{ALPN, LANES, QuicTransport};

use crate::support::ends::{PATIENCE, address, close, listen, pair, raw_client, read, write};

#[tokio::test]
async fn either_side_may_be_the_first_to_write_to_any_lane() {
    let (mut dialled, mut accepted) = pair(&QuicTransport::new()).await;
    for lane in (0..LANES).rev().map(Lane) {
        write(&mut *accepted, lane, b"from the acceptor").await.unwrap();
        assert_eq!(read(&mut *dialled, lane, 17).await.unwrap(), "from the acceptor");
        write(&mut *dialled, lane, b"from the dialler").await.unwrap();
        assert_eq!(read(&mut *accepted, lane, 16).await.unwrap(), "from the dialler");
    }
}

#[tokio::test]
async fn what_was_closed_is_read_after_its_writer_is_gone() {
    let (mut dialled, mut accepted) = pair(&QuicTransport::new()).await;
    for lane in (0..LANES).map(Lane) {
        write(&mut *dialled, lane, &[lane.0; 5000]).await.unwrap();
    }
    close(&mut *dialled).await.unwrap();
    drop(dialled);
    // A write fails once the news is here, which is when reading could be cut short too.
    let error = loop {
        match write(&mut *accepted, Lane::FIRST, b"anybody?").await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    for lane in (0..LANES).map(Lane) {
        assert_eq!(
            read(&mut *accepted, lane, 5001).await.unwrap(),
            &[lane.0; 5000][..]
        );
    }
}

#[tokio::test]
async fn closing_is_done_when_the_peer_has_read_everything_and_gone() {
    let (mut dialled, mut accepted) = pair(&QuicTransport::new()).await;
    let closing = tokio::spawn(async move { close(&mut *dialled).await });
    for lane in (0..LANES).map(Lane) {
        assert!(read(&mut *accepted, lane, 1).await.unwrap().is_empty());
    }
    drop(accepted);
    closing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dropped_link_is_told_as_one() {
    let (dialled, mut accepted) = pair(&QuicTransport::new()).await;
    drop(dialled);
    let error = read(&mut *accepted, Lane(2), 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(error.to_string().contains("dropped the link"), "{error}");
}

/// What a dialler does with its streams, and is turned away for.
async fn turned_away(listener: &mut dyn Listener, begin: impl AsyncFnOnce(&Connection)) -> ConnectionError {
    let client = raw_client(ALPN);
    let server = address(listener.locator());
    let connection = client.connect(server, "localhost").unwrap().await.unwrap();
    begin(&connection).await;
    let refused = timeout(PATIENCE, accept(listener)).await.unwrap();
    match refused {
        Ok(_) => panic!("a link came of it"),
        Err(TransportError::Aborted { source, .. }) => {
            assert!(source.to_string().contains("lanes"), "{source}");
        }
        Err(error) => panic!("{error:?}"),
    }
    timeout(PATIENCE, connection.closed()).await.unwrap()
}

fn is_lanes_code(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == VarInt::from_u32(2))
}

#[tokio::test]
async fn lanes_with_wrong_numbers_are_refused() {
    let mut listener = listen(&QuicTransport::new()).await;
    for first_bytes in [
        &[1, 0, 2, 3, 4][..],
        &[0, 0],
        &[0, 1, 2, 3, 5],
        &[255],
        b"GET / HTTP/1.1",
    ] {
        let mut streams = Vec::new();
        let error = turned_away(&mut *listener, async |connection| {
            for byte in first_bytes.iter().take(usize::from(LANES)) {
                let (mut send, recv) = connection.open_bi().await.unwrap();
                // The acceptor may have seen enough already.
                let _ = send.write_all(&[*byte]).await;
                streams.push((send, recv));
            }
        })
        .await;
        assert!(is_lanes_code(&error), "{first_bytes:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_lane_that_ends_or_is_reset_before_its_number_is_refused() {
    let mut listener = listen(&QuicTransport::new()).await;
    for reset in [false, true] {
        let mut kept = Vec::new();
        let error = turned_away(&mut *listener, async |connection| {
            let (mut send, recv) = connection.open_bi().await.unwrap();
            match reset {
                true => send.reset(VarInt::from_u32(9)).unwrap(),
                false => send.finish().unwrap(),
            }
            kept.push((send, recv));
        })
        .await;
        assert!(is_lanes_code(&error), "{error:?}");
    }
}

#[tokio::test]
async fn a_dialler_is_allowed_five_streams_of_one_kind() {
    let mut listener = listen(&QuicTransport::new()).await;
    let client = raw_client(ALPN);
    let connection = client
        .connect(address(listener.locator()), "localhost")
        .unwrap()
        .await
        .unwrap();
    let mut streams = Vec::new();
    for lane in 0..LANES {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&[lane]).await.unwrap();
        streams.push((send, recv));
    }
    let mut link = accept(&mut *listener).await.unwrap();
    // The limit came with the handshake, so whether there is room is known without waiting.
    let now = std::time::Duration::ZERO;
    assert!(timeout(now, connection.open_bi()).await.is_err());
    assert!(timeout(now, connection.open_uni()).await.is_err());
    assert!(connection.max_datagram_size().is_none(), "datagrams are offered");

    // And the link is one like any other.
    streams[4].0.write_all(b"bulk").await.unwrap();
    assert_eq!(read(&mut *link, Lane(4), 4).await.unwrap(), "bulk");
}

#[tokio::test]
async fn a_lane_that_is_reset_in_use_ends_the_link() {
    let mut listener = listen(&QuicTransport::new()).await;
    let client = raw_client(ALPN);
    let connection = client
        .connect(address(listener.locator()), "localhost")
        .unwrap()
        .await
        .unwrap();
    let mut streams = Vec::new();
    for lane in 0..LANES {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&[lane]).await.unwrap();
        streams.push((send, recv));
    }
    let mut link = accept(&mut *listener).await.unwrap();
    streams[3].0.reset(VarInt::from_u32(1)).unwrap();
    for _ in 0..2 {
        let error = read(&mut *link, Lane(3), 1).await.unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidData,
            "a lane cut short looks whole"
        );
    }
    assert!(write(&mut *link, Lane(0), b"x").await.is_err());
    let closed = timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(is_lanes_code(&closed), "{closed:?}");
}

//! How much a link takes, and who is held up by what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use valkyrie_transport::{Lane, Transport, accept};
use valkyrie_transport_quic::{
    FIRST_LANE_RESERVE_BYTES, FIRST_RECEIVE_WINDOW_BYTES, LANES, PACKET_BYTES_MAX, QuicTransport,
    SEND_WINDOW_BYTES,
};

use crate::support::ends::{address, at, fill, is_full, listen, pair, read, write};
use crate::support::relay::Relay;

#[tokio::test]
async fn a_peer_has_little_under_way_until_its_link_is_used() {
    let (mut dialled, mut accepted) = pair(&QuicTransport::new()).await;
    let taken = fill(&mut *dialled, Lane(4)).await;
    let first_window = FIRST_RECEIVE_WINDOW_BYTES as usize;
    // The numbers of the lanes are part of it.
    assert!(taken <= first_window, "{taken} bytes");
    assert!(
        is_full(&mut *dialled, Lane(0)),
        "the window is not one for all lanes"
    );

    // Reading as much as a handshake from lane 0 is not using the link; reading another lane is.
    let all = read(&mut *accepted, Lane(4), taken).await.unwrap();
    assert_eq!(all.len(), taken);
    assert!(fill(&mut *dialled, Lane(4)).await > 4 * first_window);
}

#[tokio::test]
async fn reading_more_than_a_handshake_is_using_the_link() {
    let (mut dialled, mut accepted) = pair(&QuicTransport::new()).await;
    let taken = fill(&mut *dialled, Lane(0)).await;
    read(&mut *accepted, Lane(0), taken).await.unwrap();
    assert!(fill(&mut *dialled, Lane(0)).await > 4 * FIRST_RECEIVE_WINDOW_BYTES as usize);
}

#[tokio::test]
async fn what_is_not_acknowledged_is_bounded_over_all_lanes_together() {
    let transport = QuicTransport::new();
    let mut listener = listen(&transport).await;
    let open = Arc::new(AtomicBool::new(true));
    let relay = {
        let open = Arc::clone(&open);
        Relay::start(address(listener.locator()), move |_, _| {
            open.load(Ordering::SeqCst)
        })
        .await
    };
    let place = at(relay.address());
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
    // The link is used in both directions, and then nothing passes any more.
    for lane in (0..LANES).map(Lane) {
        write(&mut *dialled, lane, &[0; 20_000]).await.unwrap();
        read(&mut *accepted, lane, 20_000).await.unwrap();
    }
    write(&mut *accepted, Lane(0), b"all read").await.unwrap();
    read(&mut *dialled, Lane(0), 8).await.unwrap();
    open.store(false, Ordering::SeqCst);

    let bound = SEND_WINDOW_BYTES as usize;
    let first = fill(&mut *dialled, Lane(3)).await;
    // One more byte is taken to find out that it is the link that is full, and not the lane.
    assert!(dialled.is_full());
    assert!(first <= bound + 1, "{first} bytes");
    // What a peer has not acknowledged yet of what came before may count too; a piece is counted until all of it is.
    assert!(first > bound / 2, "{first} bytes");
    for lane in (1..LANES).map(Lane) {
        assert!(is_full(&mut *dialled, lane), "{lane} has a bound of its own");
    }
    // The first lane has some room that the others cannot take, and no more.
    write(&mut *dialled, Lane(0), b"credit").await.unwrap();
    assert!(
        is_full(&mut *dialled, Lane(1)),
        "room for the first lane went to another"
    );
    let reserved = fill(&mut *dialled, Lane(0)).await;
    let bound = FIRST_LANE_RESERVE_BYTES as usize;
    assert!(
        (bound / 2..=bound + bound / 2).contains(&reserved),
        "{reserved} bytes"
    );
    assert!(is_full(&mut *dialled, Lane(0)) && is_full(&mut *dialled, Lane(1)));
}

#[tokio::test]
async fn a_link_takes_as_much_as_it_was_told_to() {
    let transport = QuicTransport::new()
        .with_send_window_bytes(10_000)
        .with_receive_window_bytes(50_000);
    let (mut dialled, mut accepted) = pair(&transport).await;
    // Using a lane beside the first opens the window of the link; the lane's own holds.
    write(&mut *accepted, Lane(1), b"x").await.unwrap();
    let taken = fill(&mut *dialled, Lane(2)).await;
    assert!(taken <= 50_000, "{taken} bytes");
    let taken = fill(&mut *dialled, Lane(3)).await;
    assert!((1..=50_000).contains(&taken), "{taken} bytes");
}

#[tokio::test]
async fn a_lane_that_the_peer_does_not_read_is_blocked_alone() {
    let transport = QuicTransport::new().with_receive_window_bytes(128 * 1024);
    let (mut dialled, mut accepted) = pair(&transport).await;
    for lane in (0..LANES).map(Lane) {
        write(&mut *dialled, lane, b"used").await.unwrap();
        read(&mut *accepted, lane, 4).await.unwrap();
    }
    let taken = fill(&mut *dialled, Lane(3)).await;
    assert!(
        (64 * 1024..=SEND_WINDOW_BYTES as usize / 2).contains(&taken),
        "{taken} bytes"
    );
    assert!(!dialled.is_full());
    write(&mut *dialled, Lane(2), b"passes").await.unwrap();
    assert_eq!(read(&mut *accepted, Lane(2), 6).await.unwrap()[..], *b"passes");
}

/// With packets as small as the wide world carries, this would be six times as many.
#[tokio::test]
async fn packets_grow_to_what_the_path_carries() {
    let transport = QuicTransport::new();
    let mut listener = listen(&transport).await;
    let largest = Arc::new(AtomicUsize::new(0));
    let relay = {
        let largest = Arc::clone(&largest);
        Relay::start(address(listener.locator()), move |_, datagram| {
            largest.fetch_max(datagram.len(), Ordering::SeqCst);
            true
        })
        .await
    };
    let place = at(relay.address());
    let (dialled, accepted) = tokio::join!(transport.dial(&place), accept(&mut *listener));
    let (mut dialled, mut accepted) = (dialled.unwrap(), accepted.unwrap());
    // Each of these tells the dialler more about the path.
    while largest.load(Ordering::SeqCst) < usize::from(PACKET_BYTES_MAX) - 20 {
        write(&mut *dialled, Lane(2), &[0; 20_000]).await.unwrap();
        read(&mut *accepted, Lane(2), 20_000).await.unwrap();
    }
    assert!(largest.load(Ordering::SeqCst) <= usize::from(PACKET_BYTES_MAX));
}

//! The options as the kernel reports them back; only Linux reports all of them.
#![cfg(target_os = "linux")]

use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::{KEEPALIVE, Keepalive, NOTSENT_LOWAT_BYTES, TcpTransport};

/// A dialled stream, with its listener so that it stays connected.
async fn stream() -> (TcpStream, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (
        TcpStream::connect(listener.local_addr().unwrap()).await.unwrap(),
        listener,
    )
}

#[tokio::test]
async fn the_defaults_reach_the_socket() {
    let (stream, _listener) = stream().await;
    TcpTransport::new().apply(&stream).unwrap();
    let socket = SockRef::from(&stream);
    assert!(socket.tcp_nodelay().unwrap());
    assert!(socket.keepalive().unwrap());
    assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOTSENT_LOWAT_BYTES);
    assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE.idle);
    assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE.interval);
    assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE.probes);
}

#[tokio::test]
async fn what_is_switched_off_is_left_to_the_kernel() {
    let (stream, _listener) = stream().await;
    let before = SockRef::from(&stream).tcp_notsent_lowat().unwrap();
    let transport = TcpTransport::new()
        .with_nodelay(false)
        .with_notsent_lowat_bytes(None)
        .with_keepalive(None);
    transport.apply(&stream).unwrap();
    let socket = SockRef::from(&stream);
    assert!(!socket.tcp_nodelay().unwrap());
    assert!(!socket.keepalive().unwrap());
    assert_eq!(socket.tcp_notsent_lowat().unwrap(), before);
}

#[tokio::test]
async fn what_is_chosen_reaches_the_socket() {
    let (stream, _listener) = stream().await;
    let keepalive = Keepalive {
        idle: Duration::from_secs(7),
        interval: Duration::from_secs(3),
        probes: 2,
    };
    let transport = TcpTransport::new()
        .with_notsent_lowat_bytes(Some(5000))
        .with_keepalive(Some(keepalive));
    transport.apply(&stream).unwrap();
    let socket = SockRef::from(&stream);
    assert_eq!(socket.tcp_notsent_lowat().unwrap(), 5000);
    assert_eq!(socket.tcp_keepalive_time().unwrap(), keepalive.idle);
}

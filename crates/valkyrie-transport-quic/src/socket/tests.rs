use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::UdpSocket as Plain;
use tokio::time::timeout;

use super::*;

/// The library asks for this when packets are large, and the system says nothing of what it did not send.
#[tokio::test]
async fn more_large_packets_than_the_system_takes_at_once_all_arrive() {
    let receiver = Plain::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let destination = receiver.local_addr().unwrap();
    let socket = Socket::connected(None, destination).unwrap();
    if socket.max_transmit_segments() == 1 {
        // The library offers one at a time here.
        return;
    }
    let packet = usize::from(PACKET_BYTES_MAX);
    // Nine and a short one.
    let contents: Vec<u8> = (0..9 * packet + 100).map(|at| (at / packet) as u8).collect();
    assert!(contents.len() > SENT_AT_ONCE_BYTES_MAX);
    let transmit = Transmit {
        destination,
        ecn: None,
        contents: &contents,
        segment_size: Some(packet),
        src_ip: None,
    };
    socket.io.writable().await.unwrap();
    socket.try_send(&transmit).unwrap();
    let mut room = vec![0; packet + 1];
    for expected in contents.chunks(packet) {
        let received = timeout(Duration::from_secs(10), receiver.recv(&mut room)).await;
        let length = received.expect("each is sent").unwrap();
        assert_eq!(&room[..length], expected);
    }
}

#[tokio::test]
async fn room_to_receive_is_for_as_much_as_the_system_puts_together() {
    let socket = Socket::bound((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let segments = socket.max_receive_segments();
    let room = segments * usize::from(PACKET_BYTES_MAX);
    assert!(segments == 1 || room >= 65_535, "{room} bytes");
    // Each of 32 buffers of each link that was dialled has so much.
    assert!(room <= 80 * 1024, "{room} bytes");
}

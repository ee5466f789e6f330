//! Links whose peer speaks WebSocket frame by frame: pings, endings, close codes, and what is not permitted.

use std::future::poll_fn;
use std::io::{self, IoSlice};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use valkyrie_transport::{Lane, Link, Transport, accept};
use valkyrie_transport_ws::frame::{Decoder, Event, Opcode, Side, append_frame};
use valkyrie_transport_ws::{LinkFault, WsTransport};

/// A dialler by hand, and the link that was accepted from it.
async fn pair() -> (Peer, Box<dyn Link>) {
    let transport = WsTransport::new();
    let mut listener = transport
        .listen(&"ws://127.0.0.1:0/".parse().unwrap())
        .await
        .unwrap();
    let place = listener.locator().host_port_of_authority();
    let peer = async {
        let mut stream = TcpStream::connect(&place).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: valkyrie.v2\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        Peer {
            stream,
            decoder: Decoder::new(Side::Dialler),
            bytes: Vec::new(),
        }
    };
    let (peer, link) = tokio::join!(peer, accept(&mut *listener));
    (peer, link.unwrap())
}

trait Authority {
    fn host_port_of_authority(&self) -> String;
}

impl Authority for valkyrie_transport::Locator {
    fn host_port_of_authority(&self) -> String {
        self.rest().split('/').next().unwrap().to_owned()
    }
}

struct Peer {
    stream: TcpStream,
    decoder: Decoder,
    bytes: Vec<u8>,
}

impl Peer {
    async fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        let mut bytes = Vec::new();
        append_frame(&mut bytes, Side::Dialler, opcode, payload);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next event, with the payload of data; `None` at the end of the connection.
    async fn event(&mut self) -> Option<(Event, Vec<u8>)> {
        loop {
            while !self.bytes.is_empty() {
                let step = self.decoder.decode(&mut self.bytes).unwrap();
                let payload = match &step.event {
                    Some(Event::Data { at, .. }) => self.bytes[at.clone()].to_vec(),
                    _ => Vec::new(),
                };
                self.bytes.drain(..step.consumed);
                if let Some(event) = step.event {
                    return Some((event, payload));
                }
            }
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let (Event::Close(close), _) = self.event().await? {
                return close.code;
            }
        }
    }
}

async fn read(link: &mut dyn Link) -> io::Result<Vec<u8>> {
    let mut buf = BytesMut::new();
    poll_fn(|cx| link.poll_read(cx, Lane::FIRST, &mut buf)).await?;
    Ok(buf.to_vec())
}

async fn write(link: &mut dyn Link, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| link.poll_write(cx, Lane::FIRST, &[IoSlice::new(bytes)])).await
}

async fn close(link: &mut dyn Link) -> io::Result<()> {
    poll_fn(|cx| link.poll_close(cx)).await
}

fn fault(error: io::Error) -> LinkFault {
    *error.into_inner().unwrap().downcast().unwrap()
}

#[tokio::test]
async fn a_ping_is_answered_while_reading_and_bytes_around_it_arrive() {
    let (mut peer, mut link) = pair().await;
    peer.send(Opcode::Binary, b"before ").await;
    peer.send(Opcode::Ping, b"there?").await;
    peer.send(Opcode::Pong, b"unasked").await;
    peer.send(Opcode::Binary, b"after").await;
    let mut arrived = Vec::new();
    while arrived.len() < 12 {
        arrived.extend(read(&mut *link).await.unwrap());
    }
    assert_eq!(arrived, b"before after");
    let (event, _) = peer.event().await.unwrap();
    assert!(matches!(event, Event::Pong(payload) if payload.as_bytes() == b"there?"));
}

#[tokio::test]
async fn a_peer_that_only_pings_does_not_make_the_link_hold_a_buffer() {
    let (mut peer, mut link) = pair().await;
    peer.send(Opcode::Ping, b"1").await;
    let mut buf = BytesMut::new();
    tokio::select! {
        read = poll_fn(|cx| link.poll_read(cx, Lane::FIRST, &mut buf)) => panic!("read {read:?}"),
        pong = peer.event() => assert!(matches!(pong, Some((Event::Pong(_), _)))),
    }
    assert_eq!(buf.capacity(), 0);
}

#[tokio::test]
async fn an_empty_message_ends_one_direction_and_both_ends_close_with_1000() {
    let (mut peer, mut link) = pair().await;
    peer.send(Opcode::Binary, b"last").await;
    peer.send(Opcode::Binary, b"").await;
    assert_eq!(read(&mut *link).await.unwrap(), b"last");
    assert_eq!(read(&mut *link).await.unwrap(), b"");
    assert_eq!(write(&mut *link, b"answer").await.unwrap(), 6);
    close(&mut *link).await.unwrap();
    let mut data = Vec::new();
    loop {
        match peer.event().await.unwrap() {
            (Event::Data { message_bytes: 0, .. }, _) => break,
            (_, payload) => data.extend(payload),
        }
    }
    assert_eq!(data, b"answer");
    assert_eq!(peer.close_code().await, Some(1000));
}

#[tokio::test]
async fn a_close_frame_ends_both_directions_and_is_answered() {
    for code in [None, Some(1000_u16), Some(1001)] {
        let (mut peer, mut link) = pair().await;
        let payload = code.map(u16::to_be_bytes);
        peer.send(Opcode::Close, payload.as_ref().map_or(&[][..], |bytes| bytes))
            .await;
        assert_eq!(read(&mut *link).await.unwrap(), b"");
        assert_eq!(peer.close_code().await, Some(1000));
        let error = write(&mut *link, b"late").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        close(&mut *link).await.unwrap();
    }
}

#[tokio::test]
async fn a_close_code_that_means_failure_is_told_with_its_reason() {
    let (mut peer, mut link) = pair().await;
    peer.send(Opcode::Close, b"\x03\xf3out of memory").await;
    let error = read(&mut *link).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    let expected = LinkFault::Closed {
        code: 1011,
        reason: "out of memory".to_owned(),
    };
    assert_eq!(fault(error), expected);
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_its_code_after_what_came_before() {
    let text: &[u8] = &[0x81, 0x80, 0, 0, 0, 0];
    let unmasked: &[u8] = &[0x82, 0x01, b'x'];
    let compressed: &[u8] = &[0xc2, 0x80, 0, 0, 0, 0];
    let oversized: &[u8] = &[0x82, 0xff, 0, 0, 0, 0, 0x7f, 0, 0, 0, 0, 0, 0, 0];
    let after_end: &[u8] = &[0x82, 0x80, 0, 0, 0, 0, 0x82, 0x81, 0, 0, 0, 0, b'x'];
    for (bytes, code) in [
        (text, 1003),
        (unmasked, 1002),
        (compressed, 1002),
        (oversized, 1009),
        (after_end, 1002),
    ] {
        let (mut peer, mut link) = pair().await;
        peer.send(Opcode::Binary, b"good").await;
        peer.stream.write_all(bytes).await.unwrap();
        assert_eq!(read(&mut *link).await.unwrap(), b"good");
        let ending = read(&mut *link).await;
        if bytes == after_end {
            assert_eq!(ending.unwrap(), b"");
        } else {
            assert_eq!(ending.unwrap_err().kind(), io::ErrorKind::InvalidData);
            assert_eq!(
                read(&mut *link).await.unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
            assert!(write(&mut *link, b"more").await.is_err());
        }
        assert_eq!(peer.close_code().await, Some(code), "{bytes:02x?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_not_taken_for_the_end() {
    let (mut peer, mut link) = pair().await;
    // A frame of five bytes of which two arrive.
    peer.stream
        .write_all(&[0x82, 0x85, 0, 0, 0, 0, b'a', b'b'])
        .await
        .unwrap();
    assert_eq!(read(&mut *link).await.unwrap(), b"ab");
    drop(peer);
    let error = read(&mut *link).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(fault(error), LinkFault::Cut);
}

#[tokio::test]
async fn frames_that_come_with_the_opening_are_not_lost() {
    let transport = WsTransport::new();
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let locator = format!("ws://{}/", server.local_addr().unwrap()).parse().unwrap();
    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let key = request
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = tungstenite::handshake::derive_accept_key(key.unwrap().as_bytes());
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: valkyrie.v2\r\n\r\n"
        )
        .into_bytes();
        append_frame(&mut answer, Side::Acceptor, Opcode::Binary, b"early");
        append_frame(&mut answer, Side::Acceptor, Opcode::Binary, b"");
        stream.write_all(&answer).await.unwrap();
        stream
    };
    let (dialled, _stream) = tokio::join!(transport.dial(&locator), serve);
    let mut link = dialled.unwrap();
    assert_eq!(read(&mut *link).await.unwrap(), b"early");
    assert_eq!(read(&mut *link).await.unwrap(), b"");
}

#[tokio::test]
async fn a_peer_that_pings_and_never_reads_is_held_to_one_answer() {
    let (mut peer, mut link) = pair().await;
    // Fills what the system takes, so that answers cannot go out.
    let block = vec![0; 64 * 1024];
    loop {
        let stuck = poll_fn(|cx| {
            std::task::Poll::Ready(
                link.poll_write(cx, Lane::FIRST, &[IoSlice::new(&block)])
                    .is_pending(),
            )
        });
        if stuck.await {
            break;
        }
    }
    for _ in 0..1000 {
        peer.send(Opcode::Ping, &[7; 125]).await;
    }
    peer.send(Opcode::Binary, b"still here").await;
    assert_eq!(read(&mut *link).await.unwrap(), b"still here");
    // Now the peer reads: everything that was written, and few answers.
    let reading = async {
        let mut pongs = 0;
        while let Some((event, _)) = peer.event().await {
            pongs += usize::from(matches!(event, Event::Pong(_)));
        }
        pongs
    };
    let closing = async {
        close(&mut *link).await.unwrap();
        drop(link);
    };
    let (pongs, ()) = tokio::join!(reading, closing);
    assert!((1..=2).contains(&pongs), "{pongs} answers");
}

#[tokio::test]
async fn a_link_that_is_dropped_with_bytes_to_push_leaves_no_task_behind() {
    let (peer, mut link) = pair().await;
    let block = vec![0; 64 * 1024];
    while !poll_fn(|cx| {
        std::task::Poll::Ready(
            link.poll_write(cx, Lane::FIRST, &[IoSlice::new(&block)])
                .is_pending(),
        )
    })
    .await
    {}
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    // Time for the task that pushes to wait for the socket.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(link);
    let gone = async {
        while tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let gone = tokio::time::timeout(std::time::Duration::from_secs(30), gone).await;
    assert!(gone.is_ok(), "{} tasks are left", tasks());
    drop(peer);
}

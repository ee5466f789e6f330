//! Each message is a datagram, which may be lost: what counts is what arrived.
//!
//! A stream of the same connection says what the connection is for, and asks at the end how many came. An answer that is lost
//! leaves the run waiting, which ends it with a failure.

use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use quinn::{Connection, RecvStream, SendStream};

use super::NAME;
use crate::address::Address;
use crate::contender::messages::{self, Incoming, Outgoing};
use crate::contender::{Client, Ready, Running};
use crate::failure::Failure;
use crate::load::{Done, Load};
use crate::scenario::Shape;

/// Answers datagrams, or counts them.
pub(in crate::contender) async fn serve(ready: Ready) -> Result<(), Failure> {
    super::accept(ready, |connection| async move {
        // A client that goes away ends its connection, and that is all there is to say about it.
        let _ = serve_one(connection).await;
    })
    .await
}

async fn serve_one(connection: Connection) -> Result<(), Failure> {
    let (mut send, mut recv) = connection.accept_bi().await.map_err(Failure::of(NAME))?;
    let mut purpose = [0];
    recv.read_exact(&mut purpose).await.map_err(Failure::of(NAME))?;
    let (mut outgoing, mut incoming) = (Datagrams(connection.clone()), Datagrams(connection));
    if purpose == ECHO {
        return messages::echo(&mut outgoing, &mut incoming).await;
    }
    let (mut count, mut asked) = (0_u64, [0]);
    loop {
        tokio::select! {
            biased;
            datagram = incoming.next() => {
                datagram?;
                count += 1;
            }
            read = recv.read_exact(&mut asked) => {
                read.map_err(Failure::of(NAME))?;
                send.write_all(&count.to_le_bytes()).await.map_err(Failure::of(NAME))?;
                count = 0;
            }
        }
    }
}

/// Opens a connection for each purpose; only one is used in a window.
pub(in crate::contender) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    let (echo, sink) = (super::open(address).await?, super::open(address).await?);
    let echo_stream = purpose(&echo, ECHO).await?;
    let sink_stream = purpose(&sink, SINK).await?;
    Ok(Box::new(DatagramClient {
        echo: (Datagrams(echo.clone()), Datagrams(echo)),
        _echo_stream: echo_stream,
        sink,
        sink_stream,
    }))
}

async fn purpose(connection: &Connection, purpose: [u8; 1]) -> Result<(SendStream, RecvStream), Failure> {
    let (mut send, recv) = connection.open_bi().await.map_err(Failure::of(NAME))?;
    send.write_all(&purpose).await.map_err(Failure::of(NAME))?;
    Ok((send, recv))
}

struct DatagramClient {
    echo: (Datagrams, Datagrams),
    _echo_stream: (SendStream, RecvStream),
    sink: Connection,
    sink_stream: (SendStream, RecvStream),
}

impl Client for DatagramClient {
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done> {
        Box::pin(async move {
            match shape {
                Shape::Unary { .. } | Shape::Echo { .. } => messages::unary(&mut self.echo, load).await,
                Shape::Stream => self.stream(load).await,
            }
        })
    }
}

impl DatagramClient {
    async fn stream(&mut self, load: &Load) -> Result<Done, Failure> {
        let began = Instant::now();
        while began.elapsed() < load.duration {
            for _ in 0..messages::BATCH {
                let sent = self.sink.send_datagram_wait(load.payload.clone()).await;
                sent.map_err(Failure::of(NAME))?;
            }
        }
        let (send, recv) = &mut self.sink_stream;
        send.write_all(&ASK).await.map_err(Failure::of(NAME))?;
        let mut count = [0; 8];
        recv.read_exact(&mut count).await.map_err(Failure::of(NAME))?;
        Ok(Done {
            messages: u64::from_le_bytes(count),
            elapsed: began.elapsed(),
            latency_ns: None,
        })
    }
}

struct Datagrams(Connection);

impl Outgoing for Datagrams {
    async fn send(&mut self, messages: &mut Vec<Bytes>) -> Result<(), Failure> {
        for message in messages.drain(..) {
            let sent = self.0.send_datagram_wait(message).await;
            sent.map_err(Failure::of(NAME))?;
        }
        Ok(())
    }
}

impl Incoming for Datagrams {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let read = self.0.read_datagram().await;
        read.map(Some).map_err(Failure::of(NAME))
    }

    fn ready(&mut self) -> Result<Option<Bytes>, Failure> {
        let read = self.0.read_datagram().now_or_never().transpose();
        read.map_err(Failure::of(NAME))
    }
}

const ECHO: [u8; 1] = *b"E";
const SINK: [u8; 1] = *b"S";
const ASK: [u8; 1] = *b"?";

//! What a program does with a library that carries messages, not bytes: WebSocket, datagrams, a broker.
//!
//! A pipe is used as `raw` uses a stream: the first message says what it is for, an echo sends all back that is there, a sink counts
//! and answers an empty message with their number, and what may be in flight is handed over at once.

use std::time::Instant;

use bytes::Bytes;

use super::flight::Flight;
use super::{Client, Running};
use crate::failure::Failure;
use crate::load::{Done, Load, Samples, histogram};
use crate::scenario::Shape;

/// The half of a pipe that sends.
pub(super) trait Outgoing: 'static {
    /// Sends the messages, which are on their way when it returns.
    async fn send(&mut self, messages: &mut Vec<Bytes>) -> Result<(), Failure>;
}

/// The half of a pipe that receives.
pub(super) trait Incoming: 'static {
    /// Waits for a message. `None`: none will come.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure>;

    /// A message that is there already.
    fn ready(&mut self) -> Result<Option<Bytes>, Failure>;
}

/// Serves one pipe until its client goes away.
pub(super) async fn serve(mut send: impl Outgoing, mut recv: impl Incoming) -> Result<(), Failure> {
    match recv.next().await?.as_deref() {
        Some([ECHO]) => echo(&mut send, &mut recv).await,
        Some([SINK]) => sink(&mut send, &mut recv).await,
        Some(_) => Err(Failure::Control("was asked for nothing it does".to_owned())),
        None => Ok(()),
    }
}

pub(super) async fn echo(send: &mut impl Outgoing, recv: &mut impl Incoming) -> Result<(), Failure> {
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(first) = recv.next().await? {
        batch.push(first);
        while batch.len() < BATCH
            && let Some(another) = recv.ready()?
        {
            batch.push(another);
        }
        send.send(&mut batch).await?;
    }
    Ok(())
}

pub(super) async fn sink(send: &mut impl Outgoing, recv: &mut impl Incoming) -> Result<(), Failure> {
    let mut count = 0_u64;
    while let Some(message) = recv.next().await? {
        if !message.is_empty() {
            count += 1;
            continue;
        }
        let answer = Bytes::copy_from_slice(&count.to_le_bytes());
        count = 0;
        send.send(&mut vec![answer]).await?;
    }
    Ok(())
}

/// A pipe for each purpose; only one is used in a window.
pub(super) struct MessageClient<O, I> {
    echo: (O, I),
    sink: (O, I),
}

impl<O: Outgoing, I: Incoming> MessageClient<O, I> {
    /// Pipes whose other ends know what each is for.
    pub(super) fn new(echo: (O, I), sink: (O, I)) -> Self {
        Self { echo, sink }
    }

    /// Tells the other end what each is for.
    pub(super) async fn announced(mut echo: (O, I), mut sink: (O, I)) -> Result<Self, Failure> {
        echo.0.send(&mut vec![Bytes::from_static(&[ECHO])]).await?;
        sink.0.send(&mut vec![Bytes::from_static(&[SINK])]).await?;
        Ok(Self::new(echo, sink))
    }
}

impl<O: Outgoing, I: Incoming> Client for MessageClient<O, I> {
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done> {
        Box::pin(async move {
            match shape {
                Shape::Unary { .. } | Shape::Echo { .. } => unary(&mut self.echo, load).await,
                Shape::Stream => stream(&mut self.sink, load).await,
            }
        })
    }
}

/// Keeps as many in flight as the load says, one included.
pub(super) async fn unary<O: Outgoing, I: Incoming>(
    (send, recv): &mut (O, I),
    load: &Load,
) -> Result<Done, Failure> {
    let flight = Flight::default();
    let began = Instant::now();
    let (sent, received) = tokio::join!(send_all(send, load, &flight), receive_all(recv, load, &flight));
    sent?;
    let samples = received?;
    Ok(Done {
        messages: flight.received(),
        elapsed: began.elapsed(),
        latency_ns: histogram([&samples]),
    })
}

async fn send_all(send: &mut impl Outgoing, load: &Load, flight: &Flight) -> Result<(), Failure> {
    let mut batch = Vec::with_capacity(load.in_flight);
    let began = Instant::now();
    loop {
        let room = flight.room(load).await;
        if began.elapsed() >= load.duration {
            break;
        }
        batch.extend((0..room).map(|_| load.payload.clone()));
        flight.sends(room);
        send.send(&mut batch).await?;
    }
    flight.close();
    Ok(())
}

async fn receive_all(recv: &mut impl Incoming, load: &Load, flight: &Flight) -> Result<Samples, Failure> {
    let mut samples = Samples::with_capacity(1 << 16);
    while flight.owes_more().await {
        let mut answer = Some(wait(recv).await?);
        while let Some(received) = answer {
            if received.len() != load.payload.len() {
                return Err(Failure::WrongAnswer {
                    sent: load.payload.len(),
                    received: received.len(),
                });
            }
            flight.came(load, &mut samples);
            answer = recv.ready()?;
        }
        flight.make_room();
    }
    Ok(samples)
}

async fn stream<O: Outgoing, I: Incoming>((send, recv): &mut (O, I), load: &Load) -> Result<Done, Failure> {
    let batch = (BATCH_BYTES / load.payload.len()).clamp(1, BATCH);
    let mut waiting = Vec::with_capacity(batch);
    let mut messages = 0_u64;
    let began = Instant::now();
    while began.elapsed() < load.duration {
        waiting.extend((0..batch).map(|_| load.payload.clone()));
        messages += batch as u64;
        send.send(&mut waiting).await?;
    }
    send.send(&mut vec![Bytes::new()]).await?;
    let count = wait(recv).await?;
    let received = count.first_chunk().map_or(0, |count| u64::from_le_bytes(*count));
    if received != messages {
        return Err(Failure::Lost {
            sent: messages,
            received,
        });
    }
    Ok(Done {
        messages,
        elapsed: began.elapsed(),
        latency_ns: None,
    })
}

async fn wait(recv: &mut impl Incoming) -> Result<Bytes, Failure> {
    recv.next()
        .await?
        .ok_or_else(|| Failure::Control("ended a connection that is in use".to_owned()))
}

const ECHO: u8 = b'E';
const SINK: u8 = b'S';
/// Messages handed over at once.
pub(super) const BATCH: usize = 256;
/// Large messages are handed over a few at a time.
const BATCH_BYTES: usize = 256 * 1024;

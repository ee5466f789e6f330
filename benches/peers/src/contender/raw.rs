//! Length-prefixed messages straight on tokio's sockets.
//!
//! One byte at the start of a connection says what it is for. An echo sends complete messages back in one write; a
//! sink counts messages and answers an empty one with their number; an idle connection waits without a buffer. Writes end
//! with a flush, which costs a socket nothing, so that the same code runs through TLS.

use std::any::Any;
use std::io;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::flight::Flight;
use super::{Client, Ready, Running};
use crate::address::{Address, Socket};
use crate::failure::Failure;
use crate::frames::{self, Frames, Listener, PREFIX, REPEATED_MAX, Stream};
use crate::load::{Done, Load, Samples, histogram};
use crate::scenario::Shape;

/// Accepts and serves each connection in a task of its own.
pub(super) async fn serve(socket: Socket, ready: Ready) -> Result<(), Failure> {
    let (listener, address) = Listener::bind(socket).await?;
    ready(address);
    let refused = Failure::io("accept");
    match listener {
        Listener::Tcp(listener) => loop {
            let (stream, _) = listener.accept().await.map_err(&refused)?;
            stream.set_nodelay(true).map_err(&refused)?;
            tokio::spawn(serve_one(stream));
        },
        Listener::Uds(listener) => loop {
            let (stream, _) = listener.accept().await.map_err(&refused)?;
            tokio::spawn(serve_one(stream));
        },
    }
}

/// What is busy is boxed, so that the task of an idle connection is as small as it can be.
pub(super) async fn serve_one<S: Stream>(mut stream: S) {
    // A client that goes away ends its connection, and that is all there is to say about it.
    let _ = match stream.read_u8().await {
        Ok(ECHO) => Box::pin(echo(stream)).await,
        Ok(SINK) => Box::pin(sink(stream)).await,
        Ok(IDLE) => idle(stream).await,
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        Err(gone) => Err(gone),
    };
}

/// Echoes byte by byte, which needs no buffer.
async fn idle<S: Stream>(mut stream: S) -> io::Result<()> {
    loop {
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await?;
    }
}

async fn echo<S: Stream>(mut stream: S) -> io::Result<()> {
    let mut frames = Frames::with_capacity(BUFFER);
    while frames.fill(&mut stream).await? {
        let complete = frames.take_complete();
        if !complete.is_empty() {
            stream.write_all(complete).await?;
        }
    }
    Ok(())
}

async fn sink<S: Stream>(mut stream: S) -> io::Result<()> {
    let mut frames = Frames::with_capacity(BUFFER);
    let mut count = 0_u64;
    while frames.fill(&mut stream).await? {
        while let Some(payload) = frames.next() {
            if payload.is_empty() {
                stream.write_all(&count.to_le_bytes()).await?;
                stream.flush().await?;
                count = 0;
            } else {
                count += 1;
            }
        }
    }
    Ok(())
}

/// Opens a connection for each purpose; only one is used in a window.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    match address {
        Address::Uds(path) => pair(frames::dial_uds(path).await?, frames::dial_uds(path).await?).await,
        other => {
            let address = other.port()?;
            pair(frames::dial_tcp(address).await?, frames::dial_tcp(address).await?).await
        }
    }
}

pub(super) async fn pair<S: Stream>(mut echo: S, mut sink: S) -> Result<Box<dyn Client>, Failure> {
    let refused = Failure::io("connect");
    echo.write_u8(ECHO).await.map_err(&refused)?;
    sink.write_u8(SINK).await.map_err(&refused)?;
    let frames = Frames::with_capacity(BUFFER);
    Ok(Box::new(RawClient {
        echo,
        sink,
        frames,
        scratch: Vec::with_capacity(BUFFER),
    }))
}

/// Opens one connection and has one byte echoed.
pub(super) async fn connect_idle(address: &Address) -> Result<Box<dyn Any>, Failure> {
    match address {
        Address::Uds(path) => Ok(Box::new(use_once(frames::dial_uds(path).await?).await?)),
        other => Ok(Box::new(use_once(frames::dial_tcp(other.port()?).await?).await?)),
    }
}

pub(super) async fn use_once<S: Stream>(mut stream: S) -> Result<S, Failure> {
    let failed = Failure::io("use a connection once");
    stream.write_all(&[IDLE, 7]).await.map_err(&failed)?;
    stream.flush().await.map_err(&failed)?;
    stream.read_u8().await.map_err(&failed)?;
    Ok(stream)
}

struct RawClient<S> {
    echo: S,
    sink: S,
    frames: Frames,
    scratch: Vec<u8>,
}

impl<S: Stream> Client for RawClient<S> {
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done> {
        Box::pin(async move {
            let done = match shape {
                Shape::Unary { in_flight: 1 } | Shape::Echo { in_flight: 1 } => self.ping_pong(load).await,
                Shape::Unary { .. } | Shape::Echo { .. } => self.pipeline(load).await,
                Shape::Stream => return self.stream(load).await,
            };
            done.map_err(Failure::io("echo"))
        })
    }
}

impl<S: Stream> RawClient<S> {
    async fn ping_pong(&mut self, load: &Load) -> io::Result<Done> {
        let mut samples = Samples::with_capacity(1 << 16);
        let first = Instant::now();
        loop {
            let began = Instant::now();
            frames::write_one(&mut self.echo, &mut self.scratch, &load.payload).await?;
            self.echo.flush().await?;
            loop {
                if let Some(answer) = self.frames.next() {
                    same_length(answer, &load.payload)?;
                    break;
                }
                fill(&mut self.frames, &mut self.echo).await?;
            }
            let done = Instant::now();
            samples.push(u32::try_from((done - began).as_nanos()).unwrap_or(u32::MAX));
            if done - first >= load.duration {
                break;
            }
        }
        let (messages, elapsed) = (samples.len() as u64, first.elapsed());
        Ok(Done {
            messages,
            elapsed,
            latency_ns: histogram([&samples]),
        })
    }

    /// Everything that the window allows is written at once; answers come in order.
    async fn pipeline(&mut self, load: &Load) -> io::Result<Done> {
        let (mut reader, mut writer) = tokio::io::split(&mut self.echo);
        let flight = Flight::default();
        let began = Instant::now();
        let (sent, received) = tokio::join!(
            send_all(&mut writer, &mut self.scratch, load, &flight),
            receive_all(&mut reader, &mut self.frames, load, &flight),
        );
        sent?;
        let samples = received?;
        Ok(Done {
            messages: flight.received(),
            elapsed: began.elapsed(),
            latency_ns: histogram([&samples]),
        })
    }

    async fn stream(&mut self, load: &Load) -> Result<Done, Failure> {
        let failed = Failure::io("stream");
        let began = Instant::now();
        let mut messages = 0;
        while began.elapsed() < load.duration {
            if load.payload.len() + PREFIX > BATCH {
                frames::write_repeated(&mut self.sink, &load.payload, REPEATED_MAX)
                    .await
                    .map_err(&failed)?;
                messages += REPEATED_MAX as u64;
                continue;
            }
            self.scratch.clear();
            while self.scratch.len() + PREFIX + load.payload.len() <= BATCH {
                frames::push(&mut self.scratch, &load.payload);
                messages += 1;
            }
            self.sink.write_all(&self.scratch).await.map_err(&failed)?;
        }
        frames::write_one(&mut self.sink, &mut self.scratch, &[])
            .await
            .map_err(&failed)?;
        self.sink.flush().await.map_err(&failed)?;
        let mut count = [0; 8];
        self.sink.read_exact(&mut count).await.map_err(&failed)?;
        let received = u64::from_le_bytes(count);
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
}

async fn send_all<S: Stream>(
    writer: &mut WriteHalf<&mut S>,
    scratch: &mut Vec<u8>,
    load: &Load,
    flight: &Flight,
) -> io::Result<()> {
    let most = (BATCH / (PREFIX + load.payload.len())).max(1) as u64;
    let began = Instant::now();
    while began.elapsed() < load.duration {
        let batch = flight.room(load).await.min(most);
        scratch.clear();
        (0..batch).for_each(|_| frames::push(scratch, &load.payload));
        flight.sends(batch);
        writer.write_all(scratch).await?;
        writer.flush().await?;
    }
    flight.close();
    Ok(())
}

async fn receive_all<S: Stream>(
    reader: &mut ReadHalf<&mut S>,
    frames: &mut Frames,
    load: &Load,
    flight: &Flight,
) -> io::Result<Samples> {
    let mut samples = Samples::with_capacity(1 << 16);
    while flight.owes_more().await {
        fill(frames, reader).await?;
        while let Some(answer) = frames.next() {
            same_length(answer, &load.payload)?;
            flight.came(load, &mut samples);
        }
        flight.make_room();
    }
    Ok(samples)
}

async fn fill<R: tokio::io::AsyncRead + Unpin>(frames: &mut Frames, reader: &mut R) -> io::Result<()> {
    if frames.fill(reader).await? {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn same_length(answer: &[u8], payload: &[u8]) -> io::Result<()> {
    if answer.len() == payload.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

const ECHO: u8 = b'E';
const SINK: u8 = b'S';
const IDLE: u8 = b'I';
/// Holds a few of the largest messages.
const BUFFER: usize = 256 * 1024;
/// What is written at once: larger writes are split by the socket's own buffer.
const BATCH: usize = 64 * 1024;

//! The least that is an RPC: `length u32 | call u32 | payload`, a table of who waits, and one task a connection.
//!
//! No methods, no errors, no deadlines, no flow control. Calls gather in one buffer while a write is under way.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot};

use super::{Client, Ready, Running};
use crate::address::{Address, Socket};
use crate::failure::Failure;
use crate::frames::{self, Listener, PREFIX, Stream};
use crate::load::{Caller, Done, Load, closed_loop};
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
            tokio::spawn(answer(stream));
        },
        Listener::Uds(listener) => loop {
            let (stream, _) = listener.accept().await.map_err(&refused)?;
            tokio::spawn(answer(stream));
        },
    }
}

/// Answers every request with its own payload. An empty request is answered with the number of messages that came
/// with call number 0, which are not answered.
async fn answer<S: Stream>(mut stream: S) -> io::Result<()> {
    let (mut input, mut output) = (BytesMut::with_capacity(BUFFER), BytesMut::with_capacity(BUFFER));
    let mut one_way = 0_u64;
    loop {
        input.reserve(BUFFER / 2);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        while let Some((call, payload)) = decode(&mut input) {
            match (call, payload.is_empty()) {
                (ONE_WAY, _) => one_way += 1,
                (_, true) => encode(&mut output, call, &std::mem::take(&mut one_way).to_le_bytes()),
                (_, false) => encode(&mut output, call, &payload),
            }
        }
        stream.write_all_buf(&mut output).await?;
    }
}

fn encode(output: &mut BytesMut, call: u32, payload: &[u8]) {
    output.reserve(HEADER + payload.len());
    output.put_u32_le((payload.len() + HEADER - PREFIX) as u32);
    output.put_u32_le(call);
    output.put_slice(payload);
}

fn decode(input: &mut BytesMut) -> Option<(u32, Bytes)> {
    let (header, rest) = input.split_first_chunk::<HEADER>()?;
    let [a, b, c, d, call @ ..] = *header;
    let length = (u32::from_le_bytes([a, b, c, d]) as usize).checked_sub(HEADER - PREFIX)?;
    if rest.len() < length {
        return None;
    }
    let mut frame = input.split_to(HEADER + length).freeze();
    Some((u32::from_le_bytes(call), frame.split_off(HEADER)))
}

/// Opens one connection.
pub(super) async fn connect(address: &Address) -> Result<Box<dyn Client>, Failure> {
    Ok(Box::new(open(address).await?))
}

async fn open(address: &Address) -> Result<BareClient, Failure> {
    let shared = Arc::new(Shared::default());
    match address {
        Address::Uds(path) => start(frames::dial_uds(path).await?, &shared),
        other => start(frames::dial_tcp(other.port()?).await?, &shared),
    }
    Ok(BareClient { shared })
}

fn start<S: Stream>(stream: S, shared: &Arc<Shared>) {
    let (reader, writer) = tokio::io::split(stream);
    tokio::spawn(read(reader, Arc::clone(shared)));
    tokio::spawn(write(writer, Arc::clone(shared)));
}

async fn read<S: Stream>(mut reader: ReadHalf<S>, shared: Arc<Shared>) -> io::Result<()> {
    let mut input = BytesMut::with_capacity(BUFFER);
    loop {
        input.reserve(BUFFER / 2);
        let read = reader.read_buf(&mut input).await;
        let mut state = shared.lock();
        if !matches!(read, Ok(1..)) {
            // Whoever waits learns of it when its sender is dropped.
            state.waiting.clear();
            return read.map(drop);
        }
        while let Some((call, payload)) = decode(&mut input) {
            if let Some(waiting) = state.waiting.get_mut(call as usize).and_then(Option::take) {
                state.free.push(call);
                // The caller may have gone away.
                let _ = waiting.send(payload);
            }
        }
    }
}

async fn write<S: Stream>(mut writer: WriteHalf<S>, shared: Arc<Shared>) -> io::Result<()> {
    let mut output = BytesMut::with_capacity(BUFFER);
    loop {
        std::mem::swap(&mut output, &mut shared.lock().output);
        if output.is_empty() {
            shared.more.notified().await;
        } else {
            writer.write_all_buf(&mut output).await?;
        }
    }
}

#[derive(Clone)]
struct BareClient {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    more: Notify,
}

/// Call number 0 is for messages without an answer.
#[derive(Default)]
struct State {
    output: BytesMut,
    waiting: Vec<Option<oneshot::Sender<Bytes>>>,
    free: Vec<u32>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, payload: &[u8]) -> oneshot::Receiver<Bytes> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let call = state.free.pop().unwrap_or_else(|| {
            if state.waiting.is_empty() {
                state.waiting.push(None);
            }
            state.waiting.push(None);
            (state.waiting.len() - 1) as u32
        });
        state.waiting[call as usize] = Some(sender);
        encode(&mut state.output, call, payload);
        drop(state);
        self.more.notify_one();
        receiver
    }
}

impl Caller for BareClient {
    async fn call(&mut self, payload: Bytes) -> Result<Bytes, Failure> {
        self.shared.send(&payload).await.map_err(Failure::of("bare"))
    }
}

impl Client for BareClient {
    fn run<'a>(&'a mut self, shape: Shape, load: &'a Load) -> Running<'a, Done> {
        Box::pin(async move {
            match shape {
                Shape::Unary { .. } => closed_loop(self, load).await,
                Shape::Echo { .. } => Err(Failure::Control("echoes no streams".to_owned())),
                Shape::Stream => self.stream(load).await,
            }
        })
    }
}

impl BareClient {
    /// A batch is pushed under one lock, and the next once the writer has taken the one before.
    async fn stream(&mut self, load: &Load) -> Result<Done, Failure> {
        let began = Instant::now();
        let mut messages = 0_u64;
        while began.elapsed() < load.duration {
            {
                let mut state = self.shared.lock();
                while state.output.len() < BUFFER / 4 {
                    encode(&mut state.output, ONE_WAY, &load.payload);
                    messages += 1;
                }
            }
            self.shared.more.notify_one();
            tokio::task::yield_now().await;
        }
        let count = self.shared.send(&[]).await.map_err(Failure::of("bare"))?;
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
}

const ONE_WAY: u32 = 0;
const HEADER: usize = 8;
/// Holds a few of the largest messages.
const BUFFER: usize = 256 * 1024;

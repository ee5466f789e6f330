//! Messages behind a four-byte length, as a careful program would read and write them on a bare socket.

use std::io::{self, IoSlice};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::address::{Address, Socket};
use crate::failure::Failure;

/// Length of the prefix.
pub(crate) const PREFIX: usize = 4;

/// A tokio socket of either kind.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// Reads many messages with one system call and lends each in place.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Frames {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: vec![0; capacity],
            start: 0,
            end: 0,
        }
    }

    /// Reads what is there. False at the end of the stream.
    pub(crate) async fn fill<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 && self.buffer.len() - self.end < self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let read = reader.read(&mut self.buffer[self.end..]).await?;
        self.end += read;
        Ok(read > 0)
    }

    /// The next message that is complete.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<&[u8]> {
        let bytes = &self.buffer[self.start..self.end];
        let (prefix, rest) = bytes.split_first_chunk::<PREFIX>()?;
        let length = u32::from_le_bytes(*prefix) as usize;
        if rest.len() < length {
            return None;
        }
        let at = self.start + PREFIX;
        self.start = at + length;
        Some(&self.buffer[at..at + length])
    }

    /// All messages that are complete, with their prefixes.
    pub(crate) fn take_complete(&mut self) -> &[u8] {
        let from = self.start;
        while self.next().is_some() {}
        &self.buffer[from..self.start]
    }
}

/// Appends a message.
#[inline]
pub(crate) fn push(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Writes one message with one system call if the socket takes it: a small one is copied behind its prefix, a large
/// one is not copied.
pub(crate) async fn write_one<W>(writer: &mut W, scratch: &mut Vec<u8>, payload: &[u8]) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    if payload.len() <= COPIED {
        scratch.clear();
        push(scratch, payload);
        return writer.write_all(scratch).await;
    }
    write_repeated(writer, payload, 1).await
}

/// Writes a message several times with as few system calls as the socket allows, without copying it.
pub(crate) async fn write_repeated<W>(writer: &mut W, payload: &[u8], count: usize) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let prefix = (payload.len() as u32).to_le_bytes();
    let mut slices = [IoSlice::new(&[]); 2 * REPEATED_MAX];
    let count = count.min(REPEATED_MAX);
    for pair in slices.chunks_exact_mut(2).take(count) {
        pair.copy_from_slice(&[IoSlice::new(&prefix), IoSlice::new(payload)]);
    }
    let mut left = &mut slices[..2 * count];
    while !left.is_empty() {
        match writer.write_vectored(left).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => IoSlice::advance_slices(&mut left, written),
        }
    }
    Ok(())
}

/// A listener of either kind on an address of its own.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Uds(UnixListener),
}

impl Listener {
    /// Listens on a free port of this machine, or on a new path.
    pub(crate) async fn bind(socket: Socket) -> Result<(Self, Address), Failure> {
        let refused = Failure::io("listen");
        match socket {
            Socket::Tcp | Socket::Ws | Socket::Http => {
                let listener = TcpListener::bind("127.0.0.1:0").await.map_err(&refused)?;
                let address = listener.local_addr().map_err(&refused)?;
                Ok((Self::Tcp(listener), Address::Port(socket, address)))
            }
            Socket::Uds => {
                let path = free_path();
                let listener = UnixListener::bind(&path).map_err(&refused)?;
                Ok((Self::Uds(listener), Address::Uds(path)))
            }
            Socket::Quic | Socket::Redis => Err(Failure::Control(format!(
                "cannot listen for {socket} on a stream socket"
            ))),
        }
    }
}

/// A path for a socket that no other process uses.
pub(crate) fn free_path() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("valkyrie-peers-{}.sock", std::process::id()))
}

/// Connects over TCP, small messages at once.
pub(crate) async fn dial_tcp(address: std::net::SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(Failure::io("connect"))?;
    stream.set_nodelay(true).map_err(Failure::io("connect"))?;
    Ok(stream)
}

/// Connects over a Unix socket.
pub(crate) async fn dial_uds(path: &std::path::Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(path).await.map_err(Failure::io("connect"))
}

/// Payloads up to this are cheaper to copy than to point at.
const COPIED: usize = 4096;
/// Most messages in one write without copying.
pub(crate) const REPEATED_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::{Frames, push, write_one};

    #[tokio::test]
    async fn messages_survive_any_cut() {
        let payloads: Vec<Vec<u8>> = [0, 1, 63, 64, 5000, 3]
            .iter()
            .map(|len| vec![*len as u8; *len])
            .collect();
        let mut wire = Vec::new();
        payloads.iter().for_each(|payload| push(&mut wire, payload));
        for cut in 1..wire.len() {
            let (mut frames, mut seen) = (Frames::with_capacity(16), Vec::new());
            for mut part in [&wire[..cut], &wire[cut..]] {
                while frames.fill(&mut part).await.unwrap() {
                    while let Some(payload) = frames.next() {
                        seen.push(payload.to_vec());
                    }
                }
            }
            assert_eq!(seen, payloads, "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn large_and_small_messages_are_written_alike() {
        for length in [0, 64, 100_000] {
            let payload = vec![7; length];
            let (mut expected, mut written) = (Vec::new(), Vec::new());
            push(&mut expected, &payload);
            write_one(&mut written, &mut Vec::new(), &payload).await.unwrap();
            assert_eq!(written, expected);
        }
    }
}

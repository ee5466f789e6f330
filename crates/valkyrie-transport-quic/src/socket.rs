//! A UDP socket that says what the system reports about it.
//!
//! The QUIC library drops the errors of receiving, and is right to: anyone may forge an ICMP message. But that nobody
//! listens is told by no other means, and until there is a connection there is nothing to protect, so a dial looks.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncUdpSocket, UdpPoller};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use crate::config::{PACKET_BYTES_MAX, UDP_BUFFER_BYTES};
use crate::place::Claim;

#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// What the system reported first, for a dial to take.
    report: Mutex<Option<io::Error>>,
    reported: Notify,
    /// Given up when this is dropped, and so after `io` is closed: fields are dropped in their order.
    claim: Option<Claim>,
}

impl Socket {
    /// A socket of `address`, for listening.
    pub(crate) fn bound(address: SocketAddr) -> io::Result<Self> {
        let socket = fresh(address)?;
        if address.is_ipv6() {
            // Systems differ in what `[::]` means; here it is every address of both families, everywhere.
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.bind(&address.into())?;
        Self::new(socket)
    }

    /// A socket that hears from `peer` alone, for dialling.
    pub(crate) fn connected(source: Option<IpAddr>, peer: SocketAddr) -> io::Result<Self> {
        let socket = fresh(peer)?;
        let any = if peer.is_ipv6() {
            IpAddr::from([0_u16; 8])
        } else {
            IpAddr::from([0_u8; 4])
        };
        socket.bind(&SocketAddr::new(source.unwrap_or(any), 0).into())?;
        // Where a connected socket takes no destination, nothing can be sent as the library sends; there, a dial to
        // nobody takes its time.
        if cfg!(any(target_os = "linux", target_os = "android")) {
            socket.connect(&peer.into())?;
        }
        Self::new(socket)
    }

    fn new(socket: socket2::Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let socket = std::net::UdpSocket::from(socket);
        Ok(Self {
            state: UdpSocketState::new((&socket).into())?,
            io: UdpSocket::from_std(socket)?,
            report: Mutex::new(None),
            reported: Notify::new(),
            claim: None,
        })
    }

    pub(crate) fn with_claim(mut self, claim: Claim) -> Self {
        self.claim = Some(claim);
        self
    }

    /// Waits for the system to report something: that the peer's port is closed, say.
    pub(crate) async fn failure(&self) -> io::Error {
        loop {
            // A report is taken by whichever call comes first, so it may have come to a send.
            if let Some(error) = self.lock().take() {
                return error;
            }
            tokio::select! {
                () = self.reported.notified() => {}
                ready = self.io.ready(Interest::ERROR) => {
                    let taken = ready.and_then(|_| self.io.try_io(Interest::ERROR, || {
                        SockRef::from(&self.io).take_error()?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
                    }));
                    match taken {
                        Ok(error) => return error,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return error,
                    }
                }
            }
        }
    }

    /// Gives the system the packets of `transmit`, as many at once as it takes.
    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let packet = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let together = (SENT_AT_ONCE_BYTES_MAX / packet).max(1) * packet;
        // When there is no room for the later ones all are sent again: packets that arrive twice are known by their numbers.
        transmit.contents.chunks(together).try_for_each(|contents| {
            let part = Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn,
                contents,
                segment_size: transmit.segment_size,
                src_ip: transmit.src_ip,
            };
            self.io.try_io(Interest::WRITABLE, || {
                self.state.try_send((&self.io).into(), &part)
            })
        })
    }

    fn report(&self, error: io::Error) {
        self.lock().get_or_insert(error);
        self.reported.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<io::Error>> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // What the system allows is what there is; a smaller buffer costs speed and nothing else.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
    Ok(socket)
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable {
            socket: self,
            waiting: Waiting(None),
        })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match self.send(transmit) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                // A packet that could not be sent is a packet that was lost. That a large one does not fit is how
                // the library finds out how large they may be.
                self.report(error);
                Ok(())
            }
            sent => sent,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        for _ in 0..REPORTS_AT_ONCE_MAX {
            ready!(self.io.poll_recv_ready(cx))?;
            let received = self.io.try_io(Interest::READABLE, || {
                self.state.recv((&self.io).into(), bufs, meta)
            });
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.report(error),
                received => return Poll::Ready(received),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// The library has room for so many of the largest packets at a time. The system puts no more together than
    /// [`SENT_AT_ONCE_BYTES_MAX`] and a packet, however small they are.
    fn max_receive_segments(&self) -> usize {
        let largest = usize::from(PACKET_BYTES_MAX);
        self.state
            .gro_segments()
            .min((SENT_AT_ONCE_BYTES_MAX + largest).div_ceil(largest))
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room to send, for one of the tasks that share the socket.
#[derive(Debug)]
struct Writable {
    socket: Arc<Socket>,
    waiting: Waiting,
}

/// Boxed when the socket is full and not before.
struct Waiting(Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "waiting" } else { "idle" })
    }
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, waiting } = &mut *self;
        let future = waiting.0.get_or_insert_with(|| {
            let socket = Arc::clone(socket);
            Box::pin(async move { socket.io.writable().await })
        });
        let writable = ready!(future.as_mut().poll(cx));
        waiting.0 = None;
        Poll::Ready(writable)
    }
}

/// The most that goes to the system at once, and comes from it: the length of a datagram of IP, 65,535 bytes, less what headers take. It
/// refuses more without a word, and the library offers ten packets at once, however large they are.
const SENT_AT_ONCE_BYTES_MAX: usize = 65_535 - 60 - 8;

/// How many reports are taken in one go before other tasks have their turn: a socket on which every receive fails must
/// not keep its thread.
const REPORTS_AT_ONCE_MAX: usize = 16;

#[cfg(test)]
mod tests;

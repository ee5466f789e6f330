//! Something on the way that takes its time: what comes in at one port goes on to another so much later, in each direction.
//!
//! It is no part of the kernel's network, where delay (`netem`) is not on every machine. Over UDP it delays packets and stays out of what
//! they say. Over TCP it is the end of one connection and the beginning of another, so that the windows of TCP see none of the delay,
//! and those of the session all of it. It holds what a path holds and no more than [`HELD_BYTES_MAX`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};

/// Takes TCP connections at `from` on to `to`.
pub(crate) async fn tcp(from: SocketAddr, to: SocketAddr, delay: Duration) -> io::Result<()> {
    let listener = TcpListener::bind(from).await?;
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let far = TcpStream::connect(to).await?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                let (near, far) = (near.into_split(), far.into_split());
                tokio::spawn(carry(near.0, far.1, delay));
                tokio::spawn(carry(far.0, near.1, delay));
                io::Result::Ok(())
            });
        }
    });
    Ok(())
}

/// One direction of a connection.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (held, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let room = Arc::new(Semaphore::new(HELD_BYTES_MAX));
    let freed = Arc::clone(&room);
    tokio::spawn(async move {
        while let Some((at, bytes)) = due.recv().await {
            tokio::time::sleep_until(at.into()).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
            freed.add_permits(bytes.len());
        }
        let _ = to.shutdown().await;
        freed.close();
    });
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        match room.acquire_many(count as u32).await {
            Ok(taken) => taken.forget(),
            Err(_) => break,
        }
        if held
            .send((Instant::now() + delay, buffer[..count].to_vec()))
            .is_err()
        {
            break;
        }
    }
}

/// Takes the packets of one peer at `from` on to `to`, and those that come back to it.
pub(crate) async fn udp(from: SocketAddr, to: SocketAddr, delay: Duration) -> io::Result<()> {
    let near = Arc::new(UdpSocket::bind(from).await?);
    let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
    far.connect(to).await?;
    let mut first = [0; READ_BYTES];
    tokio::spawn(async move {
        // Who sends the first packet is the peer.
        let (count, peer) = near.recv_from(&mut first).await?;
        near.connect(peer).await?;
        far.send(&first[..count]).await?;
        tokio::spawn(pass(Arc::clone(&near), Arc::clone(&far), delay));
        pass(far, near, delay).await;
        io::Result::Ok(())
    });
    Ok(())
}

/// One direction of packets. What there is no room for is lost, as on any path.
async fn pass(from: Arc<UdpSocket>, to: Arc<UdpSocket>, delay: Duration) {
    let (held, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(HELD_BYTES_MAX / PACKET_BYTES);
    tokio::spawn(async move {
        while let Some((at, packet)) = due.recv().await {
            tokio::time::sleep_until(at.into()).await;
            let _ = to.send(&packet).await;
        }
    });
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count) = from.recv(&mut buffer).await {
        let _ = held.try_send((Instant::now() + delay, buffer[..count].to_vec()));
    }
}

/// Ten times what 100 Mbit/s and 25 ms make.
const HELD_BYTES_MAX: usize = 3 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;
const PACKET_BYTES: usize = 1200;

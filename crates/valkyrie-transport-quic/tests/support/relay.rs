//! A relay for datagrams that drops what a test tells it to.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToAcceptor,
    ToDialler,
}

/// Passes datagrams between one dialler and an acceptor until it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to `acceptor` that passes what `passes` says.
    pub(crate) async fn start(
        acceptor: SocketAddr,
        passes: impl Fn(Way, &[u8]) -> bool + Send + 'static,
    ) -> Self {
        let towards_dialler = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let towards_acceptor = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        towards_acceptor.connect(acceptor).await.unwrap();
        let address = towards_dialler.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let sockets = Arc::new((towards_dialler, towards_acceptor));
            let mut dialler = None;
            let (mut there, mut back) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                tokio::select! {
                    Ok((length, from)) = sockets.0.recv_from(&mut there) => {
                        dialler = Some(from);
                        if passes(Way::ToAcceptor, &there[..length]) {
                            let _ = sockets.1.send(&there[..length]).await;
                        }
                    }
                    Ok(length) = sockets.1.recv(&mut back) => {
                        if let Some(dialler) = dialler && passes(Way::ToDialler, &back[..length]) {
                            let _ = sockets.0.send_to(&back[..length], dialler).await;
                        }
                    }
                }
            }
        });
        Self { address, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether a datagram begins with a Retry packet of QUIC version 1 (RFC 9000, section 17.2.5).
pub(crate) fn is_retry(datagram: &[u8]) -> bool {
    datagram.len() > 5 && datagram[0] & 0xf0 == 0xf0 && datagram[1..5] == [0, 0, 0, 1]
}

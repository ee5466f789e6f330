//! One connection, or one place where connections arrive, as the connection manager knows it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockAddr;

use super::{EventChannel, check};
use crate::ffi;

/// An id of the connection manager. Dropping it ends what it stands for.
#[derive(Debug)]
pub(crate) struct CmId {
    id: NonNull<ffi::rdma_cm_id>,
    /// Where its events go. The library reaches the kernel through it to the last, so it is dropped after the id.
    channel: Arc<EventChannel>,
}

// SAFETY: the library guards its state with locks of its own; any thread may call it about any id.
unsafe impl Send for CmId {}

impl CmId {
    pub(crate) fn create(channel: &Arc<EventChannel>) -> io::Result<Self> {
        let mut id = ptr::null_mut();
        // SAFETY: the channel is open, and `id` is a place for one pointer; no context is given.
        check(unsafe {
            ffi::rdma_create_id(
                channel.as_ptr(),
                &mut id,
                ptr::null_mut(),
                ffi::rdma_port_space::RDMA_PS_TCP,
            )
        })?;
        Ok(Self {
            id: NonNull::new(id).ok_or(io::ErrorKind::InvalidData)?,
            channel: Arc::clone(channel),
        })
    }

    /// # Safety
    ///
    /// The id must be live, its events must go to `channel`, and nobody else may own it.
    pub(super) unsafe fn from_raw(id: NonNull<ffi::rdma_cm_id>, channel: Arc<EventChannel>) -> Self {
        Self { id, channel }
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::rdma_cm_id {
        self.id.as_ptr()
    }

    pub(crate) fn channel(&self) -> &Arc<EventChannel> {
        &self.channel
    }

    /// The device that the id is bound to, if it is bound to one.
    pub(super) fn device(&self) -> Option<NonNull<ffi::ibv_context>> {
        // SAFETY: the id is live for as long as `self` is.
        NonNull::new(unsafe { self.id.as_ref() }.verbs)
    }

    pub(crate) fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let address = SockAddr::from(address);
        // SAFETY: the library reads the address, as long as its family says, and does not keep it.
        check(unsafe { ffi::rdma_bind_addr(self.as_ptr(), address.as_ptr().cast_mut().cast()) })
    }

    pub(crate) fn listen(&self, backlog: i32) -> io::Result<()> {
        // SAFETY: the id is live.
        check(unsafe { ffi::rdma_listen(self.as_ptr(), backlog) })
    }

    /// Begins to look for the device and the address that lead to `to`; an event says how it ended.
    pub(crate) fn resolve_address(
        &self,
        from: Option<IpAddr>,
        to: SocketAddr,
        limit: Duration,
    ) -> io::Result<()> {
        let from = from.map(|from| SockAddr::from(SocketAddr::new(from, 0)));
        let from = from.as_ref().map_or(ptr::null(), SockAddr::as_ptr);
        let to = SockAddr::from(to);
        // SAFETY: the library reads both addresses, as long as their families say, and does not keep them; the first may
        // be null.
        check(unsafe {
            ffi::rdma_resolve_addr(
                self.as_ptr(),
                from.cast_mut().cast(),
                to.as_ptr().cast_mut().cast(),
                milliseconds(limit),
            )
        })
    }

    /// Begins to look for the way; an event says how it ended.
    pub(crate) fn resolve_route(&self, limit: Duration) -> io::Result<()> {
        // SAFETY: the id is live.
        check(unsafe { ffi::rdma_resolve_route(self.as_ptr(), milliseconds(limit)) })
    }

    /// Asks the peer; an event says what it answers. The id must have a queue pair.
    pub(crate) fn connect(&self, private: &[u8]) -> io::Result<()> {
        let mut param = parameters(private);
        // SAFETY: the parameters point to `private`, which the library reads and does not keep.
        check(unsafe { ffi::rdma_connect(self.as_ptr(), &mut param) })
    }

    /// Accepts a request; an event says when the peer knows. The id must have a queue pair.
    pub(crate) fn accept(&self, private: &[u8]) -> io::Result<()> {
        let mut param = parameters(private);
        // SAFETY: as for `connect`.
        check(unsafe { ffi::rdma_accept(self.as_ptr(), &mut param) })
    }

    /// Turns a request away.
    pub(crate) fn reject(&self, private: &[u8]) -> io::Result<()> {
        // SAFETY: the library reads as many bytes as it is told, and does not keep them.
        check(unsafe { ffi::rdma_reject(self.as_ptr(), private.as_ptr().cast(), private_length(private)) })
    }

    /// Ends the connection. What is under way is given up, on both sides.
    pub(crate) fn disconnect(&self) -> io::Result<()> {
        // SAFETY: the id is live.
        check(unsafe { ffi::rdma_disconnect(self.as_ptr()) })
    }

    /// Sends its events to another channel from now on. Every event was acknowledged when it was read, so this does not
    /// wait.
    pub(crate) fn migrate(&mut self, channel: &Arc<EventChannel>) -> io::Result<()> {
        // SAFETY: both are live.
        check(unsafe { ffi::rdma_migrate_id(self.as_ptr(), channel.as_ptr()) })?;
        self.channel = Arc::clone(channel);
        Ok(())
    }

    /// The address of this end, if it has one.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        // SAFETY: the id is live; the union is plain bytes, large enough for any address, and was zeroed when it was made.
        let storage = unsafe { self.id.as_ref().route.addr.src_addr_union.src_storage };
        to_address(storage)
    }

    /// The address of the peer, if there is one.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        // SAFETY: as for `local_address`.
        let storage = unsafe { self.id.as_ref().route.addr.dst_addr_union.dst_storage };
        to_address(storage)
    }
}

impl Drop for CmId {
    fn drop(&mut self) {
        // SAFETY: this is the one owner, whatever queue pair there was is gone (see `QueuePair`), and every event was
        // acknowledged when it was read. Should the kernel not know the id any more there is nothing left to give back.
        unsafe { ffi::rdma_destroy_id(self.as_ptr()) };
    }
}

fn to_address(storage: libc::sockaddr_storage) -> Option<SocketAddr> {
    let length = match i32::from(storage.ss_family) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => return None,
    };
    let mut copy = socket2::SockAddrStorage::zeroed();
    // SAFETY: socket2's storage is the system's `sockaddr_storage` under another name, so a view of it as that is valid.
    *unsafe { copy.view_as::<libc::sockaddr_storage>() } = storage;
    // SAFETY: the bytes are an address of the family whose length this is; the length fits by far.
    unsafe { SockAddr::new(copy, length as libc::socklen_t) }.as_socket()
}

/// What is asked of a connection. No reads and no atomics are made; a message that the peer has no receive for is not sent
/// again, because that never happens among those who keep to their credit.
//= protocol/transports.md#rdma-opening
fn parameters(private: &[u8]) -> ffi::rdma_conn_param {
    ffi::rdma_conn_param {
        private_data: private.as_ptr().cast(),
        private_data_len: private_length(private),
        responder_resources: 0,
        initiator_depth: 0,
        flow_control: 1,
        retry_count: RETRIES,
        rnr_retry_count: 0,
        srq: 0,
        qp_num: 0,
    }
}

/// Ours are short; what would not fit is cut off, and the peer refuses it.
fn private_length(private: &[u8]) -> u8 {
    private.len().try_into().unwrap_or(u8::MAX)
}

fn milliseconds(limit: Duration) -> i32 {
    limit.as_millis().try_into().unwrap_or(i32::MAX)
}

/// How often a packet is sent again that was not acknowledged, the most that there is. How long each takes is for the
/// connection manager to say, by what it knows of the way.
const RETRIES: u8 = 7;

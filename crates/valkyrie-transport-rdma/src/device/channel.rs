//! Where the connection manager tells what happens to connections.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::ready::wait_on;
use super::{CmId, Ready, check, do_not_block, last_error};
use crate::ffi;

/// A channel of events. Reading from it never waits; its descriptor says when there is something to read.
#[derive(Debug)]
pub(crate) struct EventChannel(NonNull<ffi::rdma_event_channel>);

// SAFETY: the library guards its state with locks of its own, and any thread may call it about any channel.
unsafe impl Send for EventChannel {}
// SAFETY: as above. Two threads that read at once get different events.
unsafe impl Sync for EventChannel {}

/// What happened to a connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// A peer wants to connect.
    Request {
        /// The connection that it would be. Dropping it turns the peer away.
        id: CmId,
        /// What the peer says of itself.
        private: Vec<u8>,
    },
    AddressResolved,
    RouteResolved,
    /// The connection is there; to a dialler with what the acceptor says of itself.
    Established {
        private: Vec<u8>,
    },
    /// The acceptor, or its system, turned the connection away.
    Rejected {
        reason: i32,
        private: Vec<u8>,
    },
    /// There is no such address, or no way to it.
    Unreachable {
        status: i32,
    },
    /// The connection is over.
    Disconnected,
    DeviceGone,
    /// Nothing that matters here.
    Other,
}

impl EventChannel {
    pub(crate) fn open() -> io::Result<Arc<Self>> {
        // SAFETY: the call has no preconditions.
        let channel = unsafe { ffi::rdma_create_event_channel() };
        let channel = Self(NonNull::new(channel).ok_or_else(last_error)?);
        // SAFETY: the channel was just opened.
        do_not_block(unsafe { channel.0.as_ref() }.fd)?;
        Ok(Arc::new(channel))
    }

    /// Says when there are events.
    pub(crate) fn ready(&self) -> io::Result<Ready> {
        // SAFETY: the channel, and with it its descriptor, is open for as long as `self` is.
        unsafe { wait_on(self.0.as_ref().fd) }
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::rdma_event_channel {
        self.0.as_ptr()
    }

    /// The next event, if one is there.
    pub(crate) fn next(self: &Arc<Self>) -> io::Result<Option<Event>> {
        let mut event: *mut ffi::rdma_cm_event = ptr::null_mut();
        // SAFETY: the channel is open for as long as `self` is, and `event` is a place for one pointer.
        match check(unsafe { ffi::rdma_get_cm_event(self.as_ptr(), &mut event) }) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        let event = NonNull::new(event).ok_or(io::ErrorKind::InvalidData)?;
        // SAFETY: the library just gave us this event, and it stays as it is until it is acknowledged below.
        let copy = unsafe { self.copy(event) };
        // SAFETY: the event is acknowledged once, and nothing of it is used after this.
        check(unsafe { ffi::rdma_ack_cm_event(event.as_ptr()) })?;
        Ok(Some(copy))
    }

    /// What an event says, in memory of our own.
    ///
    /// # Safety
    ///
    /// The event must be one that was read and not acknowledged yet.
    unsafe fn copy(self: &Arc<Self>, event: NonNull<ffi::rdma_cm_event>) -> Event {
        use ffi::rdma_cm_event_type as kind;
        // SAFETY: by the contract of this function the event is there, and nobody changes it.
        let event = unsafe { event.as_ref() };
        let private = || {
            // SAFETY: for events of connected services, which these ids are alone, the library fills in this variant of the
            // union, in whose all-zero form there is no private data.
            let said = unsafe { &event.param.conn };
            if said.private_data.is_null() || said.private_data_len == 0 {
                return Vec::new();
            }
            // SAFETY: the pointer and the length are the library's, for a buffer that is part of the event.
            unsafe {
                std::slice::from_raw_parts(said.private_data.cast::<u8>(), said.private_data_len.into())
            }
            .to_vec()
        };
        match event.event {
            kind::RDMA_CM_EVENT_CONNECT_REQUEST => match NonNull::new(event.id) {
                Some(id) => {
                    // SAFETY: the id of a request is new, and whoever reads the event is its one owner.
                    let id = unsafe { CmId::from_raw(id, Arc::clone(self)) };
                    let private = private();
                    Event::Request { id, private }
                }
                None => Event::Other,
            },
            kind::RDMA_CM_EVENT_ADDR_RESOLVED => Event::AddressResolved,
            kind::RDMA_CM_EVENT_ROUTE_RESOLVED => Event::RouteResolved,
            kind::RDMA_CM_EVENT_ESTABLISHED => Event::Established { private: private() },
            kind::RDMA_CM_EVENT_REJECTED => Event::Rejected {
                reason: event.status,
                private: private(),
            },
            kind::RDMA_CM_EVENT_ADDR_ERROR
            | kind::RDMA_CM_EVENT_ROUTE_ERROR
            | kind::RDMA_CM_EVENT_UNREACHABLE
            | kind::RDMA_CM_EVENT_CONNECT_ERROR => Event::Unreachable { status: event.status },
            kind::RDMA_CM_EVENT_DISCONNECTED => Event::Disconnected,
            kind::RDMA_CM_EVENT_DEVICE_REMOVAL => Event::DeviceGone,
            _ => Event::Other,
        }
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        // SAFETY: every id on this channel holds a reference to `self`, so none is left; this runs once.
        unsafe { ffi::rdma_destroy_event_channel(self.as_ptr()) }
    }
}

//! Memory that a device may use.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ptr::NonNull;

use bytes::{BufMut, BytesMut};

use super::last_error;
use crate::ffi;

/// A protection domain: a queue pair and the memory that it, and no other, may use.
#[derive(Debug)]
pub(super) struct Domain(NonNull<ffi::ibv_pd>);

// SAFETY: the verbs may be called from any thread.
unsafe impl Send for Domain {}

impl Domain {
    /// # Safety
    ///
    /// The device must stay open for longer than the domain lives.
    pub(super) unsafe fn new(device: NonNull<ffi::ibv_context>) -> io::Result<Self> {
        // SAFETY: the device is open.
        let domain = unsafe { ffi::ibv_alloc_pd(device.as_ptr()) };
        NonNull::new(domain).map(Self).ok_or_else(last_error)
    }

    pub(super) fn as_ptr(&self) -> *mut ffi::ibv_pd {
        self.0.as_ptr()
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: `QueuePair` drops the queue pair and every region before its domain.
        let freed = unsafe { ffi::ibv_dealloc_pd(self.as_ptr()) };
        debug_assert_eq!(freed, 0, "something of the domain is still in use");
    }
}

/// Who but this program may do what with a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The device reads it: what is sent.
    Read,
    /// The device writes to it: what is received.
    Receive,
    /// The peer writes to it.
    PeerWrites,
}

/// Registered memory. Bytes are copied in and out; nobody borrows them, because the device, and through it the peer, may
/// write at any time.
#[derive(Debug)]
pub(crate) struct Region {
    /// Given back before the memory is.
    registration: Registration,
    memory: Memory,
}

#[derive(Debug)]
struct Registration(NonNull<ffi::ibv_mr>);

#[derive(Debug)]
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the verbs may be called from any thread, and the memory belongs to nobody else.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Send for Memory {}

impl Region {
    /// Takes `bytes` of memory, which must be some, and registers it.
    pub(super) fn new(domain: &Domain, bytes: usize, access: Access) -> io::Result<Self> {
        let memory = Memory::new(bytes)?;
        let access = match access {
            // Reading by the device needs no flag.
            Access::Read => ffi::ibv_access_flags(0),
            Access::Receive => ffi::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE,
            Access::PeerWrites => {
                ffi::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE | ffi::ibv_access_flags::IBV_ACCESS_REMOTE_WRITE
            }
        };
        // SAFETY: the domain is live, the memory is ours and as long as is said, and it is freed after the registration is
        // given back, by the order of the fields of `Region`.
        let registration = unsafe {
            ffi::ibv_reg_mr(
                domain.as_ptr(),
                memory.start.as_ptr().cast(),
                bytes,
                access.0 as libc::c_int,
            )
        };
        let registration = NonNull::new(registration).ok_or_else(last_error)?;
        Ok(Self {
            registration: Registration(registration),
            memory,
        })
    }

    /// The key under which this side's work names it.
    pub(super) fn local_key(&self) -> u32 {
        // SAFETY: the registration is live and does not change.
        unsafe { self.registration.0.as_ref() }.lkey
    }

    /// The key under which the peer's writes name it.
    pub(crate) fn remote_key(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.registration.0.as_ref() }.rkey
    }

    /// Where it begins, as the device counts.
    pub(crate) fn address(&self) -> u64 {
        self.memory.start.as_ptr() as u64
    }

    /// Whether `length` bytes from `at` on lie within.
    pub(super) fn holds(&self, at: usize, length: usize) -> bool {
        at.checked_add(length)
            .is_some_and(|end| end <= self.memory.layout.size())
    }

    /// Copies `bytes` in.
    ///
    /// # Panics
    ///
    /// When they do not lie within.
    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(self.holds(at, bytes.len()), "a write past the end of a region");
        // SAFETY: the target lies within our memory, by the assertion, and `bytes`, which is borrowed, is elsewhere. Nothing
        // else in this program writes here, because `self` is borrowed alone, and the device only reads regions that this is
        // called for.
        unsafe {
            self.memory
                .start
                .as_ptr()
                .add(at)
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len())
        }
    }

    /// Appends `length` bytes to `buf`, in the room that it has or in more.
    ///
    /// # Panics
    ///
    /// When they do not lie within.
    pub(crate) fn append_to(&self, buf: &mut BytesMut, at: usize, length: usize) {
        assert!(self.holds(at, length), "a read past the end of a region");
        buf.reserve(length);
        let room = buf.chunk_mut();
        assert!(room.len() >= length, "room that was reserved is there");
        // SAFETY: the source lies within our memory and the target is as long, both by the assertions, and the two are
        // different allocations. A peer that breaks the rules may write to the source meanwhile: then the bytes are any
        // bytes, which is what a peer's bytes are anyway, and no reference to them was ever made. They were initialised when
        // the memory was taken.
        unsafe {
            room.as_mut_ptr()
                .copy_from_nonoverlapping(self.memory.start.as_ptr().add(at), length)
        }
        // SAFETY: that many bytes were just written there.
        unsafe { buf.advance_mut(length) }
    }

    /// Copies `N` bytes out.
    ///
    /// # Panics
    ///
    /// When they do not lie within.
    pub(crate) fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        assert!(self.holds(at, N), "a read past the end of a region");
        let mut bytes = [0; N];
        // SAFETY: as for `append_to`; the target is on the stack and exactly as long.
        unsafe {
            bytes
                .as_mut_ptr()
                .copy_from_nonoverlapping(self.memory.start.as_ptr().add(at), N)
        }
        bytes
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: this is the one owner, and the queue pair that used the memory is gone, by the order in `QueuePair`.
        let freed = unsafe { ffi::ibv_dereg_mr(self.0.as_ptr()) };
        debug_assert_eq!(freed, 0, "the region is still in use");
    }
}

impl Memory {
    fn new(bytes: usize) -> io::Result<Self> {
        let layout =
            Layout::from_size_align(bytes.max(1), PAGE_BYTES).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, layout })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was taken with this layout, once, and no device knows of it any more.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// Devices map whole pages, so nothing else of the program should lie on them.
const PAGE_BYTES: usize = 4096;

//! A reliable-connected queue pair with its completions and its memory.

use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr::{self, NonNull};

use super::memory::{Access, Domain};
use super::ready::wait_on;
use super::{CmId, Ready, Region, check, do_not_block, last_error};
use crate::error::RdmaError;
use crate::ffi;

/// One end of a connection: a queue pair, its completions, its memory and its id.
///
/// The fields are dropped in this order, which is the one that the libraries want: the queue pair first, after which no
/// device touches the memory; its completions; the memory; the domain of all of them; and the id, through which the device
/// is kept open, last.
#[derive(Debug)]
pub(crate) struct QueuePair {
    queues: Queues,
    completions: Completions,
    /// What is received: a slot for each receive.
    pub(crate) inbox: Region,
    /// What the peer writes to, if it may.
    pub(crate) ring: Option<Region>,
    /// What is sent: slots, and after them the staging place of writes.
    pub(crate) outbox: Region,
    _domain: Domain,
    pub(crate) id: CmId,
}

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// How many receives are posted at once.
    pub(crate) receives: u16,
    /// How long each is.
    pub(crate) slot_bytes: u32,
    /// How long the ring is that the peer writes to; 0 for none.
    pub(crate) ring_bytes: u32,
    /// How much memory is for sending.
    pub(crate) outbox_bytes: usize,
    /// How many pieces of work to send may be under way at once.
    pub(crate) sends: u16,
    /// How long a message may be that the device takes along with the work, where it can.
    pub(crate) inline_bytes: u32,
}

/// A piece of work that is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    /// What it was called when it was posted.
    pub(crate) name: u64,
    pub(crate) done: Result<Done, Failed>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// Something was sent or written, and the peer's device has it.
    Sent,
    /// A message of so many bytes came in the receive.
    Received { bytes: u32 },
    /// The peer wrote so many bytes elsewhere, says this number, and used the receive up.
    Written { bytes: u32, number: u32 },
}

/// Work that was not done, with the number of the verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed(ffi::ibv_wc_status::Type);

impl From<Failed> for RdmaError {
    fn from(Failed(status): Failed) -> Self {
        use ffi::ibv_wc_status as verbs;
        match status {
            verbs::IBV_WC_WR_FLUSH_ERR => Self::Flushed,
            verbs::IBV_WC_RETRY_EXC_ERR => Self::Silent,
            verbs::IBV_WC_RNR_RETRY_EXC_ERR => Self::NotReady,
            verbs::IBV_WC_REM_ACCESS_ERR => Self::AccessRefused,
            verbs::IBV_WC_LOC_LEN_ERR => Self::TooLarge,
            status => Self::Device { status },
        }
    }
}

impl QueuePair {
    /// Makes a queue pair for an id that is bound to a device, with all its memory. This asks the kernel to pin memory and
    /// may take a while.
    pub(crate) fn create(id: CmId, sizes: &Sizes) -> io::Result<Self> {
        let device = id.device().ok_or(io::ErrorKind::NotConnected)?;
        // SAFETY: the connection manager keeps the device open for as long as the id lives, which is dropped last.
        let domain = unsafe { Domain::new(device) }?;
        let inbox_bytes = usize::from(sizes.receives) * sizes.slot_bytes as usize;
        let inbox = Region::new(&domain, inbox_bytes, Access::Receive)?;
        let ring = match sizes.ring_bytes {
            0 => None,
            bytes => Some(Region::new(&domain, bytes as usize, Access::PeerWrites)?),
        };
        let outbox = Region::new(&domain, sizes.outbox_bytes, Access::Read)?;
        let entries = i32::from(sizes.receives) + i32::from(sizes.sends);
        // SAFETY: as for the domain.
        let completions = unsafe { Completions::new(device, entries) }?;
        let queues = Queues::new(&id, &domain, &completions, sizes)?;
        Ok(Self {
            queues,
            completions,
            inbox,
            ring,
            outbox,
            _domain: domain,
            id,
        })
    }

    /// How long a message may be that the device takes along with the work.
    pub(crate) fn inline_bytes(&self) -> usize {
        self.queues.inline_bytes as usize
    }

    /// Lets the device put a message into `length` bytes of the inbox from `at` on.
    pub(crate) fn post_receive(&mut self, name: u64, at: usize, length: u32) -> io::Result<()> {
        let mut piece = piece(&self.inbox, at, length)?;
        let mut work = ffi::ibv_recv_wr {
            wr_id: name,
            next: ptr::null_mut(),
            sg_list: &mut piece,
            num_sge: 1,
        };
        let mut refused = ptr::null_mut();
        // SAFETY: the queue pair is live. The work and its one piece are read before the call returns; the memory that the
        // piece names is `inbox`'s, was checked to lie within it, and lives longer than the queue pair.
        check(unsafe { ffi::ibv_post_recv(self.queues.as_ptr(), &mut work, &mut refused) })
    }

    /// Sends `bytes`, which the device takes along: at most [`QueuePair::inline_bytes`].
    pub(crate) fn send_inline(&mut self, name: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.inline_bytes() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut piece = ffi::ibv_sge {
            addr: bytes.as_ptr() as u64,
            length: bytes.len() as u32,
            // Not looked at for what is taken along.
            lkey: 0,
        };
        let mut work = work(name, &mut piece, ffi::ibv_wr_opcode::IBV_WR_SEND);
        work.send_flags |= ffi::ibv_send_flags::IBV_SEND_INLINE.0 as libc::c_uint;
        // SAFETY: the piece names `bytes`, all of which is read before the call returns, because of the flag.
        unsafe { self.queues.post(&mut work) }
    }

    /// Sends `length` bytes of the outbox. They must stay as they are until the work is done.
    pub(crate) fn send(&mut self, name: u64, at: usize, length: u32) -> io::Result<()> {
        let mut piece = piece(&self.outbox, at, length)?;
        let mut work = work(name, &mut piece, ffi::ibv_wr_opcode::IBV_WR_SEND);
        // SAFETY: the piece names memory of `outbox`, was checked to lie within it, and `outbox` lives longer than the queue
        // pair.
        unsafe { self.queues.post(&mut work) }
    }

    /// Writes `length` bytes of the outbox to the peer's memory at `address`, and tells it `number`. The bytes must stay as
    /// they are until the work is done.
    pub(crate) fn write(
        &mut self,
        name: u64,
        at: usize,
        length: u32,
        address: u64,
        key: u32,
        number: u32,
    ) -> io::Result<()> {
        let mut piece = piece(&self.outbox, at, length)?;
        let mut work = work(name, &mut piece, ffi::ibv_wr_opcode::IBV_WR_RDMA_WRITE_WITH_IMM);
        work.imm_data_invalidated_rkey_union.imm_data = number.to_be();
        work.wr.rdma.remote_addr = address;
        work.wr.rdma.rkey = key;
        // SAFETY: as for `send`. What is on the peer's side of the write its device checks by the key.
        unsafe { self.queues.post(&mut work) }
    }

    /// Takes what is done, at most `out.len()`, and says how much that was.
    pub(crate) fn poll(&mut self, out: &mut [Option<Completion>]) -> io::Result<usize> {
        self.completions.poll(out)
    }

    /// From now on the descriptor of the completions tells of the next one.
    pub(crate) fn arm(&mut self) -> io::Result<()> {
        self.completions.arm()
    }

    /// Takes one notice that completions are there, if there is one. After that it has to be [armed](QueuePair::arm) again.
    pub(crate) fn take_notice(&mut self) -> io::Result<bool> {
        self.completions.take_notice()
    }

    /// Says when there are notices.
    pub(crate) fn ready(&self) -> io::Result<Ready> {
        // SAFETY: the channel, and with it its descriptor, is open for as long as `self` is.
        unsafe { wait_on(self.completions.channel.0.as_ref().fd) }
    }
}

/// The memory that a piece of work is about, checked to lie within the region.
fn piece(region: &Region, at: usize, length: u32) -> io::Result<ffi::ibv_sge> {
    if !region.holds(at, length as usize) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(ffi::ibv_sge {
        addr: region.address() + at as u64,
        length,
        lkey: region.local_key(),
    })
}

fn work(name: u64, piece: &mut ffi::ibv_sge, opcode: ffi::ibv_wr_opcode::Type) -> ffi::ibv_send_wr {
    // SAFETY: numbers, pointers and unions of those, for all of which zero is a value.
    let mut work: ffi::ibv_send_wr = unsafe { mem::zeroed() };
    work.wr_id = name;
    work.sg_list = piece;
    work.num_sge = 1;
    work.opcode = opcode;
    work.send_flags = ffi::ibv_send_flags::IBV_SEND_SIGNALED.0 as libc::c_uint;
    work
}

/// The queues themselves, which belong to the id.
#[derive(Debug)]
struct Queues {
    id: NonNull<ffi::rdma_cm_id>,
    queues: NonNull<ffi::ibv_qp>,
    inline_bytes: u32,
}

// SAFETY: the verbs may be called from any thread.
unsafe impl Send for Queues {}

impl Queues {
    fn new(id: &CmId, domain: &Domain, completions: &Completions, sizes: &Sizes) -> io::Result<Self> {
        // Devices differ in how much they take along, and some take nothing.
        Self::with_inline(id, domain, completions, sizes, sizes.inline_bytes)
            .or_else(|_| Self::with_inline(id, domain, completions, sizes, 0))
    }

    fn with_inline(
        id: &CmId,
        domain: &Domain,
        completions: &Completions,
        sizes: &Sizes,
        inline_bytes: u32,
    ) -> io::Result<Self> {
        // SAFETY: numbers and pointers, for all of which zero is a value.
        let mut wanted: ffi::ibv_qp_init_attr = unsafe { mem::zeroed() };
        wanted.send_cq = completions.queue.0.as_ptr();
        wanted.recv_cq = completions.queue.0.as_ptr();
        wanted.qp_type = ffi::ibv_qp_type::IBV_QPT_RC;
        wanted.cap.max_send_wr = sizes.sends.into();
        wanted.cap.max_recv_wr = sizes.receives.into();
        wanted.cap.max_send_sge = 1;
        wanted.cap.max_recv_sge = 1;
        wanted.cap.max_inline_data = inline_bytes;
        // SAFETY: the id is live and bound to a device, the domain and the completions are of that device and live longer
        // than the queue pair, by the order in `QueuePair`.
        check(unsafe { ffi::rdma_create_qp(id.as_ptr(), domain.as_ptr(), &mut wanted) })?;
        let inline_bytes = match inline_bytes {
            0 => 0,
            _ => wanted.cap.max_inline_data.min(inline_bytes),
        };
        // SAFETY: the id is live, and has a queue pair now.
        let queues = NonNull::new(unsafe { (*id.as_ptr()).qp }).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            // SAFETY: an id's pointer is never null.
            id: unsafe { NonNull::new_unchecked(id.as_ptr()) },
            queues,
            inline_bytes,
        })
    }

    fn as_ptr(&self) -> *mut ffi::ibv_qp {
        self.queues.as_ptr()
    }

    /// # Safety
    ///
    /// The memory that the work's one piece names must be readable until the work is done, or, for work whose bytes are
    /// taken along, until this returns.
    unsafe fn post(&mut self, work: &mut ffi::ibv_send_wr) -> io::Result<()> {
        let mut refused = ptr::null_mut();
        // SAFETY: the queue pair is live, the work is read before the call returns, and its memory is the caller's promise.
        check(unsafe { ffi::ibv_post_send(self.as_ptr(), work, &mut refused) })
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        // SAFETY: the id is live, because `QueuePair` drops it after this, and the queue pair is given back once.
        unsafe { ffi::rdma_destroy_qp(self.id.as_ptr()) }
    }
}

/// Where work that is done is told, and a channel that says when there is some.
#[derive(Debug)]
struct Completions {
    queue: CompletionQueue,
    channel: CompletionChannel,
}

#[derive(Debug)]
struct CompletionQueue(NonNull<ffi::ibv_cq>);

#[derive(Debug)]
struct CompletionChannel(NonNull<ffi::ibv_comp_channel>);

// SAFETY: the verbs may be called from any thread.
unsafe impl Send for CompletionQueue {}
// SAFETY: as above.
unsafe impl Send for CompletionChannel {}

impl Completions {
    /// # Safety
    ///
    /// The device must stay open for longer than this lives.
    unsafe fn new(device: NonNull<ffi::ibv_context>, entries: i32) -> io::Result<Self> {
        // SAFETY: the device is open.
        let channel = unsafe { ffi::ibv_create_comp_channel(device.as_ptr()) };
        let channel = CompletionChannel(NonNull::new(channel).ok_or_else(last_error)?);
        // SAFETY: the channel was just made.
        do_not_block(unsafe { channel.0.as_ref() }.fd)?;
        // SAFETY: the device is open and the channel is of it and lives longer, by the order of the fields.
        let queue =
            unsafe { ffi::ibv_create_cq(device.as_ptr(), entries, ptr::null_mut(), channel.0.as_ptr(), 0) };
        let queue = CompletionQueue(NonNull::new(queue).ok_or_else(last_error)?);
        Ok(Self { queue, channel })
    }

    fn poll(&mut self, out: &mut [Option<Completion>]) -> io::Result<usize> {
        let mut found = [const { MaybeUninit::<ffi::ibv_wc>::uninit() }; POLL_MAX];
        let wanted = out.len().min(POLL_MAX);
        // SAFETY: the queue is live, and there is room for as many completions as are asked for.
        let count =
            unsafe { ffi::ibv_poll_cq(self.queue.0.as_ptr(), wanted as i32, found.as_mut_ptr().cast()) };
        let count = usize::try_from(count).map_err(|_| io::ErrorKind::NotConnected)?;
        for (out, found) in out.iter_mut().zip(&found[..count]) {
            // SAFETY: the call filled in this many.
            *out = Some(completion(unsafe { found.assume_init_ref() }));
        }
        Ok(count)
    }

    fn arm(&mut self) -> io::Result<()> {
        // SAFETY: the queue is live.
        check(unsafe { ffi::ibv_req_notify_cq(self.queue.0.as_ptr(), 0) })
    }

    fn take_notice(&mut self) -> io::Result<bool> {
        let (mut queue, mut context) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the channel is live, and there is a place for each of the two pointers.
        match check(unsafe { ffi::ibv_get_cq_event(self.channel.0.as_ptr(), &mut queue, &mut context) }) {
            Ok(()) => {
                // Those that are not acknowledged are waited for when the queue is given back. It is a lock and an addition,
                // and a notice is rare beside what it tells of.
                // SAFETY: the queue is ours, the only one of this channel, and one notice was taken.
                unsafe { ffi::ibv_ack_cq_events(self.queue.0.as_ptr(), 1) };
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue pair is gone, by the order in `QueuePair`, and every notice was acknowledged when it was taken.
        let freed = unsafe { ffi::ibv_destroy_cq(self.0.as_ptr()) };
        debug_assert_eq!(freed, 0, "the completions are still in use");
    }
}

impl Drop for CompletionChannel {
    fn drop(&mut self) {
        // SAFETY: its one queue is gone, by the order in `Completions`.
        let freed = unsafe { ffi::ibv_destroy_comp_channel(self.0.as_ptr()) };
        debug_assert_eq!(freed, 0, "the channel is still in use");
    }
}

fn completion(found: &ffi::ibv_wc) -> Completion {
    use ffi::ibv_wc_opcode as verbs;
    let done = match found.status {
        ffi::ibv_wc_status::IBV_WC_SUCCESS => Ok(match found.opcode {
            verbs::IBV_WC_RECV => Done::Received {
                bytes: found.byte_len,
            },
            verbs::IBV_WC_RECV_RDMA_WITH_IMM => Done::Written {
                bytes: found.byte_len,
                // SAFETY: both variants are a number of 32 bits; for this kind of completion it is the one that is read.
                number: u32::from_be(unsafe { found.imm_data_invalidated_rkey_union.imm_data }),
            },
            _ => Done::Sent,
        }),
        // Of work that failed nothing else is told reliably.
        status => Err(Failed(status)),
    };
    Completion {
        name: found.wr_id,
        done,
    }
}

/// How many completions are taken with one call.
pub(crate) const POLL_MAX: usize = 16;

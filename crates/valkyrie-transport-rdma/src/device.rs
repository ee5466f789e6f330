//! A safe layer over the verbs and the connection manager: the one place, beside the check for the libraries, with `unsafe`.
//!
//! Each kind of resource is a type that owns one and gives it back when dropped: [`EventChannel`], [`CmId`], and
//! [`QueuePair`] with all that belongs to it, in the order in which the libraries want them given back. Nothing here blocks
//! but making and giving back a [`QueuePair`], which asks the device for memory; nothing waits, and nothing knows of
//! Valkyrie's messages.
//!
//! Memory that a device may write to at any time is never borrowed: [`Region`] copies bytes in and out through raw
//! pointers. Read [`QueuePair`] first.

mod channel;
mod id;
mod memory;
mod queue;
mod ready;

pub(crate) use channel::{Event, EventChannel};
pub(crate) use id::CmId;
pub(crate) use memory::Region;
pub(crate) use queue::{Completion, Done, POLL_MAX, QueuePair, Sizes};
pub(crate) use ready::Ready;

use std::io;
use std::os::fd::RawFd;

/// What the libraries say with -1 or a null pointer, and `errno`.
fn last_error() -> io::Error {
    io::Error::last_os_error()
}

/// What a call that gives 0 on success said otherwise: some give -1 and set `errno`, others give the number itself.
fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        -1 => Err(last_error()),
        number => Err(io::Error::from_raw_os_error(number.abs())),
    }
}

/// From here on what is read from `fd` is there or is not; reading does not wait.
fn do_not_block(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_GETFL and F_SETFL take a descriptor and a number and touch no memory of ours; the caller owns the descriptor.
    let set = unsafe {
        match libc::fcntl(fd, libc::F_GETFL) {
            -1 => -1,
            flags => libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK),
        }
    };
    match set {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

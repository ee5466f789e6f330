//! Waiting for a descriptor of the libraries on the runtime.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Says when a descriptor of the libraries can be read. It holds a duplicate, so what it waits on may be given back first.
pub(crate) type Ready = AsyncFd<OwnedFd>;

/// # Safety
///
/// The descriptor must be open while this runs.
pub(super) unsafe fn wait_on(fd: RawFd) -> io::Result<Ready> {
    // SAFETY: by the contract of this function it is open for as long as it is borrowed.
    let owned = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    // SAFETY: an owned descriptor is open, and the same, for as long as it lives, which is as long as what is made here.
    let ready = unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) };
    Ok(ready?)
}

//! The file of a socket at a path: put there safely, and removed only while it is ours.
//!
//! A socket file outlives its listener when the listener dies, and then it is in the way of the next one. Whether a
//! file is left over is settled in two steps. The lock file says that no listener of this crate is behind it. A
//! connection attempt says the same of other programs' listeners: the kernel refuses it when nobody is there.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use valkyrie_transport::{Action, Locator, TransportError};

use crate::lock_file::LockFile;

/// The file of a bound socket. Dropping it removes the file, unless another has taken its place.
///
/// It must be dropped before the socket is closed: while the socket lives, its inode number cannot be used again.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Let go last, when the file is gone.
    _lock: LockFile,
}

impl SocketFile {
    /// Binds `socket` to `path`, in place of a file that was left behind there, if there is one. Nobody can connect
    /// before the caller makes the socket listen.
    pub(crate) fn bind(
        socket: &Socket,
        path: &Path,
        mode: Option<u32>,
        locator: &Locator,
    ) -> Result<Self, TransportError> {
        let failed = |error| listen_error(locator, error);
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock = LockFile::acquire(lock_path.into()).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => in_use(locator, error),
            _ => failed(error),
        })?;
        let address = SockAddr::unix(path).map_err(failed)?;
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse {
                return Err(failed(error));
            }
            remove_left_over(path, &address, locator)?;
            socket.bind(&address).map_err(failed)?;
        }
        let identity = identity(&fs::symlink_metadata(path).map_err(failed)?);
        let file = Self {
            path: path.to_owned(),
            identity,
            _lock: lock,
        };
        if let Some(mode) = mode {
            // Before the socket listens, so that nobody gets in by the permissions it had until now.
            fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        }
        Ok(file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the file at `path` if it is a socket and nobody listens there. The caller holds the lock.
fn remove_left_over(path: &Path, address: &SockAddr, locator: &Locator) -> Result<(), TransportError> {
    let failed = |error| listen_error(locator, error);
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        // It was removed in the meantime, which is what is wanted.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        let reason =
            "something that is not a socket is there, and is left alone; move it or choose another path";
        return Err(TransportError::Unusable {
            locator: locator.clone(),
            reason: reason.to_owned(),
        });
    }
    match probe(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Whatever else it says, it does not say that nobody is there.
        Ok(()) => return Err(in_use(locator, io::ErrorKind::AddrInUse.into())),
        Err(error) => return Err(in_use(locator, error)),
    }
    // Between the look and the attempt somebody without our lock may have put another socket there.
    if fs::symlink_metadata(path).is_ok_and(|now| identity(&now) == identity(&found)) {
        fs::remove_file(path).map_err(failed)?;
    }
    Ok(())
}

/// Connects and hangs up, without waiting: a listener whose queue is full is a listener.
fn probe(address: &SockAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(address)
}

pub(crate) fn listen_error(locator: &Locator, error: io::Error) -> TransportError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            let reason = "its directory does not exist; create it".to_owned();
            TransportError::Unusable {
                locator: locator.clone(),
                reason,
            }
        }
        _ => TransportError::from_io(Action::Listen, locator, error),
    }
}

fn in_use(locator: &Locator, source: io::Error) -> TransportError {
    TransportError::AddressInUse {
        locator: locator.clone(),
        source,
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

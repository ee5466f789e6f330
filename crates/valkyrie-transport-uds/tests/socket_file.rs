//! The life of a socket file: whose place a listener takes, whose it never takes, and what it leaves behind.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;
use valkyrie_transport::{Fault, Listener, Locator, Transport, TransportError, accept};
use valkyrie_transport_uds::{NAME_BYTES_MAX, UdsTransport};

struct Place {
    folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.sock");
        Self { folder, path }
    }

    fn locator(&self) -> Locator {
        locator(&self.path)
    }

    async fn listen(&self) -> Result<Box<dyn Listener>, TransportError> {
        UdsTransport::new().listen(&self.locator()).await
    }

    async fn listen_error(&self) -> TransportError {
        match self.listen().await {
            Ok(_) => panic!("{} was taken", self.path.display()),
            Err(error) => error,
        }
    }

    /// A socket file whose listener is gone: the standard library does not remove it.
    fn leave_behind(&self) {
        drop(UnixListener::bind(&self.path).unwrap());
        assert!(self.path.exists());
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn locator(path: &Path) -> Locator {
    Locator::new("uds", path.to_str().unwrap()).unwrap()
}

async fn is_served(listener: &mut dyn Listener) {
    let (transport, locator) = (UdsTransport::new(), listener.locator().clone());
    let (dialled, accepted) = tokio::join!(transport.dial(&locator), accept(listener));
    dialled.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn a_file_left_behind_is_replaced() {
    let place = Place::new();
    place.leave_behind();
    let mut listener = place.listen().await.unwrap();
    is_served(&mut *listener).await;
}

#[tokio::test]
async fn a_file_left_behind_with_its_lock_file_is_replaced() {
    let place = Place::new();
    place.leave_behind();
    fs::write(place.path.with_extension("sock.lock"), "").unwrap();
    let mut listener = place.listen().await.unwrap();
    is_served(&mut *listener).await;
}

#[tokio::test]
async fn a_living_listener_of_another_program_is_left_alone() {
    let place = Place::new();
    let theirs = UnixListener::bind(&place.path).unwrap();
    let error = place.listen_error().await;
    assert!(matches!(error, TransportError::AddressInUse { .. }), "{error:?}");
    UnixStream::connect(&place.path).unwrap();
    drop(theirs);
    assert_eq!(place.names(), ["v.sock"]);
}

#[tokio::test]
async fn a_listener_that_holds_the_lock_and_does_not_listen_yet_is_left_alone() {
    let place = Place::new();
    // As another process is between binding and listening, when a connection is refused although it lives.
    place.leave_behind();
    let lock = fs::File::create(place.path.with_extension("sock.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let before = fs::symlink_metadata(&place.path).unwrap().ino();
    let error = place.listen_error().await;
    assert!(matches!(error, TransportError::AddressInUse { .. }), "{error:?}");
    assert_eq!(fs::symlink_metadata(&place.path).unwrap().ino(), before);
}

#[tokio::test]
async fn what_is_not_a_socket_is_never_removed() {
    let place = Place::new();
    fs::write(&place.path, "precious").unwrap();
    let error = place.listen_error().await;
    assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");
    assert_eq!(error.fault(), Fault::Caller);
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");

    fs::remove_file(&place.path).unwrap();
    fs::create_dir(&place.path).unwrap();
    assert!(matches!(
        place.listen_error().await,
        TransportError::Unusable { .. }
    ));
    assert!(place.path.is_dir());

    // Not even where it leads to a socket that is left behind.
    fs::remove_dir(&place.path).unwrap();
    let elsewhere = place.folder.path().join("elsewhere");
    drop(UnixListener::bind(&elsewhere).unwrap());
    symlink(&elsewhere, &place.path).unwrap();
    assert!(matches!(
        place.listen_error().await,
        TransportError::Unusable { .. }
    ));
    assert!(place.path.is_symlink() && elsewhere.exists());
}

#[tokio::test]
async fn a_lock_file_is_not_followed_elsewhere() {
    let place = Place::new();
    let elsewhere = place.folder.path().join("elsewhere");
    symlink(&elsewhere, place.path.with_extension("sock.lock")).unwrap();
    place.listen_error().await;
    assert!(!elsewhere.exists());
}

#[tokio::test]
async fn a_dropped_listener_leaves_nothing_behind() {
    let place = Place::new();
    let listener = place.listen().await.unwrap();
    assert!(fs::symlink_metadata(&place.path).unwrap().file_type().is_socket());
    drop(listener);
    assert_eq!(place.names(), [""; 0]);
}

#[tokio::test]
async fn a_dropped_listener_removes_no_file_but_its_own() {
    let place = Place::new();
    let listener = place.listen().await.unwrap();
    fs::remove_file(&place.path).unwrap();
    let theirs = UnixListener::bind(&place.path).unwrap();
    drop(listener);
    UnixStream::connect(&place.path).unwrap();
    drop(theirs);

    fs::remove_file(&place.path).unwrap();
    let listener = place.listen().await.unwrap();
    fs::remove_file(&place.path).unwrap();
    fs::write(&place.path, "precious").unwrap();
    drop(listener);
    assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");
}

#[tokio::test]
async fn permissions_are_what_was_asked_for_whatever_the_umask() {
    for mode in [0o600, 0o660, 0o666, 0o777, 0o222] {
        let place = Place::new();
        let transport = UdsTransport::new().with_mode(Some(mode));
        let _listener = transport.listen(&place.locator()).await.unwrap();
        let found = fs::symlink_metadata(&place.path).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode, "{found:o}");
    }
}

#[tokio::test]
async fn the_lock_file_is_its_owners_alone() {
    let place = Place::new();
    let _listener = place.listen().await.unwrap();
    let found = fs::metadata(place.path.with_extension("sock.lock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(found & 0o077, 0, "{found:o}");
}

#[tokio::test]
async fn the_longest_path_works_and_a_longer_one_is_refused_with_its_length() {
    let place = Place::new();
    let base = place.folder.path().to_str().unwrap();
    let longest = format!("{base}/{}", "x".repeat(NAME_BYTES_MAX - base.len() - 1));
    let mut listener = UdsTransport::new()
        .listen(&locator(Path::new(&longest)))
        .await
        .unwrap();
    is_served(&mut *listener).await;

    let longer = locator(Path::new(&format!("{longest}x")));
    for error in [
        UdsTransport::new().listen(&longer).await.err(),
        UdsTransport::new().dial(&longer).await.err(),
    ] {
        let error = error.unwrap();
        assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");
        assert!(
            error.to_string().contains(&(NAME_BYTES_MAX + 1).to_string()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_missing_directory_is_told_as_one() {
    let place = Place::new();
    let locator = locator(&place.folder.path().join("missing/v.sock"));
    let error = UdsTransport::new().listen(&locator).await.err().unwrap();
    assert!(matches!(error, TransportError::Unusable { .. }), "{error:?}");
    assert!(error.to_string().contains("directory"), "{error}");
}

/// Many start at once over a file that was left behind: one wins, and the winner's file stays.
#[test]
fn of_many_that_start_at_once_exactly_one_listens() {
    const STARTERS: usize = 8;
    for _ in 0..20 {
        let place = Place::new();
        place.leave_behind();
        let (ready, done) = (Arc::new(Barrier::new(STARTERS)), Arc::new(Barrier::new(STARTERS)));
        let starters: Vec<_> = (0..STARTERS)
            .map(|_| {
                let (ready, done, locator) = (Arc::clone(&ready), Arc::clone(&done), place.locator());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        ready.wait();
                        let mut listened = UdsTransport::new().listen(&locator).await;
                        // Nobody lets go before everybody has tried.
                        done.wait();
                        match &mut listened {
                            Ok(listener) => {
                                is_served(&mut **listener).await;
                                true
                            }
                            Err(error) => {
                                assert!(matches!(error, TransportError::AddressInUse { .. }), "{error:?}");
                                false
                            }
                        }
                    })
                })
            })
            .collect();
        let winners = starters
            .into_iter()
            .filter_map(|starter| starter.join().unwrap().then_some(()))
            .count();
        assert_eq!(winners, 1);
        assert_eq!(place.names(), [""; 0]);
    }
}

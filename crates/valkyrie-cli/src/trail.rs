//! The audit log of a program that serves: what its endpoint and its files have to tell goes into one chain of lines.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use valkyrie::security::audit::{AuditEvent, AuditLimits};
use valkyrie_keystore::{AuditFile, AuditRotation, Keystore};
use valkyrie_rustci::command::AuditFileArgs;

use crate::access::now;
use crate::exit::CliError;
use crate::out::Notes;

/// The log, shared by all that write into it. What cannot be written now is written later, and said once.
#[derive(Clone)]
pub(crate) struct Trail {
    shared: Arc<Shared>,
}

struct Shared {
    /// Nothing once the log is finished.
    file: Mutex<Option<AuditFile>>,
    failing: AtomicBool,
    path: PathBuf,
    notes: Notes,
}

impl Trail {
    /// Opens the log in the node's directory, and records that this program began.
    pub(crate) fn begin(keystore: &Keystore, args: AuditFileArgs, notes: Notes) -> Result<Self, CliError> {
        let rotation = AuditRotation {
            file_bytes: args.audit_file_size,
            older_files: args.audit_files,
        };
        let file = AuditFile::open(keystore.home(), AuditLimits::default(), rotation, now())?;
        let shared = Shared {
            path: file.path().to_owned(),
            file: Mutex::new(Some(file)),
            failing: AtomicBool::new(false),
            notes,
        };
        let trail = Self {
            shared: Arc::new(shared),
        };
        trail.record(&AuditEvent::Started {
            program: concat!("valkyrie ", env!("CARGO_PKG_VERSION")),
            identity: Some(keystore.document().fingerprint()),
        });
        Ok(trail)
    }

    /// Records an event. It is a write to a file, and floods are held back, so those who serve connections may call it.
    pub(crate) fn record(&self, event: &AuditEvent<'_>) {
        self.with(|file| file.record(event, now(), Instant::now()));
    }

    /// To be called about once a second.
    pub(crate) fn turn(&self) {
        self.with(|file| file.turn(now(), Instant::now()));
    }

    /// Records that the program ends in good order. What comes later is not recorded.
    pub(crate) fn finish(&self) {
        let finished = self.file().take().map(|file| file.finish(now(), Instant::now()));
        self.shared.tell(finished.unwrap_or(Ok(())));
    }

    fn with(&self, work: impl FnOnce(&mut AuditFile) -> std::io::Result<()>) {
        let done = self.file().as_mut().map(work);
        self.shared.tell(done.unwrap_or(Ok(())));
    }

    fn file(&self) -> MutexGuard<'_, Option<AuditFile>> {
        self.shared.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn tell(&self, done: std::io::Result<()>) {
        match done {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) if !self.failing.swap(true, Ordering::Relaxed) => self.notes.warning(format_args!(
                "{} cannot be written or put aside: {error}; what is not in it yet is kept for later",
                self.path.display()
            )),
            Err(_) => {}
        }
    }
}

//! Standard output behind a thread, so that a reader who is slow holds up nothing but the watch.

use std::io::Write as _;

use tokio::sync::mpsc;

/// Texts that wait for the reader. Each is what one round of updates came to.
const QUEUED_MAX: usize = 4;

/// Writes to standard output in order.
#[derive(Debug)]
pub(super) struct Printer {
    texts: mpsc::Sender<String>,
    thread: std::thread::JoinHandle<()>,
}

/// Whoever read the output went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoReader;

impl Printer {
    pub(super) fn start() -> std::io::Result<Self> {
        let (texts, mut queued) = mpsc::channel::<String>(QUEUED_MAX);
        let thread = std::thread::Builder::new()
            .name(String::from("printer"))
            .spawn(move || {
                let mut out = std::io::stdout().lock();
                while let Some(text) = queued.blocking_recv() {
                    // The closed channel says it to the other side.
                    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { texts, thread })
    }

    /// Prints a text, waiting while the reader is behind.
    pub(super) async fn print(&self, text: String) -> Result<(), NoReader> {
        if text.is_empty() {
            return Ok(());
        }
        self.texts.send(text).await.map_err(|_| NoReader)
    }

    /// Waits until everything is printed.
    pub(super) async fn finish(self) {
        drop(self.texts);
        let thread = self.thread;
        // A thread that panicked prints no more.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

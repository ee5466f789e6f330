//! A wish to stop that many can see.

use tokio::sync::watch;

/// A handle to cancel with, and what sees the cancel.
pub fn cancel_pair() -> (CancelHandle, Cancelled) {
    let (sender, receiver) = watch::channel(false);
    (CancelHandle(sender), Cancelled(receiver))
}

/// Cancels. Dropping it does not.
#[derive(Debug)]
pub struct CancelHandle(watch::Sender<bool>);

impl CancelHandle {
    /// Says to stop. Once is enough; more does no harm.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

/// Sees a cancel.
#[derive(Clone, Debug)]
pub struct Cancelled(watch::Receiver<bool>);

impl Cancelled {
    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it was cancelled; never, if that no longer can happen.
    pub async fn wait(&self) {
        let mut receiver = self.0.clone();
        if receiver.wait_for(|cancelled| *cancelled).await.is_err() {
            std::future::pending().await
        }
    }
}

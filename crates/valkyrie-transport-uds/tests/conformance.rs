//! The conformance suite over Unix domain sockets, by path and by name.
#![cfg(unix)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use valkyrie_transport::conformance::{Harness, Rudeness};
use valkyrie_transport::{Locator, conformance_tests};
use valkyrie_transport_uds::UdsTransport;

/// Speaks to the socket below the transport.
async fn rude_peer(locator: Locator, how: Rudeness) {
    let place = locator.rest().replace('@', "\0");
    let Ok(mut stream) = UnixStream::connect(place).await else {
        return;
    };
    if how == Rudeness::Garbage {
        drop(stream.write_all(&[0xff; 10_000]).await);
    }
    // There is no reset here: dropping the stream is as abrupt as it gets.
}

mod path {
    use super::*;

    fn harness() -> Harness {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| Locator::new("uds", folder.path().join(name).to_str().unwrap()).unwrap();
        let (here, nobody) = (at("here.sock"), at("nobody.sock"));
        let fresh = move || {
            // The folder lives as long as the harness that asks for places in it.
            let _ = &folder;
            here.clone()
        };
        Harness::new(Arc::new(UdsTransport::new()), fresh, nobody).with_rude_peer(rude_peer)
    }

    conformance_tests!(harness());
}

#[cfg(target_os = "linux")]
mod name {
    use super::*;

    fn harness() -> Harness {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Names are the machine's, so they carry the process and a count.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = |name| Locator::new("uds", &format!("@{name}-{}-{number}", std::process::id())).unwrap();
        let (here, nobody) = (at("here"), at("nobody"));
        Harness::new(Arc::new(UdsTransport::new()), move || here.clone(), nobody).with_rude_peer(rude_peer)
    }

    conformance_tests!(harness());
}

//! The accept loop among peers that do not speak its language.

use std::sync::Arc;

use valkyrie_transport::conformance::{self, Harness, Rudeness};
use valkyrie_transport::{Locator, Transport};

use super::raw::Raw;
use super::support::{anywhere, at, device};
use crate::RdmaTransport;
use crate::wire::HEADER_BYTES;

async fn rude_peer(locator: Locator, how: Rudeness) {
    let address = locator.rest().parse().unwrap();
    match how {
        Rudeness::CloseAtOnce => drop(Raw::ask(address, b"").await),
        Rudeness::Garbage => {
            drop(Raw::ask(address, &[0xff; 56]).await);
            let (mut raw, _) = Raw::connect(address).await;
            raw.send(&[0xff; HEADER_BYTES + 100]);
            raw.hung_up().await;
        }
        _ => {
            // Asks, and is gone before there is an answer.
            let raw = Raw::before_asking(address).await;
            let _ = raw.prepared.id().connect(&raw.prepared.hello().encode());
        }
    }
}

#[test]
fn the_accept_loop_survives_rude_peers() {
    let harness = || {
        let address = device()?;
        let transport = Arc::new(RdmaTransport::new());
        assert_eq!(transport.scheme(), "rdma");
        Some(Harness::new(transport, move || anywhere(address), at(address, 1)).with_rude_peer(rude_peer))
    };
    conformance::run("rude peers", harness, conformance::accept_loop_survives_anything);
}

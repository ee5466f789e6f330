//! A whole handshake between a workload and a node.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::*;
use crate::handshake::{
    AcceptorHandshake, Arrival, Dial, DiallerHandshake, Gate, HandshakeError, HandshakeLimits,
};
use crate::live::Live;
use crate::security::Security;
use crate::trust::{FirstUse, Pin};

/// Whom each side has met: the dialler's opinion, then the acceptor's.
type Met = (Result<Verified, HandshakeError>, Result<Verified, HandshakeError>);

fn run(dialler: Security, acceptor: Security) -> Met {
    let now = Instant::now();
    let dial = Dial {
        place: Place::dialled("tcp://node:1", false),
        known: None,
        binding: None,
    };
    let arrival = Arrival {
        place: Place::arrived(false),
        address: None,
        binding: None,
        plain: None,
    };
    let gate = Arc::new(Gate::new(HandshakeLimits::default(), now));
    let mut dialler = DiallerHandshake::new(Arc::new(dialler), dial, now, NOW).unwrap();
    let mut acceptor = AcceptorHandshake::new(Arc::new(acceptor), gate, arrival, now);
    let (mut there, mut back) = (BytesMut::new(), BytesMut::new());
    let (mut dialled, mut accepted) = (Ok(()), Ok(()));
    // Three flights of the dialler's are all that XX needs.
    for _ in 0..3 {
        dialler.poll_transmit(&mut there);
        if accepted.is_ok() {
            accepted = acceptor.handle_input(now, NOW, &mut there);
        }
        acceptor.poll_transmit(&mut back);
        if dialled.is_ok() {
            dialled = dialler.handle_input(now, NOW, &mut back);
        }
    }
    let dialled = dialled.map(|()| dialler.established().expect("the dialler is done").verified);
    let accepted = accepted.map(|()| acceptor.established().expect("the acceptor is done").verified);
    (dialled, accepted)
}

#[test]
fn a_workload_and_a_node_meet() {
    let root = authority();
    let workload = Workload::new(&root, &PKCS_ECDSA_P256_SHA256, &leaf_params());
    let workload = || Identity::of_svid(static_key(1), workload.svid().unwrap());
    let node = Identity::generate("node", NOW).unwrap();
    let pin = Pin::new(node.fingerprint().unwrap());
    let knows_node = || {
        let mut trust = Trust::default();
        trust.pins_mut().add(pin.clone()).unwrap();
        Live::new(trust)
    };
    let node = Live::new(node);
    let as_node = |trust| Security::new(node.clone(), Live::new(trust));

    let (dialled, accepted) = run(
        Security::new(Live::new(workload()), knows_node()),
        as_node(trusting(&root)),
    );
    assert_eq!(dialled.unwrap().how(), &TrustedBy::Pin);
    let accepted = accepted.unwrap();
    assert_eq!(accepted.spiffe_id(), Some(ID));
    assert_eq!(accepted.assurance(), Assurance::Signed);

    // A node without the bundle does not know it, however open it is to others.
    let open = Trust::default()
        .with_first_use(FirstUse::Anywhere)
        .with_anonymous(true);
    let (_, accepted) = run(Security::new(Live::new(workload()), knows_node()), as_node(open));
    assert!(matches!(
        accepted,
        Err(HandshakeError::Trust(TrustError::Svid(
            SvidError::UnknownTrustDomain(_)
        )))
    ));

    // The other way round.
    let (dialled, accepted) = run(
        as_node(trusting(&root)),
        Security::new(Live::new(workload()), knows_node()),
    );
    assert_eq!(dialled.unwrap().spiffe_id(), Some(ID));
    assert_eq!(accepted.unwrap().how(), &TrustedBy::Pin);
}

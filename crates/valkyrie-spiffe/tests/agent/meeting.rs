//! Whole handshakes between two nodes.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::BytesMut;
use valkyrie_security::handshake::{
    AcceptorHandshake, Arrival, Dial, DiallerHandshake, Gate, HandshakeError, HandshakeLimits,
};
use valkyrie_security::security::Security;
use valkyrie_security::trust::Place;
use valkyrie_security::{UnixTime, Verified};

use crate::Node;

impl Node {
    /// What this node shows and believes now, as an endpoint holds it.
    pub(crate) fn security(&self) -> Arc<Security> {
        Arc::new(Security::new(
            self.workload.identity().clone(),
            self.trust.clone(),
        ))
    }

    /// What this node makes of another that dials it, when they believe each other.
    pub(crate) fn meets(&self, dialler: &Node) -> Result<Verified, HandshakeError> {
        meet(dialler.security(), self.security()).map(|(dialler, _)| dialler)
    }
}

/// Runs a handshake to its end: whom the acceptor met, and whom the dialler met, or what the first to refuse says.
pub(crate) fn meet(
    dialler: Arc<Security>,
    acceptor: Arc<Security>,
) -> Result<(Verified, Verified), HandshakeError> {
    let (now, time) = (Instant::now(), UnixTime::from(SystemTime::now()));
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
    let mut dialler = DiallerHandshake::new(dialler, dial, now, time)?;
    let mut acceptor = AcceptorHandshake::new(acceptor, gate, arrival, now);
    let (mut there, mut back) = (BytesMut::new(), BytesMut::new());
    // Three flights of the dialler's are all that a first meeting needs.
    for _ in 0..3 {
        dialler.poll_transmit(&mut there);
        acceptor.handle_input(now, time, &mut there)?;
        acceptor.poll_transmit(&mut back);
        dialler.handle_input(now, time, &mut back)?;
    }
    let accepted = acceptor.established().expect("the acceptor is done").verified;
    let dialled = dialler.established().expect("the dialler is done").verified;
    Ok((accepted, dialled))
}

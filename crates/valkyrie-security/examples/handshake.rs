//! Two parties who have compared fingerprints meet for the first time, and once more with a ticket. Everything happens
//! in memory: the crate does no I/O, so carrying the bytes is up to whoever uses it.
//!
//! Run with `cargo run -p valkyrie-security --example handshake`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use valkyrie_security::handshake::{
    AcceptorHandshake, After, Arrival, Dial, DiallerHandshake, Gate, HandshakeLimits, Wire,
};
use valkyrie_security::trust::{Pin, Place, Trust};
use valkyrie_security::{Identity, Live, Security, UnixTime};

fn main() -> Result<(), Box<dyn Error>> {
    let now = Instant::now();
    let unix = UnixTime::from_secs(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let (ada, bob) = (Identity::generate("ada", unix)?, Identity::generate("bob", unix)?);
    let trust_bob = trust(&bob)?;
    let trust_ada = trust(&ada)?;
    let ada = Arc::new(Security::new(Live::new(ada), Live::new(trust_bob)));
    let bob = Arc::new(Security::new(Live::new(bob), Live::new(trust_ada)));
    let gate = Arc::new(Gate::new(HandshakeLimits::default(), now));

    let mut known = None;
    for meeting in ["first", "second"] {
        let dial = Dial {
            place: Place::dialled("tcp://192.0.2.1:7000", false),
            known: known.take(),
            binding: None,
        };
        let arrival = Arrival {
            place: Place::arrived(false),
            address: None,
            binding: None,
            plain: None,
        };
        let mut dialler = DiallerHandshake::new(Arc::clone(&ada), dial, now, unix)?;
        let mut acceptor = AcceptorHandshake::new(Arc::clone(&bob), Arc::clone(&gate), arrival, now);
        // The two directions of a link.
        let (mut there, mut back) = (BytesMut::new(), BytesMut::new());
        let mut met = (None, None);
        while met.0.is_none() || met.1.is_none() {
            dialler.poll_transmit(&mut there);
            if met.1.is_none() {
                acceptor.handle_input(now, unix, &mut there)?;
                met.1 = acceptor.established();
            }
            acceptor.poll_transmit(&mut back);
            if met.0.is_none() {
                dialler.handle_input(now, unix, &mut back)?;
                met.0 = dialler.established();
            }
        }
        let (Some(mut at_ada), Some(at_bob)) = met else {
            return Err("nobody was met".into());
        };
        println!("{meeting} meeting");
        println!("  ada met {}", at_ada.verified);
        println!("  bob met {}", at_bob.verified);
        if let Some(suite) = at_ada.verified.suite() {
            println!("  by {suite}");
        }
        // What Bob has sent since is for Ada's side of the channel: a ticket to come back with.
        if let Wire::Sealed(_, opener) = &mut at_ada.wire
            && let Some(control) = opener.open(now, &mut back, &mut BytesMut::new())?
            && let After::Accepted(next) = at_ada.aftermath.handle(&control)?
        {
            known = Some(next);
        }
    }
    Ok(())
}

/// Trust in one peer, whose fingerprint was compared.
fn trust(peer: &Identity) -> Result<Trust, Box<dyn Error>> {
    let mut trust = Trust::default();
    let fingerprint = peer.fingerprint().ok_or("nobody in particular")?;
    trust.pins_mut().add(Pin::new(fingerprint))?;
    Ok(trust)
}

//! Both machines of the handshake in every state: honest flights with bytes of the fuzzer written over them, cut, or
//! put in their place. Nothing may panic, and nobody may be met whose flights were changed behind the header.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use valkyrie_security::handshake::{
    AcceptorHandshake, Arrival, Dial, DiallerHandshake, Gate, HandshakeLimits,
};
use valkyrie_security::trust::{Pin, Place, Trust};
use valkyrie_security::{Identity, Live, Security, UnixTime};

thread_local! {
    static PARTIES: (Arc<Security>, Arc<Security>) = parties();
    static GATE: RefCell<(u32, Arc<Gate>)> = RefCell::new((0, gate()));
}

fuzz_target!(|data: &[u8]| {
    let [state, how, place_high, place_low, rest @ ..] = data else {
        return;
    };
    let flight = usize::from(state % 5);
    let place = usize::from(u16::from_be_bytes([*place_high, *place_low]));
    let now = Instant::now();
    let (ada, bob) = PARTIES.with(Clone::clone);
    let mut dialler = DiallerHandshake::new(ada, dial(), now, unix()).expect("ada begins");
    let mut acceptor = AcceptorHandshake::new(bob, take_gate(), arrival(), now);
    let (mut to_acceptor, mut to_dialler) = (BytesMut::new(), BytesMut::new());
    for at in 0..=flight {
        let mut bytes = BytesMut::new();
        if at % 2 == 0 {
            dialler.poll_transmit(&mut bytes);
        } else {
            acceptor.poll_transmit(&mut bytes);
        }
        let mut changed = false;
        if at == flight {
            let honest = bytes.clone();
            change(&mut bytes, *how, place, rest);
            // The header says more than this end looks at, and in records every byte is covered.
            let skip = if at < 3 { 20 } else { 0 };
            changed = bytes.len() < honest.len() || bytes[skip..honest.len()] != honest[skip..];
        }
        if at % 2 == 0 {
            to_acceptor.unsplit(bytes);
            let _ = acceptor.handle_input(now, unix(), &mut to_acceptor);
            assert!(
                !changed || acceptor.established().is_none(),
                "a changed flight was believed"
            );
        } else {
            to_dialler.unsplit(bytes);
            let _ = dialler.handle_input(now, unix(), &mut to_dialler);
            assert!(
                !changed || dialler.established().is_none(),
                "a changed flight was believed"
            );
        }
    }
    let _ = (acceptor.handle_eof(), dialler.handle_eof());
});

/// Writes over the flight, puts something in its place, cuts it, or puts something behind it.
fn change(bytes: &mut BytesMut, how: u8, place: usize, rest: &[u8]) {
    match how % 4 {
        0 => {
            for (byte, with) in bytes.iter_mut().skip(place).zip(rest) {
                *byte ^= with;
            }
        }
        1 => *bytes = BytesMut::from(rest),
        2 => bytes.truncate(place),
        _ => bytes.extend_from_slice(rest),
    }
}

fn parties() -> (Arc<Security>, Arc<Security>) {
    let (ada, bob) = (identity("ada"), identity("bob"));
    let (trust_bob, trust_ada) = (trust(&bob), trust(&ada));
    let secure = |identity, trust| Arc::new(Security::new(Live::new(identity), Live::new(trust)));
    (secure(ada, trust_bob), secure(bob, trust_ada))
}

fn identity(name: &str) -> Identity {
    Identity::generate(name, unix()).expect("an identity")
}

fn trust(peer: &Identity) -> Trust {
    let mut trust = Trust::default();
    let fingerprint = peer.fingerprint().expect("a fingerprint");
    trust.pins_mut().add(Pin::new(fingerprint)).expect("a pin");
    trust
}

/// A fresh gate now and then: one gate for all would refuse most handshakes as too many.
fn take_gate() -> Arc<Gate> {
    GATE.with_borrow_mut(|(used, current)| {
        *used += 1;
        if *used > 1000 {
            (*used, *current) = (0, gate());
        }
        Arc::clone(current)
    })
}

fn gate() -> Arc<Gate> {
    Arc::new(Gate::new(HandshakeLimits::default(), Instant::now()))
}

fn dial() -> Dial {
    Dial {
        place: Place::dialled("tcp://192.0.2.1:7000", false),
        known: None,
        binding: None,
    }
}

fn arrival() -> Arrival {
    Arrival {
        place: Place::arrived(false),
        address: None,
        binding: None,
        plain: None,
    }
}

fn unix() -> UnixTime {
    UnixTime::from_secs(1_800_000_000)
}

//! Both machines of the handshake in every state, on each way that it can go: honest flights with bytes of the fuzzer written over
//! them, cut, or put in their place. Nothing may panic, nobody may be met whose flight was changed behind the header, and
//! whatever was changed, who is met in the end is who is there.
#![no_main]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use valkyrie_security::handshake::{
    AcceptorHandshake, After, Arrival, Dial, DiallerHandshake, Established, Gate, HandshakeLimits, Known,
    Wire,
};
use valkyrie_security::trust::{Pin, Place, Trust};
use valkyrie_security::{Identity, Live, Security, UnixTime, Verified};

thread_local! {
    static PARTIES: (Arc<Security>, Arc<Security>) = parties();
    static GATE: RefCell<(u32, Arc<Gate>)> = RefCell::new((0, gate(HandshakeLimits::default())));
    static LOADED: RefCell<(u32, Arc<Gate>)> = RefCell::new((0, loaded()));
}

/// Which way a handshake goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    FirstContact,
    /// The dialler knows the acceptor's key.
    Known,
    /// It has a ticket.
    Resumed,
    /// The acceptor asks for a cookie first.
    Cookie,
    /// The link is encrypted, and the handshake bound to it.
    Bound,
}

const WAYS: [Way; 5] = [
    Way::FirstContact,
    Way::Known,
    Way::Resumed,
    Way::Cookie,
    Way::Bound,
];

/// More than any of them has.
const FLIGHTS: usize = 8;

fuzz_target!(|data: &[u8]| {
    let [state, how, place_high, place_low, rest @ ..] = data else {
        return;
    };
    let flight = usize::from(state % FLIGHTS as u8);
    let way = WAYS[usize::from(*state) / FLIGHTS % WAYS.len()];
    let place = usize::from(u16::from_be_bytes([*place_high, *place_low]));
    let now = Instant::now();
    let (mut dialler, mut acceptor) = machines(way, now);
    let (mut to_acceptor, mut to_dialler) = (BytesMut::new(), BytesMut::new());
    let (mut changed_at, mut last_word_changed) = (None, false);
    for at in 0..FLIGHTS {
        let mut bytes = BytesMut::new();
        if at % 2 == 0 {
            dialler.poll_transmit(&mut bytes);
        } else {
            acceptor.poll_transmit(&mut bytes);
        }
        if at == flight {
            let honest = bytes.clone();
            change(&mut bytes, *how, place, rest);
            // The header in clear says more than an end looks at; in records every byte is covered.
            let skip = if honest.starts_with(b"RC") { 20 } else { 0 };
            if bytes.len() < honest.len()
                || bytes[skip.min(honest.len())..honest.len()] != honest[skip.min(honest.len())..]
            {
                changed_at = Some(at);
            }
        }
        let changed = changed_at == Some(at);
        if at % 2 == 0 {
            // One that is done reads no more of it.
            let done = acceptor.poll_timeout().is_none();
            to_acceptor.unsplit(bytes);
            let _ = acceptor.handle_input(now, unix(), &mut to_acceptor);
            assert!(
                done || !changed || acceptor.poll_timeout().is_some() || acceptor.established().is_none(),
                "a changed flight was believed"
            );
        } else {
            let done = dialler.poll_timeout().is_none();
            last_word_changed |= done && changed;
            to_dialler.unsplit(bytes);
            let _ = dialler.handle_input(now, unix(), &mut to_dialler);
            assert!(
                done || !changed || dialler.poll_timeout().is_some() || dialler.established().is_none(),
                "a changed flight was believed"
            );
        }
    }
    let (ada, bob) = PARTIES.with(Clone::clone);
    if let Some(met) = acceptor.established() {
        is(&met.verified, &ada);
    }
    if let Some(mut met) = dialler.established() {
        is(&met.verified, &bob);
        // What comes behind the handshake: the acceptor's last word.
        let last = after(now, &mut met, &mut to_dialler);
        assert!(
            last.is_none() || !last_word_changed,
            "a changed last word was believed"
        );
    }
    let _ = (acceptor.handle_eof(), dialler.handle_eof());
});

/// Whoever was met is this one, and nothing weaker was agreed on.
fn is(met: &Verified, who: &Security) {
    assert_eq!(met.fingerprint(), who.identity().load().fingerprint());
    let suite = met.suite().and_then(|id| id.suite());
    assert!(suite.is_some_and(|suite| suite.post_quantum()));
}

/// What the acceptor says once the dialler is done.
fn after(now: Instant, met: &mut Established, input: &mut BytesMut) -> Option<After> {
    let Wire::Sealed(_, opener) = &mut met.wire else {
        return None;
    };
    let mut plain = BytesMut::new();
    let control = opener.open(now, input, &mut plain).ok().flatten()?;
    met.aftermath.handle(&control).ok()
}

/// Both ends, before anything was sent.
fn machines(way: Way, now: Instant) -> (DiallerHandshake, AcceptorHandshake) {
    let (ada, bob) = PARTIES.with(Clone::clone);
    let gate = match way {
        Way::Cookie => take(&LOADED, loaded),
        _ => take(&GATE, || gate(HandshakeLimits::default())),
    };
    let known = match way {
        Way::Known | Way::Resumed => Some(acquainted(&gate, now)),
        _ => None,
    };
    let known = known.map(|known| match way {
        Way::Known => Known::key(known.static_key),
        _ => known,
    });
    let binding = (way == Way::Bound).then_some([7; 32]);
    let dial = Dial {
        place: Place::dialled("tcp://192.0.2.1:7000", false),
        known,
        binding,
    };
    let arrival = Arrival {
        place: Place::arrived(false),
        address: (way == Way::Cookie).then_some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
        binding,
        plain: None,
    };
    let dialler = DiallerHandshake::new(ada, dial, now, unix()).expect("ada begins");
    (dialler, AcceptorHandshake::new(bob, gate, arrival, now))
}

/// What ada knows of bob after a first contact.
fn acquainted(gate: &Arc<Gate>, now: Instant) -> Known {
    let (ada, bob) = PARTIES.with(Clone::clone);
    let dial = Dial {
        place: Place::dialled("tcp://192.0.2.1:7000", false),
        known: None,
        binding: None,
    };
    let arrival = Arrival {
        place: Place::arrived(false),
        address: None,
        binding: None,
        plain: None,
    };
    let mut dialler = DiallerHandshake::new(ada, dial, now, unix()).expect("ada begins");
    let mut acceptor = AcceptorHandshake::new(bob, Arc::clone(gate), arrival, now);
    let mut bytes = BytesMut::new();
    for _ in 0..3 {
        dialler.poll_transmit(&mut bytes);
        acceptor
            .handle_input(now, unix(), &mut bytes)
            .expect("ada is honest");
        acceptor.poll_transmit(&mut bytes);
        dialler
            .handle_input(now, unix(), &mut bytes)
            .expect("bob is honest");
    }
    let mut met = dialler.established().expect("both are done");
    match after(now, &mut met, &mut bytes) {
        Some(After::Accepted(known)) => known,
        other => panic!("no ticket came, but {other:?}"),
    }
}

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
fn take(
    gate: &'static std::thread::LocalKey<RefCell<(u32, Arc<Gate>)>>,
    fresh: impl Fn() -> Arc<Gate>,
) -> Arc<Gate> {
    gate.with_borrow_mut(|(used, current)| {
        *used += 1;
        if *used > 500 {
            (*used, *current) = (0, fresh());
        }
        Arc::clone(current)
    })
}

fn gate(limits: HandshakeLimits) -> Arc<Gate> {
    Arc::new(Gate::new(limits, Instant::now()))
}

/// One that asks everybody with an address for a cookie.
fn loaded() -> Arc<Gate> {
    let mut limits = HandshakeLimits::default();
    limits.cookies_above = 0;
    let gate = gate(limits);
    gate.opened(Instant::now(), None).expect("there is room");
    gate
}

fn unix() -> UnixTime {
    UnixTime::from_secs(1_800_000_000)
}

//! Two machines against each other, and against somebody between them.

mod attacks;
mod bounds;
mod challenges;
mod judgements;
mod offers;
mod ordinary;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{
    AcceptorHandshake, After, Arrival, Dial, DiallerHandshake, Established, Gate, HandshakeError,
    HandshakeLimits, Known, Suites, Wire,
};
use crate::identity::{DocumentBuilder, Identity, SigningKey};
use crate::live::Live;
use crate::provider::StaticKey;
use crate::security::Security;
use crate::time::UnixTime;
use crate::trust::{Pin, Place, Trust};

/// The time of every test, unless it moves on.
fn unix() -> UnixTime {
    UnixTime::from_secs(1_800_000_000)
}

/// One party: an identity, and a security that others are built from.
struct Party {
    security: Security,
}

impl Party {
    fn new(name: &str) -> Self {
        let identity = Identity::generate(name, unix()).unwrap();
        Self {
            security: Security::new(Live::new(identity), Live::new(Trust::default())),
        }
    }

    /// Pins the other's fingerprint.
    fn trusts(self, other: &Party) -> Self {
        let fingerprint = other.security.identity().load().fingerprint().unwrap();
        self.security.trust().update(|trust| {
            let mut trust = trust.clone();
            trust.pins_mut().add(Pin::new(fingerprint)).unwrap();
            trust
        });
        self
    }

    fn with(mut self, change: impl FnOnce(Security) -> Security) -> Self {
        self.security = change(self.security);
        self
    }

    fn shared(&self) -> Arc<Security> {
        Arc::new(self.security.clone())
    }
}

/// Ada dials Bob, and both trust each other.
fn friends() -> (Party, Party) {
    let (ada, bob) = (Party::new("ada"), Party::new("bob"));
    let ada = ada.trusts(&bob);
    let bob = bob.trusts(&ada);
    (ada, bob)
}

/// The same, with documents that only Ed25519 signs: so short that every byte of every flight can be tried.
fn short_friends() -> (Party, Party) {
    let party = |name: char| {
        let (key, seed) = (StaticKey::generate().unwrap(), [name as u8; 32]);
        let signing = SigningKey::from_seeds(&seed, None).unwrap();
        let (begin, end) = (unix(), unix().saturating_add(Identity::LIFETIME));
        let document = DocumentBuilder::node(&name.to_string(), &[key.public()])
            .signing_keys(signing.public())
            .valid(begin, end)
            .sign(&signing)
            .unwrap();
        let identity = Identity::new(vec![key], Some(signing), document.document().unwrap()).unwrap();
        Party {
            security: Security::new(Live::new(identity), Live::new(Trust::default())),
        }
    };
    let (ada, bob) = (party('a'), party('b'));
    let ada = ada.trusts(&bob);
    let bob = bob.trusts(&ada);
    (ada, bob)
}

fn far_away() -> Place {
    Place::dialled("tcp://192.0.2.1:7000", false)
}

/// Two machines and the bytes between them.
struct Pair {
    now: Instant,
    unix: UnixTime,
    dialler: DiallerHandshake,
    acceptor: AcceptorHandshake,
    to_acceptor: BytesMut,
    to_dialler: BytesMut,
}

/// How a pair is set up.
struct Setup {
    known: Option<Known>,
    bindings: (Option<[u8; 32]>, Option<[u8; 32]>),
    address: Option<IpAddr>,
    gate: Arc<Gate>,
    now: Instant,
    acceptor_unix: UnixTime,
}

impl Setup {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            known: None,
            bindings: (None, None),
            address: Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7))),
            gate: Arc::new(Gate::new(HandshakeLimits::default(), now)),
            now,
            acceptor_unix: unix(),
        }
    }

    fn known(mut self, known: Known) -> Self {
        self.known = Some(known);
        self
    }

    fn pair(&self, ada: &Party, bob: &Party) -> Pair {
        let dial = Dial {
            place: far_away(),
            known: self.known.clone(),
            binding: self.bindings.0,
        };
        Pair {
            now: self.now,
            unix: self.acceptor_unix,
            dialler: DiallerHandshake::new(ada.shared(), dial, self.now, unix()).unwrap(),
            acceptor: self.acceptor(bob),
            to_acceptor: BytesMut::new(),
            to_dialler: BytesMut::new(),
        }
    }

    /// Whatever was done to this gate and these parties before has harmed nothing: a first contact goes through.
    fn unharmed(&self, ada: &Party, bob: &Party) {
        let first_contact = Self {
            known: None,
            gate: Arc::clone(&self.gate),
            ..*self
        };
        let mut pair = first_contact.pair(ada, bob);
        let (mut dialler, mut acceptor) = pair.run().both();
        assert_eq!(dialler.verified.suite(), acceptor.verified.suite());
        if matches!(dialler.wire, Wire::Sealed(..)) {
            pair.ticket(&mut dialler);
            talks(self.now, &mut dialler, &mut acceptor);
        }
    }

    fn acceptor(&self, bob: &Party) -> AcceptorHandshake {
        let arrival = Arrival {
            place: Place::arrived(false),
            address: self.address,
            binding: self.bindings.1,
            plain: None,
        };
        AcceptorHandshake::new(bob.shared(), Arc::clone(&self.gate), arrival, self.now)
    }
}

/// What came of a pair: what each side has, or why it has nothing.
struct Outcome {
    dialler: Result<Option<Established>, HandshakeError>,
    acceptor: Result<Option<Established>, HandshakeError>,
}

impl Outcome {
    /// Both sides are done.
    fn both(self) -> (Established, Established) {
        let dialler = self
            .dialler
            .expect("the dialler fails")
            .expect("the dialler is not done");
        let acceptor = self
            .acceptor
            .expect("the acceptor fails")
            .expect("the acceptor is not done");
        (dialler, acceptor)
    }

    /// Neither side believes the other.
    fn is_nothing(&self) -> bool {
        !matches!(self.dialler, Ok(Some(_))) && !matches!(self.acceptor, Ok(Some(_)))
    }
}

impl Pair {
    /// Moves bytes until nobody has any, with somebody between who may change every flight: the number of the flight,
    /// from 0, and its bytes.
    fn run_with(&mut self, mut between: impl FnMut(usize, &mut BytesMut)) -> Outcome {
        let (mut dialler, mut acceptor) = (Ok(()), Ok(()));
        for flight in 0.. {
            let mut bytes = BytesMut::new();
            if flight % 2 == 0 {
                self.dialler.poll_transmit(&mut bytes);
                between(flight, &mut bytes);
                self.to_acceptor.unsplit(bytes);
                let before = self.to_acceptor.len();
                if acceptor.is_ok() && before > 0 {
                    acceptor = self
                        .acceptor
                        .handle_input(self.now, self.unix, &mut self.to_acceptor);
                }
            } else {
                self.acceptor.poll_transmit(&mut bytes);
                let quiet = bytes.is_empty();
                between(flight, &mut bytes);
                self.to_dialler.unsplit(bytes);
                if dialler.is_ok() && !self.to_dialler.is_empty() {
                    dialler = self.dialler.handle_input(self.now, unix(), &mut self.to_dialler);
                }
                if quiet {
                    break;
                }
            }
        }
        Outcome {
            dialler: dialler.map(|()| self.dialler.established()),
            acceptor: acceptor.map(|()| self.acceptor.established()),
        }
    }

    fn run(&mut self) -> Outcome {
        self.run_with(|_, _| {})
    }

    /// What the dialler's side of the channel makes of what the acceptor sent after its own last word.
    fn after(&mut self, established: &mut Established) -> Result<Option<After>, HandshakeError> {
        let Wire::Sealed(_, opener) = &mut established.wire else {
            return Ok(None);
        };
        let mut plain = BytesMut::new();
        let control = opener.open(self.now, &mut self.to_dialler, &mut plain).unwrap();
        assert!(plain.is_empty());
        control
            .map(|control| established.aftermath.handle(&control))
            .transpose()
    }

    /// What to dial with the next time.
    fn ticket(&mut self, established: &mut Established) -> Known {
        match self.after(established).unwrap() {
            Some(After::Accepted(known)) => known,
            other => panic!("no ticket came, but {other:?}"),
        }
    }
}

/// A first contact that went well, and what the dialler knows after it.
fn acquainted(ada: &Party, bob: &Party, setup: &Setup) -> Known {
    let mut pair = setup.pair(ada, bob);
    let outcome = pair.run();
    let (mut dialler, _) = outcome.both();
    pair.ticket(&mut dialler)
}

/// Data goes through both ways.
fn talks(now: Instant, dialler: &mut Established, acceptor: &mut Established) {
    let (Wire::Sealed(ours, opens), Wire::Sealed(theirs, reads)) = (&mut dialler.wire, &mut acceptor.wire)
    else {
        panic!("the channel is not sealed");
    };
    for (seal, open) in [(ours, reads), (theirs, opens)] {
        let (mut sealed, mut plain) = (BytesMut::new(), BytesMut::new());
        seal.seal(now, [b"hello".as_slice()], &mut sealed).unwrap();
        assert!(!sealed.windows(5).any(|window| window == b"hello"));
        open.open(now, &mut sealed, &mut plain).unwrap();
        assert_eq!(plain, "hello");
    }
}

const LATER: Duration = Duration::from_secs(5);

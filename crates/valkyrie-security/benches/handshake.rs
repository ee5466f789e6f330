//! What a handshake costs: both sides together, and what an acceptor pays for a first message that is good or junk.
//!
//! One iteration of `both` is a whole handshake between two peers that have their static keys, from the first byte to the keys of
//! the channel, on one thread. One iteration of `acceptor` begins with nothing but the bytes that came.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use valkyrie_security::handshake::Cookies;
use valkyrie_security::noise::{Accepted, Accepting, Dialling, Finished};
use valkyrie_security::provider::{Providers, StaticKey};
use valkyrie_security::{Pattern, Suite, SuiteId};

const PROLOGUE: &[u8] = b"what was offered";
const PSK: [u8; 32] = [7; 32];

/// The suites that are measured, by the name of their figure.
const SUITES: [(&str, SuiteId); 6] = [
    ("XXhfs", SuiteId::XX_AES),
    ("IKhfs", SuiteId::IK_AES),
    ("IKhfs+psk0", SuiteId::IK_PSK_AES),
    ("XXhfs ChaChaPoly", SuiteId::XX_CHACHA),
    ("XX", SuiteId::XX_CLASSICAL_AES),
    ("IK", SuiteId::IK_CLASSICAL_AES),
];

struct Peers {
    providers: Providers,
    ada: StaticKey,
    bob: StaticKey,
}

impl Peers {
    fn new() -> Self {
        let key = || StaticKey::generate().expect("this machine has randomness");
        Self {
            providers: Providers::default(),
            ada: key(),
            bob: key(),
        }
    }

    fn dial(&self, suite: &'static Suite, out: &mut Vec<u8>) -> Dialling {
        let payload: &[u8] = if suite.pattern == Pattern::Xx {
            b""
        } else {
            &[0; 8]
        };
        let (psk, bob) = (psk(suite), self.bob.public());
        let dialling = Dialling::start(
            suite,
            &self.providers,
            &self.ada,
            Some(&bob),
            psk,
            PROLOGUE,
            payload,
            out,
        );
        dialling.expect("all that is needed is given")
    }

    fn accept(&self, suite: &'static Suite, first: &[u8], out: &mut Vec<u8>) -> Option<Accepted> {
        let opened = Accepting::read(suite, &self.providers, &self.bob, psk(suite), PROLOGUE, first);
        opened.and_then(|opened| opened.answer(out)).ok()
    }

    fn handshake(&self, suite: &'static Suite, out: &mut [Vec<u8>; 3]) -> (Finished, Finished) {
        let [first, second, third] = out;
        for message in [&mut *first, second, third] {
            message.clear();
        }
        let dialling = self.dial(suite, first);
        let accepted = self.accept(suite, first, second);
        let dialled = dialling.second(second, third).expect("nobody altered it");
        let accepted = match accepted {
            Some(Accepted::Waiting(accepting)) => accepting.third(third).expect("nobody altered it"),
            Some(Accepted::Finished(finished)) => finished,
            None => panic!("the first message was refused"),
        };
        (dialled, accepted)
    }
}

fn psk(suite: &Suite) -> Option<&'static [u8; 32]> {
    (suite.pattern == Pattern::IkPsk0).then_some(&PSK)
}

fn both(criterion: &mut Criterion) {
    let peers = Peers::new();
    let mut group = criterion.benchmark_group("handshake/both");
    for (name, suite) in SUITES {
        let suite = suite.suite().expect("it is in the table");
        let mut messages = [const { Vec::new() }; 3];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (dialled, accepted) = peers.handshake(suite, &mut messages);
                black_box((dialled.schedule(), accepted.schedule()))
            });
        });
    }
    group.finish();
}

fn acceptor(criterion: &mut Criterion) {
    let peers = Peers::new();
    let mut group = criterion.benchmark_group("handshake/acceptor");
    for (name, suite) in SUITES {
        let suite = suite.suite().expect("it is in the table");
        let mut good = Vec::new();
        peers.dial(suite, &mut good);
        // A byte in the first thing that is sealed, as any guess would have it.
        let mut junk = good.clone();
        junk.iter_mut().skip(40).take(1).for_each(|byte| *byte ^= 1);
        let mut out = Vec::new();
        group.bench_function(format!("{name}, valid first message and answer"), |bencher| {
            bencher.iter(|| {
                out.clear();
                peers
                    .accept(suite, black_box(&good), &mut out)
                    .expect("it is valid")
            });
        });
        if suite.pattern != Pattern::Xx {
            group.bench_function(format!("{name}, junk first message"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    assert!(peers.accept(suite, black_box(&junk), &mut out).is_none());
                });
            });
        }
    }
    group.finish();
}

/// What a listener under load spends on a first message before it computes anything.
fn cookies(criterion: &mut Criterion) {
    let (now, address) = (Instant::now(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut cookies = Cookies::new(now);
    let right = cookies.issue(now, address);
    let mut group = criterion.benchmark_group("handshake/cookie");
    group.bench_function("issue", |bencher| {
        bencher.iter(|| cookies.issue(now, black_box(address)))
    });
    group.bench_function("check", |bencher| {
        bencher.iter(|| assert!(cookies.check(now, black_box(address), black_box(&right))));
    });
    group.finish();
}

criterion_group!(benches, both, acceptor, cookies);
criterion_main!(benches);

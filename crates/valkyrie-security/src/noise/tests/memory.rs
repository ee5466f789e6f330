//! After a handshake its secrets are nowhere in the memory of the process, freed or not.
//!
//! Stacks are left out: what a function had in its registers and locals is overwritten by the calls that follow, and
//! safe code cannot do that by itself.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;

use super::*;
use crate::Role;
use crate::noise::state::{Start, State};
use crate::provider::StaticKey;

/// What the secrets are searched as, so that the search does not find what it searches with.
const MASK: u8 = 0xa5;

/// A secret to search for.
pub(crate) struct Needle {
    what: &'static str,
    masked: Vec<u8>,
}

impl Needle {
    pub(crate) fn new(what: &'static str, secret: &[u8]) -> Self {
        Self {
            what,
            masked: secret.iter().map(|byte| byte ^ MASK).collect(),
        }
    }

    fn is_in(&self, memory: &[u8]) -> bool {
        let first = self.masked[0] ^ MASK;
        memory.windows(self.masked.len()).any(|window| {
            window[0] == first
                && window
                    .iter()
                    .zip(&self.masked)
                    .all(|(byte, masked)| byte ^ MASK == *masked)
        })
    }
}

/// The names of the secrets that are somewhere in the writable memory of this process, its stacks left out.
pub(crate) fn found(needles: &[Needle]) -> Vec<&'static str> {
    let local = 0_u8;
    let stack = std::ptr::from_ref(&local).addr() as u64;
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = BufReader::new(File::open("/proc/self/maps").unwrap());
    let mut found = Vec::new();
    // The lines are read at once: reading allocates.
    let lines: Vec<String> = maps.lines().map(Result::unwrap).collect();
    for line in lines
        .iter()
        .filter(|line| line.contains(" rw-p ") && !line.contains("[stack]"))
    {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let start = u64::from_str_radix(start, 16).unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        if (start..end).contains(&stack) {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // A mapping may be gone by now.
        let Ok(read) = memory.read_at(&mut bytes, start) else {
            continue;
        };
        let seen = needles.iter().filter(|needle| needle.is_in(&bytes[..read]));
        found.extend(seen.map(|needle| needle.what));
        // What was read is a copy of memory that the next reads must not find.
        bytes.fill(0);
    }
    found
}

/// Runs a handshake to its end, drops it, and says what its secrets were.
fn handshake(suite: &'static Suite) -> Vec<Needle> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).unwrap();
    let peers = Peers::new();
    let peer = peers.bob.public();
    let [mut dialler, mut acceptor] =
        [(Role::Dialler, &peers.ada), (Role::Acceptor, &peers.bob)].map(|(role, key)| {
            let start = Start {
                suite,
                providers: &peers.providers,
                key,
                peer: Some(&peer),
                psk: psk(suite).map(|_| &secret),
                prologue: PROLOGUE,
            };
            State::new(&start, role).unwrap()
        });
    let mut needles = vec![
        Needle::new("the static key of the dialler", &*peers.ada.to_bytes().unwrap()),
        Needle::new("the static key of the acceptor", &*peers.bob.to_bytes().unwrap()),
        Needle::new("the pre-shared key", &secret),
    ];
    for step in 0..suite.pattern.messages() {
        let (from, to) = match step % 2 {
            0 => (&mut dialler, &mut acceptor),
            _ => (&mut acceptor, &mut dialler),
        };
        let mut message = Vec::new();
        from.write(&[], &mut message).unwrap();
        to.read(&message, 0).unwrap();
        if let Some(chain) = from.chain() {
            needles.push(Needle::new("a chaining key", &chain[..32]));
        }
    }
    let (dialled, accepted) = (dialler.finish().unwrap(), acceptor.finish().unwrap());
    assert_eq!(dialled.keys(), accepted.keys());
    needles.push(Needle::new("the dialler's key", dialled.keys().0));
    needles.push(Needle::new("the acceptor's key", dialled.keys().1));
    needles
}

#[test]
fn no_secret_of_a_handshake_is_left_in_memory() {
    for suite in suites() {
        let needles = handshake(suite);
        assert_eq!(found(&needles), [""; 0], "{}", suite.id);
    }
}

#[test]
fn the_search_of_memory_finds_what_is_there() {
    let key = StaticKey::generate().unwrap();
    let needle = [Needle::new("a key", &*key.to_bytes().unwrap())];
    assert_eq!(found(&needle), ["a key"], "aws-lc has it");
    drop(key);
    assert_eq!(found(&needle), [""; 0]);
    let copy: Vec<u8> = needle[0].masked.iter().map(|byte| byte ^ MASK).collect();
    assert_eq!(found(&needle), ["a key"]);
    drop(copy);
}

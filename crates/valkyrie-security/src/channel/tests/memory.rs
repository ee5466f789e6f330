//! Keys of a channel are nowhere in the memory of the process once they are over: those of an epoch after its rekey, all of
//! them after the channel. Stacks are left out, see the same test of the handshake.

use super::*;
use crate::noise::tests::memory::{Needle, found};

/// What is to be searched for of an epoch: the secret that the next one comes from, and the key.
fn needles(keys: &EpochKeys) -> [Needle; 2] {
    let (secret, key, _) = keys.expose();
    [
        Needle::new("the epoch's secret", &*secret),
        Needle::new("the epoch's key", &key[..16]),
    ]
}

#[test]
fn keys_are_nowhere_in_memory_once_they_are_over() {
    let now = Instant::now();
    for cipher in CIPHERS {
        let (mut k1, mut k2) = ([0; 32], [0; 32]);
        aws_lc_rs::rand::fill(&mut k1).unwrap();
        aws_lc_rs::rand::fill(&mut k2).unwrap();
        let schedule = |role| KeySchedule::new(&[1; 32], &k1, &k2, cipher, role);
        let (first, second) = {
            let keys = schedule(Role::Dialler).record_directions().0;
            (needles(&keys), needles(&keys.next().unwrap()))
        };
        let config = config(|config| config.rekey.records = 2);
        // On the heap, where the search looks.
        let mut sealer = Box::new(schedule(Role::Dialler).channel(config).0);
        let mut opener = Box::new(schedule(Role::Acceptor).channel(config).1);
        assert!(!found(&first).is_empty(), "there is something to find");

        let mut wire = sealed(&mut sealer, now, b"the first epoch");
        sealer.seal(now, [&b"the second"[..]], &mut wire).unwrap();
        assert_eq!(
            opened(&mut opener, now, &wire).unwrap(),
            b"the first epochthe second"
        );
        assert_eq!(opener.epoch(), 1);
        assert_eq!(found(&first), [""; 0], "{cipher:?}: the first epoch is over");
        assert!(!found(&second).is_empty(), "and the second is not");

        // Put away, a channel keeps the secret and not the key.
        sealer.put_away();
        opener.put_away();
        assert!(!found(&second).contains(&"the epoch's key"), "{cipher:?}");

        let last = sealed(&mut sealer, now, b"");
        assert!(last.is_empty());
        drop((sealer, opener));
        assert_eq!(found(&second), [""; 0], "{cipher:?}: the channel is over");
    }
}

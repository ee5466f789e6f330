//! Nothing that can be printed prints a secret.

use std::fmt::Debug;

use super::*;
use crate::provider::{KeyError, PublicKey};

/// The bytes of a secret as they would be seen in the output of Debug, whichever way somebody might print them.
fn spellings(secret: &[u8]) -> Vec<String> {
    let join = |separator: &str, format: fn(&u8) -> String| {
        let bytes: Vec<String> = secret.iter().take(8).map(format).collect();
        bytes.join(separator)
    };
    let mut spellings = vec![
        join("", |byte| format!("{byte:02x}")),
        join("", |byte| format!("{byte:02X}")),
        join(", ", u8::to_string),
        join(",\n        ", u8::to_string),
        join(", ", |byte| format!("{byte:#x}")),
    ];
    spellings.push(spellings[2].replace(", ", ","));
    spellings
}

/// Fails when a printed value has one of the secrets in it.
fn assert_silent(value: &dyn Debug, secrets: &[&[u8]]) {
    for printed in [format!("{value:?}"), format!("{value:#?}"), format!("{value:x?}")] {
        for secret in secrets {
            for spelling in spellings(secret) {
                assert!(!printed.contains(&spelling), "{printed}");
            }
        }
    }
}

#[test]
fn no_public_type_prints_a_secret() {
    let peers = Peers::new();
    let (ada, bob) = (peers.ada.to_bytes().unwrap(), peers.bob.to_bytes().unwrap());
    for suite in suites() {
        let secrets: [&[u8]; 3] = [&ada[..], &bob[..], &PSK];
        assert_silent(&peers.ada, &secrets);
        assert_silent(&peers.providers, &secrets);
        let (dialling, first) = peers.dial(suite);
        assert_silent(&dialling, &secrets);
        let opened = peers.read(suite, &first).unwrap();
        assert_silent(&opened, &secrets);
        let (mut second, mut third) = (Vec::new(), Vec::new());
        let accepted = opened.answer(&mut second).unwrap();
        assert_silent(&accepted, &secrets);
        let dialled = dialling.second(&second, &mut third).unwrap();
        let accepted = finish(accepted, &third).unwrap();
        let (k1, k2) = dialled.keys();
        let secrets: [&[u8]; 5] = [&ada[..], &bob[..], &PSK, &k1[..], &k2[..]];
        assert_silent(&dialled, &secrets);
        assert_silent(&accepted, &secrets);
    }
}

#[test]
fn the_search_for_secrets_finds_one() {
    let secret = [0x0a, 0xff, 3, 4, 5, 6, 7, 8, 9];
    let found = |printed: String| {
        spellings(&secret)
            .iter()
            .any(|spelling| printed.contains(spelling))
    };
    assert!(found(format!("{secret:?}")));
    assert!(found(format!("{:?}", (1, secret))));
    assert!(found(
        format!("{:?}", PublicKey::from([10; 32])).replace("0a", "0aff030405060708")
    ));
}

#[test]
fn errors_name_who_is_at_fault_and_no_bytes() {
    let id = SuiteId::XX_AES;
    let errors = [
        NoiseError::Unsupported { suite: id },
        NoiseError::PeerKeyMissing { suite: id },
        NoiseError::PskMissing { suite: id },
        NoiseError::PskUnused { suite: id },
        NoiseError::PayloadToSend { suite: id, bytes: 65 },
        NoiseError::Length { step: 1, bytes: 3 },
        NoiseError::PeerPoint,
        NoiseError::PeerKem,
        NoiseError::Unauthentic { step: 2 },
        NoiseError::OtherPeer,
        NoiseError::System,
        NoiseError::Internal,
    ];
    for error in errors {
        let sentence = error.to_string();
        assert!(
            sentence.contains("the handshake is over")
                || sentence.contains("nothing was sent")
                || sentence.contains("it is over")
                || sentence.contains("not told who dialled"),
            "{sentence}"
        );
    }
    assert!(KeyError::Peer.to_string().contains("peer"));
    assert!(KeyError::System.to_string().contains("this machine"));
}

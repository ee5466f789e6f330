//! The text files: what is written is read again, and a wrong line is named.

use proptest::prelude::*;

use super::*;
use crate::identity::Fingerprint;

fn print(byte: u8) -> Fingerprint {
    Fingerprint::from_bytes([byte; 32])
}

#[test]
fn pins_are_read_as_people_write_them() {
    let text = format!(
        "# the lab\n\n{} runner,ci build host 7\n  {},{}\t-\n{}\n",
        print(1),
        print(2),
        print(3),
        print(4)
    );
    let pins = Pins::parse(&text).unwrap();
    let host = pins.find(&print(1)).unwrap();
    assert_eq!(host.name.as_deref(), Some("build host 7"));
    assert_eq!(host.roles, ["ci", "runner"]);
    assert_eq!(pins.find(&print(3)), pins.find(&print(2)));
    assert_eq!(pins.find(&print(2)).unwrap().next, Some(print(3)));
    assert_eq!(pins.find(&print(4)), Some(&Pin::new(print(4))));
    assert_eq!(pins.find(&print(5)), None);
    assert_eq!(Pins::parse(&pins.to_string()), Ok(pins));
}

#[test]
fn a_wrong_line_of_pins_is_named() {
    let (good, other) = (print(1), print(2));
    for (line, fault) in [
        (
            "SHA256:x".to_owned(),
            TrustFileFault::Fingerprint(crate::identity::FingerprintFormatError),
        ),
        (format!("{good}"), TrustFileFault::Twice(good)),
        (format!("{other},{good}"), TrustFileFault::Twice(good)),
        (format!("{other},{other}"), TrustFileFault::Twice(other)),
        (format!("{other} a,,b"), TrustFileFault::Role(String::new())),
        (format!("{other} ä"), TrustFileFault::Role("ä".to_owned())),
        (format!("{other} - a\u{1b}b"), TrustFileFault::Name),
        (format!("{other} - {}", "n".repeat(201)), TrustFileFault::Name),
    ] {
        let error = Pins::parse(&format!("# one\n{good} -\n{line}\n")).unwrap_err();
        assert_eq!(error, TrustFileError { line: 3, fault });
        assert!(error.to_string().starts_with("line 3: "), "{error}");
    }
}

#[test]
fn a_pin_is_taken_away_by_either_of_its_fingerprints() {
    let pin = Pin {
        next: Some(print(2)),
        ..Pin::new(print(1))
    };
    for by in [print(1), print(2)] {
        let mut pins = Pins::default();
        pins.add(pin.clone()).unwrap();
        assert_eq!(pins.remove(&by), Some(pin.clone()));
        assert_eq!(pins, Pins::default());
        pins.add(pin.clone()).unwrap();
    }
}

#[test]
fn known_peers_are_read_as_they_are_written() {
    let text = format!(
        "tcp://ada:7000 {} 2026-09-30T12:00:00Z ada of the lab\n* {} 2026-09-30T12:00:01Z b\n*afar {} 2026-09-30T12:00:01Z b\n",
        print(1),
        print(2),
        print(3)
    );
    let known = KnownPeers::parse(&text).unwrap();
    assert_eq!(known.to_string(), text);
    assert_eq!(known.len(), 3);
    assert_eq!(known.at("tcp://ada:7000").unwrap().name(), "ada of the lab");
    assert_eq!(known.at("*"), None);
    assert!(known.arrived(&print(2), true).is_some());
    assert!(known.arrived(&print(1), true).is_none());
    assert!(known.arrived(&print(2), false).is_none());
    assert!(known.arrived(&print(3), false).is_some());
    // Two processes that append the same line do no harm.
    assert_eq!(KnownPeers::parse(&format!("{text}{text}")).unwrap(), known);
}

#[test]
fn a_wrong_line_of_known_peers_is_named() {
    let time = "2026-09-30T12:00:00Z";
    let taken = TrustFileFault::Taken {
        place: "a".to_owned(),
        remembered: print(1),
    };
    for (line, fault) in [
        (format!("a {} {time} eve", print(2)), taken),
        (
            format!("a {}", print(1)),
            TrustFileFault::Form("PLACE FINGERPRINT FIRST-SEEN NAME"),
        ),
        (format!("a {} {time}", print(1)), TrustFileFault::Name),
        (
            format!("a {} yesterday b", print(1)),
            TrustFileFault::Time(crate::time::TimeFormatError),
        ),
        (
            format!("{} {} {time} b", "p".repeat(513), print(1)),
            TrustFileFault::Place,
        ),
        (format!("a\u{202e} {} {time} b", print(1)), TrustFileFault::Place),
    ] {
        let error = KnownPeers::parse(&format!("a {} {time} ada\n{line}", print(1))).unwrap_err();
        assert_eq!(error, TrustFileError { line: 2, fault });
    }
}

#[test]
fn a_place_with_a_space_is_not_remembered() {
    let document = ada().document().unwrap();
    for locator in ["", "a b", "a\tb", "#a", "a\nb"] {
        let peer = KnownPeer::new(&Place::dialled(locator, false), &document, NOW);
        assert_eq!(
            KnownPeers::default().remember(peer),
            Err(TrustFileFault::Place),
            "{locator:?}"
        );
    }
}

#[test]
fn revocations_are_read_as_they_are_written() {
    let text = format!(
        "# gone\nidentity {}\ndocument {} 12\nkey {}\n",
        print(1),
        print(2),
        "0a".repeat(32)
    );
    let list = RevocationList::parse(&text).unwrap();
    assert_eq!((list.issuer(), list.number(), list.issued()), (None, 0, None));
    assert_eq!(list.iter().count(), 3);
    assert_eq!(RevocationList::parse(&list.to_string()), Ok(list.clone()));

    let signed = list.sign(&classical(9), 7, NOW).unwrap();
    let text = signed.to_string();
    let read = RevocationList::parse(&text).unwrap();
    assert_eq!(read, signed);
    assert_eq!(
        (read.issuer(), read.number(), read.issued()),
        (Some(classical(9).fingerprint()), 7, Some(NOW))
    );
    assert_eq!(read.verify_signatures(classical(9).public()), Ok(()));
    assert!(list.verify_signatures(classical(9).public()).is_err());
    // A comment before the signatures is signed too.
    let commented = RevocationList::parse(&text.replace("number", "# x\nnumber")).unwrap();
    assert!(commented.verify_signatures(classical(9).public()).is_err());
    let mut more = read;
    more.add(Revocation::Identity(print(9))).unwrap();
    assert_eq!(more.issuer(), None, "what was signed is not what it is now");
}

#[test]
fn a_wrong_line_of_revocations_is_refused() {
    let signed = RevocationList::new()
        .sign(&classical(9), 7, NOW)
        .unwrap()
        .to_string();
    for text in [
        "identity".to_owned(),
        "key 00".to_owned(),
        format!("key {}", "zz".repeat(32)),
        format!("key {}", "é".repeat(32)),
        format!("document {} -1", print(1)),
        format!("document {} +1", print(1)),
        format!("document {}", print(1)),
        "number 7".to_owned(),
        "valkyrie revocations 2".to_owned(),
        "valkyrie revocations 1".to_owned(),
        format!("{signed}identity {}\n", print(1)),
        format!("identity {}\n{signed}", print(1)),
        signed.replace("number 7", "number 7\nnumber 7"),
        signed.replace("issued", "# issued"),
        signed.replace("Ed25519", "RSA"),
        signed.replace("signature Ed25519 ", "signature Ed25519 ="),
        signed.lines().take(4).collect::<Vec<_>>().join("\n"),
    ] {
        assert!(RevocationList::parse(&text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}|(SHA256:[A-Za-z0-9+/]{43}[ ,-]?){0,3}|(signature|identity|valkyrie revocations 1|key|\n| ){0,9}") {
        let _ = Pins::parse(&text);
        let _ = KnownPeers::parse(&text);
        let _ = RevocationList::parse(&text);
    }

    #[test]
    fn pins_survive_being_written(entries in prop::collection::vec(
        (any::<[u8; 32]>(), prop::option::of(any::<[u8; 32]>()), prop::option::of("[a-z#é]([a-z# é]{0,20}[a-zé])?"),
         prop::collection::vec("[a-z0-9][-a-z0-9.:/_]{0,10}", 0..5)),
        0..20,
    )) {
        let mut pins = Pins::default();
        for (fingerprint, next, name, roles) in entries {
            let next = next.map(Fingerprint::from_bytes);
            let _ = pins.add(Pin { fingerprint: Fingerprint::from_bytes(fingerprint), next, name, roles });
        }
        prop_assert_eq!(Pins::parse(&pins.to_string()), Ok(pins));
    }
}

//! Sealing under a passphrase.

use super::*;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

fn cheap() -> Cost {
    Cost::new(MEMORY_KIB_MIN, 1).unwrap()
}

#[test]
fn what_is_sealed_opens_with_the_same_passphrase_and_no_other() {
    let sealed = seal(b"the secret", &passphrase("correct horse"), cheap()).unwrap();
    assert!(is_sealed(&sealed));
    assert!(!String::from_utf8_lossy(&sealed).contains("secret"));
    let (plain, cost) = open(&sealed, &passphrase("correct horse")).unwrap();
    assert_eq!((&**plain, cost), (&b"the secret"[..], cheap()));
    assert_eq!(
        open(&sealed, &passphrase("correct horsf")).unwrap_err(),
        Unsealing::Wrong
    );
}

#[test]
fn the_same_secret_is_sealed_differently_each_time() {
    let once = seal(b"x", &passphrase("p"), cheap()).unwrap();
    assert_ne!(once, seal(b"x", &passphrase("p"), cheap()).unwrap());
}

#[test]
fn a_changed_digit_anywhere_is_refused() {
    let sealed = seal(b"x", &passphrase("p"), cheap()).unwrap();
    let begin = FIRST_LINE.len() + "argon2id m=8192 t=1 p=1 ".len();
    // Each try takes a real derivation, so every third digit and all of a word's ends have to do.
    let digits = (begin..sealed.len()).filter(|at| sealed[*at].is_ascii_hexdigit());
    for at in digits.step_by(3) {
        let mut changed = sealed.clone();
        changed[at] = if sealed[at] == b'0' { b'1' } else { b'0' };
        assert!(open(&changed, &passphrase("p")).is_err(), "byte {at}");
    }
}

#[test]
fn a_file_cannot_make_us_spend_what_it_likes() {
    let sealed = String::from_utf8(seal(b"x", &passphrase("p"), cheap()).unwrap()).unwrap();
    for (from, to) in [
        ("m=8192", "m=4294967295"),
        ("m=8192", "m=1"),
        ("t=1", "t=4000000"),
        ("t=1", "t=0"),
        ("p=1", "p=64"),
    ] {
        let greedy = sealed.replace(from, to);
        let refused = open(greedy.as_bytes(), &passphrase("p")).unwrap_err();
        assert!(matches!(refused, Unsealing::Malformed(2, _)), "{to}: {refused:?}");
    }
}

#[test]
fn a_text_cut_anywhere_is_refused() {
    let sealed = seal(b"x", &passphrase("p"), cheap()).unwrap();
    // The last byte is the line's end, which an editor may well take away.
    for len in 0..sealed.len() - 1 {
        assert!(open(&sealed[..len], &passphrase("p")).is_err(), "{len} bytes");
    }
}

#[test]
fn empty_and_endless_passphrases_are_refused() {
    assert!(Passphrase::new(Zeroizing::new(Vec::new())).is_err());
    assert!(Passphrase::new(Zeroizing::new(vec![b'x'; PASSPHRASE_BYTES_MAX + 1])).is_err());
    assert_eq!(format!("{:?}", passphrase("hunter2")), "Passphrase(..)");
}

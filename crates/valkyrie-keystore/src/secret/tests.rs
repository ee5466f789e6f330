//! Private keys as text.

use super::*;

fn secret() -> Secret {
    let held = |until| HeldKey {
        key: StaticKey::generate().unwrap(),
        until,
    };
    Secret {
        static_keys: vec![held(None), held(Some(UnixTime::from_secs(1_800_000_000)))],
        signing: Some(SigningKey::generate().unwrap()),
    }
}

fn parse(text: &[u8]) -> Result<Secret, KeystoreError> {
    Secret::parse(Path::new("identity.key"), text)
}

#[test]
fn keys_come_back_as_they_were() {
    let secret = secret();
    let text = secret.encode().unwrap();
    let read = parse(&text).unwrap();
    assert_eq!(
        read.signing.as_ref().unwrap().fingerprint(),
        secret.signing.as_ref().unwrap().fingerprint()
    );
    for (read, held) in read.static_keys.iter().zip(&secret.static_keys) {
        assert_eq!((read.key.public(), read.until), (held.key.public(), held.until));
    }
    assert_eq!(*read.encode().unwrap(), *text);
    assert!(text.len() <= SECRET_BYTES_MAX);
}

#[test]
fn the_longest_file_fits_the_room_made_for_it() {
    let mut secret = secret();
    let until = Some(UnixTime::from_millis(1_800_000_000_001));
    let key = StaticKey::generate().unwrap();
    secret.static_keys = vec![HeldKey { key, until }; STORED_KEYS_MAX];
    let text = secret.encode().unwrap();
    assert_eq!(text.capacity(), SECRET_BYTES_MAX, "the buffer was not moved");
    parse(&text).unwrap();
}

#[test]
fn every_broken_line_is_named() {
    let text = String::from_utf8(secret().encode().unwrap().to_vec()).unwrap();
    let line = |number: usize| text.lines().nth(number - 1).unwrap().to_owned();
    let cases = [
        (text.replace("key 1", "key 2"), 1),
        (text.replace("until ", "until x"), 3),
        (text.replace("ed25519 ", "ed25519 0"), 4),
        (text.replace("ed25519", "rsa"), 4),
        (format!("{text}{}\n", line(4)), 6),
        (format!("{text}\n"), 6),
        (text.replace(&format!("{}\n", line(4)), ""), 0),
        (FIRST_LINE.to_owned(), 0),
        (
            format!("{text}{}\n", line(2)).replace(&line(5), &vec![line(2); 8].join("\n")),
            13,
        ),
    ];
    for (broken, at) in cases {
        match parse(broken.as_bytes()) {
            Err(KeystoreError::Malformed { line, why, .. }) => assert_eq!(line, at, "{why}"),
            other => panic!("line {at}: {other:?}"),
        }
    }
    assert!(parse(&[0xff, 0xfe]).is_err());
}

#[test]
fn no_error_and_no_debug_output_shows_a_key() {
    let secret = secret();
    let text = String::from_utf8(secret.encode().unwrap().to_vec()).unwrap();
    let shown = [
        format!("{secret:?}"),
        format!(
            "{:?}",
            parse(text.replace("static ", "statik ").as_bytes()).unwrap_err()
        ),
    ];
    for line in text.lines().skip(1) {
        let key = line.split(' ').nth(1).unwrap();
        assert!(shown.iter().all(|shown| !shown.contains(&key[..16])));
    }
}

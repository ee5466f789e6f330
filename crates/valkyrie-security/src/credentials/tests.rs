use proptest::prelude::*;

use super::*;
use crate::identity::tests::{HYBRID, classical, full, static_key};

fn identity() -> Identity {
    let document = full("ada", 1).sign(&classical(1)).unwrap().document().unwrap();
    Identity::new(vec![static_key(1)], Some(classical(1)), document).unwrap()
}

fn encoded(credentials: &Credentials) -> Vec<u8> {
    let mut out = Vec::new();
    credentials.encode(&mut out);
    out
}

#[test]
fn what_is_sent_is_read() {
    let identity = identity();
    let mut credentials = Credentials::of(&identity);
    assert_eq!(
        Credentials::parse(&encoded(&credentials)),
        Ok(credentials.clone())
    );
    credentials.prove(&identity, Role::Dialler, &[7; 32]).unwrap();
    credentials.set_token(b"token").unwrap();
    credentials
        .set_svid(&[Bytes::from_static(b"leaf"), Bytes::from_static(b"")])
        .unwrap();
    let read = Credentials::parse(&encoded(&credentials)).unwrap();
    assert_eq!(read, credentials);
    assert_eq!(read.token().unwrap(), "token");
    assert_eq!(read.svid().unwrap().len(), 2);
    assert_eq!(read.proof().unwrap().algorithm, 1);
    assert_eq!(encoded(&credentials).len(), credentials.encoded_len());
}

#[test]
fn nobody_in_particular_shows_nothing() {
    let anonymous = Identity::anonymous().unwrap();
    let mut credentials = Credentials::of(&anonymous);
    credentials.prove(&anonymous, Role::Dialler, &[7; 32]).unwrap();
    assert!(credentials.is_empty());
    assert_eq!(encoded(&credentials), b"");
    assert_eq!(Credentials::parse(b""), Ok(credentials));
}

#[test]
fn a_proof_speaks_of_one_handshake_and_one_role() {
    let mut texts: Vec<_> = [(Role::Dialler, 1), (Role::Acceptor, 1), (Role::Dialler, 2)]
        .map(|(role, h)| proof_text(role, &[h; 32]))
        .to_vec();
    assert_eq!(texts[0], [&b"valkyrie 2 proof\0\x01"[..], &[1; 32]].concat());
    texts.dedup();
    assert_eq!(texts.len(), 3);
}

#[test]
fn an_item_that_is_there_twice_is_refused() {
    let item = |kind| [kind, 0, 1, 0];
    for kind in [1, 2, 3, 77] {
        let twice = [item(kind), item(kind)].concat();
        assert_eq!(Credentials::parse(&twice), Err(CredentialsError::Twice(kind)));
    }
}

#[test]
fn items_of_unknown_types_are_skipped() {
    let mut payload = vec![200, 0, 3, 1, 2, 3];
    Credentials::of(&identity()).encode(&mut payload);
    payload.extend([0, 0, 0]);
    assert_eq!(Credentials::parse(&payload), Ok(Credentials::of(&identity())));
}

#[test]
fn credentials_cut_anywhere_but_between_items_are_refused() {
    let identity = identity();
    let mut credentials = Credentials::of(&identity);
    let between = encoded(&credentials).len();
    credentials.set_token(b"token").unwrap();
    let whole = encoded(&credentials);
    for len in (1..whole.len()).filter(|len| *len != between) {
        assert_eq!(
            Credentials::parse(&whole[..len]),
            Err(CredentialsError::Truncated),
            "at {len}"
        );
    }
}

#[test]
fn a_proof_without_an_algorithm_and_a_chain_without_certificates_are_refused() {
    assert_eq!(Credentials::parse(&[2, 0, 0]), Err(CredentialsError::Truncated));
    assert_eq!(Credentials::parse(&[4, 0, 0]), Err(CredentialsError::Svid));
    assert_eq!(
        Credentials::parse(&[4, 0, 3, 0, 0, 1]),
        Err(CredentialsError::Truncated)
    );
    let seven = [&[4, 0, 21][..], &[0; 21]].concat();
    assert_eq!(Credentials::parse(&seven), Err(CredentialsError::Svid));
    assert_eq!(Credentials::default().set_svid(&[]), Err(CredentialsError::Svid));
}

#[test]
fn more_bytes_than_can_travel_are_refused_on_both_sides() {
    let long = vec![9; CREDENTIALS_BYTES_MAX + 1];
    assert_eq!(
        Credentials::parse(&long),
        Err(CredentialsError::TooLong(CREDENTIALS_BYTES_MAX + 1))
    );
    let mut credentials = Credentials::of(&identity());
    let before = credentials.clone();
    let token = vec![0; CREDENTIALS_BYTES_MAX - 3];
    assert!(matches!(
        credentials.set_token(&token),
        Err(CredentialsError::TooLong(_))
    ));
    assert_eq!(credentials, before);
    assert_eq!(Credentials::default().set_token(&token), Ok(()));
}

#[test]
fn a_token_is_not_shown() {
    let mut credentials = Credentials::default();
    credentials.set_token(b"bearer").unwrap();
    assert!(!format!("{credentials:?}").contains("bearer"));
}

proptest! {
    #[test]
    fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(credentials) = Credentials::parse(&payload) {
            let again = encoded(&credentials);
            prop_assert_eq!(Credentials::parse(&again), Ok(credentials));
        }
    }

    #[test]
    fn the_largest_document_travels_with_a_proof(h in any::<[u8; 32]>()) {
        let mut credentials = Credentials { identity: Some(HYBRID.as_bytes().clone()), ..Credentials::default() };
        let proof = Proof { algorithm: 2, signature: vec![h[0]; 3309].into() };
        prop_assert_eq!(credentials.set_proof(proof), Ok(()));
        prop_assert!(crate::identity::DOCUMENT_BYTES_MAX + 3 + 1 + 3309 + 3 <= CREDENTIALS_BYTES_MAX);
        prop_assert_eq!(Credentials::parse(&encoded(&credentials)), Ok(credentials));
    }
}

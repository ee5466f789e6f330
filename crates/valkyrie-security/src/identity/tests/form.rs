//! Every rule of form, broken one at a time.

use proptest::prelude::*;

use super::*;

/// A small document as its fields, to be written wrongly.
pub(super) struct Raw {
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    pub(super) name: Vec<u8>,
    pub(super) roles: Vec<&'static [u8]>,
    pub(super) labels: Vec<(&'static [u8], &'static [u8])>,
    pub(super) keys: Vec<(u8, Vec<u8>)>,
    pub(super) signatures: Vec<(u8, usize)>,
    pub(super) after: &'static [u8],
}

impl Raw {
    pub(super) fn good() -> Self {
        Self {
            version: 1,
            kind: 1,
            not_before: 1,
            not_after: 2,
            name: b"ada".to_vec(),
            roles: vec![b"a", b"b"],
            labels: vec![(b"a", b""), (b"b", b"x")],
            keys: vec![(1, vec![1; 32]), (2, vec![2; 32])],
            signatures: vec![(1, 64)],
            after: b"",
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![self.version, self.kind];
        let short = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.push(bytes.len() as u8);
            out.extend(bytes);
        };
        let long = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend((bytes.len() as u16).to_be_bytes());
            out.extend(bytes);
        };
        out.extend(1_u64.to_be_bytes());
        out.extend(self.not_before.to_be_bytes());
        out.extend(self.not_after.to_be_bytes());
        short(&mut out, &self.name);
        out.push(self.roles.len() as u8);
        self.roles.iter().for_each(|role| short(&mut out, role));
        out.push(self.labels.len() as u8);
        for (name, value) in &self.labels {
            short(&mut out, name);
            short(&mut out, value);
        }
        out.push(self.keys.len() as u8);
        for (purpose, key) in &self.keys {
            out.push(*purpose);
            long(&mut out, key);
        }
        out.extend([0; 32]);
        out.push(self.signatures.len() as u8);
        for (algorithm, len) in &self.signatures {
            out.push(*algorithm);
            long(&mut out, &vec![0; *len]);
        }
        out.extend(self.after);
        out
    }
}

fn refused(change: impl FnOnce(&mut Raw)) -> DocumentError {
    let mut raw = Raw::good();
    change(&mut raw);
    IdentityDocument::parse(&raw.bytes()).unwrap_err()
}

#[test]
fn the_document_that_the_others_differ_from_is_read() {
    assert!(IdentityDocument::parse(&Raw::good().bytes()).is_ok());
}

#[test]
fn other_versions_and_kinds_are_refused() {
    assert_eq!(refused(|raw| raw.version = 0), DocumentError::Version(0));
    assert_eq!(refused(|raw| raw.version = 2), DocumentError::Version(2));
    assert_eq!(refused(|raw| raw.kind = 0), DocumentError::Kind(0));
    assert_eq!(refused(|raw| raw.kind = 3), DocumentError::Kind(3));
}

#[test]
fn a_lifetime_that_ends_before_it_begins_or_after_the_year_9999_is_refused() {
    let last = 253_402_300_799;
    assert_eq!(refused(|raw| raw.not_after = last + 1), DocumentError::Lifetime);
    assert_eq!(refused(|raw| raw.not_after = u64::MAX), DocumentError::Lifetime);
    let mut raw = Raw::good();
    raw.not_after = last;
    assert!(IdentityDocument::parse(&raw.bytes()).is_ok());
    assert_eq!(refused(|raw| raw.not_after = 1), DocumentError::Lifetime);
    assert_eq!(refused(|raw| raw.not_before = u64::MAX), DocumentError::Lifetime);
}

#[test]
fn names_out_of_bounds_or_with_control_characters_are_refused() {
    for name in [
        vec![],
        vec![b'n'; 201],
        b"a\0b".to_vec(),
        b"a\x1b[2J".to_vec(),
        b"a\r\n".to_vec(),
        b"\xff".to_vec(),
        "a\u{85}".into(),
        "\u{2066}a".into(),
        b" a".to_vec(),
        "a\u{a0}".into(),
    ] {
        assert_eq!(refused(|raw| raw.name = name), DocumentError::Text("name"));
    }
}

#[test]
fn roles_and_labels_out_of_bounds_are_refused() {
    for role in [&b""[..], b"a b", b"\xc3\xa4", b"-", b"a\n", &[b'r'; 65]] {
        assert_eq!(refused(|raw| raw.roles = vec![role]), DocumentError::Text("role"));
        assert_eq!(
            refused(|raw| raw.labels = vec![(role, b"x")]),
            DocumentError::Text("label")
        );
    }
    for value in [&b" "[..], b"a\n", b"\xff", &[b'v'; 201]] {
        assert_eq!(
            refused(|raw| raw.labels = vec![(b"a", value)]),
            DocumentError::Text("label")
        );
    }
    let count = |what, count| DocumentError::Count(what, count);
    assert_eq!(refused(|raw| raw.roles = vec![b"a"; 17]), count("roles", 17));
    assert_eq!(
        refused(|raw| raw.labels = vec![(b"a", b""); 17]),
        count("labels", 17)
    );
}

#[test]
fn roles_and_labels_out_of_order_or_there_twice_are_refused() {
    assert_eq!(
        refused(|raw| raw.roles = vec![b"b", b"a"]),
        DocumentError::Order("roles")
    );
    assert_eq!(
        refused(|raw| raw.roles = vec![b"a", b"a"]),
        DocumentError::Order("roles")
    );
    let labels = |first, second| refused(|raw| raw.labels = vec![(first, b""), (second, b"x")]);
    assert_eq!(labels(b"b", b"a"), DocumentError::Order("labels"));
    assert_eq!(labels(b"a", b"a"), DocumentError::Order("labels"));
}

#[test]
fn keys_that_do_not_fit_are_refused() {
    let with = |keys: &[(u8, usize)]| {
        // Each with other bytes, since the same key twice is another error.
        let keys = keys
            .iter()
            .zip(1..)
            .map(|(&(purpose, len), fill)| (purpose, vec![fill; len]));
        refused(|raw| raw.keys = keys.collect())
    };
    assert_eq!(with(&[]), DocumentError::Count("keys", 0));
    assert_eq!(with(&[(1, 32); 9]), DocumentError::Count("keys", 9));
    assert_eq!(with(&[(1, 31), (2, 32)]), DocumentError::Key(1));
    assert_eq!(with(&[(1, 33), (2, 32)]), DocumentError::Key(1));
    assert_eq!(with(&[(1, 32), (2, 33)]), DocumentError::Key(2));
    assert_eq!(with(&[(1, 32), (3, 1951)]), DocumentError::Key(3));
    assert_eq!(with(&[(1, 32), (4, 32)]), DocumentError::Key(4));
    assert_eq!(with(&[(0, 32), (2, 32)]), DocumentError::Key(0));
    assert_eq!(with(&[(2, 32), (1, 32)]), DocumentError::Order("keys"));
    assert_eq!(with(&[(1, 32), (2, 32), (2, 32)]), DocumentError::Order("keys"));
    assert_eq!(with(&[(1, 32)]), DocumentError::NoSigningKey);
    assert_eq!(with(&[(2, 32)]), DocumentError::StaticKeys);
    assert_eq!(
        with(&[(1, 32), (1, 32), (1, 32), (1, 32), (1, 32), (2, 32)]),
        DocumentError::StaticKeys
    );
    let twice = refused(|raw| raw.keys.insert(0, (1, vec![1; 32])));
    assert_eq!(twice, DocumentError::Order("keys"));
    assert_eq!(refused(|raw| raw.kind = 2), DocumentError::StaticKeys);
}

#[test]
fn signatures_that_do_not_fit_are_refused() {
    let with = |signatures: &[(u8, usize)]| refused(|raw| raw.signatures = signatures.to_vec());
    assert_eq!(with(&[]), DocumentError::Count("signatures", 0));
    assert_eq!(with(&[(1, 64); 3]), DocumentError::Count("signatures", 3));
    assert_eq!(with(&[(1, 63)]), DocumentError::Signature(1));
    assert_eq!(with(&[(2, 3308)]), DocumentError::Signature(2));
    assert_eq!(with(&[(3, 64)]), DocumentError::Signature(3));
    assert_eq!(with(&[(0, 64)]), DocumentError::Signature(0));
    assert_eq!(with(&[(1, 64), (1, 64)]), DocumentError::Order("signatures"));
    assert_eq!(with(&[(2, 3309), (1, 64)]), DocumentError::Order("signatures"));
}

#[test]
fn bytes_after_the_last_signature_are_refused() {
    assert_eq!(refused(|raw| raw.after = b"\0"), DocumentError::Trailing(1));
}

#[test]
fn a_document_cut_anywhere_is_refused() {
    let whole = HYBRID.as_bytes();
    for len in 0..whole.len() {
        assert_eq!(
            IdentityDocument::parse(&whole[..len]),
            Err(DocumentError::Truncated),
            "at {len}"
        );
    }
}

prop_compose! {
    fn builders()(
        name in "[^\\p{Cc}\\s\u{200e}\u{200f}\u{202a}-\u{202e}\u{2066}-\u{2069}]{1,50}",
        roles in prop::collection::vec("[a-z0-9][-a-z0-9._:/]{0,63}", 0..=16),
        labels in prop::collection::btree_map("[a-z0-9][-a-z0-9._:/]{0,63}", "[a-z]{0,200}", 0..=16),
        keys in prop::collection::btree_set(any::<[u8; 32]>(), 1..=4),
        serial in any::<u64>(),
        begin in 0..1_u64 << 36,
        lifetime in 1..1_u64 << 36,
    ) -> DocumentBuilder {
        let keys: Vec<_> = keys.into_iter().map(PublicKey::from).collect();
        let builder = DocumentBuilder::node(&name, &keys)
            .serial(serial)
            .roles(&roles)
            .valid(UnixTime::from_secs(begin), UnixTime::from_secs(begin + lifetime));
        labels.iter().fold(builder, |builder, (name, value)| builder.label(name, value))
    }
}

proptest! {
    #[test]
    fn what_is_built_is_read_and_builds_the_same_again(builder in builders()) {
        let signed = builder.sign(&classical(1)).unwrap();
        let document = signed.document().unwrap();
        prop_assert_eq!(document.verify_signatures(classical(1).public()), Ok(()));
        // Ed25519 signs the same way every time.
        let again = DocumentBuilder::from_document(&document).sign(&classical(1)).unwrap();
        prop_assert_eq!(again, signed);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = IdentityDocument::parse(&bytes);
    }

    #[test]
    fn no_damage_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = HYBRID.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(document) = IdentityDocument::parse(&bytes) {
            prop_assert_eq!(document.encode(), &bytes);
        }
    }
}

//! Credentials of a peer: any bytes, or good ones with some bytes changed. Nobody is believed whom the pinned key did not
//! sign for.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use valkyrie_security::identity::{DocumentBuilder, IdentityDocument, SigningKey};
use valkyrie_security::provider::StaticKey;
use valkyrie_security::trust::{FirstUse, Pin, Place, Trust};
use valkyrie_security::{Credentials, Identity, Role, UnixTime};

const NOW: UnixTime = UnixTime::from_secs(1_000_000);
const H: [u8; 32] = [7; 32];

struct Scene {
    identity: Identity,
    good: Vec<u8>,
    pinned: Trust,
    open: Trust,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let static_key = StaticKey::from_bytes(&[1; 32]).expect("a key");
    let signing = SigningKey::from_seeds(&[1; 32], None).expect("a key");
    let builder = DocumentBuilder::node("ada", &[static_key.public()])
        .role("ci")
        .label("zone", "eu");
    let signed = builder
        .valid(UnixTime::EPOCH, UnixTime::from_secs(2_000_000))
        .sign(&signing)
        .expect("a document");
    let mut pinned = Trust::default();
    pinned
        .pins_mut()
        .add(Pin::new(signing.fingerprint()))
        .expect("room for a pin");
    let document = signed.document().expect("a document");
    let identity = Identity::new(vec![static_key], Some(signing), document).expect("parts that fit");
    let mut credentials = Credentials::of(&identity);
    credentials
        .prove(&identity, Role::Dialler, &H)
        .expect("a signature");
    let mut good = Vec::new();
    credentials.encode(&mut good);
    let open = Trust::default()
        .with_first_use(FirstUse::Anywhere)
        .with_anonymous(true);
    Scene {
        identity,
        good,
        pinned,
        open,
    }
});

fuzz_target!(|data: &[u8]| {
    let scene = &*SCENE;
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    let payload = if mode & 1 == 0 {
        data.to_vec()
    } else {
        damaged(&scene.good, data)
    };
    let Ok(credentials) = Credentials::parse(&payload) else {
        return;
    };
    let mut again = Vec::new();
    credentials.encode(&mut again);
    assert!(
        again.len() <= payload.len(),
        "items of unknown types are left out, nothing is added"
    );
    assert_eq!(Credentials::parse(&again).as_ref(), Ok(&credentials));

    let key = scene.identity.static_key().public();
    let place = Place::dialled("tcp://ada:1", false);
    let judge = |trust: &Trust| trust.verify(NOW, &key, Role::Dialler, &H, &credentials, &place);
    if judge(&scene.pinned).is_ok() {
        let own = scene.identity.document().expect("a document");
        assert_eq!(
            credentials.identity(),
            Some(own.encode()),
            "only what the pinned key signed is believed"
        );
    }
    if let Ok(verified) = judge(&scene.open) {
        let document = credentials
            .identity()
            .map(|bytes| IdentityDocument::parse(bytes).expect("it was read"));
        assert_eq!(
            verified.fingerprint(),
            document.as_ref().map(IdentityDocument::fingerprint)
        );
        assert!(document.is_none_or(|document| {
            document.static_keys().contains(&key)
                && document.verify_signatures(document.signing_keys()).is_ok()
        }));
        assert_eq!(
            (verified.name(), verified.roles().len()),
            (None, 0),
            "nobody vouches for strangers"
        );
    }
});

/// The good payload with edits of three bytes each, where and by what, and cut where the last byte says.
fn damaged(good: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut payload = good.to_vec();
    let edits = edits.chunks_exact(3);
    let keep = edits
        .remainder()
        .first()
        .map_or(payload.len(), |cut| payload.len() - usize::from(*cut));
    for edit in edits {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % payload.len();
        payload[at] ^= edit[2];
    }
    payload.truncate(keep);
    payload
}

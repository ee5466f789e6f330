//! No text that a program can make of a secret shows the secret: not with `{:?}`, not in an error, not in a panic.
//!
//! Each secret is made of known bytes, and every text is searched for any eight of them in a row, in each form in which
//! bytes become text by accident: hexadecimal, base64, a list of numbers, an escaped string.

mod leak;

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::{Bytes, BytesMut};
use leak::leak;
use valkyrie_security::channel::{ChannelConfig, KeySchedule};
use valkyrie_security::credentials::Credentials;
use valkyrie_security::handshake::{After, Arrival, Dial, DiallerHandshake, Gate, HandshakeLimits, Wire};
use valkyrie_security::identity::SigningKey;
use valkyrie_security::noise::{Accepting, Dialling};
use valkyrie_security::provider::{Providers, StaticKey};
use valkyrie_security::suite::SuiteId;
use valkyrie_security::token::{Right, Token, TokenKey};
use valkyrie_security::trust::FirstUse;
use valkyrie_security::{
    AcceptorHandshake, Cipher, Identity, Live, Place, Role, Security, Trust, UnixTime, noise,
};

/// 32 bytes that are found nowhere else.
fn secret(of: u8) -> [u8; 32] {
    std::array::from_fn(|index| of.wrapping_mul(37) ^ (index as u8).wrapping_mul(151) ^ 0xa5)
}

/// Fails if any text of `value` shows a part of any of `secrets`.
fn hides(what: &str, value: &dyn Debug, secrets: &[&[u8]]) {
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
        let refused: Result<(), &dyn Debug> = Err(value);
        std::hint::black_box(refused).unwrap();
    }));
    let panicked = panicked.unwrap_err();
    let panicked = panicked.downcast_ref::<String>().expect("a panic with a text");
    for text in [&format!("{value:?}"), &format!("{value:#?}"), panicked] {
        for secret in secrets {
            if let Some(form) = leak(text, secret) {
                panic!("{what} shows its secret as {form}");
            }
        }
    }
}

/// The same of an error: what it says to people, and everything below it.
fn says_nothing(what: &str, error: &(dyn std::error::Error + 'static), secrets: &[&[u8]]) {
    hides(what, &error, secrets);
    let mut next = Some(error);
    while let Some(error) = next {
        for secret in secrets {
            assert_eq!(leak(&error.to_string(), secret), None, "{what}");
        }
        next = error.source();
    }
}

#[test]
fn the_search_finds_every_form() {
    /// What a careless type is like.
    #[derive(Debug)]
    struct Careless {
        _key: Vec<u8>,
    }
    let secret = secret(1);
    let key = secret.to_vec();
    let upper: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
    let colons: Vec<String> = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [
        format!("{:?}", Careless { _key: key.clone() }),
        format!(
            "{:#?}",
            Careless {
                _key: key[5..20].to_vec()
            }
        ),
        format!("{:?}", Bytes::from(key.clone())),
        format!("{:x?}", &key),
        format!("{:#x?}", &key),
        upper,
        colons.join(":"),
        STANDARD.encode(&key),
        STANDARD.encode([&[9], &key[..]].concat()),
        URL_SAFE.encode([&[9, 9], &key[..]].concat()),
    ] {
        assert!(leak(&text, &secret).is_some(), "not found in {text}");
    }
    assert_eq!(leak("nothing to see in [1, 2, 3]", &secret), None);
}

#[test]
fn keys_are_hidden() {
    let (x25519, ed25519, ml_dsa, token) = (secret(1), secret(2), secret(3), secret(4));
    let key = StaticKey::from_bytes(&x25519).unwrap();
    hides("StaticKey", &key, &[&x25519]);
    let signing = SigningKey::from_seeds(&ed25519, Some(&ml_dsa)).unwrap();
    hides("SigningKey", &signing, &[&ed25519, &ml_dsa]);
    hides("TokenKey", &TokenKey::from_seed(&token).unwrap(), &[&token]);
}

#[test]
fn identities_and_what_holds_them_are_hidden() {
    let now = UnixTime::from_secs(1_800_000_000);
    let identity = Identity::generate("ada", now).unwrap();
    let x25519 = identity.static_key().to_bytes().unwrap();
    let signing = identity.signing_key().unwrap();
    let (ed25519, ml_dsa) = (
        signing.ed25519_seed().clone(),
        signing.ml_dsa_65_seed().unwrap().clone(),
    );
    let token = secret(5);
    let secrets: [&[u8]; 4] = [&*x25519, &*ed25519, &*ml_dsa, &token];
    hides("Identity", &identity, &secrets);
    let live = Live::new(identity);
    hides("Live<Identity>", &live, &secrets);
    let security = Security::new(live, Live::new(Trust::default())).with_token(token.to_vec());
    hides("Security", &security, &secrets);
}

#[cfg(feature = "spiffe")]
#[test]
fn workloads_are_hidden() {
    use rcgen::{CertificateParams, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType};
    use valkyrie_security::spiffe::X509Svid;

    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://example.org/ada".try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let leaf = Bytes::copy_from_slice(params.self_signed(&key).unwrap().der());
    let der = key.serialized_der();
    // RFC 8410: the seed is an OCTET STRING of 32 bytes within one.
    let at = der.windows(4).position(|head| head == [4, 34, 4, 32]).unwrap();
    let seed = &der[at + 4..at + 36];
    let svid = X509Svid::new(&[leaf], der).unwrap();
    hides("X509Svid", &svid, &[seed]);
    let workload = Identity::of_svid(StaticKey::generate().unwrap(), svid);
    let x25519 = workload.static_key().to_bytes().unwrap();
    hides("the Identity of a workload", &workload, &[seed, &*x25519]);
    says_nothing("SvidError", &X509Svid::new(&[], der).unwrap_err(), &[seed]);
}

#[test]
fn tokens_are_hidden_as_their_bearers_must_be() {
    let key = TokenKey::from_seed(&secret(4)).unwrap();
    let right = Right::method("build", "start");
    let token = Token::mint(&key, &[right], UnixTime::from_secs(1_900_000_000)).unwrap();
    // The end of a token is the key that its next holder narrows it with.
    let bytes = token.as_bytes();
    hides("Token", &token, &[bytes]);
    let mut credentials = Credentials::default();
    credentials.set_token(bytes).unwrap();
    hides("Credentials", &credentials, &[bytes]);

    let mut cut = bytes.to_vec();
    cut.truncate(bytes.len() - 1);
    says_nothing("TokenError", &Token::from_bytes(&cut).unwrap_err(), &[&cut]);
    let mut payload = vec![3, 0xff, 0xff];
    payload.extend_from_slice(bytes);
    says_nothing(
        "CredentialsError",
        &Credentials::parse(&payload).unwrap_err(),
        &[bytes],
    );
}

#[test]
fn channels_are_hidden() {
    let (h, k1, k2) = (secret(6), secret(7), secret(8));
    let schedule = |role| KeySchedule::new(&h, &k1, &k2, Cipher::Aes256Gcm, role);
    let ticket = [9; 16];
    let (exporter, psk) = (
        schedule(Role::Dialler).exporter(),
        schedule(Role::Dialler).ticket_psk(&ticket),
    );
    let plaintext = secret(9);
    let secrets: [&[u8]; 5] = [&k1, &k2, &*exporter, &*psk, &plaintext];
    hides("KeySchedule", &schedule(Role::Dialler), &secrets);
    hides("Exports", &schedule(Role::Dialler).exports(), &secrets);

    let now = Instant::now();
    let config = ChannelConfig::default();
    let ((mut sealer, _), (datagrams, _)) = schedule(Role::Dialler).channel_and_datagrams(config);
    let ((_, mut opener), (_, undatagrams)) = schedule(Role::Acceptor).channel_and_datagrams(config);
    let mut sealed = BytesMut::new();
    sealer.seal(now, [&plaintext[..]], &mut sealed).unwrap();
    let mut plain = BytesMut::new();
    opener.open(now, &mut sealed.clone(), &mut plain).unwrap();
    assert_eq!(plain[..], plaintext, "there was something to hide");
    hides("Sealer", &sealer, &secrets);
    hides("Opener", &opener, &secrets);
    hides("DatagramSealer", &datagrams, &secrets);
    hides("DatagramOpener", &undatagrams, &secrets);
    let error = opener.open(now, &mut sealed, &mut plain).unwrap_err();
    says_nothing("OpenError", &error, &secrets);
    hides("an Opener that has failed", &opener, &secrets);
}

#[test]
fn handshakes_are_hidden() {
    let (ada, bob, psk) = (secret(10), secret(11), secret(12));
    let key = |bytes| StaticKey::from_bytes(bytes).unwrap();
    let secrets: [&[u8]; 3] = [&ada, &bob, &psk];
    let suite = SuiteId(3).suite().unwrap();
    let providers = Providers::default();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let peer = key(&bob).public();
    let dialling = Dialling::start(
        suite,
        &providers,
        &key(&ada),
        Some(&peer),
        Some(&psk),
        b"prologue",
        b"12345678",
        &mut first,
    )
    .unwrap();
    hides("Dialling", &dialling, &secrets);
    let opened = Accepting::read(suite, &providers, &key(&bob), Some(&psk), b"prologue", &first).unwrap();
    hides("Opened", &opened, &secrets);
    let accepted = opened.answer(&mut second).unwrap();
    hides("Accepted", &accepted, &secrets);
    let finished = dialling.second(&second, &mut Vec::new()).unwrap();
    hides("Finished", &finished, &secrets);
    let error: noise::NoiseError =
        Accepting::read(suite, &providers, &key(&bob), Some(&ada), b"prologue", &first).unwrap_err();
    says_nothing("NoiseError", &error, &secrets);
}

#[test]
fn links_and_what_they_are_bound_to_are_hidden() {
    let binding = secret(13);
    let place = Place::dialled("tcp://192.0.2.1:7000", false);
    let dial = Dial {
        place: place.clone(),
        known: None,
        binding: Some(binding),
    };
    hides("Dial", &dial, &[&binding]);
    let arrival = Arrival {
        place: Place::arrived(false),
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        binding: Some(binding),
        plain: None,
    };
    hides("Arrival", &arrival, &[&binding]);
}

#[test]
fn established_connections_and_tickets_are_hidden() {
    let (now, unix) = (Instant::now(), UnixTime::from_secs(1_800_000_000));
    let (ada, bob) = (party("ada", unix), party("bob", unix));
    let place = Place::dialled("tcp://192.0.2.1:7000", true);
    let dial = Dial {
        place,
        known: None,
        binding: None,
    };
    let mut dialler = DiallerHandshake::new(ada.clone(), dial, now, unix).unwrap();
    let gate = Arc::new(Gate::new(HandshakeLimits::default(), now));
    let arrival = Arrival {
        place: Place::arrived(true),
        address: None,
        binding: None,
        plain: None,
    };
    let mut acceptor = AcceptorHandshake::new(bob.clone(), Arc::clone(&gate), arrival, now);
    let (mut up, mut down) = (BytesMut::new(), BytesMut::new());
    for _ in 0..4 {
        dialler.poll_transmit(&mut up);
        acceptor.handle_input(now, unix, &mut up).unwrap();
        acceptor.poll_transmit(&mut down);
        dialler.handle_input(now, unix, &mut down).unwrap();
    }
    let keys = [&ada, &bob].map(|security| security.identity().load().static_key().to_bytes().unwrap());
    let secrets: [&[u8]; 2] = [&*keys[0], &*keys[1]];
    hides("Gate", &gate, &secrets);
    let mut established = [dialler.established().unwrap(), acceptor.established().unwrap()];
    // The ticket that came behind it, whose number is all that anybody outside can see of it.
    let mut last_word = down.clone();
    let Wire::Sealed(_, opener) = &mut established[0].wire else {
        panic!("it is sealed")
    };
    let control = opener
        .open(now, &mut last_word, &mut BytesMut::new())
        .unwrap()
        .unwrap();
    let payload = control.payload();
    let ticket = &payload[payload.len() - 16..];
    hides("Control", &control, &[ticket]);
    let After::Accepted(known) = established[0].aftermath.handle(&control).unwrap() else {
        panic!("it was accepted")
    };
    hides("Known with a ticket", &known, &[ticket]);
    hides("Ticket", known.ticket.as_ref().unwrap(), &[ticket]);
    let again = Dial {
        place: Place::dialled("tcp://192.0.2.1:7000", true),
        known: Some(known),
        binding: None,
    };
    hides("Dial", &again, &[ticket]);
    let resuming = DiallerHandshake::new(ada.clone(), again, now, unix).unwrap();
    hides("DiallerHandshake", &resuming, &[&secrets[..], &[ticket]].concat());
    hides("Gate with a ticket", &gate, &[ticket]);
    for established in &established {
        hides("Established", established, &secrets);
        hides("Known", &established.known, &secrets);
        hides("Verified", &established.verified, &secrets);
    }
}

/// Somebody who trusts whoever comes first.
fn party(name: &str, now: UnixTime) -> Arc<Security> {
    let identity = Identity::generate(name, now).unwrap();
    let trust = Trust::default().with_first_use(FirstUse::Anywhere);
    Arc::new(Security::new(Live::new(identity), Live::new(trust)))
}

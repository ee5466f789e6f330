//! A directory in use, with real files.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use valkyrie_security::provider::PublicKey;
use valkyrie_security::trust::Place;
use zeroize::Zeroizing;

use super::*;
use crate::keyring::{Rotated, Terms};
use crate::passphrase::{Cost, Passphrase};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn nobody(_: &Path) -> Result<Option<Passphrase>, KeystoreError> {
    Ok(None)
}

struct Folder {
    _kept: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Folder {
    let kept = tempfile::tempdir().unwrap();
    let path = kept.path().join("node");
    Folder { _kept: kept, path }
}

fn make(path: &Path, name: &str) -> Keystore {
    Keystore::open_or_make(path, &NewIdentity::node(name), NOW, &mut nobody)
        .unwrap()
        .0
}

fn open(path: &Path) -> Result<Keystore, KeystoreError> {
    Keystore::open(path, NOW, &mut nobody)
}

fn keys(store: &Keystore) -> Vec<PublicKey> {
    store
        .identity()
        .load()
        .static_keys()
        .iter()
        .map(|key| key.public())
        .collect()
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn an_identity_is_made_once_and_found_afterwards() {
    let place = place();
    assert!(matches!(open(&place.path), Err(KeystoreError::NoIdentity(_))));
    let (store, made) =
        Keystore::open_or_make(&place.path, &NewIdentity::node("ada"), NOW, &mut nobody).unwrap();
    assert_eq!((made, store.document().name()), (Made::New, "ada"));
    let (again, made) =
        Keystore::open_or_make(&place.path, &NewIdentity::node("eve"), NOW, &mut nobody).unwrap();
    assert_eq!((made, again.document()), (Made::Found, store.document()));
    assert_eq!(keys(&again), keys(&store));
}

#[test]
fn an_empty_directory_has_no_identity() {
    let place = place();
    Home::make(&place.path).unwrap();
    assert!(matches!(open(&place.path), Err(KeystoreError::NoIdentity(_))));
}

#[test]
fn many_at_once_get_the_same_identity() {
    let place = place();
    let made: Vec<_> = std::thread::scope(|scope| {
        let one = || {
            Keystore::open_or_make(&place.path, &NewIdentity::of_this_machine(), NOW, &mut nobody).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|(_, made)| *made == Made::New).count(), 1);
    assert!(
        made.iter()
            .all(|(store, _)| store.document() == made[0].0.document())
    );
}

#[test]
fn a_loose_key_is_refused_and_named() {
    let place = place();
    drop(make(&place.path, "ada"));
    let key = place.path.join("identity.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = open(&place.path).unwrap_err().to_string();
    assert!(
        refused.contains("identity.key") && refused.contains("chmod 600"),
        "{refused}"
    );
}

#[test]
fn key_and_document_of_different_identities_are_refused() {
    let (one, other) = (place(), place());
    drop((make(&one.path, "ada"), make(&other.path, "eve")));
    std::fs::copy(other.path.join("identity.doc"), one.path.join("identity.doc")).unwrap();
    assert!(matches!(open(&one.path), Err(KeystoreError::Mismatch)));
    std::fs::remove_file(one.path.join("identity.doc")).unwrap();
    assert!(matches!(open(&one.path), Err(KeystoreError::Missing(_))));
}

#[test]
fn an_encrypted_key_needs_its_passphrase_and_stays_encrypted() {
    let place = place();
    drop(make(&place.path, "ada"));
    let phrase = |text: &str| Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap();
    let home = Home::open(&place.path).unwrap();
    let mut files = KeyFiles::open(&home, &mut nobody).unwrap();
    files
        .seal(Some((phrase("open sesame"), Cost::new(8 * 1024, 1).unwrap())))
        .unwrap();
    assert!(matches!(
        open(&place.path),
        Err(KeystoreError::PassphraseNeeded(_))
    ));
    let mut wrong = |_: &Path| Ok(Some(phrase("open barley")));
    assert!(matches!(
        Keystore::open(&place.path, NOW, &mut wrong),
        Err(KeystoreError::PassphraseWrong(_))
    ));
    let mut right = |_: &Path| Ok(Some(phrase("open sesame")));
    let store = Keystore::open(&place.path, NOW, &mut right).unwrap();
    store.change_keys(NOW, |ring| ring.rotate(NOW, DAY)).unwrap();
    let text = std::fs::read_to_string(place.path.join("identity.key")).unwrap();
    assert!(text.starts_with("valkyrie sealed key 1\n"), "{text}");
    let again = Keystore::open(&place.path, NOW, &mut right).unwrap();
    assert_eq!(keys(&again), keys(&store));
}

#[test]
fn a_rotation_elsewhere_is_taken_in_and_the_old_key_goes_when_its_time_comes() {
    let place = place();
    let (store, other) = (make(&place.path, "ada"), open(&place.path).unwrap());
    let old = keys(&store)[0];
    let Rotated::Now { key, old_until } = other.change_keys(NOW, |ring| ring.rotate(NOW, DAY)).unwrap()
    else {
        panic!()
    };
    assert_eq!(keys(&store), [old]);
    assert!(store.refresh(NOW).identity);
    assert_eq!(keys(&store), [key, old]);
    assert!(store.refresh(NOW).is_empty(), "nothing changed since");
    assert!(store.refresh(old_until).identity);
    assert_eq!(keys(&store), [key]);
}

#[test]
fn a_damaged_key_is_reported_once_and_the_old_one_is_kept() {
    let place = place();
    let store = make(&place.path, "ada");
    let held = keys(&store);
    write(&place.path.join("identity.key"), "rubbish");
    let changes = store.refresh(NOW);
    assert!(!changes.identity && changes.faults.len() == 1, "{changes:?}");
    assert_eq!(keys(&store), held);
    assert!(store.refresh(NOW).is_empty());
}

#[test]
fn a_document_that_ends_soon_is_renewed_on_the_way() {
    let place = place();
    let store = make(&place.path, "ada");
    let (serial, ends) = (store.document().serial(), store.document().not_after());
    let late = NOW.saturating_add(Identity::LIFETIME / 10 * 9);
    assert!(store.refresh(late).identity);
    assert!(store.document().serial() > serial && store.document().not_after() > ends);
    let again = Keystore::open(&place.path, late, &mut nobody).unwrap();
    assert_eq!(again.document(), store.document());
}

#[test]
fn whom_one_process_remembers_the_other_knows() {
    let (place, met) = (place(), place());
    let (store, other) = (make(&place.path, "ada"), open(&place.path).unwrap());
    let document = make(&met.path, "eve").document();
    let known = KnownPeer::new(&Place::dialled("tcp://eve:7", true), &document, NOW);
    assert!(store.remember(&known).unwrap());
    assert!(!store.remember(&known).unwrap());
    assert!(other.refresh(NOW).trust);
    assert_eq!(other.trust().load().known_peers().at("tcp://eve:7"), Some(&known));
    let changed = KnownPeer::new(&Place::dialled("tcp://eve:7", true), &store.document(), NOW);
    let refused = store.remember(&changed).unwrap_err().to_string();
    assert!(
        refused.contains("known_peers") && refused.contains("tcp://eve:7"),
        "{refused}"
    );
    assert_eq!(other.forget_place("tcp://eve:7").unwrap(), Some(known));
    assert!(store.refresh(NOW).trust);
    assert!(store.trust().load().known_peers().is_empty());
}

#[test]
fn what_many_processes_remember_at_once_is_all_kept() {
    let place = place();
    drop(make(&place.path, "ada"));
    let met = KeyRing::generate(&NewIdentity::node("eve"), NOW).unwrap();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (path, met) = (&place.path, &met);
            scope.spawn(move || {
                let locator = format!("tcp://host-{number}:7");
                let known = KnownPeer::new(&Place::dialled(&locator, false), met.document(), NOW);
                open(path).unwrap().remember(&known).unwrap();
            });
        }
    });
    assert_eq!(open(&place.path).unwrap().trust().load().known_peers().len(), 8);
}

#[test]
fn pins_authorities_and_revocations_are_kept_and_forgotten() {
    let place = place();
    let store = make(&place.path, "ada");
    let authority = KeyRing::generate(&NewIdentity::authority("home"), NOW).unwrap();
    let eve = KeyRing::generate(&NewIdentity::node("eve"), NOW).unwrap();
    let pin = Pin {
        name: Some("eve".to_owned()),
        roles: vec!["runner".to_owned()],
        ..Pin::new(eve.fingerprint())
    };
    store.pin(pin.clone()).unwrap();
    store.pin(pin.clone()).unwrap();
    store.trust_authority(authority.document()).unwrap();
    assert!(store.trust_authority(eve.document()).is_err());
    store.revoke(Revocation::Identity(eve.fingerprint())).unwrap();
    for store in [&store, &open(&place.path).unwrap()] {
        let trust = store.trust().load();
        assert_eq!(trust.pins().find(&eve.fingerprint()), Some(&pin));
        assert_eq!(trust.authorities().count(), 1);
        assert_eq!(
            trust.revoked_here().to_string(),
            format!("identity {}\n", eve.fingerprint())
        );
    }
    assert!(store.forget(&eve.fingerprint()).unwrap());
    assert!(store.forget(&authority.fingerprint()).unwrap());
    assert!(!store.forget(&authority.fingerprint()).unwrap());
    let trust = store.trust().load();
    assert_eq!(
        (trust.pins().find(&eve.fingerprint()), trust.authorities().count()),
        (None, 0)
    );
}

#[test]
fn a_broken_trust_file_is_reported_with_its_line_and_the_old_trust_is_kept() {
    let place = place();
    let store = make(&place.path, "ada");
    let eve = KeyRing::generate(&NewIdentity::node("eve"), NOW).unwrap();
    store.pin(Pin::new(eve.fingerprint())).unwrap();
    write(&place.path.join("trust/pins"), "# a comment\nnonsense\n");
    let changes = store.refresh(NOW);
    assert!(!changes.trust);
    let said = changes.faults[0].to_string();
    assert!(said.contains("trust/pins: line 2"), "{said}");
    assert!(store.trust().load().pins().find(&eve.fingerprint()).is_some());
    write(&place.path.join("trust/pins"), "");
    assert!(store.refresh(NOW).trust);
    assert!(store.trust().load().pins().find(&eve.fingerprint()).is_none());
}

#[test]
fn a_node_knows_itself_and_the_rule_for_first_use_survives_a_reload() {
    let place = place();
    let store = make(&place.path, "ada");
    let own = store.document().fingerprint();
    assert_eq!(
        store
            .trust()
            .load()
            .pins()
            .find(&own)
            .and_then(|pin| pin.name.clone())
            .as_deref(),
        Some("ada")
    );
    store.set_first_use(FirstUse::Ask);
    write(&place.path.join("trust/pins"), "# nobody\n");
    assert!(store.refresh(NOW).trust);
    let stranger = KeyRing::generate(&NewIdentity::node("eve"), NOW).unwrap();
    let credentials = valkyrie_security::Credentials::of(&stranger.identity(NOW).unwrap());
    let key = stranger.static_keys().next().unwrap().0;
    let role = valkyrie_security::Role::Acceptor;
    let far = Place::dialled("tcp://eve:7", false);
    let verdict = store
        .trust()
        .load()
        .verify(NOW, &key, role, &[0; 32], &credentials, &far);
    assert!(
        matches!(verdict, Err(valkyrie_security::TrustError::Unknown(_))),
        "{verdict:?}"
    );
}

#[test]
fn a_list_of_an_authority_is_taken_only_where_the_authority_is_trusted() {
    let place = place();
    let store = make(&place.path, "ada");
    let authority = KeyRing::generate(&NewIdentity::authority("home"), NOW).unwrap();
    let mut list = RevocationList::new();
    list.add(Revocation::Identity(store.document().fingerprint()))
        .unwrap();
    let list = authority.sign_revocations(&list, NOW).unwrap();
    assert!(store.take_revocations(&list).is_err());
    store.trust_authority(authority.document()).unwrap();
    store.take_revocations(&list).unwrap();
    drop(open(&place.path).unwrap());
    // What an authority signed that is trusted no more is in nobody's way.
    assert!(store.forget(&authority.fingerprint()).unwrap());
    drop(open(&place.path).unwrap());
}

#[test]
fn a_node_takes_the_document_that_its_authority_signed() {
    let place = place();
    let store = make(&place.path, "ada");
    let authority = KeyRing::generate(&NewIdentity::authority("home"), NOW).unwrap();
    let terms = Terms {
        name: None,
        roles: vec!["runner".to_owned()],
        labels: Vec::new(),
        lifetime: DAY,
    };
    let request = store
        .change_keys(NOW, |ring| ring.request(NOW))
        .unwrap()
        .document()
        .unwrap();
    let signed = authority.sign(&request, &terms, NOW).unwrap().document().unwrap();
    store
        .change_keys(NOW, |ring| ring.adopt(signed, NOW, DAY))
        .unwrap();
    let again = open(&place.path).unwrap();
    assert_eq!(again.document().issuer(), authority.fingerprint());
    assert_eq!(again.document().roles(), ["runner"]);
    assert_eq!(keys(&again), keys(&store));
}

#[test]
fn no_temporary_file_is_left_behind() {
    let place = place();
    let store = make(&place.path, "ada");
    store.change_keys(NOW, |ring| ring.rotate(NOW, DAY)).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&place.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["identity.doc", "identity.key", "lock"]);
}

//! A node's directory in use: who it is and whom it trusts, kept up to date with the files.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use valkyrie_security::identity::{Fingerprint, Identity, IdentityDocument, Kind};
use valkyrie_security::trust::{FirstUse, KnownPeer, Pin, RequireProof, Revocation, RevocationList};
use valkyrie_security::{Live, Trust, UnixTime};

use crate::error::KeystoreError;
use crate::home::Home;
use crate::keyfiles::{KeyFiles, KeyStamps, Unlock};
use crate::keyring::{KeyRing, NewIdentity};
use crate::trustfiles::{self, TrustFiles, TrustStamps, wrong};

#[cfg(test)]
mod tests;

/// A node's directory, open. Its identity and trust are handles that connections share: what is read anew is what the next
/// handshake uses.
#[derive(Debug)]
pub struct Keystore {
    home: Home,
    identity: Live<Identity>,
    trust: Live<Trust>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    keys: KeyFiles,
    /// What was on disk when the keys were last looked at, whether they were any good or not.
    seen_keys: KeyStamps,
    seen_trust: TrustStamps,
    /// When the next of the replaced keys has had its time.
    next_expiry: Option<UnixTime>,
    rules: Rules,
}

/// What the program decides, and no file.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    first_use: FirstUse,
    require_proof: RequireProof,
    anonymous: bool,
}

/// Whether an identity was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was.
    Found,
    /// It was made.
    New,
}

/// What [`Keystore::refresh`] found.
#[derive(Debug, Default)]
pub struct Changes {
    /// The identity is another one, or has other keys.
    pub identity: bool,
    /// Trust is another.
    pub trust: bool,
    /// Files that have changed and cannot be used. What was in use before still is.
    pub faults: Vec<KeystoreError>,
}

impl Changes {
    /// Nothing changed, and nothing is wrong.
    pub fn is_empty(&self) -> bool {
        !self.identity && !self.trust && self.faults.is_empty()
    }
}

impl Keystore {
    /// Opens the directory of a node.
    ///
    /// # Errors
    /// There is no identity in it ([`KeystoreError::NoIdentity`]), others may look into it, or a file is damaged.
    pub fn open(
        path: impl AsRef<Path>,
        now: UnixTime,
        unlock: &mut Unlock<'_>,
    ) -> Result<Self, KeystoreError> {
        let home = Home::open(path)?;
        Self::of_keys(KeyFiles::open(&home, unlock)?, now)
    }

    /// Opens the directory of a node; where there is no identity in it, one is made. Processes that do this at the same time
    /// get the same one.
    ///
    /// # Errors
    /// As [`Keystore::open`], or the identity cannot be made or written.
    pub fn open_or_make(
        path: impl AsRef<Path>,
        plan: &NewIdentity,
        now: UnixTime,
        unlock: &mut Unlock<'_>,
    ) -> Result<(Self, Made), KeystoreError> {
        let home = Home::make(path)?;
        match KeyFiles::open(&home, unlock) {
            Err(KeystoreError::NoIdentity(_)) => {}
            opened => return Ok((Self::of_keys(opened?, now)?, Made::Found)),
        }
        let lock = home.lock()?;
        // Another process may have been faster.
        let (keys, made) = match KeyFiles::open(&home, unlock) {
            Err(KeystoreError::NoIdentity(_)) => {
                let ring = KeyRing::generate(plan, now)?;
                (KeyFiles::create_locked(&home, ring, None)?, Made::New)
            }
            opened => (opened?, Made::Found),
        };
        drop(lock);
        Ok((Self::of_keys(keys, now)?, made))
    }

    fn of_keys(mut keys: KeyFiles, now: UnixTime) -> Result<Self, KeystoreError> {
        let home = keys.home().clone();
        if keys.ring().is_renewal_due(now) {
            // A directory that cannot be written keeps the document that it has.
            match keys.change(|ring| ring.renew_if_due(now)) {
                Ok(_) | Err(KeystoreError::Io { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let identity = keys.ring().identity(now)?;
        let seen_trust = trustfiles::stamps(&home)?;
        let trust = TrustFiles::read(&home)?.trust(&home, own_pin(keys.ring()))?;
        let state = State {
            seen_keys: keys.stamps(),
            next_expiry: keys.ring().next_expiry(now),
            keys,
            seen_trust,
            rules: Rules::default(),
        };
        Ok(Self {
            home,
            identity: Live::new(identity),
            trust: Live::new(trust),
            state: Mutex::new(state),
        })
    }

    /// The directory.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Who this node is, for [`Security`](https://docs.rs/valkyrie-security).
    pub fn identity(&self) -> &Live<Identity> {
        &self.identity
    }

    /// Whom it trusts.
    pub fn trust(&self) -> &Live<Trust> {
        &self.trust
    }

    /// The document of the identity in use.
    pub fn document(&self) -> IdentityDocument {
        self.state().keys.ring().document().clone()
    }

    /// What is done about peers that are met for the first time. Nobody is trusted on first use unless this says so.
    pub fn set_first_use(&self, rule: FirstUse) {
        self.set_rules(|rules| rules.first_use = rule);
    }

    /// What peers have to sign.
    pub fn set_required_proof(&self, rule: RequireProof) {
        self.set_rules(|rules| rules.require_proof = rule);
    }

    /// Whether peers may be nobody in particular, for those that have a token instead.
    pub fn set_anonymous(&self, allowed: bool) {
        self.set_rules(|rules| rules.anonymous = allowed);
    }

    fn set_rules(&self, set: impl FnOnce(&mut Rules)) {
        let mut state = self.state();
        set(&mut state.rules);
        let rules = state.rules;
        self.trust.update(|trust| rules.apply(trust.clone()));
    }

    /// Reads what has changed on disk, and forgets keys that have had their time. It costs a few system calls when
    /// nothing has changed.
    pub fn refresh(&self, now: UnixTime) -> Changes {
        let mut state = self.state();
        let mut changes = Changes::default();
        let mut note = |found: Result<bool, KeystoreError>| {
            found.unwrap_or_else(|fault| {
                changes.faults.push(fault);
                false
            })
        };
        let identity = note(self.refresh_identity(&mut state, now));
        let trust = note(self.refresh_trust(&mut state, identity));
        (changes.identity, changes.trust) = (identity, trust);
        changes
    }

    fn refresh_identity(&self, state: &mut State, now: UnixTime) -> Result<bool, KeystoreError> {
        let on_disk = KeyStamps::now(&self.home);
        let replaced = on_disk != state.seen_keys;
        if replaced {
            // Told once, not at every look.
            state.seen_keys = on_disk;
            state.keys = state.keys.reopen()?;
        }
        if state.keys.ring().is_renewal_due(now) {
            match state.keys.change(|ring| ring.renew_if_due(now)) {
                Ok(_) => state.seen_keys = state.keys.stamps(),
                Err(KeystoreError::Io { .. }) => {}
                Err(error) => return Err(error),
            }
        } else if !replaced && state.next_expiry.is_none_or(|at| now < at) {
            return Ok(false);
        }
        let identity = state.keys.ring().identity(now)?;
        state.next_expiry = state.keys.ring().next_expiry(now);
        self.identity.store(identity);
        Ok(true)
    }

    fn refresh_trust(&self, state: &mut State, identity: bool) -> Result<bool, KeystoreError> {
        let on_disk = trustfiles::stamps(&self.home)?;
        if on_disk == state.seen_trust && !identity {
            return Ok(false);
        }
        state.seen_trust = on_disk;
        let trust = TrustFiles::read(&self.home)?.trust(&self.home, own_pin(state.keys.ring()))?;
        // What was found out about signatures and what an agent gave hold whatever the files say now.
        self.trust
            .update(|before| state.rules.apply(trust).in_place_of(before));
        Ok(true)
    }

    /// Remembers a peer that was trusted on first use, in `known_peers` and at once. Says whether it was new.
    ///
    /// # Errors
    /// Another peer is remembered at that place, or the file cannot be written. Nothing has changed.
    pub fn remember(&self, peer: &KnownPeer) -> Result<bool, KeystoreError> {
        self.change_trust(|home| {
            let mut known = trustfiles::read_known(home)?;
            let before = known.len();
            let remembered = known.remember(peer.clone());
            remembered.map_err(|fault| wrong(home, trustfiles::KNOWN_FILE, fault.to_string()))?;
            if known.len() == before {
                return Ok(false);
            }
            trustfiles::write_known(home, &known)?;
            Ok(true)
        })
    }

    /// Forgets who was met at a place. Says who that was.
    ///
    /// # Errors
    /// The file cannot be read or written. Nothing has changed.
    pub fn forget_place(&self, locator: &str) -> Result<Option<KnownPeer>, KeystoreError> {
        self.change_trust(|home| {
            let mut known = trustfiles::read_known(home)?;
            let forgotten = known.forget(locator);
            if forgotten.is_some() {
                trustfiles::write_known(home, &known)?;
            }
            Ok(forgotten)
        })
    }

    /// Trusts this identity no more: its pin goes, and the places where it was met; or it was an authority. Says whether
    /// there was anything to forget.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn forget(&self, fingerprint: &Fingerprint) -> Result<bool, KeystoreError> {
        self.change_trust(|home| {
            let TrustFiles {
                mut pins,
                mut known,
                authorities,
                ..
            } = TrustFiles::read(home)?;
            let mut forgotten = false;
            if pins.remove(fingerprint).is_some() {
                trustfiles::write_pins(home, &pins)?;
                forgotten = true;
            }
            if known.forget_identity(fingerprint) > 0 {
                trustfiles::write_known(home, &known)?;
                forgotten = true;
            }
            for authority in authorities
                .iter()
                .filter(|authority| authority.fingerprint() == *fingerprint)
            {
                trustfiles::remove_authority(home, authority)?;
                forgotten = true;
            }
            Ok(forgotten)
        })
    }

    /// Vouches for an identity, in place of an earlier pin of the same.
    ///
    /// # Errors
    /// The pin's name or roles cannot be, or the file cannot be written. Nothing has changed.
    pub fn pin(&self, pin: Pin) -> Result<(), KeystoreError> {
        self.change_trust(|home| {
            let mut pins = trustfiles::read_pins(home)?;
            pins.remove(&pin.fingerprint);
            pins.add(pin)
                .map_err(|fault| wrong(home, trustfiles::PINS_FILE, fault.to_string()))?;
            trustfiles::write_pins(home, &pins)
        })
    }

    /// Trusts what this authority signs.
    ///
    /// # Errors
    /// The document is no authority's or not signed by it, or the file cannot be written. Nothing has changed.
    pub fn trust_authority(&self, authority: &IdentityDocument) -> Result<(), KeystoreError> {
        let refused = |why: String| wrong(&self.home, "trust/authorities", why);
        Trust::default()
            .trust_authority(authority.clone())
            .map_err(|error| refused(error.to_string()))?;
        self.change_trust(|home| trustfiles::write_authority(home, authority))
    }

    /// Believes something no more, from the next handshake on and in connections that live.
    ///
    /// # Errors
    /// The file cannot be read or written, or is full. Nothing has changed.
    pub fn revoke(&self, revocation: Revocation) -> Result<(), KeystoreError> {
        self.change_trust(|home| {
            let mut list = trustfiles::read_revoked(home)?;
            list.add(revocation)
                .map_err(|fault| wrong(home, trustfiles::REVOKED_FILE, fault.to_string()))?;
            trustfiles::write_revoked(home, &list)
        })
    }

    /// Takes the list of revocations that an authority has signed.
    ///
    /// # Errors
    /// The authority is not trusted here, did not sign the list or signed a newer one, or the file cannot be written. Nothing
    /// has changed.
    pub fn take_revocations(&self, list: &RevocationList) -> Result<(), KeystoreError> {
        let mut trial = (*self.trust.load()).clone();
        trial
            .revoke(list.clone())
            .map_err(|error| wrong(&self.home, "trust/revocations", error.to_string()))?;
        self.change_trust(|home| trustfiles::write_list(home, list))
    }

    /// Changes the node's own keys, see [`KeyFiles::change`]; new handshakes use what comes out.
    ///
    /// # Errors
    /// What `change` returns, or the files cannot be written.
    pub fn change_keys<T>(
        &self,
        now: UnixTime,
        change: impl FnOnce(&mut KeyRing) -> Result<T, KeystoreError>,
    ) -> Result<T, KeystoreError> {
        let mut state = self.state();
        let changed = state.keys.change(change)?;
        state.seen_keys = state.keys.stamps();
        state.next_expiry = state.keys.ring().next_expiry(now);
        self.identity.store(state.keys.ring().identity(now)?);
        Ok(changed)
    }

    /// Changes trust files with no other process in between, and takes in what they say then.
    fn change_trust<T>(
        &self,
        change: impl FnOnce(&Home) -> Result<T, KeystoreError>,
    ) -> Result<T, KeystoreError> {
        let mut state = self.state();
        let lock = self.home.lock()?;
        let changed = change(&self.home)?;
        drop(lock);
        self.refresh_trust(&mut state, false)?;
        Ok(changed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rules {
    fn apply(self, trust: Trust) -> Trust {
        trust
            .with_first_use(self.first_use)
            .with_required_proof(self.require_proof)
            .with_anonymous(self.anonymous)
    }
}

/// Whoever holds the keys in this directory is this node, and nobody has to say so.
fn own_pin(ring: &KeyRing) -> Option<Pin> {
    let document = ring.document();
    (document.kind() == Kind::Node).then(|| Pin {
        name: Some(document.name().to_owned()),
        roles: document.roles().to_vec(),
        ..Pin::new(document.fingerprint())
    })
}

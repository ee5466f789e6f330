//! `identity.key` and `identity.doc`: a key ring on disk.

use std::path::Path;

use valkyrie_security::identity::{DOCUMENT_BYTES_MAX, DocumentError, IdentityDocument};

use crate::error::KeystoreError;
use crate::file::Stamp;
use crate::home::{Home, Privacy};
use crate::keyring::KeyRing;
use crate::passphrase::{self, Cost, Passphrase, Unsealing};
use crate::secret::{HeldKey, SECRET_BYTES_MAX, Secret};

/// Asks for the passphrase of an encrypted key, named by its file. Nothing means that there is nobody to ask.
pub type Unlock<'a> = dyn FnMut(&Path) -> Result<Option<Passphrase>, KeystoreError> + 'a;

/// A key ring as it lies in a directory, of a node or of an authority.
#[derive(Debug)]
pub struct KeyFiles {
    home: Home,
    ring: KeyRing,
    seal: Option<(Passphrase, Cost)>,
    stamps: KeyStamps,
}

/// The states of the two files when they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyStamps {
    key: Option<Stamp>,
    document: Option<Stamp>,
}

impl KeyStamps {
    pub(crate) fn now(home: &Home) -> Self {
        Self {
            key: home.stamp(KEY_FILE),
            document: home.stamp(DOCUMENT_FILE),
        }
    }
}

impl KeyFiles {
    /// Reads the keys in this directory.
    ///
    /// # Errors
    /// There are none ([`KeystoreError::NoIdentity`]), others may read them, they are encrypted and do not open, or they are damaged.
    pub fn open(home: &Home, unlock: &mut Unlock<'_>) -> Result<Self, KeystoreError> {
        Self::read(home, None, unlock)
    }

    /// Whether there are keys in this directory.
    pub fn exist(home: &Home) -> bool {
        home.has(KEY_FILE)
    }

    /// The document in this directory, which is no secret.
    ///
    /// # Errors
    /// There is none ([`KeystoreError::NoIdentity`]), or it is damaged.
    pub fn document(home: &Home) -> Result<IdentityDocument, KeystoreError> {
        let document = home.read(DOCUMENT_FILE, Privacy::Public, DOCUMENT_BYTES_MAX)?;
        let document = document.ok_or_else(|| KeystoreError::NoIdentity(home.path().to_owned()))?;
        let wrong = |error: DocumentError| {
            KeystoreError::malformed(&home.path_of(DOCUMENT_FILE), 0, error.to_string())
        };
        IdentityDocument::parse(&document.bytes).map_err(wrong)
    }

    /// Reads the keys again; the passphrase that opened them before is tried first.
    pub(crate) fn reopen(&self) -> Result<Self, KeystoreError> {
        Self::read(&self.home, self.seal.as_ref(), &mut |_| Ok(None))
    }

    fn read(
        home: &Home,
        known: Option<&(Passphrase, Cost)>,
        unlock: &mut Unlock<'_>,
    ) -> Result<Self, KeystoreError> {
        let (key_path, document_path) = (home.path_of(KEY_FILE), home.path_of(DOCUMENT_FILE));
        let key = home.read(KEY_FILE, Privacy::Secret, KEY_FILE_BYTES_MAX)?;
        let key = key.ok_or_else(|| KeystoreError::NoIdentity(home.path().to_owned()))?;
        let document = home.read(DOCUMENT_FILE, Privacy::Public, DOCUMENT_BYTES_MAX)?;
        let document = document.ok_or_else(|| KeystoreError::Missing(document_path.clone()))?;
        let (secret, seal) = if passphrase::is_sealed(&key.bytes) {
            let passphrase = match known {
                Some((passphrase, _)) => passphrase.again(),
                None => {
                    unlock(&key_path)?.ok_or_else(|| KeystoreError::PassphraseNeeded(key_path.clone()))?
                }
            };
            let (plain, cost) = passphrase::open(&key.bytes, &passphrase).map_err(|error| match error {
                Unsealing::Malformed(line, why) => KeystoreError::malformed(&key_path, line, why),
                Unsealing::Wrong => KeystoreError::PassphraseWrong(key_path.clone()),
                Unsealing::System => KeystoreError::System,
            })?;
            (Secret::parse(&key_path, &plain)?, Some((passphrase, cost)))
        } else {
            (Secret::parse(&key_path, &key.bytes)?, None)
        };
        let parsed = IdentityDocument::parse(&document.bytes);
        let parsed =
            parsed.map_err(|error| KeystoreError::malformed(&document_path, 0, error.to_string()))?;
        Ok(Self {
            home: home.clone(),
            ring: KeyRing::of_parts(secret, parsed)?,
            seal,
            stamps: KeyStamps {
                key: Some(key.stamp),
                document: Some(document.stamp),
            },
        })
    }

    /// Puts new keys into the directory.
    ///
    /// # Errors
    /// There are keys already ([`KeystoreError::Exists`]), or they cannot be written.
    pub fn create(
        home: &Home,
        ring: KeyRing,
        seal: Option<(Passphrase, Cost)>,
    ) -> Result<Self, KeystoreError> {
        let _lock = home.lock()?;
        Self::create_locked(home, ring, seal)
    }

    /// Puts new keys into the directory, in place of those that are there.
    ///
    /// # Errors
    /// They cannot be written. When the power fails in the middle there may be no identity.
    pub fn replace(
        home: &Home,
        ring: KeyRing,
        seal: Option<(Passphrase, Cost)>,
    ) -> Result<Self, KeystoreError> {
        let _lock = home.lock()?;
        home.remove(KEY_FILE)?;
        Self::create_locked(home, ring, seal)
    }

    pub(crate) fn create_locked(
        home: &Home,
        ring: KeyRing,
        seal: Option<(Passphrase, Cost)>,
    ) -> Result<Self, KeystoreError> {
        if home.has(KEY_FILE) {
            return Err(KeystoreError::Exists(home.path_of(KEY_FILE)));
        }
        // The key is what says that there is an identity, so it comes last.
        home.write(DOCUMENT_FILE, ring.document().encode(), Privacy::Public)?;
        let mut files = Self {
            home: home.clone(),
            ring,
            seal,
            stamps: KeyStamps::now(home),
        };
        files.write_secret(files.ring.secret())?;
        files.stamps = KeyStamps::now(home);
        Ok(files)
    }

    /// The directory.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The keys.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Whether the keys are encrypted with a passphrase.
    pub fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    pub(crate) fn stamps(&self) -> KeyStamps {
        self.stamps
    }

    /// Changes the keys, with no other process in between: they are read anew, changed and written.
    ///
    /// # Errors
    /// What `change` returns, or the keys cannot be read or written. Whatever happens, the files on disk fit each other.
    pub fn change<T>(
        &mut self,
        change: impl FnOnce(&mut KeyRing) -> Result<T, KeystoreError>,
    ) -> Result<T, KeystoreError> {
        let _lock = self.home.lock()?;
        let mut fresh = self.reopen()?;
        let before = fresh.ring.secret().clone_keys();
        let changed = change(&mut fresh.ring)?;
        // Between the two files the power may fail, so first come the keys of both documents, then the document, and
        // then the old keys go.
        let mut both = fresh.ring.secret().clone_keys();
        let held: Vec<_> = both.iter().map(|held| held.key.public()).collect();
        both.extend(before.into_iter().filter(|old| !held.contains(&old.key.public())));
        fresh.write_secret(&fresh.ring.secret().with_keys(both)?)?;
        fresh
            .home
            .write(DOCUMENT_FILE, fresh.ring.document().encode(), Privacy::Public)?;
        fresh.write_secret(fresh.ring.secret())?;
        fresh.stamps = KeyStamps::now(&fresh.home);
        *self = fresh;
        Ok(changed)
    }

    /// Encrypts the keys with a passphrase, or with `None` keeps them as they are from now on.
    ///
    /// # Errors
    /// The keys cannot be read or written.
    pub fn seal(&mut self, seal: Option<(Passphrase, Cost)>) -> Result<(), KeystoreError> {
        let _lock = self.home.lock()?;
        let mut fresh = self.reopen()?;
        fresh.seal = seal;
        fresh.write_secret(fresh.ring.secret())?;
        fresh.stamps = KeyStamps::now(&fresh.home);
        *self = fresh;
        Ok(())
    }

    fn write_secret(&self, secret: &Secret) -> Result<(), KeystoreError> {
        let plain = secret.encode()?;
        match &self.seal {
            Some((passphrase, cost)) => {
                let sealed = passphrase::seal(&plain, passphrase, *cost)?;
                self.home.write(KEY_FILE, &sealed, Privacy::Secret)
            }
            None => self.home.write(KEY_FILE, &plain, Privacy::Secret),
        }
        .map(|_| ())
    }
}

impl Secret {
    fn clone_keys(&self) -> Vec<HeldKey> {
        self.static_keys.clone()
    }

    /// The same signing keys with other static keys.
    fn with_keys(&self, static_keys: Vec<HeldKey>) -> Result<Self, KeystoreError> {
        Ok(Self {
            static_keys,
            signing: self.signing_again()?,
        })
    }
}

pub(crate) const KEY_FILE: &str = "identity.key";
pub(crate) const DOCUMENT_FILE: &str = "identity.doc";

/// A sealed file has two digits for a byte, and three lines around that.
const KEY_FILE_BYTES_MAX: usize = 2 * SECRET_BYTES_MAX + 512;

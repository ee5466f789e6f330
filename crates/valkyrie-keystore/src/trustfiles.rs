//! The files that say whom a node trusts: `known_peers`, and in `trust/` the pins, the authorities and what is revoked.

use valkyrie_security::Trust;
use valkyrie_security::identity::{DOCUMENT_BYTES_MAX, IdentityDocument};
use valkyrie_security::trust::{KnownPeers, Pin, Pins, Revocation, RevocationList};

use crate::error::KeystoreError;
use crate::file::Stamp;
use crate::home::{Contents, Home, Privacy};

/// What the files say.
#[derive(Debug, Default)]
pub(crate) struct TrustFiles {
    pub(crate) pins: Pins,
    pub(crate) known: KnownPeers,
    pub(crate) revoked: RevocationList,
    pub(crate) authorities: Vec<IdentityDocument>,
    /// Lists of authorities.
    pub(crate) lists: Vec<RevocationList>,
}

/// The states of all the files, by name.
pub(crate) type TrustStamps = Vec<(String, Option<Stamp>)>;

/// The states of the files now.
pub(crate) fn stamps(home: &Home) -> Result<TrustStamps, KeystoreError> {
    let mut names = vec![
        KNOWN_FILE.to_owned(),
        PINS_FILE.to_owned(),
        REVOKED_FILE.to_owned(),
    ];
    for folder in [AUTHORITIES_FOLDER, LISTS_FOLDER] {
        names.extend(
            home.list(folder, FILES_MAX)?
                .iter()
                .map(|name| format!("{folder}/{name}")),
        );
    }
    let stamped = names.into_iter().map(|name| {
        let stamp = home.stamp(&name);
        (name, stamp)
    });
    Ok(stamped.collect())
}

impl TrustFiles {
    pub(crate) fn read(home: &Home) -> Result<Self, KeystoreError> {
        let mut files = Self {
            pins: parsed(home, PINS_FILE, |text| {
                Pins::parse(text).map_err(|error| error.to_string())
            })?,
            known: read_known(home)?,
            revoked: read_revoked(home)?,
            ..Self::default()
        };
        for name in home.list(AUTHORITIES_FOLDER, FILES_MAX)? {
            let name = format!("{AUTHORITIES_FOLDER}/{name}");
            if let Some(Contents { bytes, .. }) = home.read(&name, Privacy::Public, DOCUMENT_BYTES_MAX)? {
                let document =
                    IdentityDocument::parse(&bytes).map_err(|error| wrong(home, &name, error.to_string()))?;
                files.authorities.push(document);
            }
        }
        for name in home.list(LISTS_FOLDER, FILES_MAX)? {
            let name = format!("{LISTS_FOLDER}/{name}");
            let list = parsed(home, &name, |text| {
                RevocationList::parse(text).map_err(|error| error.to_string())
            })?;
            files.lists.push(list);
        }
        Ok(files)
    }

    /// Whom to trust by these files. `own` is this side itself, which needs no other word for it.
    pub(crate) fn trust(self, home: &Home, own: Option<Pin>) -> Result<Trust, KeystoreError> {
        let mut pins = self.pins;
        if let Some(own) = own {
            // The operator may have pinned it with other roles, and then those count.
            let _ = pins.add(own);
        }
        let mut trust = Trust::default().with_pins(pins).with_known_peers(self.known);
        for authority in self.authorities {
            let name = authority_file(&authority);
            trust
                .trust_authority(authority)
                .map_err(|error| wrong(home, &name, error.to_string()))?;
        }
        // A list outlives the trust in whoever signed it, and means nothing then.
        let trusted: Vec<_> = trust.authorities().map(IdentityDocument::fingerprint).collect();
        let lists = self.lists.into_iter();
        let lists = lists.filter(|list| list.issuer().is_some_and(|issuer| trusted.contains(&issuer)));
        for list in std::iter::once(self.revoked).chain(lists) {
            let name = match list.issuer() {
                Some(_) => list_file(&list),
                None => REVOKED_FILE.to_owned(),
            };
            let taken = trust.revoke(list);
            taken.map_err(|error| wrong(home, &name, error.to_string()))?;
        }
        Ok(trust)
    }
}

/// Believes these no more, as `trust/revoked` says from now on; for a directory whose keys need not be opened for it. Says
/// all that is revoked there.
///
/// # Errors
/// The file cannot be read or written, or is full. Nothing has changed.
pub fn revoke(home: &Home, revocations: &[Revocation]) -> Result<RevocationList, KeystoreError> {
    let _lock = home.lock()?;
    let mut list = read_revoked(home)?;
    for revocation in revocations {
        list.add(*revocation)
            .map_err(|fault| wrong(home, REVOKED_FILE, fault.to_string()))?;
    }
    if !revocations.is_empty() {
        write_revoked(home, &list)?;
    }
    Ok(list)
}

pub(crate) fn read_pins(home: &Home) -> Result<Pins, KeystoreError> {
    parsed(home, PINS_FILE, |text| {
        Pins::parse(text).map_err(|error| error.to_string())
    })
}

pub(crate) fn read_known(home: &Home) -> Result<KnownPeers, KeystoreError> {
    parsed(home, KNOWN_FILE, |text| {
        KnownPeers::parse(text).map_err(|error| error.to_string())
    })
}

pub(crate) fn read_revoked(home: &Home) -> Result<RevocationList, KeystoreError> {
    parsed(home, REVOKED_FILE, |text| {
        let list = RevocationList::parse(text).map_err(|error| error.to_string())?;
        match list.issuer() {
            None => Ok(list),
            Some(_) => Err(format!("lists of authorities belong into {LISTS_FOLDER}")),
        }
    })
}

pub(crate) fn write_pins(home: &Home, pins: &Pins) -> Result<(), KeystoreError> {
    home.make_inside(TRUST_FOLDER)?;
    let text = format!("{PINS_HEAD}{pins}");
    home.write(PINS_FILE, text.as_bytes(), Privacy::Public)
        .map(|_| ())
}

pub(crate) fn write_known(home: &Home, known: &KnownPeers) -> Result<(), KeystoreError> {
    let text = format!("{KNOWN_HEAD}{known}");
    home.write(KNOWN_FILE, text.as_bytes(), Privacy::Public)
        .map(|_| ())
}

pub(crate) fn write_revoked(home: &Home, list: &RevocationList) -> Result<(), KeystoreError> {
    home.make_inside(TRUST_FOLDER)?;
    let text = format!("{REVOKED_HEAD}{list}");
    home.write(REVOKED_FILE, text.as_bytes(), Privacy::Public)
        .map(|_| ())
}

pub(crate) fn write_authority(home: &Home, authority: &IdentityDocument) -> Result<(), KeystoreError> {
    home.make_inside(TRUST_FOLDER)?;
    home.make_inside(AUTHORITIES_FOLDER)?;
    home.write(&authority_file(authority), authority.encode(), Privacy::Public)
        .map(|_| ())
}

pub(crate) fn remove_authority(home: &Home, authority: &IdentityDocument) -> Result<(), KeystoreError> {
    home.remove(&authority_file(authority))
}

pub(crate) fn write_list(home: &Home, list: &RevocationList) -> Result<(), KeystoreError> {
    home.make_inside(TRUST_FOLDER)?;
    home.make_inside(LISTS_FOLDER)?;
    home.write(&list_file(list), list.to_string().as_bytes(), Privacy::Public)
        .map(|_| ())
}

fn parsed<T: Default>(
    home: &Home,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, KeystoreError> {
    let Some(Contents { bytes, .. }) = home.read(name, Privacy::Public, TEXT_BYTES_MAX)? else {
        return Ok(T::default());
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong(home, name, "not text".to_owned()))?;
    parse(text).map_err(|why| wrong(home, name, why))
}

pub(crate) fn wrong(home: &Home, name: &str, why: String) -> KeystoreError {
    KeystoreError::Trust {
        path: home.path_of(name),
        why,
    }
}

/// A file named after the fingerprint, as far as a file's name can be.
fn authority_file(authority: &IdentityDocument) -> String {
    format!(
        "{AUTHORITIES_FOLDER}/{}.doc",
        crate::file::hex(authority.fingerprint().as_bytes())
    )
}

fn list_file(list: &RevocationList) -> String {
    let issuer = list.issuer().map(|issuer| crate::file::hex(issuer.as_bytes()));
    format!("{LISTS_FOLDER}/{}", issuer.unwrap_or_default())
}

pub(crate) const KNOWN_FILE: &str = "known_peers";
const TRUST_FOLDER: &str = "trust";
pub(crate) const PINS_FILE: &str = "trust/pins";
pub(crate) const REVOKED_FILE: &str = "trust/revoked";
const AUTHORITIES_FOLDER: &str = "trust/authorities";
const LISTS_FOLDER: &str = "trust/revocations";

const KNOWN_HEAD: &str = "# Who was met where: PLACE FINGERPRINT FIRST-SEEN NAME\n";
const PINS_HEAD: &str = "# Whom this node vouches for: FINGERPRINT[,NEXT] ROLES NAME\n";
const REVOKED_HEAD: &str = "# What this node believes no more: identity, document or key\n";

/// Files in one folder: as many as there may be authorities, and room for what lies about.
const FILES_MAX: usize = 256;

/// Sixteen megabytes hold any list within the bounds of its own.
const TEXT_BYTES_MAX: usize = 16 << 20;

//! Who was met where, as ssh's `known_hosts` has it: whoever comes to the same place later must be the same.

use std::collections::BTreeMap;
use std::fmt;

use super::lines::{TrustFileError, TrustFileFault, entries, is_place, word};
use crate::identity::{Fingerprint, IdentityDocument, is_name};
use crate::time::UnixTime;
use crate::trust::Place;

/// A peer that was met and is to be known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    place: String,
    fingerprint: Fingerprint,
    first_seen: UnixTime,
    name: String,
}

impl KnownPeer {
    /// A peer that was met at `place` and showed `document`.
    pub fn new(place: &Place, document: &IdentityDocument, now: UnixTime) -> Self {
        Self {
            place: place
                .locator()
                .unwrap_or(if place.is_local() {
                    ARRIVED
                } else {
                    ARRIVED_FROM_AFAR
                })
                .to_owned(),
            fingerprint: document.fingerprint(),
            first_seen: UnixTime::from_secs(now.secs()),
            name: document.name().to_owned(),
        }
    }

    /// The locator that was dialled; `*` for a peer that came by itself from within this machine, `*afar` for one that came from elsewhere.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Its fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When it was met first.
    pub fn first_seen(&self) -> UnixTime {
        self.first_seen
    }

    /// What it called itself then.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Known peers. As text, a line each: `PLACE FINGERPRINT FIRST-SEEN NAME`; the place is a locator, `*` for peers that came
/// by themselves from within this machine, or `*afar` for those that came from elsewhere. Of these two there may be many.
//= protocol/trust-files.md#known-peers
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownPeers {
    dialled: BTreeMap<String, KnownPeer>,
    arrived: BTreeMap<Fingerprint, KnownPeer>,
    arrived_from_afar: BTreeMap<Fingerprint, KnownPeer>,
}

impl KnownPeers {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`TrustFileError`] with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, TrustFileError> {
        let mut known = Self::default();
        for (number, line) in entries(text) {
            parse_line(line)
                .and_then(|peer| known.remember(peer))
                .map_err(TrustFileError::at(number))?;
        }
        Ok(known)
    }

    /// Remembers a peer. One that is remembered at that place already stays as it is.
    ///
    /// # Errors
    /// [`TrustFileFault`]: another peer is remembered there, or there is no room. Nothing is changed.
    pub fn remember(&mut self, peer: KnownPeer) -> Result<(), TrustFileFault> {
        if !is_place(&peer.place) {
            return Err(TrustFileFault::Place);
        }
        let full = self.len() >= KNOWN_PEERS_MAX;
        let arrivals = match peer.place.as_str() {
            ARRIVED => Some(&mut self.arrived),
            ARRIVED_FROM_AFAR => Some(&mut self.arrived_from_afar),
            _ => None,
        };
        if let Some(arrivals) = arrivals {
            if full && !arrivals.contains_key(&peer.fingerprint) {
                return Err(TrustFileFault::Full(KNOWN_PEERS_MAX));
            }
            arrivals.entry(peer.fingerprint).or_insert(peer);
            return Ok(());
        }
        match self.dialled.get(&peer.place) {
            Some(held) if held.fingerprint == peer.fingerprint => {}
            Some(held) => {
                return Err(TrustFileFault::Taken {
                    place: peer.place,
                    remembered: held.fingerprint,
                });
            }
            None if full => return Err(TrustFileFault::Full(KNOWN_PEERS_MAX)),
            None => {
                self.dialled.insert(peer.place.clone(), peer);
            }
        }
        Ok(())
    }

    /// Forgets who was met at a dialled place.
    pub fn forget(&mut self, locator: &str) -> Option<KnownPeer> {
        self.dialled.remove(locator)
    }

    /// Forgets an identity wherever it was met; how many entries that were.
    pub fn forget_identity(&mut self, fingerprint: &Fingerprint) -> usize {
        let before = self.len();
        self.arrived.remove(fingerprint);
        self.arrived_from_afar.remove(fingerprint);
        self.dialled.retain(|_, peer| peer.fingerprint != *fingerprint);
        before - self.len()
    }

    /// Who is remembered at a dialled place.
    pub fn at(&self, locator: &str) -> Option<&KnownPeer> {
        self.dialled.get(locator)
    }

    /// A peer that came by itself before. One that was met within this machine is no acquaintance for the world outside:
    /// any process here could have made it one.
    pub fn arrived(&self, fingerprint: &Fingerprint, local: bool) -> Option<&KnownPeer> {
        let within = self.arrived.get(fingerprint).filter(|_| local);
        within.or_else(|| self.arrived_from_afar.get(fingerprint))
    }

    /// Every peer, dialled places first.
    pub fn iter(&self) -> impl Iterator<Item = &KnownPeer> {
        let arrived = self.arrived.values().chain(self.arrived_from_afar.values());
        self.dialled.values().chain(arrived)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.dialled.len() + self.arrived.len() + self.arrived_from_afar.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn parse_line(line: &str) -> Result<KnownPeer, TrustFileFault> {
    let (place, rest) = word(line);
    let (fingerprint, rest) = word(rest);
    let (first_seen, name) = word(rest);
    if first_seen.is_empty() {
        return Err(TrustFileFault::Form("PLACE FINGERPRINT FIRST-SEEN NAME"));
    }
    if !is_name(name) {
        return Err(TrustFileFault::Name);
    }
    Ok(KnownPeer {
        place: place.to_owned(),
        fingerprint: fingerprint.parse()?,
        first_seen: first_seen.parse()?,
        name: name.to_owned(),
    })
}

/// The line of a file.
impl fmt::Display for KnownPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {}",
            self.place, self.fingerprint, self.first_seen, self.name
        )
    }
}

/// The text of a file.
impl fmt::Display for KnownPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|peer| writeln!(f, "{peer}"))
    }
}

/// Stands for wherever within this machine a peer came from.
const ARRIVED: &str = "*";
/// Stands for wherever else a peer came from.
const ARRIVED_FROM_AFAR: &str = "*afar";
/// Peers that are remembered: what one person or machine dials in years, and no more than a megabyte or two.
const KNOWN_PEERS_MAX: usize = 4096;

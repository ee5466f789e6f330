//! Pins: identities that the operator of this side vouches for.

use std::collections::BTreeMap;
use std::fmt;

use super::lines::{TrustFileError, TrustFileFault, entries, word};
use crate::identity::{Fingerprint, ROLES_MAX, is_name, is_word};

/// An identity that the operator vouches for, with the name and the roles that it has here. What its own document says of
/// name and roles does not count, since it signs that itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The fingerprint that it will have after a change that has been announced.
    pub next: Option<Fingerprint>,
    /// The name that policies know it by.
    pub name: Option<String>,
    /// The roles that policies know it by.
    pub roles: Vec<String>,
}

impl Pin {
    /// A fingerprint without a name or roles.
    pub fn new(fingerprint: Fingerprint) -> Self {
        Self {
            fingerprint,
            next: None,
            name: None,
            roles: Vec::new(),
        }
    }

    fn check(&self) -> Result<(), TrustFileFault> {
        if self.name.as_ref().is_some_and(|name| !is_name(name)) {
            return Err(TrustFileFault::Name);
        }
        if let Some(role) = self.roles.iter().find(|role| !is_word(role)) {
            return Err(TrustFileFault::Role(role.clone()));
        }
        if self.roles.len() > ROLES_MAX {
            return Err(TrustFileFault::Full(ROLES_MAX));
        }
        Ok(())
    }
}

/// Pins by fingerprint, present and announced.
///
/// As text, a line each: `FINGERPRINT[,NEXT] ROLES NAME`. Roles are separated by commas, `-` stands for none; the name is
/// the rest of the line and may be missing.
//= protocol/trust-files.md#pins
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    pins: BTreeMap<Fingerprint, Pin>,
    /// From an announced fingerprint to the present one.
    next: BTreeMap<Fingerprint, Fingerprint>,
}

impl Pins {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`TrustFileError`] with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, TrustFileError> {
        let mut pins = Self::default();
        for (number, line) in entries(text) {
            parse_line(line)
                .and_then(|pin| pins.add(pin))
                .map_err(TrustFileError::at(number))?;
        }
        Ok(pins)
    }

    /// Adds a pin.
    ///
    /// # Errors
    /// [`TrustFileFault`]: its name or roles cannot be, one of its fingerprints has a pin, or there is no room. Nothing is changed.
    pub fn add(&mut self, mut pin: Pin) -> Result<(), TrustFileFault> {
        pin.check()?;
        pin.roles.sort();
        pin.roles.dedup();
        if self.pins.len() >= PINS_MAX {
            return Err(TrustFileFault::Full(PINS_MAX));
        }
        if self.find(&pin.fingerprint).is_some() {
            return Err(TrustFileFault::Twice(pin.fingerprint));
        }
        if let Some(next) = pin.next {
            if next == pin.fingerprint || self.find(&next).is_some() {
                return Err(TrustFileFault::Twice(next));
            }
            self.next.insert(next, pin.fingerprint);
        }
        self.pins.insert(pin.fingerprint, pin);
        Ok(())
    }

    /// Takes a pin away that has this fingerprint now or next.
    pub fn remove(&mut self, fingerprint: &Fingerprint) -> Option<Pin> {
        let present = self.find(fingerprint)?.fingerprint;
        let pin = self.pins.remove(&present)?;
        if let Some(next) = &pin.next {
            self.next.remove(next);
        }
        Some(pin)
    }

    /// The pin that has this fingerprint now or next.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<&Pin> {
        let present = self.next.get(fingerprint).unwrap_or(fingerprint);
        self.pins.get(present)
    }

    /// Every pin, by fingerprint.
    pub fn iter(&self) -> impl Iterator<Item = &Pin> {
        self.pins.values()
    }
}

fn parse_line(line: &str) -> Result<Pin, TrustFileFault> {
    let (fingerprints, rest) = word(line);
    let (roles, name) = word(rest);
    let (fingerprint, next) = match fingerprints.split_once(',') {
        Some((fingerprint, next)) => (fingerprint.parse()?, Some(next.parse()?)),
        None => (fingerprints.parse()?, None),
    };
    let roles = match roles {
        "" | NONE => Vec::new(),
        roles => roles.split(',').map(str::to_owned).collect(),
    };
    let name = (!name.is_empty()).then(|| name.to_owned());
    Ok(Pin {
        fingerprint,
        next,
        name,
        roles,
    })
}

/// The line of a file.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fingerprint)?;
        if let Some(next) = &self.next {
            write!(f, ",{next}")?;
        }
        match self.roles.as_slice() {
            [] => write!(f, " {NONE}")?,
            roles => write!(f, " {}", roles.join(","))?,
        }
        match &self.name {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

/// The text of a file.
impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|pin| writeln!(f, "{pin}"))
    }
}

/// Stands for no roles.
const NONE: &str = "-";
/// Pins that are held: the machines of one operator, and no more memory than a few megabytes.
const PINS_MAX: usize = 16_384;

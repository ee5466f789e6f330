//! What is recorded.

use std::fmt::Write as _;

use valkyrie_frame::{Class, ErrorCode};

use crate::identity::Fingerprint;
use crate::policy::Denied;
use crate::verified::{TrustedBy, Verified};

/// Bytes of a text in a line; longer ones are cut. Names and addresses fit, and a flood of long ones fills no disk.
pub const TEXT_BYTES_MAX: usize = 256;

/// Something that is recorded. There is no place in it for a secret or a payload, and what a peer merely claims to be is
/// only ever part of a reason.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum AuditEvent<'a> {
    /// The program began, or began again.
    Started {
        /// Which program and version.
        program: &'a str,
        /// The identity that it runs under.
        identity: Option<Fingerprint>,
    },
    /// The program ends in good order.
    Stopped,
    /// A peer was authenticated, on a link that it or we dialled.
    Accepted {
        /// Who.
        peer: &'a Verified,
        /// Where it is, as the transport says.
        place: &'a str,
    },
    /// A connection that nobody authenticated was taken, because the operator permits it.
    Plain {
        /// Where the peer is, as the transport says.
        place: &'a str,
    },
    /// A handshake came to nothing. Nobody is known to be at the other end.
    Refused {
        /// Where the peer is, as the transport says.
        place: &'a str,
        /// What it was told.
        code: ErrorCode,
        /// Why.
        reason: &'a str,
    },
    /// A call, a stream or a topic was not permitted.
    Denied {
        /// To whom.
        peer: &'a Verified,
        /// The service; for a topic, its name.
        service: &'a str,
        /// The method; empty for a topic.
        method: &'a str,
        /// What was asked for and why it is denied.
        denied: &'a Denied,
    },
    /// A link carried what its peer did not send, or what no honest peer sends.
    Broken {
        /// Whose link.
        peer: &'a Verified,
        /// What the peer was told.
        code: ErrorCode,
        /// What was found.
        reason: &'a str,
    },
    /// A connection was ended because its peer is not to be believed any more: revoked, or expired.
    Dismissed {
        /// Who.
        peer: &'a Verified,
        /// What the peer was told.
        code: ErrorCode,
        /// Why.
        reason: &'a str,
    },
    /// Another policy came into force.
    PolicyChanged {
        /// Its version, as the handle counts.
        version: u64,
        /// How many rules it has.
        rules: usize,
    },
    /// A policy was read and refused; the one in force stays.
    PolicyRefused {
        /// What is wrong with it.
        reason: &'a str,
    },
    /// Pins, authorities or revocations were read anew.
    TrustChanged {
        /// What changed, for people.
        what: &'a str,
    },
    /// This side has another static key or identity document.
    KeyRotated {
        /// The identity whose key it is.
        identity: Fingerprint,
        /// What changed, for people.
        what: &'a str,
    },
    /// Somebody was revoked here.
    Revoked {
        /// Who or what.
        what: &'a str,
    },
}

/// Which peer an event is about, for counting.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) outcome: Outcome,
    pub(super) peer: Box<str>,
}

/// Whether somebody was let in. Counted apart, so that nobody hides an entry behind a flood of refusals.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    LetIn,
    Refused,
}

impl Outcome {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::LetIn => "let in",
            Self::Refused => "refused",
        }
    }
}

impl AuditEvent<'_> {
    /// The name of the event in a line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped => "stopped",
            Self::Accepted { .. } => "accepted",
            Self::Plain { .. } => "plain",
            Self::Refused { .. } => "refused",
            Self::Denied { .. } => "denied",
            Self::Broken { .. } => "broken",
            Self::Dismissed { .. } => "dismissed",
            Self::PolicyChanged { .. } => "policy_changed",
            Self::PolicyRefused { .. } => "policy_refused",
            Self::TrustChanged { .. } => "trust_changed",
            Self::KeyRotated { .. } => "key_rotated",
            Self::Revoked { .. } => "revoked",
        }
    }

    /// Whose doing it is, when a peer can bring it about as often as it likes.
    pub(super) fn source(&self) -> Option<Source> {
        // The port of an address says nothing: a peer has thousands.
        let host = |place: &str| cut(place.rsplit_once(':').map_or(place, |(host, _)| host)).into();
        let (outcome, peer) = match self {
            Self::Accepted { peer, .. } => (Outcome::LetIn, identifier(peer).into()),
            Self::Plain { place } => (Outcome::LetIn, host(place)),
            Self::Denied { peer, .. } | Self::Broken { peer, .. } => {
                (Outcome::Refused, identifier(peer).into())
            }
            Self::Refused { place, .. } => (Outcome::Refused, host(place)),
            _ => return None,
        };
        Some(Source { outcome, peer })
    }

    /// Writes what the line says about it, each member behind a comma.
    pub(super) fn write(&self, out: &mut Line) {
        match *self {
            Self::Started { program, identity } => {
                out.text("program", program);
                if let Some(identity) = identity {
                    out.text("identity", &identity.to_string());
                }
            }
            Self::Stopped => {}
            Self::Accepted { peer, place } => {
                out.peer(peer);
                out.text("place", place);
            }
            Self::Plain { place } => out.text("place", place),
            Self::Refused { place, code, reason } => {
                out.text("place", place);
                out.failure(code, reason);
            }
            Self::Denied {
                peer,
                service,
                method,
                denied,
            } => {
                out.peer(peer);
                out.text("service", service);
                out.text("method", method);
                if let crate::policy::What::Call(class) = denied.what {
                    out.text("class", Class::name(class));
                }
                if let crate::policy::DeniedReason::Forbidden { line } = denied.reason {
                    out.number("policy_line", u64::from(line));
                }
                out.failure(denied.code(), &denied.reason.to_string());
            }
            Self::Broken { peer, code, reason } | Self::Dismissed { peer, code, reason } => {
                out.peer(peer);
                out.failure(code, reason);
            }
            Self::PolicyChanged { version, rules } => {
                out.number("version", version);
                out.number("rules", rules as u64);
            }
            Self::PolicyRefused { reason } => out.text("reason", reason),
            Self::TrustChanged { what } | Self::Revoked { what } => out.text("what", what),
            Self::KeyRotated { identity, what } => {
                out.text("identity", &identity.to_string());
                out.text("what", what);
            }
        }
    }
}

/// A line that is being written.
pub(super) struct Line {
    pub(super) json: String,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            json: String::from("{"),
        }
    }

    fn key(&mut self, key: &str) {
        if self.json.len() > 1 {
            self.json.push(',');
        }
        // Keys are ours and need no escapes. Writing to a string does not fail.
        let _ = write!(self.json, "\"{key}\":");
    }

    pub(super) fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        let _ = write!(self.json, "{number}");
    }

    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        self.json.push('"');
        for character in cut(text).chars() {
            match character {
                '"' => self.json.push_str("\\\""),
                '\\' => self.json.push_str("\\\\"),
                // Also what could drive a terminal or turn the direction of the text.
                other if other.is_control() || is_invisible(other) => {
                    let mut units = [0; 2];
                    for unit in other.encode_utf16(&mut units) {
                        let _ = write!(self.json, "\\u{unit:04x}");
                    }
                }
                other => self.json.push(other),
            }
        }
        self.json.push('"');
    }

    /// Who a peer is, and why that is believed. Of one whom nobody vouches for, only its key.
    fn peer(&mut self, peer: &Verified) {
        self.text("peer", &identifier(peer));
        if let Some(name) = peer.name() {
            self.text("name", name);
        }
        if let Some(id) = peer.spiffe_id() {
            self.text("spiffe", id);
        }
        self.text("trusted", &peer.how().to_string());
        if let Some(suite) = peer.suite() {
            self.text("suite", &suite.to_string());
        }
    }

    fn failure(&mut self, code: ErrorCode, reason: &str) {
        self.number("code", u64::from(code.value()));
        self.text("reason", reason);
    }
}

/// What tells a peer from others: its fingerprint, its user, or its key.
fn identifier(peer: &Verified) -> String {
    match (
        peer.how(),
        peer.fingerprint(),
        peer.spiffe_id(),
        peer.static_key(),
    ) {
        (TrustedBy::PeerCredentials { uid, .. }, ..) => format!("uid:{uid}"),
        (_, Some(fingerprint), ..) => fingerprint.to_string(),
        (_, None, Some(id), _) => id.to_owned(),
        (_, None, None, Some(key)) => format!("key:{key}"),
        (_, None, None, None) => "nobody".to_owned(),
    }
}

fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// As much of a text as a line has room for.
pub(super) fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text.get(..end).unwrap_or_default()
}

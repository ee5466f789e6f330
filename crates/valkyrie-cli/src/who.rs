//! The other end of a connection, for `ping -v` and its JSON.

use serde::Serialize;
use valkyrie::Connection;
use valkyrie::security::Cipher;
use valkyrie::security::verified::TrustedBy;

use crate::exit::CliError;
use crate::out::Out;

/// Who the peer is, why that is believed, and what protects the connection.
#[derive(Serialize)]
pub(crate) struct Who {
    /// What somebody vouches for.
    name: Option<String>,
    /// What it calls itself.
    claimed_name: Option<String>,
    spiffe_id: Option<String>,
    fingerprint: Option<String>,
    roles: Vec<String>,
    /// One word for scripts.
    trusted: &'static str,
    #[serde(skip)]
    trusted_in_words: String,
    suite: Option<String>,
    cipher: Option<&'static str>,
    post_quantum: bool,
    resumed: bool,
}

impl Who {
    pub(crate) fn of(connection: &Connection) -> Self {
        let verified = connection.identity();
        let suite = verified.suite().and_then(|id| id.suite());
        Self {
            name: verified.name().map(str::to_owned),
            claimed_name: verified.claimed_name().map(str::to_owned),
            spiffe_id: verified.spiffe_id().map(str::to_owned),
            fingerprint: verified.fingerprint().map(|fingerprint| fingerprint.to_string()),
            roles: verified.roles().to_vec(),
            trusted: word(verified.how()),
            trusted_in_words: verified.how().to_string(),
            suite: suite.map(|suite| suite.name.to_owned()),
            cipher: suite.map(|suite| cipher(suite.cipher)),
            post_quantum: suite.is_some_and(|suite| suite.post_quantum()),
            resumed: verified.resumed(),
        }
    }

    /// A row for each thing there is to say.
    pub(crate) fn show(&self, out: &mut Out) -> Result<(), CliError> {
        let paint = out.paint();
        let mut row = |label: &str, text: &str| {
            out.line(format_args!(
                "  {} {text}",
                paint.dim(format_args!("{label:<11}"))
            ))
        };
        match (self.spiffe_id.as_ref().or(self.name.as_ref()), &self.claimed_name) {
            (Some(name), _) => row("peer", name)?,
            (None, Some(claimed)) => row("peer", &format!("{claimed} (by its own word)"))?,
            (None, None) => {}
        }
        if let Some(fingerprint) = &self.fingerprint {
            row("fingerprint", fingerprint)?;
        }
        if !self.roles.is_empty() {
            row("roles", &self.roles.join(", "))?;
        }
        row("trusted", &self.trusted_in_words)?;
        match (&self.suite, self.cipher) {
            (Some(suite), Some(cipher)) => {
                row("suite", suite)?;
                row("cipher", cipher)?;
                row("handshake", if self.resumed { "resumed" } else { "full" })
            }
            _ => row("cipher", "none: the connection is plain"),
        }
    }
}

/// The name of a cipher for people.
pub(crate) fn cipher(cipher: Cipher) -> &'static str {
    match cipher {
        Cipher::Aes256Gcm => "AES-256-GCM",
        Cipher::ChaCha20Poly1305 => "ChaCha20-Poly1305",
    }
}

fn word(how: &TrustedBy) -> &'static str {
    match how {
        TrustedBy::Pin => "pin",
        TrustedBy::Authority { .. } => "authority",
        TrustedBy::FirstUse => "first-use",
        TrustedBy::PeerCredentials { .. } => "peer-credentials",
        TrustedBy::Token => "token",
        TrustedBy::Svid { .. } => "svid",
        TrustedBy::Anonymous => "anonymous",
        TrustedBy::Plain => "plain",
        _ => "other",
    }
}

//! Why a keystore could not do what it was asked to, and what a person can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use valkyrie_security::identity::{BuildError, DocumentError, IdentityError};

/// Why a keystore could not do what it was asked to. Unless a variant says otherwise, files and values are what they were.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeystoreError {
    /// The environment names no place.
    #[error(
        "there is no place for keys: VALKYRIE_HOME, XDG_CONFIG_HOME and HOME are all unset; set VALKYRIE_HOME to a directory"
    )]
    NoHome,
    /// The directory has no identity.
    #[error("{} holds no identity", .0.display())]
    NoIdentity(PathBuf),
    /// There is a key and no document, or the other way round.
    #[error("{} is missing, and without it the other half of the identity is of no use", .0.display())]
    Missing(PathBuf),
    /// There is one already, and nobody asked to replace it.
    #[error("{} is there already; it was left as it is", .0.display())]
    Exists(PathBuf),
    /// Other users could read a secret, or change whom this node trusts.
    #[error("{} is open to other users (mode {mode:04o}) and is not used; run: chmod {wanted:o} {}", .path.display(), Quoted(.path))]
    Loose {
        /// Which file or directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What they have to be.
        wanted: u32,
    },
    /// Somebody else owns a secret of ours, and could replace it.
    #[error("{} belongs to user {owner}, this program runs as user {user}; it is not used. Run as its owner, or: chown {user} {}", .path.display(), Quoted(.path))]
    Foreign {
        /// Which file or directory.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// A link or a device where a file has to be.
    #[error("{} is {found}, not {wanted}; it is not used", .path.display())]
    NotPlain {
        /// Which path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it has to be.
        wanted: &'static str,
    },
    /// A file no honest program wrote.
    #[error("{} has more than {bytes_max} bytes; it is not read", .path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// What is read at most.
        bytes_max: usize,
    },
    /// A file that says something else than its name.
    #[error("{}{}: {why}", .path.display(), Line(*.line))]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1; 0 for all of it.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The secret key is encrypted and there is nothing to open it with.
    #[error("{} is encrypted, and nobody gave the passphrase", .0.display())]
    PassphraseNeeded(PathBuf),
    /// The secret key is encrypted with another passphrase, or was changed.
    #[error("{} does not open with this passphrase", .0.display())]
    PassphraseWrong(PathBuf),
    /// Key and document are of different identities.
    #[error("the document and the keys do not belong to the same identity; nothing was changed")]
    Mismatch,
    /// A document that has been replaced already.
    #[error("the document has serial {serial}, the one that is there has {held}; the older one is not taken")]
    Older {
        /// Of the document that was offered.
        serial: u64,
        /// Of the one there is.
        held: u64,
    },
    /// An authority where a node has to be.
    #[error("this is an authority, which signs for nodes and is never at the end of a connection")]
    IsAuthority,
    /// A node where an authority has to be.
    #[error("this is a node; only an authority signs for others")]
    NotAuthority,
    /// What is to be signed is not what a node asks for itself.
    #[error("this is not a node's request signed with its own keys; nothing was signed")]
    NotARequest,
    /// The keys that sign are on another machine.
    #[error("the keys that sign for this identity are not here; nothing was signed")]
    SignsElsewhere,
    /// A trust file has a mistake, or takes no more.
    #[error("{}: {why}", .path.display())]
    Trust {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Name, roles or labels make no document, or the machine failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A document cannot be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Keys and document make no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Too many programs write, or too many logs are damaged.
    #[error("{} and the files behind it are all in use by other programs, or damaged at their ends; nothing is recorded", .0.display())]
    AuditTaken(PathBuf),
    /// A passphrase that would be no protection.
    #[error("a passphrase has 1 to {PASSPHRASE_BYTES_MAX} bytes; nothing was encrypted")]
    Passphrase,
    /// Deriving a key from a passphrase would take too little work or too much.
    #[error("{0}")]
    Cost(&'static str),
    /// The machine gave no randomness or memory.
    #[error("this machine gave no randomness or no memory")]
    System,
    /// The file system said no.
    #[error("{} cannot be {what}: {error}", .path.display())]
    Io {
        /// What was tried: "read", "written".
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl KeystoreError {
    pub(crate) fn io(what: &'static str, path: &Path, error: impl Into<io::Error>) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            error: error.into(),
        }
    }

    pub(crate) fn malformed(path: &Path, line: usize, why: impl Into<String>) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            line,
            why: why.into(),
        }
    }
}

/// A path as a shell takes it.
struct Quoted<'a>(&'a Path);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+,@:".contains(letter);
        if !text.is_empty() && text.chars().all(plain) {
            f.write_str(&text)
        } else {
            write!(f, "'{}'", text.replace('\'', r"'\''"))
        }
    }
}

/// The line behind a path, where there is one to name.
struct Line(usize);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            line => write!(f, ":{line}"),
        }
    }
}

/// Longer than anybody types; a bound for what is read from a file or a terminal.
pub(crate) const PASSPHRASE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_run_can_be_pasted_into_a_shell() {
        let loose = |path: &str| KeystoreError::Loose {
            path: path.into(),
            mode: 0o644,
            wanted: 0o600,
        };
        let text = loose("/home/ada/it's here/identity.key").to_string();
        assert!(
            text.ends_with(r"run: chmod 600 '/home/ada/it'\''s here/identity.key'"),
            "{text}"
        );
        let text = loose("/home/ada/identity.key").to_string();
        assert!(
            text.ends_with("(mode 0644) and is not used; run: chmod 600 /home/ada/identity.key"),
            "{text}"
        );
    }
}

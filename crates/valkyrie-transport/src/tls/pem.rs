//! Certificates and keys from PEM files, bounded, the text of keys wiped.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;

/// Every certificate of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let not_pem = |reason: String| TlsError::NotPem {
        path: path.to_owned(),
        wanted: "certificate",
        reason,
    };
    let found = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| not_pem(error.to_string()))?;
    if found.is_empty() {
        return Err(not_pem("there is none".to_owned()));
    }
    Ok(found)
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| TlsError::NotPem {
        path: path.to_owned(),
        wanted: "private key",
        reason: error.to_string(),
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    // The room is made at once: a vector that grew would leave pieces of a key behind.
    let mut text = Zeroizing::new(Vec::new());
    let result = File::open(path).and_then(|file| {
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        if length > PEM_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        text.try_reserve_exact(length + 1)?;
        // A file that grows meanwhile is cut at what it said, and then is no PEM.
        file.take(length as u64).read_to_end(&mut text)
    });
    match result {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(TlsError::TooLong {
            path: path.to_owned(),
            max: PEM_BYTES_MAX,
        }),
        Err(source) => Err(TlsError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The longest file that is read. The bundle of every root that browsers trust is a quarter of this.
pub const PEM_BYTES_MAX: usize = 1024 * 1024;

//! The first certificate of a chain: what SPIFFE asks of it beyond what path validation checks.

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{SpiffeId, SvidError};
use crate::time::UnixTime;

/// What a leaf certificate says.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) id: SpiffeId,
    pub(super) not_after: UnixTime,
}

impl Leaf {
    /// Reads a leaf certificate. Who signed it has not been checked.
    ///
    /// The rules are those of [X509-SVID](https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md): one URI
    /// name, which is a SPIFFE ID with a path; no authority; may sign, and may not sign certificates or revocations.
    pub(super) fn parse(der: &[u8]) -> Result<Self, SvidError> {
        let certificate = parse(der)?;
        let malformed = |_| SvidError::Malformed;
        let constraints = certificate.basic_constraints().map_err(malformed)?;
        let usage = certificate
            .key_usage()
            .map_err(malformed)?
            .ok_or(SvidError::NotALeaf)?
            .value;
        let signs = usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign();
        if constraints.is_some_and(|constraints| constraints.value.ca) || !signs {
            return Err(SvidError::NotALeaf);
        }
        let names = certificate.subject_alternative_name().map_err(malformed)?;
        let uris: Vec<_> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris.as_slice() else {
            return Err(SvidError::Names(uris.len()));
        };
        let id: SpiffeId = uri.parse()?;
        if id.path().is_empty() {
            return Err(SvidError::NoPath);
        }
        Ok(Self {
            id,
            not_after: not_after(&certificate),
        })
    }
}

/// Until when a certificate is good.
pub(super) fn end_of(der: &[u8]) -> Result<UnixTime, SvidError> {
    Ok(not_after(&parse(der)?))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, SvidError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(SvidError::Malformed),
    }
}

fn not_after(certificate: &X509Certificate<'_>) -> UnixTime {
    // A certificate is good until the end of its last second.
    let last = certificate.validity().not_after.timestamp();
    UnixTime::from_secs(u64::try_from(last).map_or(0, |last| last + 1))
}

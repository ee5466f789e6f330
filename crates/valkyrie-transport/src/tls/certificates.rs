//! What a listener shows, and a dialler that is asked for one: a certificate made for the life of the process, or one from files that may be replaced.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ServerConfig, SignatureScheme};

use super::{TlsError, pem, provider};

/// The certificate and key of a listener. Clones share what was loaded.
#[derive(Clone, Default)]
#[must_use]
pub struct Certificates {
    files: Option<Arc<Files>>,
}

impl Certificates {
    /// One certificate for the whole process, made when it is first needed and signed by itself (the default).
    ///
    /// It says nothing about who this is, and diallers that verify certificates refuse it. With [`Roots::Any`] at the
    /// dialler that is as it should be: Valkyrie's handshake says who this is, bound to this very connection.
    ///
    /// [`Roots::Any`]: super::Roots::Any
    pub fn self_signed() -> Self {
        Self::default()
    }

    /// A chain, the listener's own certificate first, and its private key, both PEM.
    ///
    /// When a handshake begins and the last look is [`CHECK_INTERVAL`] ago, the files are looked at, and loaded if they
    /// changed. What cannot be loaded then is told to the function of [`Certificates::with_report`], once for each
    /// change, and the certificate that was in use stays.
    ///
    /// # Errors
    ///
    /// [`TlsError::Read`], [`TlsError::TooLong`], [`TlsError::NotPem`] or [`TlsError::Pair`].
    pub fn files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (chain, key) = (chain.into(), key.into());
        let seen = [Stamp::of(&chain), Stamp::of(&key)];
        let current = load(&chain, &key)?;
        let state = State {
            current,
            seen,
            checked: Instant::now(),
        };
        let files = Files {
            chain,
            key,
            state: Mutex::new(state),
            report: None,
        };
        Ok(Self {
            files: Some(Arc::new(files)),
        })
    }

    /// Calls `report` with what goes wrong when changed files are loaded. It is called in the middle of a handshake
    /// and should not take long. Clones made before are not affected. Does nothing for [`Certificates::self_signed`].
    pub fn with_report(self, report: impl Fn(&TlsError) + Send + Sync + 'static) -> Self {
        let files = self.files.map(|files| {
            Arc::new(Files {
                chain: files.chain.clone(),
                key: files.key.clone(),
                state: Mutex::new(files.lock().clone()),
                report: Some(Box::new(report)),
            })
        });
        Self { files }
    }

    /// The configuration of a listener that speaks the protocols of `alpn`, and refuses a dialler that offers others.
    ///
    /// # Errors
    ///
    /// [`TlsError::SelfSigned`] or [`TlsError::Configuration`].
    pub fn server_config(&self, alpn: &[&[u8]]) -> Result<Arc<ServerConfig>, TlsError> {
        let resolver: Arc<dyn ResolvesServerCert> = match &self.files {
            Some(files) => Arc::clone(files) as _,
            None => Arc::new(Fixed(self_signed()?)),
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| TlsError::Configuration {
                reason: error.to_string(),
            })?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }

    /// What a dialler shows to a listener that asks.
    pub(super) fn for_dialler(&self) -> Result<Arc<dyn ResolvesClientCert>, TlsError> {
        Ok(match &self.files {
            Some(files) => Arc::clone(files) as _,
            None => Arc::new(Fixed(self_signed()?)),
        })
    }

    /// The files, where there are some; for tests, whose clock runs faster.
    #[cfg(test)]
    pub(super) fn loaded_from(&self) -> &Files {
        self.files.as_ref().unwrap()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.files {
            Some(files) => files.fmt(f),
            None => f.write_str("Certificates(self-signed)"),
        }
    }
}

pub(super) struct Files {
    chain: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
    report: Option<Box<Report>>,
}

type Report = dyn Fn(&TlsError) + Send + Sync;

#[derive(Clone)]
struct State {
    current: Arc<CertifiedKey>,
    /// What the two files looked like when they were last loaded, or failed to load.
    seen: [Stamp; 2],
    checked: Instant,
}

impl Files {
    /// The certificate to show in a handshake that begins `now`.
    pub(super) fn at(&self, now: Instant) -> Arc<CertifiedKey> {
        let (certified, failure) = {
            let mut state = self.lock();
            let failure = self.refresh(&mut state, now);
            (Arc::clone(&state.current), failure)
        };
        // Told outside the lock, so that whatever the function does holds up no other handshake.
        if let (Some(error), Some(report)) = (failure, &self.report) {
            report(&error);
        }
        certified
    }

    fn refresh(&self, state: &mut State, now: Instant) -> Option<TlsError> {
        if now.saturating_duration_since(state.checked) < CHECK_INTERVAL {
            return None;
        }
        state.checked = now;
        // Looked at before they are read: a change in between is then seen at the next look.
        let stamps = [Stamp::of(&self.chain), Stamp::of(&self.key)];
        if stamps == state.seen {
            return None;
        }
        state.seen = stamps;
        match load(&self.chain, &self.key) {
            Ok(certified) => {
                state.current = certified;
                None
            }
            Err(error) => Some(error),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.at(Instant::now()))
    }
}

impl ResolvesClientCert for Files {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.at(Instant::now()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Certificates({}, {})",
            self.chain.display(),
            self.key.display()
        )
    }
}

/// The certificate that never changes.
#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl ResolvesClientCert for Fixed {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Enough of a file to see that it was replaced: by a rename, by a write, or as where a link points.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp(Option<(u64, Option<SystemTime>, u64)>);

impl Stamp {
    fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|metadata| {
            #[cfg(unix)]
            let file = std::os::unix::fs::MetadataExt::ino(&metadata);
            #[cfg(not(unix))]
            let file = 0;
            (metadata.len(), metadata.modified().ok(), file)
        }))
    }
}

fn load(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificates = pem::certificates(chain)?;
    let private_key = pem::private_key(key)?;
    let certified = CertifiedKey::from_der(certificates, private_key, &provider());
    certified.map(Arc::new).map_err(|error| TlsError::Pair {
        chain: chain.to_owned(),
        key: key.to_owned(),
        reason: error.to_string(),
    })
}

fn self_signed() -> Result<Arc<CertifiedKey>, TlsError> {
    static MADE: OnceLock<Arc<CertifiedKey>> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(Arc::clone(made));
    }
    let made = make().map_err(|reason| TlsError::SelfSigned { reason })?;
    Ok(Arc::clone(MADE.get_or_init(|| made)))
}

fn make() -> Result<Arc<CertifiedKey>, String> {
    let made = (|| {
        let key = KeyPair::generate()?;
        // RFC 6761 keeps `.invalid` from ever naming anybody.
        let certificate = CertificateParams::new(["valkyrie.invalid".to_owned()])?.self_signed(&key)?;
        Ok((certificate, key))
    })();
    let (certificate, key) = made.map_err(|error: rcgen::Error| error.to_string())?;
    let chain = vec![certificate.der().clone()];
    CertifiedKey::from_der(chain, PrivateKeyDer::from(key), &provider())
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

/// How long ago the last look at the files must be for another. A renewed certificate may be used a second later, and
/// a flood of handshakes is not one of file operations.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(1);

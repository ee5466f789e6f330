//! TLS below Valkyrie: the certificate that listeners of `quic`, `wss` and `https` show, and whose certificates a dial takes.
//!
//! Neither says who a Valkyrie peer is, which its handshake does. They are for what stands in between, for other programs
//! (browsers, curl), and for networks whose rules want them.

use std::path::PathBuf;

use clap::Args;
use valkyrie::transport::tls::{Certificates, Roots, TlsError};
use valkyrie::{EndpointBuilder, HttpTransport, QuicTransport, RedisTransport, WsTransport};

use crate::exit::{CliError, Exit};
use crate::out::Notes;

/// What a listener shows.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShowArgs {
    /// The certificate that quic://, wss:// and https:// show, as PEM: the node's own first, then those that sign it. It is
    /// read again when the file changes. One that the process makes for itself unless given.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The private key of that certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl ShowArgs {
    /// Loads what is named.
    pub(crate) fn certificates(&self, notes: Notes) -> Result<Certificates, CliError> {
        let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(Certificates::self_signed());
        };
        let certificates = Certificates::files(chain, key)?;
        Ok(certificates.with_report(move |error| {
            notes.warning(format_args!("{error}"));
        }))
    }
}

/// What a dialler takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct TakeArgs {
    /// Over quic://, wss:// and https://, take a certificate only from the authorities in this PEM file, or `system` for
    /// those that the system trusts, and only for the name that is dialled. Any is taken unless given: who the peer is,
    /// Valkyrie's own handshake finds out.
    #[arg(long, value_name = "FILE|system", value_parser = parse_roots)]
    tls_ca: Option<Roots>,
}

impl TakeArgs {
    /// A builder that dials so.
    pub(crate) fn apply(&self, builder: EndpointBuilder) -> EndpointBuilder {
        let Some(roots) = &self.tls_ca else {
            return builder;
        };
        let builder = builder.transport(RedisTransport::secure(roots.clone()));
        transports(builder, &Certificates::self_signed(), roots, &[])
    }
}

/// A builder whose encrypted transports show `certificates` and take those of `roots`, and whose WebSockets are for pages
/// of `origins`.
pub(crate) fn transports(
    builder: EndpointBuilder,
    certificates: &Certificates,
    roots: &Roots,
    origins: &[String],
) -> EndpointBuilder {
    let quic = QuicTransport::new()
        .with_certificates(certificates.clone())
        .with_roots(roots.clone());
    let wss = WsTransport::secure(certificates.clone(), roots.clone());
    builder
        .transport(quic)
        .transport(HttpTransport::secure(certificates.clone(), roots.clone()))
        .transport(WsTransport::new().with_origins(origins))
        .transport(wss.with_origins(origins))
}

/// `system`, or a file; one of that name is `./system`.
fn parse_roots(text: &str) -> Result<Roots, String> {
    Ok(match text {
        "system" => Roots::System,
        path => Roots::File(path.into()),
    })
}

/// Reads an origin as a browser writes it, so that one that no browser ever sends is a mistake and not a page that is refused.
pub(crate) fn parse_origin(text: &str) -> Result<String, String> {
    let place = ["https://", "http://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    match place {
        _ if text == "*" => Ok(text.to_owned()),
        Some(place) if !place.is_empty() && !place.contains(['/', '?', '#', '@', ' ']) => Ok(text.to_owned()),
        _ => Err(
            "write an origin as browsers do, as in https://app.example.org, without a path, or *".to_owned(),
        ),
    }
}

impl From<TlsError> for CliError {
    fn from(error: TlsError) -> Self {
        Self::new(Exit::Local, error.to_string())
    }
}

//! Asking an agent how it is: which places may be asked, and how.
//!
//! An agent writes into the registry where it can be asked. Whoever probes would connect from where it stands, so without a rule
//! an agent could use it to reach into a network. A rule says which networks and ports may be asked on whose behalf; what a name
//! resolves to is looked up first and checked, and what was checked is what is connected to. The one place that needs no rule is
//! where calls go anyway, and whoever answers there proves that it is the agent.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use tokio::net::TcpStream;
use valkyrie_endpoint::security::Fingerprint;
use valkyrie_transport::{Locator, LocatorError};

#[cfg(test)]
mod tests;

/// Which places may be asked. Empty, which is the default, allows none.
#[derive(Clone, Debug, Default)]
pub struct ProbeRules {
    rules: Vec<ProbeRule>,
}

#[derive(Clone, Debug)]
struct ProbeRule {
    /// On whose behalf; anybody's where it is not said.
    owner: Option<Fingerprint>,
    network: IpNet,
    ports: RangeInclusive<u16>,
}

impl ProbeRules {
    /// None may be asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Any agent may have these ports of a network asked.
    #[must_use]
    pub fn allow(mut self, network: IpNet, ports: RangeInclusive<u16>) -> Self {
        self.rules.push(ProbeRule {
            owner: None,
            network,
            ports,
        });
        self
    }

    /// Agents of this identity may.
    #[must_use]
    pub fn allow_for(mut self, owner: Fingerprint, network: IpNet, ports: RangeInclusive<u16>) -> Self {
        self.rules.push(ProbeRule {
            owner: Some(owner),
            network,
            ports,
        });
        self
    }

    /// Whether an address may be asked on behalf of an identity.
    pub fn allows(&self, owner: &Fingerprint, address: SocketAddr) -> bool {
        // The same host has both names, and a rule is about the host.
        let ip = address.ip().to_canonical();
        self.rules.iter().any(|rule| {
            rule.owner.as_ref().is_none_or(|allowed| allowed == owner)
                && contains(&rule.network, ip)
                && rule.ports.contains(&address.port())
        })
    }
}

fn contains(network: &IpNet, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpNet::V4(network), IpAddr::V4(ip)) => network.contains(&ip),
        (IpNet::V6(network), IpAddr::V6(ip)) => network.contains(&ip),
        _ => false,
    }
}

/// An agent was not asked, or did not answer as one that is well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// No rule allows it. Nothing was sent; it says nothing about the agent.
    #[error("no rule allows {0} to be asked for this agent; nothing was sent")]
    NotAllowed(Locator),
    /// The agent names a place that cannot be asked.
    #[error("{place} cannot be asked: {why}")]
    Place {
        /// The place.
        place: Locator,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answered, or not well.
    #[error("{place} did not answer well: {why}")]
    Unwell {
        /// The place.
        place: Locator,
        /// What happened.
        why: String,
    },
}

/// Asks a place: `tcp://host:port` whether somebody accepts, `http://host:port/path` for any answer of 200 to 299.
///
/// # Errors
/// [`ProbeError`].
pub(crate) async fn ask(rules: &ProbeRules, owner: &Fingerprint, place: &Locator) -> Result<(), ProbeError> {
    let malformed = |why: &dyn std::fmt::Display| ProbeError::Place {
        place: place.without_credentials(),
        why: why.to_string(),
    };
    let (host_port, path) = match place.scheme() {
        "tcp" => (place.clone(), None),
        "http" if cfg!(feature = "probe-http") => split(place).map_err(|error| malformed(&error))?,
        scheme => {
            return Err(malformed(&format_args!(
                "this program cannot ask a {scheme} place"
            )));
        }
    };
    let named = host_port.host_port().map_err(|error| malformed(&error))?;
    let found = tokio::net::lookup_host((named.host, named.port)).await;
    let addresses: Vec<SocketAddr> = found.map_err(|error| unwell(place, &error))?.collect();
    // Every address that the name has: one that is allowed must not open the door to another.
    if addresses.is_empty() || !addresses.iter().all(|address| rules.allows(owner, *address)) {
        return Err(ProbeError::NotAllowed(place.without_credentials()));
    }
    let socket = TcpStream::connect(&addresses[..])
        .await
        .map_err(|error| unwell(place, &error))?;
    match path {
        None => Ok(()),
        Some(path) => get(place, &host_port, &path, socket).await,
    }
}

fn unwell(place: &Locator, why: &dyn std::fmt::Display) -> ProbeError {
    ProbeError::Unwell {
        place: place.without_credentials(),
        why: why.to_string(),
    }
}

/// `http://host:port/path` as `http://host:port` and `/path`.
fn split(place: &Locator) -> Result<(Locator, Option<String>), LocatorError> {
    let (host, path) = match place.rest().split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (place.rest(), "/".to_owned()),
    };
    Ok((Locator::new(place.scheme(), host)?, Some(path)))
}

#[cfg(feature = "probe-http")]
async fn get(place: &Locator, host: &Locator, path: &str, socket: TcpStream) -> Result<(), ProbeError> {
    use http_body_util::Empty;
    use hyper_util::rt::TokioIo;

    let error = |why: &dyn std::fmt::Display| unwell(place, why);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = handshake.map_err(|why| error(&why))?;
    let request = hyper::Request::get(path)
        .header(hyper::header::HOST, host.rest())
        .header(hyper::header::USER_AGENT, "valkyrie-probe")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|why| error(&why))?;
    let mut answer = std::pin::pin!(async {
        sender.ready().await?;
        sender.send_request(request).await
    });
    // The head is enough; neither redirects nor bodies are followed.
    let head = tokio::select! {
        head = &mut answer => head,
        // It may have brought the answer with its end.
        _ = connection => answer.await,
    };
    let status = head.map_err(|why| error(&why))?.status();
    match status.is_success() {
        true => Ok(()),
        false => Err(error(&status)),
    }
}

#[cfg(not(feature = "probe-http"))]
async fn get(place: &Locator, _: &Locator, _: &str, _: TcpStream) -> Result<(), ProbeError> {
    Err(unwell(place, &"built without `probe-http`"))
}

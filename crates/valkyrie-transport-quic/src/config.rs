//! Our options in the words of the QUIC library.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig,
    ValidationTokenConfig, VarInt,
};
use valkyrie_transport::tls::TlsError;

use crate::accept::{HANDSHAKES_MAX, INCOMING_BYTES_MAX, INCOMING_BYTES_TOTAL_MAX};
use crate::lanes::{ALPN, LANES};
use crate::link::FIRST_RECEIVE_WINDOW_BYTES;
use crate::options::QuicTransport;

/// Either side of a socket.
pub(crate) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.supported_versions(vec![QUIC_V1]);
    config
        .max_udp_payload_size(PACKET_BYTES_MAX)
        .expect("more than the least of the standard, 1,200 bytes");
    config
}

pub(crate) fn client(options: &QuicTransport) -> Result<ClientConfig, TlsError> {
    let tls = options.roots.client_config(&[ALPN])?;
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| TlsError::Configuration {
        reason: error.to_string(),
    })?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = transport(options);
    // The peer opens nothing towards the side that dialled.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.receive_window(windows(options).receive);
    config.transport_config(Arc::new(transport));
    config.version(QUIC_V1);
    Ok(config)
}

pub(crate) fn server(options: &QuicTransport) -> Result<ServerConfig, TlsError> {
    let tls = options.certificates.server_config(&[ALPN])?;
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| TlsError::Configuration {
        reason: error.to_string(),
    })?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = transport(options);
    transport.max_concurrent_bidi_streams(VarInt::from_u32(LANES.into()));
    transport.receive_window(VarInt::from_u32(FIRST_RECEIVE_WINDOW_BYTES));
    config.transport_config(Arc::new(transport));
    // A link whose peer changes its address is found dead instead; the session then goes on over another link.
    config.migration(false);
    config.max_incoming(HANDSHAKES_MAX);
    config.incoming_buffer_size(INCOMING_BYTES_MAX);
    config.incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    config.validation_token_config(tokens);
    Ok(config)
}

fn transport(options: &QuicTransport) -> TransportConfig {
    let mut config = TransportConfig::default();
    config.max_concurrent_uni_streams(VarInt::from_u32(0));
    config.datagram_receive_buffer_size(None);
    config.stream_receive_window(VarInt::from_u32(options.receive_window_bytes));
    config.send_window(windows(options).send);
    config.max_idle_timeout(Some(idle_timeout(options.idle_timeout)));
    config.keep_alive_interval(options.keepalive);
    config.initial_mtu(MTU_BYTES_MIN);
    config.min_mtu(MTU_BYTES_MIN);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(PACKET_BYTES_MAX);
    config.mtu_discovery_config(Some(discovery));
    config
}

/// What a link changes while it lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    /// Bytes taken and not acknowledged, over all lanes.
    pub(crate) send: u64,
    /// Unread bytes, over all lanes: room for every lane to be full at once, so that none takes it from another.
    pub(crate) receive: VarInt,
}

pub(crate) fn windows(options: &QuicTransport) -> Windows {
    let receive = u64::from(options.receive_window_bytes) * u64::from(LANES);
    Windows {
        send: options.send_window_bytes.into(),
        receive: VarInt::from_u64(receive).unwrap_or(VarInt::MAX),
    }
}

/// What does not fit the field of 62 bits, half a billion years, is the most that does.
fn idle_timeout(timeout: Duration) -> IdleTimeout {
    IdleTimeout::try_from(timeout).unwrap_or_else(|_| IdleTimeout::from(VarInt::MAX))
}

/// RFC 9000.
const QUIC_V1: u32 = 1;

/// The least that any path of QUIC carries in a datagram, and what a link begins with. It fits the least MTU of IPv6,
/// 1,280 bytes; larger datagrams are tried later, and used where they arrive.
const MTU_BYTES_MIN: u16 = 1200;

/// The largest packet that is tried, and taken: what an Ethernet of 9,000 bytes carries below IPv6 and UDP. Networks of a data centre
/// and the loopback carry so much, and a packet's cost hardly depends on its size. On a network of 1,500 bytes the system itself
/// refuses what is larger, so that trying costs nothing there.
pub const PACKET_BYTES_MAX: u16 = 9000 - 40 - 8;

/// What is asked of the system for each buffer of a socket: 2 MiB. The system may give less and usually does; a burst
/// that does not fit is lost and sent again.
pub const UDP_BUFFER_BYTES: usize = 2 * 1024 * 1024;

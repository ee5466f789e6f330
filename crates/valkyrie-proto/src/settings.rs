//! The payload of HELLO and HELLO_ACK: what each side announces of itself.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use valkyrie_frame::{MAX_PAYLOAD_BYTES, VERSION};

use crate::resume::SESSION_ID_LEN;
use crate::{Config, Limits};

/// What one side announced. Values `id u16 | len u16 | value`, in any order, each once; unknown
/// ids are ignored.
//= protocol/session.md#settings
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Bits of optional features; none is defined yet.
    pub features: u64,
    /// The largest payload of one frame that it takes.
    pub max_frame: u32,
    /// The largest message that it takes.
    pub max_message: u32,
    /// How many exchanges it lets the other side have open.
    pub max_exchanges: u16,
    /// How many streams it lets the other side open to begin with.
    pub max_streams: u32,
    /// Initial credit per stream of class system, in bytes.
    pub window_system: u32,
    /// Initial credit per stream of class job.
    pub window_job: u32,
    /// Initial credit per stream of class data.
    pub window_data: u32,
    /// Initial credit for all streams together.
    pub window_connection: u32,
    /// The least time between two keepalive PINGs that it bears, in milliseconds.
    pub min_ping_ms: u32,
    /// Who it says it is; up to 64 bytes, unauthenticated.
    pub node_id: Bytes,
    /// How long it keeps a session without a link, in milliseconds; 0 for not at all.
    pub resume_ms: u32,
    /// How many bytes of unacknowledged frames it retains.
    pub resume_bytes: u32,
    /// From an acceptor: the session's id and secret. Not for logs.
    pub resume_key: Option<ResumeKey>,
    /// From an acceptor: locators where the same node listens, each ended by a line feed.
    pub places: Bytes,
    /// The same for two programs exactly when they run on one machine.
    pub machine: Option<[u8; MACHINE_LEN]>,
}

/// What makes a session's tokens: its id, and a secret that is not for logs.
//= protocol/resume.md#offer
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResumeKey {
    /// The session, as its acceptor names it.
    pub session: [u8; SESSION_ID_LEN],
    /// What both sides know and nobody else.
    pub secret: [u8; RESUME_SECRET_LEN],
}

impl std::fmt::Debug for ResumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResumeKey").finish_non_exhaustive()
    }
}

/// Bytes of a session's secret.
pub const RESUME_SECRET_LEN: usize = 32;

/// Bytes that name a machine.
pub const MACHINE_LEN: usize = 16;

/// The most bytes of places: a handful of locators.
pub const PLACES_BYTES_MAX: usize = 1024;

impl Settings {
    /// What `config` announces.
    pub(crate) fn of(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            features: 0,
            max_frame: limits.max_frame,
            max_message: limits.max_message,
            max_exchanges: limits.max_exchanges,
            max_streams: limits.max_streams,
            window_system: limits.window_system,
            window_job: limits.window_job,
            window_data: limits.window_data,
            window_connection: limits.window_connection,
            min_ping_ms: config
                .keepalive
                .min_interval
                .as_millis()
                .min(u128::from(u32::MAX)) as u32,
            node_id: config.node_id.clone(),
            resume_ms: limits.resume_for.as_millis().min(u128::from(u32::MAX)) as u32,
            resume_bytes: limits.resume_bytes,
            resume_key: None,
            places: Bytes::new(),
            machine: config.machine,
        }
    }

    /// Encodes the settings, with one GREASE value at the end so that peers stay able to ignore
    /// what they do not know.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128);
        let mut put = |id: u16, value: &[u8]| {
            out.put_u16(id);
            out.put_u16(value.len() as u16);
            out.put_slice(value);
        };
        put(id::VERSIONS, &[VERSION]);
        put(id::FEATURES, &self.features.to_be_bytes());
        put(id::MAX_FRAME, &self.max_frame.to_be_bytes());
        put(id::MAX_MESSAGE, &self.max_message.to_be_bytes());
        put(id::MAX_EXCHANGES, &self.max_exchanges.to_be_bytes());
        put(id::MAX_STREAMS, &self.max_streams.to_be_bytes());
        put(id::WINDOW_SYSTEM, &self.window_system.to_be_bytes());
        put(id::WINDOW_JOB, &self.window_job.to_be_bytes());
        put(id::WINDOW_DATA, &self.window_data.to_be_bytes());
        put(id::WINDOW_CONNECTION, &self.window_connection.to_be_bytes());
        put(id::MIN_PING_MS, &self.min_ping_ms.to_be_bytes());
        put(id::NODE_ID, &self.node_id);
        if self.resume_ms > 0 {
            put(id::RESUME_MS, &self.resume_ms.to_be_bytes());
            put(id::RESUME_BYTES, &self.resume_bytes.to_be_bytes());
        }
        if let Some(key) = &self.resume_key {
            put(id::RESUME_KEY, &[&key.session[..], &key.secret].concat());
        }
        if !self.places.is_empty() {
            put(id::PLACES, &self.places);
        }
        if let Some(machine) = &self.machine {
            put(id::MACHINE, machine);
        }
        put(id::GREASE, &[]);
        out.freeze()
    }

    /// Decodes and validates what a peer announced.
    ///
    /// # Errors
    /// [`SettingsError`]: the peer is at fault.
    pub fn decode(mut input: &[u8]) -> Result<Self, SettingsError> {
        let mut seen = [false; id::KNOWN_END as usize];
        let mut versions: &[u8] = &[];
        let mut settings = Self {
            features: 0,
            max_frame: 0,
            max_message: 0,
            max_exchanges: 0,
            max_streams: 0,
            window_system: 0,
            window_job: 0,
            window_data: 0,
            window_connection: 0,
            min_ping_ms: 0,
            node_id: Bytes::new(),
            resume_ms: 0,
            resume_bytes: 0,
            resume_key: None,
            places: Bytes::new(),
            machine: None,
        };
        while !input.is_empty() {
            let (Some(id), Some(len)) = (input.first_chunk::<2>(), input.get(2..4)) else {
                return Err(SettingsError::Truncated);
            };
            let id = u16::from_be_bytes(*id);
            let len = usize::from(u16::from_be_bytes([len[0], len[1]]));
            let value = input.get(4..4 + len).ok_or(SettingsError::Truncated)?;
            input = &input[4 + len..];
            let Some(seen) = seen.get_mut(usize::from(id)) else {
                continue;
            };
            if core::mem::replace(seen, true) {
                return Err(SettingsError::Repeated(id));
            }
            match id {
                id::VERSIONS => versions = value,
                id::FEATURES => settings.features = u64::from_be_bytes(fixed(id, value)?),
                id::MAX_FRAME => settings.max_frame = u32::from_be_bytes(fixed(id, value)?),
                id::MAX_MESSAGE => settings.max_message = u32::from_be_bytes(fixed(id, value)?),
                id::MAX_EXCHANGES => settings.max_exchanges = u16::from_be_bytes(fixed(id, value)?),
                id::MAX_STREAMS => settings.max_streams = u32::from_be_bytes(fixed(id, value)?),
                id::WINDOW_SYSTEM => settings.window_system = u32::from_be_bytes(fixed(id, value)?),
                id::WINDOW_JOB => settings.window_job = u32::from_be_bytes(fixed(id, value)?),
                id::WINDOW_DATA => settings.window_data = u32::from_be_bytes(fixed(id, value)?),
                id::WINDOW_CONNECTION => settings.window_connection = u32::from_be_bytes(fixed(id, value)?),
                id::MIN_PING_MS => settings.min_ping_ms = u32::from_be_bytes(fixed(id, value)?),
                id::NODE_ID if value.len() > Config::MAX_NODE_ID_BYTES => {
                    return Err(SettingsError::Length {
                        id,
                        found: value.len(),
                    });
                }
                id::NODE_ID => settings.node_id = Bytes::copy_from_slice(value),
                id::RESUME_MS => settings.resume_ms = u32::from_be_bytes(fixed(id, value)?),
                id::RESUME_BYTES => settings.resume_bytes = u32::from_be_bytes(fixed(id, value)?),
                id::RESUME_KEY => {
                    let key: [u8; SESSION_ID_LEN + RESUME_SECRET_LEN] = fixed(id, value)?;
                    let mut session = [0; SESSION_ID_LEN];
                    let mut secret = [0; RESUME_SECRET_LEN];
                    session.copy_from_slice(&key[..SESSION_ID_LEN]);
                    secret.copy_from_slice(&key[SESSION_ID_LEN..]);
                    settings.resume_key = Some(ResumeKey { session, secret });
                }
                id::PLACES if value.len() > PLACES_BYTES_MAX => {
                    let found = value.len();
                    return Err(SettingsError::Length { id, found });
                }
                id::PLACES if core::str::from_utf8(value).is_err() => return Err(SettingsError::Value(id)),
                id::PLACES => settings.places = Bytes::copy_from_slice(value),
                id::MACHINE => settings.machine = Some(fixed(id, value)?),
                _ => {}
            }
        }
        for id in id::REQUIRED {
            if !seen[usize::from(id)] {
                return Err(SettingsError::Missing(id));
            }
        }
        if !versions.contains(&VERSION) {
            return Err(SettingsError::Version);
        }
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        if !(Limits::MIN_FRAME_BYTES..=Limits::MAX_FRAME_BYTES).contains(&self.max_frame) {
            return Err(SettingsError::Value(id::MAX_FRAME));
        }
        if self.max_message < self.max_frame || self.max_message > MAX_PAYLOAD_BYTES {
            return Err(SettingsError::Value(id::MAX_MESSAGE));
        }
        if self.max_exchanges == 0 {
            return Err(SettingsError::Value(id::MAX_EXCHANGES));
        }
        let least = Limits::min_window(self.max_frame);
        for (id, window) in [
            (id::WINDOW_SYSTEM, self.window_system),
            (id::WINDOW_JOB, self.window_job),
            (id::WINDOW_DATA, self.window_data),
            (id::WINDOW_CONNECTION, self.window_connection),
        ] {
            if window < least {
                return Err(SettingsError::Value(id));
            }
        }
        if self.resume_ms > 0 && self.resume_bytes < Limits::MIN_RESUME_BYTES {
            return Err(SettingsError::Value(id::RESUME_BYTES));
        }
        Ok(())
    }
}

fn fixed<const N: usize>(id: u16, value: &[u8]) -> Result<[u8; N], SettingsError> {
    value.try_into().map_err(|_| SettingsError::Length {
        id,
        found: value.len(),
    })
}

/// Settings that cannot be. The peer is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value reaches past the end.
    #[error("the settings end in the middle of a value")]
    Truncated,
    /// A value came twice.
    #[error("setting {0} came twice")]
    Repeated(u16),
    /// A value is not there.
    #[error("setting {0} is missing")]
    Missing(u16),
    /// A value has the wrong length.
    #[error("setting {id} cannot have {found} bytes")]
    Length {
        /// Which.
        id: u16,
        /// Its length in bytes.
        found: usize,
    },
    /// A value is out of its range.
    #[error("setting {0} is out of its range")]
    Value(u16),
    /// The two sides have no version in common.
    #[error("the peer does not speak version 2")]
    Version,
}

/// The ids of settings.
mod id {
    pub(super) const VERSIONS: u16 = 1;
    pub(super) const FEATURES: u16 = 2;
    pub(super) const MAX_FRAME: u16 = 3;
    pub(super) const MAX_MESSAGE: u16 = 4;
    pub(super) const MAX_EXCHANGES: u16 = 5;
    pub(super) const MAX_STREAMS: u16 = 6;
    pub(super) const WINDOW_SYSTEM: u16 = 7;
    pub(super) const WINDOW_JOB: u16 = 8;
    pub(super) const WINDOW_DATA: u16 = 9;
    pub(super) const WINDOW_CONNECTION: u16 = 10;
    pub(super) const MIN_PING_MS: u16 = 11;
    pub(super) const NODE_ID: u16 = 12;
    pub(super) const RESUME_MS: u16 = 13;
    pub(super) const RESUME_BYTES: u16 = 14;
    pub(super) const RESUME_KEY: u16 = 15;
    pub(super) const PLACES: u16 = 16;
    pub(super) const MACHINE: u16 = 17;
    /// One past the last known id.
    pub(super) const KNOWN_END: u16 = 18;
    /// Reserved for being ignored.
    pub(super) const GREASE: u16 = 0x0A0A;
    pub(super) const REQUIRED: [u16; 10] = [
        VERSIONS,
        MAX_FRAME,
        MAX_MESSAGE,
        MAX_EXCHANGES,
        MAX_STREAMS,
        WINDOW_SYSTEM,
        WINDOW_JOB,
        WINDOW_DATA,
        WINDOW_CONNECTION,
        MIN_PING_MS,
    ];
}

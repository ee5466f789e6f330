//! The words between header and payload: an optional timestamp, then typed values.

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Flags, Header};

/// The types of extensions, without the must-understand bit.
pub mod extension_type {
    /// W3C trace context, 26 bytes.
    pub const TRACE_CONTEXT: u8 = 0x01;
    /// W3C trace state, 1 to 255 bytes of text.
    pub const TRACE_STATE: u8 = 0x02;
    /// What is left of the deadline, u32 milliseconds.
    pub const DEADLINE: u8 = 0x03;
    /// The sender's key for doing a thing once, 16 bytes.
    pub const IDEMPOTENCY_KEY: u8 = 0x04;
    /// When the sender sent this, u64 nanoseconds of its own monotonic clock.
    pub const SENT_AT: u8 = 0x05;
    /// A peer's [`SENT_AT`], given back unchanged.
    pub const SENT_AT_ECHO: u8 = 0x06;
    /// Service and method; always with the must-understand bit.
    pub const ROUTE: u8 = 0x07;
    /// The bit that forbids ignoring an unknown type.
    pub const MUST_UNDERSTAND: u8 = 0x80;
    /// Types without meaning, emitted so that receivers stay able to ignore the unknown.
    pub const GREASE: [u8; 7] = [0x1A, 0x2A, 0x3A, 0x4A, 0x5A, 0x6A, 0x7A];
}

/// One extension, a view into the frame.
//= protocol/extensions.md#registry
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extension<'a> {
    /// W3C traceparent in binary: version, 16 bytes trace id, 8 bytes parent id, flags.
    TraceContext(&'a [u8; 26]),
    /// W3C tracestate, as it came.
    TraceState(&'a [u8]),
    /// Milliseconds that the sender still grants.
    DeadlineMs(u32),
    /// Names one attempt at a thing that must happen once.
    IdempotencyKey(&'a [u8; 16]),
    /// Nanoseconds of the sender's monotonic clock.
    SentAt(u64),
    /// The peer's own [`Extension::SentAt`].
    SentAtEcho(u64),
    /// Which service and method the message is for.
    Route {
        /// The service's name, 1 to 200 bytes.
        service: &'a str,
        /// The method's name, at least 1 byte; both together at most 254 bytes.
        method: &'a str,
    },
    /// An extension without meaning here, which may be ignored.
    Unknown {
        /// Its type.
        kind: u8,
        /// Its value.
        value: &'a [u8],
    },
}

/// The extension area of one frame, checked when the frame was decoded.
///
/// Wire form: when the frame's TS flag is set, the u32 Unix time in seconds; then values
/// `type u8 | len u8 | value`, each padded with zeros to a multiple of four bytes, types strictly
/// ascending.
//= protocol/extensions.md#layout
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    raw: Bytes,
    timestamped: bool,
}

impl Extensions {
    /// No extension.
    pub const EMPTY: Self = Self {
        raw: Bytes::new(),
        timestamped: false,
    };

    /// Starts building.
    pub fn builder() -> ExtensionsBuilder {
        ExtensionsBuilder::default()
    }

    /// Checks an extension area: bounds, order, padding, lengths of known types, and that nothing
    /// unknown must be understood.
    ///
    /// # Errors
    /// [`ExtensionError`]; the sender is at fault.
    #[inline]
    pub fn check(header: &Header, area: &[u8]) -> Result<(), ExtensionError> {
        if area.is_empty() {
            return Ok(());
        }
        let mut walker = Walker::new(area, header.flags.contains(Flags::TS));
        let mut last = 0;
        while let Some((kind, value)) = walker.step()? {
            let base = kind & !extension_type::MUST_UNDERSTAND;
            if base <= last {
                return Err(ExtensionError::Order { kind });
            }
            last = base;
            if let Extension::Unknown { .. } = interpret(kind, value)?
                && kind & extension_type::MUST_UNDERSTAND != 0
            {
                return Err(ExtensionError::NotUnderstood { kind });
            }
        }
        Ok(())
    }

    /// Wraps an area that [`Extensions::check`] has passed.
    #[inline]
    pub fn from_checked(header: &Header, raw: Bytes) -> Self {
        Self {
            raw,
            timestamped: header.flags.contains(Flags::TS),
        }
    }

    /// The area as it is on the wire, a whole number of words.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The flags that a header with this area must carry: TS or none.
    #[inline]
    pub fn flags(&self) -> Flags {
        if self.timestamped { Flags::TS } else { Flags::NONE }
    }

    /// The timestamp in Unix seconds.
    pub fn timestamp(&self) -> Option<u32> {
        if !self.timestamped {
            return None;
        }
        self.raw.first_chunk().map(|word| u32::from_be_bytes(*word))
    }

    /// The extensions in order of type.
    pub fn iter(&self) -> impl Iterator<Item = Extension<'_>> {
        let mut walker = Walker::new(&self.raw, self.timestamped);
        core::iter::from_fn(move || {
            let (kind, value) = walker.step().ok()??;
            interpret(kind, value).ok()
        })
    }

    /// The service and method, if the area has a route.
    #[inline]
    pub fn route(&self) -> Option<(&str, &str)> {
        self.iter().find_map(|extension| match extension {
            Extension::Route { service, method } => Some((service, method)),
            _ => None,
        })
    }

    /// The milliseconds left, if the area has a deadline.
    #[inline]
    pub fn deadline_ms(&self) -> Option<u32> {
        self.iter().find_map(|extension| match extension {
            Extension::DeadlineMs(ms) => Some(ms),
            _ => None,
        })
    }
}

/// Steps over the values of an area.
struct Walker<'a> {
    rest: &'a [u8],
}

impl<'a> Walker<'a> {
    #[inline]
    fn new(area: &'a [u8], timestamped: bool) -> Self {
        Self {
            rest: if timestamped {
                area.get(4..).unwrap_or_default()
            } else {
                area
            },
        }
    }

    #[inline]
    fn step(&mut self) -> Result<Option<(u8, &'a [u8])>, ExtensionError> {
        let [kind, len, rest @ ..] = self.rest else {
            return if self.rest.is_empty() {
                Ok(None)
            } else {
                Err(ExtensionError::Truncated { kind: 0 })
            };
        };
        let (kind, len) = (*kind, usize::from(*len));
        let padded = (2 + len).next_multiple_of(4) - 2;
        let (Some(value), Some(padding)) = (rest.get(..len), rest.get(len..padded)) else {
            return Err(ExtensionError::Truncated { kind });
        };
        if padding.iter().any(|&byte| byte != 0) {
            return Err(ExtensionError::Padding { kind });
        }
        self.rest = &rest[padded..];
        Ok(Some((kind, value)))
    }
}

#[inline]
fn interpret(kind: u8, value: &[u8]) -> Result<Extension<'_>, ExtensionError> {
    let length = ExtensionError::Length {
        kind,
        found: value.len(),
    };
    Ok(match kind & !extension_type::MUST_UNDERSTAND {
        0 => return Err(ExtensionError::Order { kind }),
        extension_type::TRACE_CONTEXT => Extension::TraceContext(value.try_into().map_err(|_| length)?),
        extension_type::TRACE_STATE if value.is_empty() => return Err(length),
        extension_type::TRACE_STATE => Extension::TraceState(value),
        extension_type::DEADLINE => {
            Extension::DeadlineMs(u32::from_be_bytes(value.try_into().map_err(|_| length)?))
        }
        extension_type::IDEMPOTENCY_KEY => Extension::IdempotencyKey(value.try_into().map_err(|_| length)?),
        extension_type::SENT_AT => {
            Extension::SentAt(u64::from_be_bytes(value.try_into().map_err(|_| length)?))
        }
        extension_type::SENT_AT_ECHO => {
            Extension::SentAtEcho(u64::from_be_bytes(value.try_into().map_err(|_| length)?))
        }
        extension_type::ROUTE => {
            let (&service_len, names) = value.split_first().ok_or(length)?;
            let (service, method) = names.split_at_checked(usize::from(service_len)).ok_or(length)?;
            if service.is_empty() || service.len() > MAX_SERVICE_BYTES || method.is_empty() {
                return Err(length);
            }
            let text = |bytes| core::str::from_utf8(bytes).map_err(|_| ExtensionError::Utf8 { kind });
            Extension::Route {
                service: text(service)?,
                method: text(method)?,
            }
        }
        _ => Extension::Unknown { kind, value },
    })
}

/// Puts extensions in order and encodes them. Values may be given in any order, each once; a
/// second value of the same type replaces the first.
#[derive(Clone, Debug, Default)]
pub struct ExtensionsBuilder {
    timestamp: Option<u32>,
    /// Encoded values, sorted by type without the must-understand bit.
    values: alloc::collections::BTreeMap<u8, (u8, Bytes)>,
}

impl ExtensionsBuilder {
    /// Sets the timestamp word, Unix seconds.
    pub fn timestamp(mut self, unix_seconds: u32) -> Self {
        self.timestamp = Some(unix_seconds);
        self
    }

    /// Adds any value by type.
    ///
    /// # Errors
    /// [`ExtensionError`]: the caller gave a value that a receiver would refuse; the builder is lost.
    pub fn raw(mut self, kind: u8, value: &[u8]) -> Result<Self, ExtensionError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(ExtensionError::Length {
                kind,
                found: value.len(),
            });
        }
        interpret(kind, value)?;
        self.values.insert(
            kind & !extension_type::MUST_UNDERSTAND,
            (kind, Bytes::copy_from_slice(value)),
        );
        Ok(self)
    }

    /// Adds the relative deadline.
    pub fn deadline_ms(self, ms: u32) -> Self {
        self.fixed(extension_type::DEADLINE, &ms.to_be_bytes())
    }

    /// Adds the W3C trace context.
    pub fn trace_context(self, context: &[u8; 26]) -> Self {
        self.fixed(extension_type::TRACE_CONTEXT, context)
    }

    /// Adds the idempotency key.
    pub fn idempotency_key(self, key: &[u8; 16]) -> Self {
        self.fixed(extension_type::IDEMPOTENCY_KEY, key)
    }

    /// Adds the monotonic send time in nanoseconds.
    pub fn sent_at(self, ns: u64) -> Self {
        self.fixed(extension_type::SENT_AT, &ns.to_be_bytes())
    }

    /// Gives the peer its send time back.
    pub fn sent_at_echo(self, ns: u64) -> Self {
        self.fixed(extension_type::SENT_AT_ECHO, &ns.to_be_bytes())
    }

    /// Adds service and method.
    ///
    /// # Errors
    /// [`ExtensionError::Length`] when a name is empty or too long; the caller is at fault.
    pub fn route(self, service: &str, method: &str) -> Result<Self, ExtensionError> {
        let kind = extension_type::ROUTE | extension_type::MUST_UNDERSTAND;
        let found = 1 + service.len() + method.len();
        let service_len = u8::try_from(service.len()).map_err(|_| ExtensionError::Length { kind, found })?;
        let mut value = BytesMut::with_capacity(found);
        value.put_u8(service_len);
        value.put_slice(service.as_bytes());
        value.put_slice(method.as_bytes());
        self.raw(kind, &value)
    }

    fn fixed(mut self, kind: u8, value: &[u8]) -> Self {
        self.values.insert(kind, (kind, Bytes::copy_from_slice(value)));
        self
    }

    /// Encodes the area.
    ///
    /// # Errors
    /// [`ExtensionError::Area`] when it would be longer than 255 words; the caller is at fault.
    pub fn finish(self) -> Result<Extensions, ExtensionError> {
        let mut raw = BytesMut::new();
        if let Some(seconds) = self.timestamp {
            raw.put_u32(seconds);
        }
        for (kind, value) in self.values.values() {
            raw.put_u8(*kind);
            raw.put_u8(value.len() as u8);
            raw.put_slice(value);
            raw.put_bytes(0, raw.len().next_multiple_of(4) - raw.len());
        }
        if raw.len() > MAX_AREA_BYTES {
            return Err(ExtensionError::Area { found: raw.len() });
        }
        Ok(Extensions {
            raw: raw.freeze(),
            timestamped: self.timestamp.is_some(),
        })
    }
}

/// Why an extension area is refused. The side that wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtensionError {
    /// A value reaches past the end of the area.
    Truncated {
        /// The type of the value, 0 when even that is missing.
        kind: u8,
    },
    /// Types do not ascend, one came twice, or the type is 0.
    Order {
        /// The type at fault.
        kind: u8,
    },
    /// The bytes behind a value are not zero.
    Padding {
        /// The type at fault.
        kind: u8,
    },
    /// A known type has a length it cannot have.
    Length {
        /// The type at fault.
        kind: u8,
        /// The length in bytes that it came with.
        found: usize,
    },
    /// A name is not UTF-8.
    Utf8 {
        /// The type at fault.
        kind: u8,
    },
    /// The type is unknown and must be understood.
    NotUnderstood {
        /// The type at fault.
        kind: u8,
    },
    /// The whole area is longer than the header can say.
    Area {
        /// Its length in bytes.
        found: usize,
    },
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { kind } => write!(
                f,
                "extension {kind:#04x} reaches past the end of the extension words"
            ),
            Self::Order { kind } => write!(f, "extension {kind:#04x} is out of order, repeated or 0"),
            Self::Padding { kind } => write!(f, "the padding behind extension {kind:#04x} is not zero"),
            Self::Length { kind, found } => write!(f, "extension {kind:#04x} cannot have {found} bytes"),
            Self::Utf8 { kind } => write!(f, "a name in extension {kind:#04x} is not UTF-8"),
            Self::NotUnderstood { kind } => {
                write!(f, "extension {kind:#04x} must be understood and is unknown here")
            }
            Self::Area { found } => write!(
                f,
                "the extensions need {found} bytes, the header can announce {MAX_AREA_BYTES}"
            ),
        }
    }
}

impl core::error::Error for ExtensionError {}

/// The extension byte of the header counts at most 255 words.
const MAX_AREA_BYTES: usize = 4 * 255;

/// The length byte of a value counts at most 255 bytes.
const MAX_VALUE_BYTES: usize = 255;

/// Leaves a method at least 54 bytes beside the longest service name.
const MAX_SERVICE_BYTES: usize = 200;

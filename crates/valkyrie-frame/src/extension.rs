//! The words between header and payload: an optional timestamp, then typed values.
//!
//! Read [`ExtensionsRef`] first: it is the area as it lies in a frame. [`Extensions`] is the same
//! with the memory it lies in, [`ExtensionsBuilder`] makes one.

mod builder;
mod error;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use self::builder::ExtensionsBuilder;
pub use self::error::ExtensionError;
use crate::{Flags, Header};

/// The types of extensions, without the must-understand bit.
//= protocol/extensions.md#registry
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
    /// Service and method; always sent with the must-understand bit.
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

/// The extension area of one frame where it lies, checked when the frame was decoded.
///
/// Wire form: when the frame's TS flag is set, the u32 Unix time in seconds; then values
/// `type u8 | len u8 | value`, each padded with zeros to a multiple of four bytes, types strictly
/// ascending.
//= protocol/extensions.md#layout
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionsRef<'a> {
    raw: &'a [u8],
    timestamped: bool,
}

impl<'a> ExtensionsRef<'a> {
    /// Checks the area that belongs to `header` and wraps it.
    ///
    /// # Errors
    /// See [`Extensions::check`].
    #[inline]
    pub fn new(header: &Header, area: &'a [u8]) -> Result<Self, ExtensionError> {
        Extensions::check(header, area)?;
        Ok(Self {
            raw: area,
            timestamped: header.flags.contains(Flags::TS),
        })
    }

    /// The area as it is on the wire, a whole number of words.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The timestamp in Unix seconds.
    #[inline]
    pub fn timestamp(&self) -> Option<u32> {
        if !self.timestamped {
            return None;
        }
        self.raw.first_chunk().map(|word| u32::from_be_bytes(*word))
    }

    /// The extensions in order of type.
    pub fn iter(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
        let mut walker = Walker::new(self.raw, self.timestamped);
        core::iter::from_fn(move || {
            let (kind, value) = walker.step().ok()??;
            interpret(kind, value).ok()
        })
    }

    /// The service and method, if the area has a route.
    #[inline]
    pub fn route(&self) -> Option<(&'a str, &'a str)> {
        match self.find(extension_type::ROUTE)? {
            Extension::Route { service, method } => Some((service, method)),
            _ => None,
        }
    }

    /// The milliseconds left, if the area has a deadline.
    #[inline]
    pub fn deadline_ms(&self) -> Option<u32> {
        match self.find(extension_type::DEADLINE)? {
            Extension::DeadlineMs(ms) => Some(ms),
            _ => None,
        }
    }

    /// The extension of one type; the others are stepped over, not interpreted.
    #[inline]
    fn find(&self, wanted: u8) -> Option<Extension<'a>> {
        let mut walker = Walker::new(self.raw, self.timestamped);
        while let Ok(Some((kind, value))) = walker.step() {
            if kind & !extension_type::MUST_UNDERSTAND == wanted {
                return interpret(kind, value).ok();
            }
        }
        None
    }
}

/// The extension area of one frame together with the memory it lies in.
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
        check_values(Walker::new(area, header.flags.contains(Flags::TS)))
    }

    /// Wraps an area that [`Extensions::check`] has passed.
    #[inline]
    pub fn from_checked(header: &Header, raw: Bytes) -> Self {
        Self {
            raw,
            timestamped: header.flags.contains(Flags::TS),
        }
    }

    /// A view of the area that borrows it.
    #[inline]
    pub fn as_view(&self) -> ExtensionsRef<'_> {
        ExtensionsRef {
            raw: &self.raw,
            timestamped: self.timestamped,
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
    #[inline]
    pub fn timestamp(&self) -> Option<u32> {
        self.as_view().timestamp()
    }

    /// The extensions in order of type.
    pub fn iter(&self) -> impl Iterator<Item = Extension<'_>> {
        self.as_view().iter()
    }

    /// The service and method, if the area has a route.
    #[inline]
    pub fn route(&self) -> Option<(&str, &str)> {
        self.as_view().route()
    }

    /// The milliseconds left, if the area has a deadline.
    #[inline]
    pub fn deadline_ms(&self) -> Option<u32> {
        self.as_view().deadline_ms()
    }
}

/// The part of [`Extensions::check`] that most frames, which have no extension, never enter.
fn check_values(mut walker: Walker<'_>) -> Result<(), ExtensionError> {
    let mut last = 0;
    while let Some((kind, value)) = walker.step()? {
        // Type 0 is never above `last`, so it is refused here as well.
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

/// The extension byte of the header counts at most 255 words.
pub(crate) const MAX_AREA_BYTES: usize = 4 * 255;

/// Leaves a method at least 54 bytes beside the longest service name.
const MAX_SERVICE_BYTES: usize = 200;

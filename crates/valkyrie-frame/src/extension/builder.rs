//! Puts an extension area together; read [`Extensions`] for what it looks like.

use alloc::vec::Vec;

use super::{ExtensionError, Extensions, MAX_AREA_BYTES, Walker, extension_type, interpret};

/// Puts extensions in order and encodes them. Values may be given in any order, each once; a
/// second value of the same type replaces the first.
#[derive(Clone, Debug, Default)]
pub struct ExtensionsBuilder {
    /// The area as it will be on the wire, at every step: one allocation for all values.
    area: Vec<u8>,
    timestamped: bool,
}

impl ExtensionsBuilder {
    /// Sets the timestamp word, Unix seconds.
    pub fn timestamp(mut self, unix_seconds: u32) -> Self {
        let old = self.values_start();
        self.area.splice(..old, unix_seconds.to_be_bytes());
        self.timestamped = true;
        self
    }

    /// Adds any value by type.
    ///
    /// # Errors
    /// [`ExtensionError`]: the caller gave a value that a receiver would refuse; the builder is lost.
    pub fn raw(mut self, kind: u8, value: &[u8]) -> Result<Self, ExtensionError> {
        interpret(kind, value)?;
        self.put(kind, value)?;
        Ok(self)
    }

    /// Adds the relative deadline.
    pub fn deadline_ms(self, ms: u32) -> Self {
        self.fixed(extension_type::DEADLINE, ms.to_be_bytes())
    }

    /// Adds the W3C trace context.
    pub fn trace_context(self, context: &[u8; 26]) -> Self {
        self.fixed(extension_type::TRACE_CONTEXT, *context)
    }

    /// Adds the idempotency key.
    pub fn idempotency_key(self, key: &[u8; 16]) -> Self {
        self.fixed(extension_type::IDEMPOTENCY_KEY, *key)
    }

    /// Adds the monotonic send time in nanoseconds.
    pub fn sent_at(self, ns: u64) -> Self {
        self.fixed(extension_type::SENT_AT, ns.to_be_bytes())
    }

    /// Gives the peer its send time back.
    pub fn sent_at_echo(self, ns: u64) -> Self {
        self.fixed(extension_type::SENT_AT_ECHO, ns.to_be_bytes())
    }

    /// Adds service and method.
    ///
    /// # Errors
    /// [`ExtensionError::Length`] when a name is empty or too long; the caller is at fault.
    pub fn route(self, service: &str, method: &str) -> Result<Self, ExtensionError> {
        let kind = extension_type::ROUTE | extension_type::MUST_UNDERSTAND;
        let found = 1 + service.len() + method.len();
        let too_long = ExtensionError::Length { kind, found };
        let mut value = [0; MAX_VALUE_BYTES];
        let value = value.get_mut(..found).ok_or(too_long)?;
        let (service_len, names) = value.split_first_mut().ok_or(too_long)?;
        *service_len = service.len() as u8;
        let (service_bytes, method_bytes) = names.split_at_mut(service.len());
        service_bytes.copy_from_slice(service.as_bytes());
        method_bytes.copy_from_slice(method.as_bytes());
        self.raw(kind, value)
    }

    /// Encodes the area.
    ///
    /// # Errors
    /// [`ExtensionError::Area`] when it would be longer than 255 words; the caller is at fault.
    pub fn finish(self) -> Result<Extensions, ExtensionError> {
        if self.area.len() > MAX_AREA_BYTES {
            return Err(ExtensionError::Area {
                found: self.area.len(),
            });
        }
        Ok(Extensions {
            raw: self.area.into(),
            timestamped: self.timestamped,
        })
    }

    /// Adds a value whose length is that of its type.
    fn fixed<const N: usize>(mut self, kind: u8, value: [u8; N]) -> Self {
        const { assert!(N <= MAX_VALUE_BYTES) };
        let put = self.put(kind, &value);
        debug_assert!(put.is_ok(), "a value of at most 255 bytes always fits");
        self
    }

    /// Writes a value to its place in the order of types, over an older one of the same type.
    fn put(&mut self, kind: u8, value: &[u8]) -> Result<(), ExtensionError> {
        let found = value.len();
        let len = u8::try_from(found).map_err(|_| ExtensionError::Length { kind, found })?;
        let place = self.place(kind);
        let padded = (2 + found).next_multiple_of(4);
        if self.area.capacity() == 0 {
            self.area.reserve(TYPICAL_AREA_BYTES);
        }
        // Values mostly come in the order of types, each once. Those that do not are appended as
        // well and then turned into their place.
        self.area.extend_from_slice(&[kind, len]);
        self.area.extend_from_slice(value);
        self.area.resize(self.area.len() + padded - (2 + found), 0);
        if place.end < self.area.len() - padded || !place.is_empty() {
            self.area[place.start..].rotate_right(padded);
            self.area.drain(place.start + padded..place.end + padded);
        }
        Ok(())
    }

    /// The bytes that a value of type `kind` replaces, an empty range when it is new.
    fn place(&self, kind: u8) -> core::ops::Range<usize> {
        let base = kind & !extension_type::MUST_UNDERSTAND;
        let mut walker = Walker::new(&self.area, self.timestamped);
        loop {
            let start = self.area.len() - walker.rest.len();
            let Ok(Some((other, _))) = walker.step() else {
                return start..start;
            };
            let other = other & !extension_type::MUST_UNDERSTAND;
            if other == base {
                return start..self.area.len() - walker.rest.len();
            } else if other > base {
                return start..start;
            }
        }
    }

    fn values_start(&self) -> usize {
        if self.timestamped { 4 } else { 0 }
    }
}

/// The length byte of a value counts at most 255 bytes.
const MAX_VALUE_BYTES: usize = 255;

/// Room for a route, a deadline and a trace context, so that a usual call allocates once.
const TYPICAL_AREA_BYTES: usize = 96;

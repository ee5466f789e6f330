//! The little of Protocol Buffers that tokens are written in: numbers and lengths, and nothing that is unknown.

use zeroize::Zeroizing;

use super::TokenError;

/// A field and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(super) fn number(self) -> Result<u64, TokenError> {
        match self {
            Self::Number(number) => Ok(number),
            Self::Bytes(_) => Err(TokenError::Malformed("a number is written as text")),
        }
    }

    pub(super) fn small(self) -> Result<u32, TokenError> {
        u32::try_from(self.number()?).map_err(|_| TokenError::Malformed("a number is out of range"))
    }

    pub(super) fn bytes(self) -> Result<&'a [u8], TokenError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) => Err(TokenError::Malformed("text is written as a number")),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, TokenError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| TokenError::Malformed("text is no UTF-8"))
    }
}

/// The fields of a message, in the order in which they come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field's number and value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, TokenError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number =
            u32::try_from(tag >> 3).map_err(|_| TokenError::Malformed("a field has no such number"))?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let (bytes, rest) = self
                    .rest
                    .split_at_checked(length)
                    .ok_or(TokenError::Malformed("it ends too early"))?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            _ => {
                return Err(TokenError::Malformed(
                    "a field is of a type that tokens do not have",
                ));
            }
        };
        Ok(Some((number, value)))
    }

    fn varint(&mut self) -> Result<u64, TokenError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self
                .rest
                .split_first()
                .ok_or(TokenError::Malformed("it ends too early"))?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(TokenError::Malformed("a number is out of range"))
    }
}

/// Keeps the value of a field that may come once.
pub(super) fn once<T>(place: &mut Option<T>, value: T) -> Result<(), TokenError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(TokenError::Malformed("a field comes twice")),
    }
}

/// A message that is being written. Erased when dropped, since the last block of a token carries a secret.
#[derive(Default)]
pub(super) struct Writer {
    out: Zeroizing<Vec<u8>>,
}

impl Writer {
    pub(super) fn number(&mut self, field: u32, number: u64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(number);
        self
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
        self
    }

    /// A message within the message.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer)) -> &mut Self {
        let mut inner = Writer::default();
        write(&mut inner);
        self.bytes(field, &inner.out)
    }

    pub(super) fn finish(&mut self) -> Zeroizing<Vec<u8>> {
        std::mem::take(&mut self.out)
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.out.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            fields in prop::collection::vec((1_u32..100, prop::option::of(any::<u64>()), any::<Vec<u8>>()), 0..10)
        ) {
            let mut writer = Writer::default();
            for (field, number, bytes) in &fields {
                match number {
                    Some(number) => writer.number(*field, *number),
                    None => writer.bytes(*field, bytes),
                };
            }
            let message = writer.finish();
            let mut read = Fields::new(&message);
            for (field, number, bytes) in &fields {
                let value = match number {
                    Some(number) => Value::Number(*number),
                    None => Value::Bytes(bytes),
                };
                prop_assert_eq!(read.next(), Ok(Some((*field, value))));
            }
            prop_assert_eq!(read.next(), Ok(None));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let mut fields = Fields::new(&bytes);
            while let Ok(Some(_)) = fields.next() {}
        }
    }

    #[test]
    fn numbers_beyond_64_bits_and_lengths_beyond_the_end_are_refused() {
        for wrong in [
            &[8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02][..],
            &[8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
            &[8],
            &[10, 1],
            &[10, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[9, 0, 0, 0, 0, 0, 0, 0, 0],
            &[11],
        ] {
            assert!(Fields::new(wrong).next().is_err(), "{wrong:?}");
        }
    }
}

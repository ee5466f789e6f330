//! Why bytes were not read, or not written.

/// The bytes are no packet, or it cannot be one. Nothing of it was used; whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It ends in the middle of something.
    #[error("it ends in the middle of something")]
    Truncated,
    /// Something follows its end.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// It, or a part of it, is longer than any may be.
    #[error("the {what} has {length} bytes, and at most {max} are allowed")]
    TooLong {
        /// Of what.
        what: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        max: usize,
    },
    /// More of something than there may be.
    #[error("there are {count} {what}, and at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A part is not what it should be.
    #[error("the {0} is none")]
    Field(&'static str),
}

//! What jobs print: records with byte offsets, kept whole, and shown without harm.
//!
//! The log of one attempt is one sequence of bytes; a [`LogRecord`] is a piece of it that says
//! where it belongs. The sender keeps what is not yet acknowledged ([`SendWindow`]), the receiver
//! accepts only what continues what it has ([`LogMerger`]), so a broken link loses no bytes and
//! doubles none. [`LineRenderer`] turns records into lines for a person. Nothing here sends or
//! stores. Read [`LogRecord`] first.

mod clean;
mod merge;
mod record;
mod render;
#[cfg(test)]
mod tests;
mod window;

pub use merge::{LogGap, LogMerger};
pub use record::{LogRecord, LogWriter, RecordSink, SinkClosed, Stream};
pub use render::{LINE_BYTES_MAX, LineRenderer, RenderOptions};
pub use window::{SendWindow, WINDOW_BYTES_DEFAULT, WindowFull};

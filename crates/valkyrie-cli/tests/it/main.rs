//! The real program, run as a person or a script runs it.

mod bench;
mod decode;
mod hostile;
mod output;
mod signals;
mod strangers;
mod support;
mod talk;

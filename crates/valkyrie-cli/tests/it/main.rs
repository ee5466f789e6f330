//! The real program, run as a person or a script runs it.

mod audit;
mod bench;
mod decode;
mod hostile;
mod keys;
mod lifetimes;
mod links;
mod membership;
mod output;
mod policy;
mod program;
mod pty;
mod qos;
mod registry;
mod secrets;
mod signals;
mod spiffe;
mod strangers;
mod support;
mod talk;
mod tls;
mod token;
mod trust;

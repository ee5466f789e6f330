//! What is particular to QUIC.

#[path = "../support/mod.rs"]
mod support;

mod flood;
mod lanes;
mod listening;
mod network;
mod peers;
mod trust;
mod windows;

//! What is particular to Redis, against a real redis-server that each test starts, kills and configures as it needs.

mod access;
mod bus;
mod ends;
mod link;
mod peers;
#[path = "../support/mod.rs"]
mod support;

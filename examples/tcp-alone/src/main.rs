//! example-tcp-alone

fn main() {}

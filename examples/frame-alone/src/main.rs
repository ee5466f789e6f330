//! example-frame-alone

fn main() {}

//! The `valkyrie` command.

fn main() {}

//! A registry that is served, and those who use it: over links that break, as those who may do this and not that, and as those who
//! send whatever they like.

#[path = "../../../valkyrie-endpoint/tests/it/breakable.rs"]
mod breakable;

mod access;
mod breaks;
mod hostile;
mod support;
mod watching;

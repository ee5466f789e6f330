//! What an endpoint promises, shown over real links.

mod calls;
mod cancel;
mod deadlines;
mod drain;
mod links;
mod panics;
mod redial;
mod streams;
mod stress;
mod support;

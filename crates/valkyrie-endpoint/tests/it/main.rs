//! What an endpoint promises, shown over real links.

mod access;
mod attacks;
mod bound;
mod breakable;
mod calls;
mod cancel;
mod deadlines;
mod drain;
mod links;
mod local;
mod outlive;
mod panics;
mod people;
mod proxied;
mod qos;
mod redial;
mod resumption;
mod secure;
mod shaper;
mod streams;
mod stress;
mod support;

//! RustCI: a control plane and runners that speak Valkyrie.
//!
//! A pipeline file becomes jobs ([`pipeline`]); a state machine decides which job runs where and
//! what becomes of it ([`schedule`]); a runner turns a job into processes ([`execute`],
//! [`process`]); what those print travels as records with byte offsets ([`log`]) in messages
//! ([`wire`]) and is shown to whoever watches ([`progress`]). Over links these are three programs:
//! the control plane ([`server`]), runners ([`runner`]) and clients ([`client`]); [`command`] is what
//! a person types to start them, and [`access`] says who may do what.
//!
//! This crate is not a general build system: it starts shell commands, keeps their output whole and
//! in order, and reports how each of them ended. Read [`pipeline`] first, then [`schedule`].

pub mod access;
pub mod client;
pub mod command;
pub mod execute;
pub mod log;
pub mod pipeline;
pub mod process;
pub mod progress;
pub mod runner;
pub mod schedule;
pub mod server;
pub mod tools;
pub mod wire;

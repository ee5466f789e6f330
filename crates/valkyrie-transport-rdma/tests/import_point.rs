//! That the binding is what the sources were written for.
#![cfg(feature = "verbs")]

mod layout;

//! Members over real endpoints on paused time: they find each other, notice, and their views are what a router follows.

mod fleet;
mod members;
mod support;

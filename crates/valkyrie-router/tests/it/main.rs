//! The router over a real registry and real connections, within one process and on paused time.

mod fleet;
mod healing;
mod health;
mod routing;

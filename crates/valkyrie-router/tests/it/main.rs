//! The router over a real registry and real connections, within one process and on paused time.

#[path = "../../../valkyrie-endpoint/tests/it/breakable.rs"]
mod breakable;
mod fleet;
mod healing;
mod health;
mod real;
mod replies;
mod routing;

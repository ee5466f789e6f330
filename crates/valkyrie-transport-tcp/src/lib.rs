//! Valkyrie links over TCP.

//! Valkyrie links over Unix domain sockets.

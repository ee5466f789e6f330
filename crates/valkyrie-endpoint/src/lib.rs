//! Valkyrie endpoints: a link and a session as an async API.

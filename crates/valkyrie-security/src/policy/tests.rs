//! What policies allow and deny, and what wrong files are told.

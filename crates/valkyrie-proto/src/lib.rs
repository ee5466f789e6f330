//! The Valkyrie session as a sans-IO state machine.

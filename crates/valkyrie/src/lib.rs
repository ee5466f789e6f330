//! The Valkyrie communication framework.

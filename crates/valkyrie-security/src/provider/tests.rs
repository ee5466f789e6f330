//! The primitives against published vectors.

//! Soleil.

//! Soleil.

pub mod core;

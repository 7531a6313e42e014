//! The wire format from outside: golden vectors, every type there and back, everything that is
//! refused, properties, the examples of `docs/protocol.md`, the corpus of the fuzz target.
//!
//! One binary instead of one for each file, so that it links once.

// The lint knows #[test] functions only, and this is tests throughout.
#![allow(clippy::expect_used, clippy::panic)]

mod corpus;
mod docs;
mod properties;
mod refusals;
mod samples;
mod strategies;
mod vectors;

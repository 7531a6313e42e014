//! The simulator: the real cores (`RootCore`, `NodeCore`) and, where media matters, the real
//! forwarding plane, in one process on virtual time. Links have delay, jitter and loss; a seed
//! fixes everything, so that a failure can be played again: the seed is printed when a test
//! panics. Sockets, TLS and real cryptography are not here (`fake` has cheap stand-ins).
//!
//! Control messages pass through their XML form, so the wire format is tested on the way.

#![allow(clippy::unwrap_used, clippy::expect_used)]
// Part of tests: what can't be is a panic, and that prints the seed.

mod disaster;
mod events;
mod fake;
mod hand;
mod node;
mod odd;
mod queue;
mod report;
pub mod scenario;
mod source;
pub mod trees;
mod truth;
mod wire;
mod world;

pub use fake::{SimAuthority, SimVault};
pub use node::{SimNode, SimSink, Traffic};
pub use world::{Peering, Setup, Sim, Weather};

//! The Soleil leaf: hands a stream to browsers over WebRTC. A node like every other
//! (`relay_node`), plus WHEP over HTTP, and viewer sessions on one UDP port.
//!
//! - [`session`]: one viewer as a pure state machine (ICE-lite, DTLS, SRTP, RTCP);
//! - [`gateway`]: what viewers want of the node, and what the node hears of them;
//! - [`http`]: WHEP; [`worker`]: the thread with the viewer port;
//! - [`sdp`]: offer and answer; [`reach`]: our candidates;
//! - [`bandwidth`]: what a viewer's link carries, and which layer it gets;
//! - [`rewriter`], [`ring`]: numbers and stored packets that sessions stand on.

pub mod bandwidth;
pub mod config;
pub mod demand;
pub mod gateway;
pub mod http;
pub mod metrics;
pub mod occupancy;
pub use relay_node::config::candidates as reach;
pub mod rewriter;
pub mod ring;
mod run;
pub mod sdp;
pub mod session;
pub mod worker;

pub use run::{Started, run, start};

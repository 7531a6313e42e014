//! The Soleil leaf: hands a stream to browsers over WebRTC. A node like every other
//! (`relay_node`), plus WHEP over HTTP, and viewer sessions on one UDP port.
//!
//! - [`session`]: one viewer as a pure state machine (ICE-lite, DTLS, SRTP, RTCP);
//! - [`sdp`]: offer and answer;
//! - [`rewriter`], [`ring`]: numbers and stored packets that sessions stand on.

pub mod demand;
pub mod metrics;
pub mod occupancy;
pub mod rewriter;
pub mod ring;
pub mod sdp;
pub mod session;
pub mod worker;

//! WHIP ingest (RFC 9725): a broadcaster posts an offer, gets an answer, and sends SRTP to one UDP port
//! that all broadcasters share. The layers of a packet's way:
//!
//! - [`http`]: who may come, and the rules of the RFC; [`publish`]: whose token is good;
//! - [`offer`], [`plan`], [`answer`]: session descriptions (what WHEP does alike is in
//!   [`relay_node::webrtc`]). They are read and written here and not by `rtc`, because the answer has to pick exactly what the stream is defined for;
//! - [`route`]: which session a datagram belongs to, by what `stun` reads of it;
//! - [`session`]: one broadcaster around `rtc`'s sans-I/O peer connection (ICE-lite, DTLS, SRTP, NACK,
//!   transport-wide feedback), with [`tap`] inside it: what was decrypted becomes RTP of the stream's
//!   layers, resent packets are put back in their places;
//! - [`driver`]: the socket, the timer, and the feeds into the ingest.
//!
//! All but the driver and the handlers are free of I/O and get the time as an argument.

pub mod answer;
pub mod driver;
pub mod http;
pub mod metrics;
pub mod offer;
pub mod plan;
pub mod publish;
pub mod route;
pub mod session;
mod stun;
pub mod tap;

#[cfg(test)]
mod tests;

pub use driver::Whip;
pub use publish::{AnyOf, ConfiguredTokens, PublishCheck, Refused};

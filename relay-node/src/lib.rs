//! The Soleil node. Root and leaf are relays with more functions (thesis 3.2.1), so everything
//! that they share lives here: control links, forwarding plane, identity, operations endpoint, and
//! what WHIP and WHEP have in common.

#[cfg(clippy)]
mod bans;
pub mod clock;
pub mod config;
pub mod control;
pub mod exit;
pub mod http_server;
pub mod identity;
pub mod io;
pub mod logging;
pub mod media;
pub mod node;
pub mod ops;
pub mod refusals;
pub mod relay;
pub mod webrtc;

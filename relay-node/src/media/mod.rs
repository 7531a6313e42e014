//! The forwarding plane: receive, verify, repair, fan out (DESIGN 3 and 4).

pub mod api;
pub mod keyframe;
mod layer;
mod link;
mod pace;
pub mod packet;
pub mod plane;
pub mod repair;
pub mod replay;
pub mod ring;
pub mod rtcp;
pub mod sizes;
mod slab;
pub mod srtp;
pub mod stats;
pub mod stun;

pub use link::MAX_PEER_REPORTS;

//! The forwarding plane: receive, verify, repair, fan out (DESIGN 3 and 4).

pub mod api;
pub mod keyframe;
pub mod packet;
pub mod repair;
pub mod replay;
pub mod ring;
pub mod rtcp;
pub mod sizes;
pub mod srtp;
pub mod stun;

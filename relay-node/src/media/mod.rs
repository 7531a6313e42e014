//! The forwarding plane: receive, verify, repair, fan out (DESIGN 3 and 4).

pub mod api;
pub mod packet;
pub mod replay;
pub mod sizes;
pub mod srtp;

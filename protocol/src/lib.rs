//! The SOLEIL control protocol: messages, their XML, addressing, the routing decision and the
//! statistics with their aggregation.
//!
//! Everything here is pure: no sockets, no clock, no randomness, no async. Time comes in as
//! arguments ([`time::Now`]). The wire format is described in `docs/protocol.md`.

pub mod address;
pub mod ids;
pub mod limits;
pub mod message;
pub mod pipeline;
pub mod routing;
pub mod scalability;
pub mod stats;
mod text;
pub mod time;
pub mod xml;

pub use address::Address;
pub use ids::{
    Epoch, Incarnation, InvalidId, LinkId, NodeId, PacketIndex, PipelineId, Rank, Role, Ssrc,
};
pub use message::{Body, Message};
pub use time::{Millis, Mono, Now, Wall};
pub use xml::XmlError;

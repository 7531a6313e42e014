//! What a node's core cannot decide itself when it is the root's: handed to the core around it.

use super::api::{ConnId, Peer};
use soleil_protocol::message::{ChildsUpdate, Hello};
use soleil_protocol::{Message, NodeId, PipelineId, Ssrc};

/// Something for the root's own core; other nodes have none.
#[derive(Debug, Clone)]
pub enum Upcall {
    /// HELLO with a certificate request on a connection of its own.
    Join {
        /// The connection; the answer goes there.
        conn: ConnId,
        /// Who TLS says it is.
        peer: Peer,
        /// The whole message.
        message: Message,
        /// Its body.
        hello: Hello,
    },
    /// A message to the root from a node of the tree: HELLO (renewal), BYE, FULLSTATS,
    /// PIPEDEFINFO, ERROR.
    Message {
        /// The sender, checked.
        from: NodeId,
        /// The connection that it came over.
        conn: ConnId,
        /// The whole message.
        message: Message,
    },
    /// The tree has changed.
    Subtree(ChildsUpdate),
    /// A child's STATS have come in.
    Stats,
    /// Viewers need a key frame from the source.
    KeyFrameWanted(PipelineId, Ssrc),
}

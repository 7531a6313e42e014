//! The planner: who hangs below whom, with which rank and which backups (DESIGN 6.3). Pure: no
//! clock, no randomness, no I/O, and the same input gives the same plan.
//!
//! [`Planner`] keeps the tree as it is planned and answers small questions quickly: one joiner, one
//! that has gone. [`plan`] makes a whole plan of a list of nodes. What a REDIRECT looks like and
//! when it is sent is the core's business. A topology that the operator has drawn is in
//! [`drawing`] (the file), [`drawn`] (the tree that follows from it) and [`Planner::follow`] (the
//! same while nodes come and go).

mod backups;
mod choose;
mod delays;
pub mod drawing;
pub mod drawn;
mod follow;
mod forest;
mod full;
mod layers;
mod moves;
mod sums;
#[cfg(test)]
mod tests;

pub use backups::BACKUPS;
pub use forest::Planner;
pub use full::{Assignment, Input, Plan, plan};
pub use moves::Move;

use soleil_protocol::{NodeId, Rank, Role};

/// Longest way from the root to a node, in hops. Each hop takes a round trip or less, and the
/// protocol's paths end here as well.
pub const MAX_DEPTH: u32 = 63;

/// Bits of a rank below its depth.
const SERIAL_BITS: u32 = 24;

/// Serial numbers are below this.
pub const MAX_SERIAL: u32 = 1 << SERIAL_BITS;

/// Delays that differ by less than this are alike: a measurement varies by as much, and a hop's
/// place is not worth a move for it.
const ALIKE_MICROS: u32 = 10_000;

/// One-way delay that is assumed between nodes of one region until it was measured.
const NEAR_MICROS: u32 = 5_000;

/// And between regions: half of a usual round trip within a continent.
const FAR_MICROS: u32 = 40_000;

/// Longest round trip that is believed.
const MAX_RTT_MICROS: u32 = 10_000_000;

/// Peers of one node with a measured delay: it measures its parent and a backup at a time, and the
/// last few are remembered.
const MAX_RTTS: usize = 16;

/// Regions that are told apart. Nodes choose the words, so there is an end to it; those beyond
/// count as one.
const MAX_REGIONS: usize = 1_024;

/// A node as the planner is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInput {
    /// Its id.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Child nodes that it takes.
    pub slots: u32,
    /// Bits a second that it can send, declared or measured; 0 if unknown.
    pub egress: u64,
    /// Whether other nodes can reach it: one without an address has no children.
    pub reachable: bool,
    /// Where it stands.
    pub region: String,
    /// Its number, given at its first join (below [`MAX_SERIAL`]).
    pub serial: u32,
    /// Whether it is about to leave: it keeps its place and gets no more children.
    pub leaving: bool,
    /// Whether it is to stay where it is: only need moves it.
    pub pinned: bool,
}

/// Where a node is, or shall be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place<'a> {
    /// Its parent; `None` outside the tree.
    pub parent: Option<&'a NodeId>,
    /// The parent that it is just leaving, while it still has a place there.
    pub leg: Option<&'a NodeId>,
    /// Whether it has arrived: until then it takes nobody.
    pub attached: bool,
}

/// The place in a plan: a total order, the same for everybody, in which each node's parent and
/// backups come before it.
pub fn rank(depth: u32, serial: u32) -> Rank {
    Rank((depth.min(MAX_DEPTH + 1) << SERIAL_BITS) | (serial % MAX_SERIAL))
}

/// The depth that a rank stands for.
pub fn depth_of(rank: Rank) -> u32 {
    rank.0 >> SERIAL_BITS
}

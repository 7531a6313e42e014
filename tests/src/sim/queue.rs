//! What can happen in the simulated world, in order of time.

use relay_node::control::api::{ConnId, DialId, DialTarget, Peer};
use std::net::SocketAddr;

/// One happening.
pub(super) enum What {
    Wake(usize),
    Report(usize),
    Path(usize),
    Dial { node: usize, dial: DialId, target: DialTarget, since: u64 },
    Message { to: usize, conn: ConnId, xml: String },
    Accepted { to: usize, conn: ConnId, peer: Peer, from: usize },
    Dialed { to: usize, dial: DialId, conn: ConnId },
    DialFailed { to: usize, dial: DialId, refused: bool },
    Closed { to: usize, conn: ConnId },
    Datagram { to: usize, from: SocketAddr, bytes: Vec<u8> },
}

impl What {
    /// To whom it happens.
    pub(super) fn node(&self) -> usize {
        match self {
            What::Wake(node) | What::Report(node) | What::Path(node) => *node,
            What::Dial { node, .. } => *node,
            What::Message { to, .. }
            | What::Accepted { to, .. }
            | What::Dialed { to, .. }
            | What::DialFailed { to, .. }
            | What::Closed { to, .. }
            | What::Datagram { to, .. } => *to,
        }
    }
}

/// A happening with its time; `seq` keeps the order of what happens at once.
pub(super) struct Item {
    pub(super) at: u64,
    pub(super) seq: u64,
    pub(super) what: What,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

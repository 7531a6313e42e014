//! A root that starts again finds its tree: what the store has to keep of it, and how what was kept
//! is taken up. The nodes are away at first. Those below the root come back by themselves, and
//! with each comes CHILDSUPDATE of its whole subtree, which is adopted as it stands: nobody below
//! joins anew.

use super::RootCore;
use super::api::RootOutput;
use super::steadiness::Steadiness;
use super::tree::{Node, Place};
use relay_node::control::api::KeyHash;
use soleil_protocol::message::{Capacity, HostPort};
use soleil_protocol::{Epoch, Incarnation, Mono, NodeId, Role};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Incarnations of a node that one note to the store covers: a node gets one with each offer of a
/// parent, so this is a day of an unquiet one, and numbers there are enough.
const ISSUED_STEP: u64 = 64;

/// What outlives the process of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Its id.
    pub id: NodeId,
    /// Its role.
    pub role: Role,
    /// Its key.
    pub key: KeyHash,
    /// Its HPKE key.
    pub wrap_key: Vec<u8>,
    /// No ticket names a later incarnation than this one.
    pub issued: Incarnation,
    /// Where it takes control links.
    pub server: Option<HostPort>,
    /// Its media addresses.
    pub media: Vec<SocketAddr>,
    /// Its HTTP service.
    pub http: Option<String>,
    /// Its region.
    pub region: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Its capacity.
    pub capacity: Capacity,
    /// The version of the protocol that it speaks.
    pub version: u32,
    /// The join token that it came by.
    pub token: String,
    /// Whether it was killed.
    pub killed: bool,
    /// Its number in ranks; 0 if it is not known.
    pub serial: u32,
}

/// What the store shall keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// This of a node, in place of what it has.
    Node(Box<Remembered>),
    /// Nothing of this node any more.
    Gone(NodeId),
    /// This key epoch is used: no later start may use it or one before.
    Epoch(Epoch),
}

/// What the store has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    nodes: BTreeMap<NodeId, Remembered>,
    /// The last epoch that was used.
    epoch: Option<Epoch>,
    /// Epochs of this start are not below it.
    first: Epoch,
}

impl Told {
    /// The least epoch that nothing was sealed with.
    pub(super) fn next_epoch(&self) -> Epoch {
        self.epoch.map_or(self.first, |last| Epoch(last.0.saturating_add(1)))
    }
}

impl RootCore {
    /// Takes up what was remembered, before the first event. `epoch` is above every key epoch that
    /// any start of this root has used.
    pub fn restore(&mut self, now: Mono, nodes: Vec<Remembered>, epoch: Epoch) {
        self.told.first = epoch;
        // Tickets of backups name ranks: who has a number keeps it, and the others get what is left.
        let (numbered, others): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|n| n.serial > 0);
        for node in numbered.into_iter().chain(others) {
            let id = node.id.clone();
            self.told.nodes.insert(id.clone(), node.clone());
            let serial = self.tree.keep_serial(node.serial);
            // What it spoke with the root before this one, which may have been a newer one.
            let node = Remembered { version: node.version.min(self.node.speaks()), ..node };
            let killed = node.killed;
            self.tree.insert(id.clone(), restored(now, node, serial));
            if killed {
                self.name_removed(&id);
            }
        }
        self.tree.take_touched();
    }

    /// Tells the store what has changed of the nodes.
    pub(super) fn remember(&mut self) {
        for id in self.tree.take_touched() {
            let memory = match self.tree.get(&id) {
                Some(node) => {
                    let before = self.told.nodes.get(&id);
                    let record = record(&id, node, before.map(|b| b.issued));
                    if before == Some(&record) {
                        continue;
                    }
                    self.told.nodes.insert(id, record.clone());
                    Memory::Node(Box::new(record))
                }
                None if self.told.nodes.remove(&id).is_some() => Memory::Gone(id),
                None => continue,
            };
            self.outputs.push_back(RootOutput::Remember(memory));
        }
    }

    /// An epoch is used from now on.
    pub(super) fn remember_epoch(&mut self, epoch: Epoch) {
        self.told.epoch = Some(epoch);
        self.outputs.push_back(RootOutput::Remember(Memory::Epoch(epoch)));
    }
}

fn record(id: &NodeId, node: &Node, covered: Option<Incarnation>) -> Remembered {
    let more = Incarnation(node.issued.0.saturating_add(ISSUED_STEP));
    Remembered {
        id: id.clone(),
        role: node.role,
        key: node.key,
        wrap_key: node.wrap_key.clone(),
        issued: covered.filter(|covered| *covered >= node.issued).unwrap_or(more),
        server: node.server.clone(),
        media: node.media.clone(),
        http: node.http.clone(),
        region: node.region.clone(),
        labels: node.labels.clone(),
        capacity: node.capacity,
        version: node.version,
        token: node.token.clone(),
        killed: node.killed,
        serial: node.serial,
    }
}

/// Where it is, and in which incarnation, is not known: whoever has it as a child will tell.
fn restored(now: Mono, node: Remembered, serial: u32) -> Node {
    Node {
        role: node.role,
        key: node.key,
        wrap_key: node.wrap_key,
        incarnation: Incarnation::default(),
        issued: node.issued,
        server: node.server,
        media: node.media,
        http: node.http,
        region: node.region,
        labels: node.labels,
        capacity: node.capacity,
        version: node.version,
        steadiness: Steadiness::default(),
        parent: None,
        moving_to: None,
        lost: None,
        place: Place::Away { since: now },
        leaving: node.killed,
        killed: node.killed,
        pinned: false,
        token: node.token,
        serial,
        offered: now,
        stale: Vec::new(),
        stats: Vec::new(),
    }
}

//! The root's model of the tree: every node that has joined, where it is, where it shall be. It
//! answers questions and keeps the planner informed; what is sent to whom is decided in the core.

mod planned;

use super::api::NodeView;
use super::steadiness::Steadiness;
use crate::planner::{MAX_SERIAL, NodeInput, Planner};
use relay_node::control::api::KeyHash;
use soleil_protocol::message::{Capacity, HostPort, StatsContainer};
use soleil_protocol::{Incarnation, Mono, NodeId, PipelineId, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Nodes known at most, those that have gone included.
pub const MAX_NODES: usize = 16_384;

/// How long a node that was killed is remembered: as long as its certificate may be good.
pub const KILLED_FOR: Duration = Duration::from_secs(24 * 3_600);

/// How long a node that has gone is remembered (its name and incarnation).
pub const FORGET_AFTER: Duration = Duration::from_secs(600);

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It was sent to a parent and has not arrived.
    Pending {
        /// Since when.
        since: Mono,
    },
    /// In the tree.
    Attached,
    /// Not in the tree.
    Away {
        /// Since when.
        since: Mono,
    },
}

/// One node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its role.
    pub role: Role,
    /// Its key.
    pub key: KeyHash,
    /// Its HPKE key.
    pub wrap_key: Vec<u8>,
    /// Its incarnation, as of the place where it is.
    pub incarnation: Incarnation,
    /// The last incarnation that a ticket names. Every offer of a parent gets a new one, a move's
    /// as well: so news of a node's old place, however late, never overrules news of its new one.
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
    /// The version of the protocol that it speaks with us.
    pub version: u32,
    /// How often it has come back of late.
    pub steadiness: Steadiness,
    /// Its parent, as planned while pending.
    pub parent: Option<NodeId>,
    /// The parent that it is moving to.
    pub moving_to: Option<NodeId>,
    /// The last parent that it lost or did not reach.
    pub lost: Option<NodeId>,
    /// Where it is.
    pub place: Place,
    /// Whether it said BYE or was killed.
    pub leaving: bool,
    /// Whether it was killed: it gets no new keys, and comes back by a token only.
    pub killed: bool,
    /// Whether the operator has put it where it is: nothing less than need moves it.
    pub pinned: bool,
    /// The join token that it came by.
    pub token: String,
    /// Its number in ranks, given when it first joined.
    pub serial: u32,
    /// When it last got tickets.
    pub offered: Mono,
    /// Pipelines that it carries and that are over.
    pub stale: Vec<PipelineId>,
    /// Its last FULLSTATS.
    pub stats: Vec<StatsContainer>,
}

impl Node {
    /// Whether it is not in the tree, nor on its way.
    pub fn is_away(&self) -> bool {
        matches!(self.place, Place::Away { .. })
    }

    /// Its viewers by its last FULLSTATS.
    pub fn viewers(&self) -> u32 {
        if self.place != Place::Attached {
            return 0;
        }
        let viewers: f64 = self
            .stats
            .iter()
            .flat_map(|c| &c.stats)
            .filter(|s| s.name == "viewers")
            .map(|s| s.value.clamp(0.0, f64::from(u32::MAX)))
            .sum();
        // A cast saturates; the sum is finite and not negative.
        viewers.round() as u32
    }
}

/// The tree.
#[derive(Debug)]
pub struct Tree {
    root: NodeId,
    nodes: BTreeMap<NodeId, Node>,
    serials: BTreeSet<u32>,
    next_serial: u32,
    /// The same tree as it is planned.
    planner: Planner,
    /// Nodes that may have changed since the store was told.
    touched: BTreeSet<NodeId>,
}

impl Tree {
    /// A tree of the root alone.
    pub fn new(root: NodeId, capacity: Capacity, region: String) -> Self {
        let planner = Planner::new(&NodeInput {
            id: root.clone(),
            role: Role::Root,
            slots: capacity.children,
            egress: capacity.egress,
            reachable: true,
            region,
            serial: 0,
            leaving: false,
            pinned: true,
        });
        let (nodes, serials, touched) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { root, nodes, serials, next_serial: 1, planner, touched }
    }

    /// Nodes that may have come, changed or gone since this was asked last.
    pub fn take_touched(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.touched)
    }

    /// One node (not the root).
    pub fn get(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// One node, to be changed in what the planner does not know; for the rest there is
    /// [`Tree::change`].
    pub fn get_mut(&mut self, id: &NodeId) -> Option<&mut Node> {
        let node = self.nodes.get_mut(id)?;
        self.touched.insert(id.clone());
        Some(node)
    }

    /// Every node but the root, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter()
    }

    /// Changes a node; `false` if there is none.
    pub fn change(&mut self, id: &NodeId, change: impl FnOnce(&mut Node)) -> bool {
        let Some(node) = self.nodes.get_mut(id) else { return false };
        change(node);
        self.sync(id);
        true
    }

    /// Adds a node or replaces what is known of it.
    pub fn insert(&mut self, id: NodeId, node: Node) {
        if let Some(old) = self.nodes.get(&id) {
            self.serials.remove(&old.serial);
        }
        self.serials.insert(node.serial);
        self.nodes.insert(id.clone(), node);
        self.sync(&id);
    }

    fn forget(&mut self, id: &NodeId) -> bool {
        let Some(node) = self.nodes.remove(id) else { return false };
        self.serials.remove(&node.serial);
        self.sync(id);
        true
    }

    /// The number of a node that joins: the one that it has, or one that nobody has.
    pub fn serial_for(&mut self, id: &NodeId) -> u32 {
        match self.nodes.get(id) {
            Some(node) => node.serial,
            None => self.new_serial(),
        }
    }

    /// The number that a node had, unless somebody else has it, or it is none.
    pub fn keep_serial(&mut self, serial: u32) -> u32 {
        let good = (1..MAX_SERIAL).contains(&serial) && !self.serials.contains(&serial);
        if good { serial } else { self.new_serial() }
    }

    fn new_serial(&mut self) -> u32 {
        // There are far more numbers than nodes.
        while self.next_serial == 0 || self.serials.contains(&self.next_serial) {
            self.next_serial = (self.next_serial + 1) % MAX_SERIAL;
        }
        let serial = self.next_serial;
        self.next_serial = (self.next_serial + 1) % MAX_SERIAL;
        serial
    }

    /// Makes room for one more node; `false` if everybody is present.
    pub fn make_room(&mut self) -> bool {
        if self.nodes.len() < MAX_NODES {
            return true;
        }
        let oldest = self
            .nodes
            .iter()
            .filter_map(|(id, n)| match n.place {
                Place::Away { since } => Some((since, id.clone())),
                _ => None,
            })
            .min();
        oldest.is_some_and(|(_, id)| self.forget(&id))
    }

    /// Forgets nodes that went long ago and gives up on those that never arrived, and says who these
    /// are; `None` if there was nothing to do.
    pub fn expire(&mut self, now: Mono, pending_for: Duration) -> Option<Vec<NodeId>> {
        let pending = |n: &Node| match n.place {
            Place::Pending { since } => now.since(since) >= pending_for,
            _ => false,
        };
        let gone = |n: &Node| match n.place {
            Place::Away { since } if n.killed => now.since(since) >= KILLED_FOR,
            Place::Away { since } => now.since(since) >= FORGET_AFTER,
            _ => false,
        };
        let which = |test: &dyn Fn(&Node) -> bool| -> Vec<NodeId> {
            self.nodes.iter().filter(|(_, n)| test(n)).map(|(id, _)| id.clone()).collect()
        };
        let (late, gone) = (which(&pending), which(&gone));
        for id in &late {
            self.change(id, |node| {
                node.lost = node.parent.take();
                node.place = Place::Away { since: now };
            });
        }
        for id in &gone {
            self.forget(id);
        }
        (!late.is_empty() || !gone.is_empty()).then_some(late)
    }

    /// The id that a joiner gets: what it asks for, or with a suffix if that is another's. A key
    /// that is known under that name keeps the id that it has.
    pub fn name_for(&self, wanted: &NodeId, key: &KeyHash) -> Option<NodeId> {
        let own = |id: &NodeId| self.nodes.get(id).is_some_and(|n| n.key == *key);
        if own(wanted) {
            return Some(wanted.clone());
        }
        let free = |id: &NodeId| *id != self.root && !self.nodes.contains_key(id);
        if free(wanted) {
            return Some(wanted.clone());
        }
        let mut first_free = None;
        for number in 2..=MAX_NODES {
            let suffix = format!("-{number}");
            let stem = wanted.as_str().get(..NodeId::MAX_LEN - suffix.len());
            let name = format!("{}{suffix}", stem.unwrap_or(wanted.as_str()));
            let id = NodeId::new(&name).ok()?;
            if own(&id) {
                return Some(id);
            }
            if free(&id) {
                // Names are given in order: behind the first free one there is ours at most if
                // somebody between was forgotten, and then a new one does no harm.
                first_free = Some(id);
                break;
            }
        }
        first_free
    }

    /// Whether a node is the root or attached.
    pub fn is_attached(&self, id: &NodeId) -> bool {
        *id == self.root || self.get(id).is_some_and(|n| n.place == Place::Attached)
    }

    /// Hops from the root if the whole path stands.
    pub fn depth(&self, id: &NodeId) -> Option<u32> {
        let mut at = id;
        let mut depth = 0;
        while *at != self.root {
            let node = self.nodes.get(at)?;
            if node.place != Place::Attached {
                return None;
            }
            depth += 1;
            if depth > 64 {
                return None;
            }
            at = node.parent.as_ref()?;
        }
        Some(depth)
    }

    /// Whether a node above this one was killed.
    pub fn is_below_killed(&self, id: &NodeId) -> bool {
        let mut at = self.nodes.get(id).and_then(|n| n.parent.as_ref());
        for _ in 0..64 {
            match at.and_then(|id| self.nodes.get(id)) {
                Some(node) if node.killed => return true,
                Some(node) => at = node.parent.as_ref(),
                None => return false,
            }
        }
        false
    }

    /// Every node as the outside sees it.
    pub fn views(&self) -> Vec<NodeView> {
        self.nodes
            .iter()
            .map(|(id, node)| {
                let depth = self.depth(id);
                NodeView {
                    id: id.clone(),
                    role: node.role,
                    incarnation: node.incarnation,
                    parent: node.parent.clone(),
                    rank: self.planner.rank(id),
                    depth: depth.unwrap_or_default(),
                    backups: self.planner.backups(id),
                    attached: depth.is_some(),
                    leaving: node.leaving,
                    server: node.server.clone(),
                    media: node.media.clone(),
                    http: node.http.clone(),
                    region: node.region.clone(),
                    labels: node.labels.clone(),
                    capacity: node.capacity,
                    children: self.planner.used(id),
                    viewers: node.viewers(),
                    stats: node.stats.clone(),
                }
            })
            .collect()
    }

    /// Children of the root, those on their way included.
    pub fn root_children(&self) -> u32 {
        self.planner.used(&self.root)
    }

    /// Attached nodes, parents before children.
    pub fn in_order(&self) -> Vec<NodeId> {
        let mut nodes: Vec<(u32, &NodeId)> =
            self.nodes.keys().filter_map(|id| Some((self.depth(id)?, id))).collect();
        nodes.sort();
        nodes.into_iter().map(|(_, id)| id.clone()).collect()
    }
}

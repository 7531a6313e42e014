//! The root's model of the tree: every node that has joined, where it is, where it shall be. It
//! answers questions and keeps counts; what is sent to whom is decided in the core.

use super::api::NodeView;
use super::policy::{Candidate, choose_parent};
use relay_node::control::api::KeyHash;
use soleil_protocol::message::{Capacity, HostPort, StatsContainer};
use soleil_protocol::{Incarnation, Mono, NodeId, PipelineId, Rank, Role};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Nodes known at most, those that have gone included.
pub const MAX_NODES: usize = 16_384;

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
    /// The join token that it came by.
    pub token: String,
    /// Pipelines that it carries and that are over.
    pub stale: Vec<PipelineId>,
    /// Its last FULLSTATS.
    pub stats: Vec<StatsContainer>,
}

impl Node {
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
    root_capacity: Capacity,
    root_region: String,
    nodes: BTreeMap<NodeId, Node>,
}

impl Tree {
    /// A tree of the root alone.
    pub fn new(root: NodeId, capacity: Capacity, region: String) -> Self {
        Self { root, root_capacity: capacity, root_region: region, nodes: BTreeMap::new() }
    }

    /// One node (not the root).
    pub fn get(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// One node, to be changed.
    pub fn get_mut(&mut self, id: &NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    /// Every node but the root, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &Node)> {
        self.nodes.iter()
    }

    /// Adds a node or replaces what is known of it.
    pub fn insert(&mut self, id: NodeId, node: Node) {
        self.nodes.insert(id, node);
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
        oldest.is_some_and(|(_, id)| self.nodes.remove(&id).is_some())
    }

    /// Forgets nodes that went long ago and gives up on those that never arrived.
    pub fn expire(&mut self, now: Mono, pending_for: Duration) -> bool {
        let mut changed = false;
        for node in self.nodes.values_mut() {
            if let Place::Pending { since } = node.place
                && now.since(since) >= pending_for
            {
                node.lost = node.parent.take();
                node.place = Place::Away { since: now };
                changed = true;
            }
        }
        let before = self.nodes.len();
        self.nodes.retain(
            |_, n| !matches!(n.place, Place::Away { since } if now.since(since) >= FORGET_AFTER),
        );
        changed || before != self.nodes.len()
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

    /// Hops from the root if the whole path stands; `None` else, or if it leads over `without`.
    pub fn depth(&self, id: &NodeId, without: Option<&NodeId>) -> Option<u32> {
        let mut at = id;
        let mut depth = 0;
        while *at != self.root {
            let node = self.nodes.get(at)?;
            if node.place != Place::Attached || Some(at) == without {
                return None;
            }
            // A node on the move stands on both legs: neither may lead over `without`.
            if let Some(next) = &node.moving_to
                && (Some(next) == without || without.is_some_and(|w| self.is_below(next, w)))
            {
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

    /// Whether `id` lies below `above` or is it, by what is planned.
    fn is_below(&self, id: &NodeId, above: &NodeId) -> bool {
        let mut at = id;
        for _ in 0..64 {
            if at == above {
                return true;
            }
            match self.nodes.get(at).and_then(|n| n.moving_to.as_ref().or(n.parent.as_ref())) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        true
    }

    /// Children of each node, those on their way included.
    pub fn child_counts(&self) -> BTreeMap<&NodeId, u32> {
        let mut counts = BTreeMap::new();
        for node in self.nodes.values() {
            if matches!(node.place, Place::Away { .. }) {
                continue;
            }
            for parent in node.parent.iter().chain(&node.moving_to) {
                *counts.entry(parent).or_default() += 1;
            }
        }
        counts
    }

    /// Chooses a parent for a node (in the tree or not).
    pub fn choose(
        &self,
        joiner: &NodeId,
        role: Role,
        region: &str,
        avoid: Option<&NodeId>,
    ) -> Option<NodeId> {
        let mut counts = self.child_counts();
        // Its own place does not count against it.
        if let Some(node) = self.get(joiner)
            && !matches!(node.place, Place::Away { .. })
        {
            for parent in node.parent.iter().chain(&node.moving_to) {
                if let Some(count) = counts.get_mut(parent) {
                    *count -= 1;
                }
            }
        }
        let root = Candidate {
            id: self.root.clone(),
            role: Role::Root,
            depth: 0,
            children: counts.get(&self.root).copied().unwrap_or(0),
            capacity: self.root_capacity.children,
            near: region == self.root_region,
        };
        let relays = self.nodes.iter().filter_map(|(id, node)| {
            if node.leaving || node.role != Role::Relay || node.server.is_none() {
                return None;
            }
            Some(Candidate {
                id: id.clone(),
                role: node.role,
                depth: self.depth(id, Some(joiner))?,
                children: counts.get(id).copied().unwrap_or(0),
                capacity: node.capacity.children,
                near: region == node.region,
            })
        });
        let candidates: Vec<Candidate> = std::iter::once(root).chain(relays).collect();
        choose_parent(role, avoid, &candidates)
    }

    /// Whether a move is possible: the parent has room and does not hang below the node.
    pub fn may_move(&self, id: &NodeId, parent: &NodeId) -> bool {
        let room = |capacity: &Capacity| {
            self.child_counts().get(parent).copied().unwrap_or(0) < capacity.children
        };
        if !self.is_attached(id) || *id == self.root {
            return false;
        }
        if *parent == self.root {
            return room(&self.root_capacity);
        }
        self.get(parent).is_some_and(|p| {
            p.role == Role::Relay && !p.leaving && p.server.is_some() && room(&p.capacity)
        }) && self.depth(parent, Some(id)).is_some()
    }

    /// Every node as the outside sees it.
    pub fn views(&self) -> Vec<NodeView> {
        let counts = self.child_counts();
        self.nodes
            .iter()
            .map(|(id, node)| {
                let depth = self.depth(id, None);
                NodeView {
                    id: id.clone(),
                    role: node.role,
                    incarnation: node.incarnation,
                    parent: node.parent.clone(),
                    rank: Rank(depth.unwrap_or_default()),
                    attached: depth.is_some(),
                    leaving: node.leaving,
                    server: node.server.clone(),
                    media: node.media.clone(),
                    http: node.http.clone(),
                    region: node.region.clone(),
                    labels: node.labels.clone(),
                    capacity: node.capacity,
                    children: counts.get(id).copied().unwrap_or(0),
                    viewers: node.viewers(),
                    stats: node.stats.clone(),
                }
            })
            .collect()
    }

    /// Children of the root, those on their way included.
    pub fn root_children(&self) -> u32 {
        self.child_counts().get(&self.root).copied().unwrap_or(0)
    }

    /// Attached nodes, parents before children.
    pub fn in_order(&self) -> Vec<NodeId> {
        let mut nodes: Vec<(u32, &NodeId)> =
            self.nodes.keys().filter_map(|id| Some((self.depth(id, None)?, id))).collect();
        nodes.sort();
        nodes.into_iter().map(|(_, id)| id.clone()).collect()
    }
}

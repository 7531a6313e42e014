//! What befalls many nodes at once: regions, power cuts and partitions.
//!
//! A machine without power and a cut link have in common that nobody closes a connection: what is
//! sent into it waits or is lost, and the other end has to notice by itself. Where a simulation has no
//! forwarding planes, [`Sim::path`] says in their stead whose media path is silent and whose is open
//! again.

use super::node::{AnyCore, SimNode};
use super::queue::What;
use super::wire::node_at;
use super::world::Sim;
use rand::Rng;
use relay_node::control::NodeCore;
use relay_node::control::api::{ConnId, Event};
use relay_node::media::api::PlaneEvent;
use soleil_protocol::LinkId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// When a plane says that a link is silent: after 200 ms without a heartbeat, which come each 50 ms.
const SILENCE: std::ops::RangeInclusive<u64> = 200_000..=250_000;

/// When a plane says that a path is open again: it tries several times a second.
const OPENING: std::ops::RangeInclusive<u64> = 20_000..=500_000;

/// How a node without a plane sees a media link.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hop {
    /// The parent's place, once it has the link.
    pub(super) parent: Option<usize>,
    /// The child's place, once it has the link.
    pub(super) child: Option<usize>,
}

impl Hop {
    fn other(&self, node: usize) -> Option<usize> {
        if self.parent == Some(node) { self.child } else { self.parent }
    }
}

impl Sim {
    /// Links between two regions take so much longer, one way. Nodes measure round trips from now on
    /// even if they have no planes.
    pub fn set_far(&mut self, far: Duration) {
        self.far = far;
    }

    /// One way between two nodes, without jitter, in microseconds.
    pub(super) fn distance(&self, from: usize, to: usize) -> u64 {
        let delay = self.setup.weather.delay.as_micros() as u64;
        if self.far.is_zero() || self.nodes[from].region == self.nodes[to].region {
            return delay;
        }
        delay + self.far.as_micros() as u64
    }

    /// Places of the live nodes of a region.
    pub fn in_region(&self, region: &str) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|i| self.nodes[*i].runs() && self.nodes[*i].region == region)
            .collect()
    }

    /// The machine loses its power: no connection is closed, nothing answers.
    pub fn power_off(&mut self, node: usize) {
        self.nodes[node].alive = false;
        self.nodes[node].dark = true;
        self.look_around(node, SILENCE);
    }

    /// A relay or leaf that does not run is started again on the same machine, with the key that it
    /// had. Who still has a connection to the process before learns that there is none.
    ///
    /// # Panics
    /// If it runs, or is the root (for which there is [`Sim::start_root_again`]).
    pub fn start_again(&mut self, node: usize) {
        assert!(!self.nodes[node].runs(), "it runs");
        let params = self.nodes[node].params.clone().expect("a relay or leaf");
        for conn in self.connections_of(node) {
            self.close(node, conn);
        }
        let vault = self.nodes[node].vault.clone().speaking(self.speaks);
        let core = NodeCore::new(params.clone(), Box::new(vault.clone()), self.rng.random());
        let core = core.speaking(self.speaks);
        let plane = self.new_plane();
        let old = &self.nodes[node];
        let mut new =
            SimNode::new(AnyCore::Node(Box::new(core)), vault, old.role, plane).of(params);
        (new.side, new.traffic) = (old.side, old.traffic);
        (new.clock_ahead, new.version) = (old.clock_ahead, self.speaks);
        self.nodes[node] = new;
        self.parked.remove(&node);
        self.push(self.now, What::Wake(node));
    }

    pub(super) fn connections_of(&self, node: usize) -> Vec<ConnId> {
        let all = (node, ConnId(0))..=(node, ConnId(u64::MAX));
        self.ends.range(all).map(|((_, conn), _)| *conn).collect()
    }

    /// Cuts these nodes off from all others, on control links and media links alike. Connections
    /// neither close nor carry anything. Whoever was cut off before stays so, and is on one side
    /// with these.
    pub fn cut(&mut self, nodes: &[usize]) {
        self.cut_at.get_or_insert(self.now);
        for node in nodes {
            self.nodes[*node].side = 1;
        }
        for node in nodes {
            self.look_around(*node, SILENCE);
        }
    }

    /// Everybody reaches everybody again. What TCP had still to deliver comes when the sender tries
    /// the next time, which takes up to as long as the partition has lasted (RFC 6298: the pause
    /// doubles).
    pub fn heal(&mut self) {
        let Some(since) = self.cut_at.take() else { return };
        let lasted = (self.now - since).max(1);
        self.nodes.iter_mut().for_each(|node| node.side = 0);
        let mut tries: BTreeMap<(usize, ConnId), u64> = BTreeMap::new();
        for what in std::mem::take(&mut self.held) {
            let mut at = self.now + self.rng.random_range(0..lasted);
            if let Some(key) = connection(&what) {
                at = *tries.entry(key).or_insert(at);
                // Nothing that is sent later overtakes it.
                let sender = self.ends.get(&key).map(|end| (end.peer, end.peer_conn));
                if let Some(end) = sender.and_then(|sender| self.ends.get_mut(&sender)) {
                    end.last = end.last.max(at);
                }
            }
            self.push(at, what);
        }
        for node in 0..self.nodes.len() {
            let at = self.now + self.rng.random_range(OPENING);
            self.push(at, What::Path(node));
        }
    }

    /// Whether what happens comes from the other side of a partition: then it waits until that has
    /// healed. Datagrams are lost.
    pub(super) fn held_back(&mut self, what: What) -> Option<What> {
        if self.cut_at.is_none() {
            return Some(what);
        }
        let to = what.node();
        let from = match &what {
            What::Accepted { from, .. } => Some(*from),
            What::Datagram { from, .. } => node_at(*from),
            _ => connection(&what).and_then(|key| self.ends.get(&key)).map(|end| end.peer),
        };
        match from {
            Some(from) if !self.reach(from, to) => {
                if !matches!(what, What::Datagram { .. }) {
                    self.held.push(what);
                }
                None
            }
            _ => Some(what),
        }
    }

    /// Whether no partition lies between two nodes.
    pub(super) fn reach(&self, from: usize, to: usize) -> bool {
        self.nodes[from].side == self.nodes[to].side
    }

    /// Those who have a media link with a node, and itself, look at their links a moment later.
    fn look_around(&mut self, node: usize, when: std::ops::RangeInclusive<u64>) {
        if self.setup.media {
            return;
        }
        let links: Vec<LinkId> = self.nodes[node].shadow.links.keys().copied().collect();
        let hops = links.iter().filter_map(|link| self.hops.get(link)?.other(node));
        for neighbour in hops.chain([node]).collect::<Vec<_>>() {
            let at = self.now + self.rng.random_range(when.clone());
            self.push(at, What::Path(neighbour));
        }
    }

    /// What a plane would say by now: which links are silent, and which are open again.
    pub(super) fn path(&mut self, node: usize) {
        if self.setup.media || !self.nodes[node].runs() || self.nodes[node].frozen {
            return;
        }
        let links: Vec<LinkId> = self.nodes[node].shadow.links.keys().copied().collect();
        for link in links {
            let Some(other) = self.hops.get(&link).and_then(|hop| hop.other(node)) else {
                continue;
            };
            let open = self.nodes[other].runs() && self.reach(node, other);
            // A plane that was started anew knows nothing of the links of the one before.
            let open = open && self.nodes[other].shadow.links.contains_key(&link);
            let changed = match open {
                false => self.nodes[node].silent.insert(link),
                true => self.nodes[node].silent.remove(&link),
            };
            if changed {
                let address = SocketAddr::from(([192, 0, 2, 1], 1));
                let event = match open {
                    false => PlaneEvent::LinkSilent(link),
                    true => PlaneEvent::LinkOpen(link, address),
                };
                self.give(node, Event::Plane(event));
            }
        }
    }
}

/// On which connection something comes.
fn connection(what: &What) -> Option<(usize, ConnId)> {
    match what {
        What::Message { to, conn, .. }
        | What::Closed { to, conn }
        | What::Dialed { to, conn, .. }
        | What::Accepted { to, conn, .. } => Some((*to, *conn)),
        _ => None,
    }
}

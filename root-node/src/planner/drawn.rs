//! What follows from a drawing (thesis 5.3): what dangles is pruned, nodes are weighed by role and
//! links by the sum of their ends, Kruskal's minimum spanning tree is taken, and the links that are
//! left over become redundancy links, which are the nodes' backups. Pure.
//!
//! The weights make the roles come out right: links among root and relays are the lightest, so all
//! of these are connected before any leaf is, and each leaf gets one link. Links of the same weight
//! are taken from the root outwards, which keeps the tree flat.
//!
//! Kruskal knows no capacities. Where a node gets more relays than it takes, some go over a
//! redundancy link to another node, and a leaf takes the first of its links with room; those who
//! find none are left out, with the reason.

mod result;
mod sets;

use super::MAX_DEPTH;
use super::drawing::{Drawing, DrawnLink};
use super::full::Assignment;
use sets::Sets;
use soleil_protocol::{NodeId, Role};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Why a node of the drawing has no place in the tree, or a link no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Why {
    /// Nodes: its name is there already.
    #[error("another node has this name")]
    NameTwice,
    /// Nodes: a second root.
    #[error("there is one root already")]
    SecondRoot,
    /// Nodes: no way over relays leads to the root.
    #[error("no way over relays leads to the root")]
    NoWayToRoot,
    /// Nodes: a relay that leads nowhere.
    #[error("it leads to no leaf")]
    NoLeaf,
    /// Nodes: whoever it is linked to has as many children as it takes.
    #[error("who it is linked to takes no more children")]
    NoRoom,
    /// Nodes: what it hangs below has no place.
    #[error("what it hangs below has no place")]
    AboveLeftOut,
    /// Nodes: further from the root than a tree may be deep.
    #[error("it is too far from the root")]
    TooDeep,
    /// Links: an end is not in the drawing.
    #[error("an end of it is not in the drawing")]
    UnknownEnd,
    /// Links: both ends are one node, or the link is there already.
    #[error("it is there already, or leads from a node to itself")]
    LinkTwice,
    /// Links: neither end can be a parent.
    #[error("neither of two leaves can feed the other")]
    BetweenLeaves,
    /// Links: it went with a node that was pruned.
    #[error("an end of it was pruned")]
    EndPruned,
}

/// What follows from a drawing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drawn {
    /// Places of nodes: parent, rank, and backups by the redundancy links.
    pub nodes: BTreeMap<NodeId, Assignment>,
    /// Links that are not in the tree.
    pub redundancy: Vec<DrawnLink>,
    /// Nodes that dangle, in the order in which they were pruned.
    pub pruned: Vec<(NodeId, Why)>,
    /// Links that are of no use.
    pub dropped: Vec<(DrawnLink, Why)>,
    /// Nodes for which there is no room.
    pub left_out: Vec<(NodeId, Why)>,
}

/// A drawing without a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the drawing has no root")]
pub struct NoRoot;

#[derive(Debug, Clone, Copy)]
struct Node {
    role: Role,
    slots: usize,
}

/// The graph while it is worked on.
struct Graph {
    root: NodeId,
    nodes: BTreeMap<NodeId, Node>,
    links: BTreeMap<NodeId, BTreeSet<NodeId>>,
    parents: BTreeMap<NodeId, NodeId>,
    children: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

/// Makes the tree.
///
/// # Errors
/// If there is no root.
pub fn draw(drawing: &Drawing) -> Result<Drawn, NoRoot> {
    let mut drawn = Drawn::default();
    let mut graph = Graph::read(drawing, &mut drawn)?;
    graph.prune(&mut drawn);
    graph.span(&mut drawn);
    graph.finish(&mut drawn);
    Ok(drawn)
}

fn weight(role: Role) -> u32 {
    match role {
        Role::Root => 1,
        Role::Relay => 2,
        Role::Leaf => 4,
    }
}

impl Graph {
    fn read(drawing: &Drawing, drawn: &mut Drawn) -> Result<Graph, NoRoot> {
        let root = drawing.nodes.iter().find(|n| n.role == Role::Root).ok_or(NoRoot)?;
        let mut graph = Graph {
            root: root.id.clone(),
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            parents: BTreeMap::new(),
            children: BTreeMap::new(),
        };
        for node in &drawing.nodes {
            let slots = if node.role == Role::Leaf { 0 } else { node.children as usize };
            if node.role == Role::Root && node.id != graph.root {
                drawn.pruned.push((node.id.clone(), Why::SecondRoot));
            } else if graph.nodes.contains_key(&node.id) {
                drawn.pruned.push((node.id.clone(), Why::NameTwice));
            } else {
                graph.nodes.insert(node.id.clone(), Node { role: node.role, slots });
            }
        }
        for link in &drawing.links {
            let role = |id: &NodeId| graph.nodes.get(id).map(|n| n.role);
            let why = match (role(&link.a), role(&link.b)) {
                (None, _) | (_, None) => Some(Why::UnknownEnd),
                (Some(Role::Leaf), Some(Role::Leaf)) if link.a != link.b => {
                    Some(Why::BetweenLeaves)
                }
                _ if link.a == link.b || graph.linked(&link.a, &link.b) => Some(Why::LinkTwice),
                _ => None,
            };
            match why {
                Some(why) => drawn.dropped.push((link.clone(), why)),
                None => {
                    graph.links.entry(link.a.clone()).or_default().insert(link.b.clone());
                    graph.links.entry(link.b.clone()).or_default().insert(link.a.clone());
                }
            }
        }
        Ok(graph)
    }

    fn linked(&self, a: &NodeId, b: &NodeId) -> bool {
        self.links.get(a).is_some_and(|links| links.contains(b))
    }

    fn neighbours<'a>(&'a self, id: &NodeId) -> impl Iterator<Item = &'a NodeId> + use<'a> {
        self.links.get(id).into_iter().flatten()
    }

    fn role(&self, id: &NodeId) -> Role {
        self.nodes.get(id).map_or(Role::Leaf, |n| n.role)
    }

    fn take_out(&mut self, id: &NodeId, why: Why, drawn: &mut Drawn) {
        self.nodes.remove(id);
        for other in self.links.remove(id).unwrap_or_default() {
            if let Some(links) = self.links.get_mut(&other) {
                links.remove(id);
            }
            let link = DrawnLink { a: id.clone(), b: other };
            drawn.dropped.push((link, Why::EndPruned));
        }
        drawn.pruned.push((id.clone(), why));
    }

    /// Takes out what no way over relays leads to, and relays that lead nowhere.
    fn prune(&mut self, drawn: &mut Drawn) {
        let reached = self.hops();
        let lost = self.nodes.keys().filter(|id| !reached.contains_key(*id));
        for id in lost.cloned().collect::<Vec<_>>() {
            self.take_out(&id, Why::NoWayToRoot, drawn);
        }
        let mut suspects: VecDeque<NodeId> = self.nodes.keys().cloned().collect();
        while let Some(id) = suspects.pop_front() {
            let dangles = self.role(&id) == Role::Relay && self.neighbours(&id).count() < 2;
            if self.nodes.contains_key(&id) && dangles {
                suspects.extend(self.neighbours(&id).cloned());
                self.take_out(&id, Why::NoLeaf, drawn);
            }
        }
    }

    /// Hops from the root over relays.
    fn hops(&self) -> BTreeMap<NodeId, u32> {
        let mut hops = BTreeMap::from([(self.root.clone(), 0)]);
        let mut queue = VecDeque::from([(self.root.clone(), 0)]);
        while let Some((id, depth)) = queue.pop_front() {
            if self.role(&id) == Role::Leaf {
                continue;
            }
            for next in self.neighbours(&id) {
                if !hops.contains_key(next) {
                    hops.insert(next.clone(), depth + 1);
                    queue.push_back((next.clone(), depth + 1));
                }
            }
        }
        hops
    }

    /// Links by weight, those nearer to the root first.
    fn sorted(&self) -> Vec<(NodeId, NodeId)> {
        let hops = self.hops();
        let hop = |id: &NodeId| hops.get(id).copied().unwrap_or(u32::MAX);
        let mut links: Vec<(u32, u32, &NodeId, &NodeId)> = Vec::new();
        for (a, others) in &self.links {
            for b in others.iter().filter(|b| a < *b) {
                let weight = weight(self.role(a)) + weight(self.role(b));
                links.push((weight, hop(a).min(hop(b)), a, b));
            }
        }
        links.sort();
        links.into_iter().map(|(_, _, a, b)| (a.clone(), b.clone())).collect()
    }

    /// Kruskal's minimum spanning tree. Links to leaves are the heaviest: by then the rest hangs
    /// from the root and has its room sorted out, and each leaf takes its first link with room.
    fn span(&mut self, drawn: &mut Drawn) {
        let links = self.sorted();
        let to_leaf =
            |(a, b): &&(NodeId, NodeId)| self.role(a) == Role::Leaf || self.role(b) == Role::Leaf;
        let (last, first): (Vec<_>, Vec<_>) = links.iter().partition(to_leaf);
        let mut sets = Sets::new(self.nodes.keys());
        let mut tree: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for (a, b) in first {
            if sets.join(a, b) {
                tree.entry(a.clone()).or_default().push(b.clone());
                tree.entry(b.clone()).or_default().push(a.clone());
            }
        }
        let mut queue = VecDeque::from([self.root.clone()]);
        while let Some(id) = queue.pop_front() {
            for next in tree.get(&id).into_iter().flatten() {
                if *next != self.root && !self.parents.contains_key(next) {
                    self.hang(next, &id);
                    queue.push_back(next.clone());
                }
            }
        }
        self.make_room(drawn);
        for (a, b) in last {
            let (leaf, parent) = if self.role(a) == Role::Leaf { (a, b) } else { (b, a) };
            if !self.parents.contains_key(leaf) && self.takes(parent) {
                self.hang(leaf, parent);
            }
        }
        let leaves = self.nodes.iter().filter(|(_, n)| n.role == Role::Leaf);
        let alone = leaves.filter(|(id, _)| !self.parents.contains_key(*id));
        for leaf in alone.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            if !self.squeeze_in(&leaf) {
                let near = self.neighbours(&leaf).any(|id| self.in_tree(id));
                drawn.left_out.push((leaf, if near { Why::NoRoom } else { Why::AboveLeftOut }));
            }
        }
    }

    /// Whether a node is in the tree and has a free slot.
    fn takes(&self, id: &NodeId) -> bool {
        self.in_tree(id) && self.free(id) > 0
    }

    fn in_tree(&self, id: &NodeId) -> bool {
        *id == self.root || self.parents.contains_key(id)
    }

    /// Finds room for a leaf by sending another one elsewhere.
    fn squeeze_in(&mut self, leaf: &NodeId) -> bool {
        let found = self.neighbours(leaf).filter(|id| self.in_tree(id)).find_map(|parent| {
            let children = self.children.get(parent).into_iter().flatten();
            children.filter(|child| self.role(child) == Role::Leaf).find_map(|child| {
                let other = self.neighbours(child).find(|id| *id != parent && self.takes(id))?;
                Some((parent.clone(), child.clone(), other.clone()))
            })
        });
        let Some((parent, child, other)) = found else { return false };
        self.hang(&child, &other);
        self.hang(leaf, &parent);
        true
    }

    fn hang(&mut self, id: &NodeId, parent: &NodeId) {
        if let Some(old) = self.parents.insert(id.clone(), parent.clone())
            && let Some(children) = self.children.get_mut(&old)
        {
            children.remove(id);
        }
        self.children.entry(parent.clone()).or_default().insert(id.clone());
    }

    fn free(&self, id: &NodeId) -> usize {
        let used = self.children.get(id).map_or(0, BTreeSet::len);
        self.nodes.get(id).map_or(0, |n| n.slots.saturating_sub(used))
    }

    fn is_below(&self, id: &NodeId, above: &NodeId) -> bool {
        let mut at = Some(id);
        while let Some(here) = at {
            if here == above {
                return true;
            }
            at = self.parents.get(here);
        }
        false
    }

    fn depth(&self, id: &NodeId) -> u32 {
        let mut depth = 0;
        let mut at = self.parents.get(id);
        while let Some(here) = at {
            depth += 1;
            at = self.parents.get(here);
        }
        depth
    }

    /// Nodes of the tree, parents before their children.
    fn in_order(&self) -> Vec<NodeId> {
        let mut order = vec![self.root.clone()];
        let mut at = 0;
        while let Some(id) = order.get(at).cloned() {
            order.extend(self.children.get(&id).into_iter().flatten().cloned());
            at += 1;
        }
        order
    }

    /// Hangs relays over redundancy links elsewhere where there are too many of them.
    fn make_room(&mut self, drawn: &mut Drawn) {
        for id in self.in_order() {
            let slots = self.nodes.get(&id).map_or(0, |n| n.slots);
            let mut children: Vec<NodeId> =
                self.children.get(&id).into_iter().flatten().cloned().collect();
            let mut surplus = children.len().saturating_sub(slots);
            // The smallest first: large ones belong near the root.
            children.sort_by_key(|child| (self.nodes.get(child).map(|n| n.slots), child.clone()));
            for child in &children {
                if surplus > 0
                    && let Some(other) = self.other_parent(child, &id)
                {
                    self.hang(child, &other);
                    surplus -= 1;
                }
            }
            children.retain(|child| self.parents.get(child) == Some(&id));
            for child in children.into_iter().take(surplus) {
                self.cut(&child, Why::NoRoom, drawn);
            }
        }
        let mut depths: BTreeMap<NodeId, u32> = BTreeMap::new();
        for id in self.in_order() {
            let above = self.parents.get(&id).and_then(|parent| depths.get(parent));
            let depth = above.map_or(0, |depth| depth + 1);
            depths.insert(id.clone(), depth);
            if depth == MAX_DEPTH + 1 {
                self.cut(&id, Why::TooDeep, drawn);
            }
        }
    }

    fn other_parent(&self, child: &NodeId, parent: &NodeId) -> Option<NodeId> {
        let possible = self
            .neighbours(child)
            .filter(|other| *other != parent && self.takes(other) && !self.is_below(other, child));
        possible.min_by_key(|other| (self.depth(other), (*other).clone())).cloned()
    }

    /// Takes a subtree out of the tree.
    fn cut(&mut self, id: &NodeId, why: Why, drawn: &mut Drawn) {
        if let Some(children) = self.parents.get(id).and_then(|p| self.children.get_mut(p)) {
            children.remove(id);
        }
        let mut stack = vec![(id.clone(), why)];
        while let Some((at, why)) = stack.pop() {
            self.parents.remove(&at);
            let children = self.children.remove(&at).unwrap_or_default();
            stack.extend(children.into_iter().map(|child| (child, Why::AboveLeftOut)));
            drawn.left_out.push((at, why));
        }
    }
}

//! What is true in the simulated world, compared with what the cores believe. Everything is
//! derived from one fact: which live node is attached to which.

use super::world::{Peering, Sim};
use relay_node::media::api::PeerSide;
use soleil_protocol::{NodeId, PipelineId, Role};
use std::collections::{BTreeMap, BTreeSet};

impl Sim {
    /// Who hangs below whom, by the children's own word.
    pub fn edges(&self) -> Vec<Peering> {
        let place: BTreeMap<NodeId, usize> =
            self.nodes.iter().enumerate().map(|(i, n)| (n.id(), i)).collect();
        let live = self.nodes.iter().enumerate().filter(|(_, n)| n.alive && !n.stopped);
        live.filter_map(|(i, n)| Some((i, *place.get(n.core().parent()?)?))).collect()
    }

    /// Whether every live node is attached and every belief is true.
    pub fn settled(&self) -> bool {
        self.disagreement().is_none()
    }

    /// The first belief that is not true.
    pub fn disagreement(&self) -> Option<String> {
        let edges = self.edges();
        let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (child, parent) in &edges {
            children.entry(*parent).or_default().push(*child);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if !node.alive || node.stopped {
                continue;
            }
            let id = node.id();
            if index > 0 && node.core().parent().is_none() {
                return Some(format!("{id} has no parent"));
            }
            let mut below = BTreeSet::new();
            let own = children.get(&index).cloned().unwrap_or_default();
            for child in &own {
                let mut stack = vec![*child];
                let mut behind = BTreeSet::new();
                while let Some(node) = stack.pop() {
                    if !behind.insert(self.nodes[node].id()) {
                        return Some(format!("a circle below {id}"));
                    }
                    stack.extend(children.get(&node).cloned().unwrap_or_default());
                }
                let child = self.nodes[*child].id();
                let believed: BTreeSet<NodeId> =
                    node.core().subtree().behind(&child).cloned().collect();
                if believed != behind {
                    return Some(format!("{id} believes {believed:?} behind {child}: {behind:?}"));
                }
                below.extend(behind);
            }
            if node.core().subtree().len() != below.len() {
                return Some(format!("{id} routes to too many"));
            }
            if let Some(wrong) = self.wrong_links(index, &own) {
                return Some(wrong);
            }
        }
        self.wrong_view(&edges).or_else(|| self.wrong_rows(&edges))
    }

    /// Media links: one to the parent, one to each child, with the same secrets at both ends.
    fn wrong_links(&self, index: usize, children: &[usize]) -> Option<String> {
        let node = &self.nodes[index];
        let expected = children.len() + usize::from(index > 0);
        let used = node.shadow.links.values().filter(|link| !link.standby).count();
        if used != expected {
            return Some(format!("{} has {used} links", node.id()));
        }
        for child in children {
            let other = &self.nodes[*child];
            let both = other
                .shadow
                .links
                .iter()
                .filter(|(_, theirs)| !theirs.standby)
                .find_map(|(link, theirs)| Some((theirs, node.shadow.links.get(link)?)));
            let Some((theirs, ours)) = both else {
                return Some(format!("no link between {} and {}", node.id(), other.id()));
            };
            let same = theirs.credential.0 == ours.credential.0
                && theirs.child_nonce == ours.child_nonce
                && theirs.parent_nonce == ours.parent_nonce
                && theirs.child == ours.child
                && theirs.peer == PeerSide::Parent
                && ours.peer == PeerSide::Child;
            if !same {
                return Some(format!("{} and {} disagree", node.id(), other.id()));
            }
        }
        None
    }

    /// The root's view of the tree.
    fn wrong_view(&self, edges: &[Peering]) -> Option<String> {
        let parents: BTreeMap<NodeId, NodeId> =
            edges.iter().map(|(c, p)| (self.nodes[*c].id(), self.nodes[*p].id())).collect();
        let believed: BTreeMap<NodeId, NodeId> = self
            .view
            .nodes
            .iter()
            .filter(|n| n.attached && n.role != Role::Root)
            .filter_map(|n| Some((n.id.clone(), n.parent.clone()?)))
            .collect();
        (parents != believed).then(|| "the root's view of the tree is wrong".to_owned())
    }

    /// The forwarding tables: a layer goes to a child if and only if somebody below wants it.
    fn wrong_rows(&self, edges: &[Peering]) -> Option<String> {
        for node in self.nodes.iter().filter(|n| n.alive && !n.stopped) {
            for (pipeline, ssrc, target) in &node.shadow.rows {
                let Some(link) = target else { continue };
                let child = edges.iter().find(|(c, _)| {
                    self.nodes[*c].shadow.links.contains_key(link)
                        && self.nodes[*c].id() != node.id()
                });
                let Some((child, _)) = child else {
                    return Some(format!("{} sends to nobody", node.id()));
                };
                let child = &self.nodes[*child];
                let known = child.shadow.pipelines.contains(pipeline);
                if !known {
                    return Some(format!("{} gets {pipeline} unknown ({ssrc})", child.id()));
                }
            }
        }
        None
    }

    /// Whether a pipeline's rows lead from the root to exactly these nodes' own use.
    pub fn plays_exactly(&self, pipeline: PipelineId, leaves: &BTreeSet<usize>) -> bool {
        let edges: BTreeMap<usize, usize> = self.edges().into_iter().collect();
        let mut expected: BTreeSet<usize> = BTreeSet::new();
        for leaf in leaves {
            let mut at = *leaf;
            while let Some(parent) = edges.get(&at) {
                expected.insert(at);
                at = *parent;
            }
        }
        // Every expected node gets both layers from its parent, nobody else gets any.
        self.nodes.iter().enumerate().filter(|(_, n)| n.alive && !n.stopped).all(|(i, node)| {
            let own = node.shadow.rows.iter().filter(|(p, _, t)| *p == pipeline && t.is_none());
            let fed = edges.get(&i).map_or(0, |parent| {
                let rows = &self.nodes[*parent].shadow.rows;
                let links = &node.shadow.links;
                rows.iter()
                    .filter(|(p, _, t)| *p == pipeline && t.is_some_and(|l| links.contains_key(&l)))
                    .count()
            });
            own.count() == if leaves.contains(&i) { 2 } else { 0 }
                && fed == if expected.contains(&i) { 2 } else { 0 }
        })
    }

    /// Viewers by the root's statistics of a pipeline, and in truth.
    pub fn viewers(&self, pipeline: PipelineId) -> (f64, f64) {
        let view = self.view.pipelines.iter().find(|p| p.def.id == pipeline);
        let stat = view.and_then(|p| p.stats.iter().find(|s| s.name == "viewers"));
        let truth: u32 = self.nodes.iter().filter(|n| n.alive).map(|n| n.viewers).sum();
        (stat.map_or(0.0, |s| s.value), f64::from(truth))
    }
}

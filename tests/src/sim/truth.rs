//! What is true in the simulated world, compared with what the cores believe. Everything is
//! derived from one fact: which live node is attached to which. A look at all beliefs costs about
//! as much as there are nodes, times the depth of the tree.

use super::node::SimNode;
use super::world::{Peering, Sim};
use relay_node::media::api::{HopLink, PeerSide};
use soleil_protocol::{LinkId, PipelineId, Role};
use std::collections::{BTreeSet, HashMap};

/// Statistics are compared to so much of their value: sums of floating-point numbers depend on the
/// order.
const EXACT: f64 = 1e-9;

/// Who hangs below whom, by the children's own word.
struct Truth {
    /// The parent of each place.
    parents: Vec<Option<usize>>,
    /// The children of each place.
    children: Vec<Vec<usize>>,
}

impl Sim {
    fn truth(&self, who: impl Fn(&SimNode) -> bool) -> Truth {
        let mut parents = vec![None; self.nodes.len()];
        let mut children = vec![Vec::new(); self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate().filter(|(_, n)| who(n)) {
            let parent = node.core().parent().and_then(|id| self.place(id));
            parents[place] = parent;
            if let Some(parent) = parent {
                children[parent].push(place);
            }
        }
        Truth { parents, children }
    }

    /// Who hangs below whom, by the children's own word.
    pub fn edges(&self) -> Vec<Peering> {
        let parents = self.truth(SimNode::runs).parents.into_iter().enumerate();
        parents.filter_map(|(child, parent)| Some((child, parent?))).collect()
    }

    /// Whether every live node is attached and every belief is true.
    pub fn settled(&self) -> bool {
        self.disagreement().is_none()
    }

    /// The first belief that is not true. Who is cut off counts as gone.
    pub fn disagreement(&self) -> Option<String> {
        let truth = self.truth(SimNode::takes_part);
        for (place, node) in self.nodes.iter().enumerate().skip(1) {
            if !node.takes_part() {
                continue;
            }
            let id = node.core().id();
            match truth.parents[place] {
                None => return Some(format!("{id} has no parent")),
                Some(parent) if !self.nodes[parent].takes_part() => {
                    return Some(format!("{id} hangs below a node that is gone"));
                }
                Some(_) => {}
            }
        }
        circle(self, &truth)
            .or_else(|| self.wrong_routes(&truth))
            .or_else(|| self.wrong_links(&truth))
            .or_else(|| self.wrong_view(&truth))
            .or_else(|| self.wrong_rows(&truth))
    }

    /// A loop: a node that by the word of nodes is above itself.
    pub fn circle(&self) -> Option<String> {
        circle(self, &self.truth(SimNode::runs))
    }

    /// Nodes that run and whose path ends at the root, by their own word.
    pub fn attached(&self) -> usize {
        let truth = self.truth(SimNode::runs);
        let mut known = vec![None; self.nodes.len()];
        if let Some(root) = known.first_mut() {
            *root = Some(self.nodes[0].runs());
        }
        for place in 1..self.nodes.len() {
            let mut path = Vec::new();
            let mut at = Some(place);
            let found = loop {
                match at {
                    None => break false,
                    Some(at) if known[at].is_some() => break known[at] == Some(true),
                    // A loop leads nowhere.
                    Some(_) if path.len() > self.nodes.len() => break false,
                    Some(here) => {
                        path.push(here);
                        at = truth.parents[here];
                    }
                }
            };
            path.into_iter().for_each(|node| known[node] = Some(found));
        }
        known.iter().skip(1).filter(|known| **known == Some(true)).count()
    }

    /// How the tree looks by the root's word: hops to the deepest node, and the share of all nodes that
    /// is behind the busiest of the root's children.
    pub fn shape(&self) -> (u32, f64) {
        let depth = self.view.nodes.iter().map(|n| n.depth).max().unwrap_or_default();
        let table = self.nodes[0].core().subtree();
        let most = table.children().map(|child| table.behind(child).count()).max();
        (depth, most.unwrap_or_default() as f64 / table.len().max(1) as f64)
    }

    /// The routing tables: everybody above a node knows by which child it is reached, and knows of
    /// nobody else.
    fn wrong_routes(&self, truth: &Truth) -> Option<String> {
        let mut below = vec![0; self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate() {
            let id = node.core().id();
            let mut child = place;
            while let Some(parent) = truth.parents[child] {
                below[parent] += 1;
                let by = self.nodes[child].core().id();
                let core = self.nodes[parent].core();
                if core.subtree().next_hop(id) != Some(by) {
                    return Some(format!("{} does not know {id} behind {by}", core.id()));
                }
                child = parent;
            }
        }
        let runs = self.nodes.iter().enumerate().filter(|(_, node)| node.takes_part());
        for (place, node) in runs {
            let believed = node.core().subtree().len();
            if believed != below[place] {
                let id = node.core().id();
                return Some(format!("{id} routes to {believed} nodes, not {}", below[place]));
            }
        }
        None
    }

    /// Media links: one to the parent, one to each child, with the same secrets at both ends.
    fn wrong_links(&self, truth: &Truth) -> Option<String> {
        for (place, node) in self.nodes.iter().enumerate().filter(|(_, n)| n.takes_part()) {
            let expected = truth.children[place].len() + usize::from(place > 0);
            let used = node.shadow.links.values().filter(|link| !link.standby).count();
            if used != expected {
                return Some(format!("{} has {used} links", node.core().id()));
            }
            for child in &truth.children[place] {
                let other = &self.nodes[*child];
                let theirs = other.shadow.links.iter().filter(|(_, theirs)| !theirs.standby);
                let mut both =
                    theirs.filter_map(|(link, t)| Some((t, node.shadow.links.get(link)?)));
                let wrong = match both.next() {
                    None => "no link between",
                    Some((theirs, ours)) if !same(theirs, ours) => "two secrets of",
                    Some(_) => continue,
                };
                return Some(format!("{wrong} {} and {}", node.core().id(), other.core().id()));
            }
        }
        None
    }

    /// The root's view of the tree.
    fn wrong_view(&self, truth: &Truth) -> Option<String> {
        let attached = self.view.nodes.iter().filter(|n| n.attached && n.role != Role::Root);
        let mut believed = 0;
        for node in attached {
            let Some(parent) = &node.parent else { continue };
            believed += 1;
            let place = self.place(&node.id);
            let true_parent = place.and_then(|place| truth.parents[place]);
            if true_parent.is_none_or(|place| self.nodes[place].core().id() != parent) {
                return Some(format!("the root believes {} below {parent}", node.id));
            }
        }
        let attached = truth.parents.iter().flatten().count();
        (believed != attached).then(|| format!("the root knows {believed} of {attached} nodes"))
    }

    /// The forwarding tables: rows lead to children, and those know the pipeline.
    fn wrong_rows(&self, truth: &Truth) -> Option<String> {
        let mut holders: HashMap<LinkId, usize> = HashMap::new();
        for (child, _) in truth.parents.iter().enumerate().filter(|(_, parent)| parent.is_some()) {
            let links = self.nodes[child].shadow.links.iter();
            let up = links.filter(|(_, link)| link.peer == PeerSide::Parent);
            holders.extend(up.map(|(link, _)| (*link, child)));
        }
        for node in self.nodes.iter().filter(|n| n.takes_part()) {
            for (pipeline, ssrc, target) in &node.shadow.rows {
                let Some(link) = target else { continue };
                let Some(child) = holders.get(link) else {
                    return Some(format!("{} sends to nobody", node.core().id()));
                };
                let child = &self.nodes[*child];
                if !child.shadow.pipelines.contains(pipeline) {
                    return Some(format!("{} gets {pipeline} unknown ({ssrc})", child.core().id()));
                }
            }
        }
        None
    }

    /// Whether a pipeline's rows lead from the root to exactly these nodes' own use.
    pub fn plays_exactly(&self, pipeline: PipelineId, leaves: &BTreeSet<usize>) -> bool {
        let truth = self.truth(SimNode::runs);
        let mut expected: BTreeSet<usize> = BTreeSet::new();
        for leaf in leaves {
            let mut at = *leaf;
            while let Some(parent) = truth.parents[at] {
                expected.insert(at);
                at = parent;
            }
        }
        // Every expected node gets both layers from its parent, nobody else gets any.
        self.nodes.iter().enumerate().filter(|(_, n)| n.runs()).all(|(i, node)| {
            let rows = |place: usize| {
                self.nodes[place].shadow.rows.iter().filter(|(p, _, _)| *p == pipeline)
            };
            let own = rows(i).filter(|(_, _, target)| target.is_none()).count();
            let links = &node.shadow.links;
            let fed = truth.parents[i].map_or(0, |parent| {
                let ours = |target: &Option<LinkId>| target.is_some_and(|l| links.contains_key(&l));
                rows(parent).filter(|(_, _, target)| ours(target)).count()
            });
            own == if leaves.contains(&i) { 2 } else { 0 }
                && fed == if expected.contains(&i) { 2 } else { 0 }
        })
    }

    /// Viewers by the root's statistics of a pipeline, and in truth.
    pub fn viewers(&self, pipeline: PipelineId) -> (f64, f64) {
        let seen = self.root_statistic(pipeline, "viewers").map_or(0.0, |(value, _)| value);
        let truth: f64 =
            self.nodes.iter().filter(|n| n.takes_part()).map(|n| f64::from(n.viewers)).sum();
        (seen, truth)
    }

    /// Value and weight of a figure by the root's statistics of a pipeline.
    fn root_statistic(&self, pipeline: PipelineId, name: &str) -> Option<(f64, f64)> {
        let view = self.view.pipelines.iter().find(|p| p.def.id == pipeline)?;
        let stat = view.stats.iter().find(|s| s.name == name)?;
        Some((stat.value, stat.weight.unwrap_or_default()))
    }

    /// The first of the root's statistics of a pipeline that is not the truth: the sum of viewers,
    /// and the mean round trip of all viewers ([`Sim::set_audience`]) with its weight.
    pub fn wrong_statistics(&self, pipeline: PipelineId) -> Option<String> {
        let (seen, viewers) = self.viewers(pipeline);
        if seen != viewers {
            return Some(format!("{seen} viewers at the root, {viewers} in truth"));
        }
        let live = self.nodes.iter().filter(|n| n.takes_part() && n.rtt_ms.is_some());
        let (mut sum, mut weight) = (0.0, 0.0);
        for node in live {
            sum += node.rtt_ms.unwrap_or_default() * f64::from(node.viewers);
            weight += f64::from(node.viewers);
        }
        if weight == 0.0 {
            return None;
        }
        let (mean, seen) = self.root_statistic(pipeline, "rtt").unwrap_or_default();
        let truth = sum / weight;
        if seen != weight || (mean - truth).abs() > truth * EXACT {
            return Some(format!("rtt {mean} of {seen} at the root, {truth} of {weight} in truth"));
        }
        None
    }
}

/// Looks for a node that is above itself.
fn circle(sim: &Sim, truth: &Truth) -> Option<String> {
    // In which walk a node was met first, counted from 1.
    let mut met = vec![0; truth.parents.len()];
    for start in 0..truth.parents.len() {
        let walk = start + 1;
        let mut at = Some(start);
        while let Some(here) = at {
            match met[here] {
                0 => met[here] = walk,
                seen if seen == walk => {
                    return Some(format!("{} is above itself", sim.nodes[here].core().id()));
                }
                _ => break,
            }
            at = truth.parents[here];
        }
    }
    None
}

/// Whether both ends of a link have the same idea of it.
fn same(theirs: &HopLink, ours: &HopLink) -> bool {
    theirs.credential.0 == ours.credential.0
        && theirs.child_nonce == ours.child_nonce
        && theirs.parent_nonce == ours.parent_nonce
        && theirs.child == ours.child
        && theirs.peer == PeerSide::Parent
        && ours.peer == PeerSide::Child
}

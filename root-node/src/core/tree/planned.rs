//! The tree and the planner: what the planner is told of nodes, and what is asked of it.

use super::{Node, Place, Tree};
use crate::planner::{self, NodeInput, Planner};
use soleil_protocol::{Mono, NodeId};

impl Node {
    /// The node as the planner is told of it.
    fn input(&self, id: &NodeId) -> NodeInput {
        NodeInput {
            id: id.clone(),
            role: self.role,
            // Nobody is put below a node that keeps falling over.
            slots: if self.steadiness.is_trusted() { self.capacity.children } else { 0 },
            egress: self.capacity.egress,
            reachable: self.server.is_some(),
            region: self.region.clone(),
            serial: self.serial,
            leaving: self.leaving,
            pinned: self.pinned,
        }
    }

    /// Where it is by the plan: where it goes, if it is on the move.
    fn planned(&self) -> planner::Place<'_> {
        if matches!(self.place, Place::Away { .. }) {
            return planner::Place::default();
        }
        let attached = self.place == Place::Attached;
        match &self.moving_to {
            Some(to) => planner::Place { parent: Some(to), leg: self.parent.as_ref(), attached },
            None => planner::Place { parent: self.parent.as_ref(), leg: None, attached },
        }
    }
}

impl Tree {
    /// The tree as it is planned.
    pub fn planner(&self) -> &Planner {
        &self.planner
    }

    /// The planner, to be asked for changes. What it plans and nobody carries out is undone by
    /// [`Tree::sync`].
    pub fn planner_mut(&mut self) -> &mut Planner {
        &mut self.planner
    }

    /// Plans a place for a joiner, who is not in the tree yet (or not any more, whatever we
    /// believe); `None` if there is no room. [`Tree::insert`] makes it true, [`Tree::sync`] undoes
    /// it.
    pub fn plan_join(
        &mut self,
        id: &NodeId,
        node: &Node,
        avoid: Option<&NodeId>,
    ) -> Option<NodeId> {
        self.planner.put(&node.input(id));
        self.planner.place(id, &planner::Place::default());
        let parent = self.planner.choose(id, avoid);
        // A place below a node that keeps falling over is better than none.
        let parent = parent.or_else(|| {
            self.trust_all();
            self.planner.choose(id, avoid)
        });
        let room = || self.planner.makes_room(id).then(|| self.root.clone());
        let parent = parent.or_else(room)?;
        let place = planner::Place { parent: Some(&parent), leg: None, attached: false };
        self.planner.place(id, &place);
        self.planner.back_up(id);
        Some(parent)
    }

    /// Gives nodes that have stood long enough another chance.
    pub fn trust_again(&mut self, now: Mono) {
        self.trust(|node| node.steadiness.is_over(now));
    }

    fn trust_all(&mut self) {
        self.trust(|node| !node.steadiness.is_trusted());
    }

    fn trust(&mut self, whom: impl Fn(&Node) -> bool) {
        let nodes = self.nodes.iter().filter(|(_, node)| whom(node));
        for id in nodes.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.change(&id, |node| node.steadiness.trust());
        }
    }

    /// Tells the planner what is true of a node, and the store that it may have changed.
    pub fn sync(&mut self, id: &NodeId) {
        self.touched.insert(id.clone());
        let Some(node) = self.nodes.get(id) else { return self.planner.remove(id) };
        self.planner.put(&node.input(id));
        self.planner.place(id, &node.planned());
    }

    /// Tells the planner whatever it has wrong.
    pub fn sync_all(&mut self) {
        let wrong = |id: &NodeId, node: &Node| !self.planner.is_at(id, &node.planned());
        let wrong: Vec<NodeId> =
            self.nodes.iter().filter(|(id, n)| wrong(id, n)).map(|(id, _)| id.clone()).collect();
        for id in wrong {
            self.sync(&id);
        }
    }
}

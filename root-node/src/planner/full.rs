//! A whole plan at once, from a list of nodes: what the tree would be if everybody followed it.

use super::{Move, NodeInput, Place, Planner};
use soleil_protocol::{NodeId, Rank};
use std::collections::BTreeMap;

/// Rounds over nodes whose backups have changed another's.
const MAX_ROUNDS: usize = 16;

/// What a plan is made of.
#[derive(Debug, Clone)]
pub struct Input {
    /// The root.
    pub root: NodeInput,
    /// Everybody else, with the present parent.
    pub nodes: Vec<(NodeInput, Option<NodeId>)>,
    /// Round trips in milliseconds, by the node that has measured them.
    pub rtts: Vec<(NodeId, NodeId, f64)>,
    /// What every child costs, in bits a second; 0 if unknown.
    pub demand: u64,
    /// Moves of nodes that have a parent already.
    pub moves: usize,
}

/// Where one node shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Its parent.
    pub parent: NodeId,
    /// Its place in the order of all.
    pub rank: Rank,
    /// Its backups, best first.
    pub backups: Vec<NodeId>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Everybody who has a place.
    pub nodes: BTreeMap<NodeId, Assignment>,
    /// Nodes that go from one parent to another.
    pub moves: Vec<Move>,
    /// Nodes for which there is no room.
    pub left_out: Vec<NodeId>,
}

/// Plans everything. The order of the lists does not matter.
///
/// Those who have a parent keep it, unless a move pays; then relays, those with most slots first;
/// then everybody else.
pub fn plan(input: &Input) -> Plan {
    let mut planner = Planner::new(&input.root);
    planner.set_demand(input.demand);
    let mut nodes: Vec<&(NodeInput, Option<NodeId>)> = input.nodes.iter().collect();
    let size = |n: &NodeInput| if n.reachable { n.slots } else { 0 };
    nodes.sort_by(|(a, _), (b, _)| {
        a.role
            .cmp(&b.role)
            .then(size(b).cmp(&size(a)))
            .then(a.serial.cmp(&b.serial))
            .then(a.id.cmp(&b.id))
    });
    for (node, _) in &nodes {
        planner.put(node);
    }
    for (from, to, millis) in &input.rtts {
        planner.set_rtt(from, to, *millis);
    }
    for (node, parent) in &nodes {
        if let Some(parent) = parent.as_ref().filter(|p| planner.has_slot(p)) {
            planner.place(&node.id, &Place { parent: Some(parent), leg: None, attached: true });
        }
    }
    for (node, _) in &nodes {
        // Also what hung below a parent that is not in the tree.
        if planner.depth(&node.id).is_none()
            && let Some(parent) = planner.choose(&node.id, None)
        {
            planner.place(&node.id, &Place { parent: Some(&parent), leg: None, attached: true });
        }
    }
    let moves = planner.improve(nodes.len(), input.moves);
    for moved in &moves {
        planner.place(&moved.node, &Place { parent: Some(&moved.to), leg: None, attached: true });
    }
    // What is looked at can make room scarce for another: that ends after a round or two.
    for _ in 0..MAX_ROUNDS {
        if !planner.settle(nodes.len().max(1)) {
            break;
        }
    }
    let mut plan = Plan { moves, ..Plan::default() };
    for (node, present) in &nodes {
        match planner.parent(&node.id).filter(|_| planner.depth(&node.id).is_some()) {
            Some(parent) => {
                let (rank, backups) = (planner.rank(&node.id), planner.backups(&node.id));
                if let Some(from) = present.clone().filter(|p| p != parent && planner.knows(p))
                    && !plan.moves.iter().any(|m| m.node == node.id)
                {
                    let (node, to) = (node.id.clone(), parent.clone());
                    plan.moves.push(Move { node, from, to, gain_micros: 0 });
                }
                let assignment = Assignment { parent: parent.clone(), rank, backups };
                plan.nodes.insert(node.id.clone(), assignment);
            }
            None => plan.left_out.push(node.id.clone()),
        }
    }
    plan.left_out.sort();
    plan
}

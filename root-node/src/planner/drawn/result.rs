//! What a tree out of a drawing is to the nodes: ranks, and backups by the redundancy links; and what
//! it is to the operator: who is left out, and why.

use super::super::drawing::DrawnLink;
use super::super::full::Assignment;
use super::super::{BACKUPS, rank};
use super::{Drawn, Graph, Why};
use soleil_protocol::{NodeId, Rank};
use std::collections::BTreeMap;

impl Drawn {
    /// What the operator should know: which nodes and links have no place, and why.
    pub fn remarks(&self) -> Vec<String> {
        let node =
            |(id, why): &(NodeId, Why)| format!("node {id} is left out of the drawing: {why}");
        let link = |(link, why): &(DrawnLink, Why)| {
            format!("link {} - {} is left out of the drawing: {why}", link.a, link.b)
        };
        let nodes = self.pruned.iter().chain(&self.left_out).map(node);
        nodes.chain(self.dropped.iter().map(link)).collect()
    }
}

impl Graph {
    pub(super) fn finish(&self, drawn: &mut Drawn) {
        let serials = self.nodes.keys().filter(|id| **id != self.root).zip(1_u32..);
        let mut ranks: BTreeMap<&NodeId, Rank> = BTreeMap::from([(&self.root, Rank(0))]);
        for (id, serial) in serials {
            if self.parents.contains_key(id) {
                ranks.insert(id, rank(self.depth(id), serial));
            }
        }
        for (a, others) in &self.links {
            for b in others.iter().filter(|b| a < *b) {
                let used = self.parents.get(a) == Some(b) || self.parents.get(b) == Some(a);
                if !used {
                    drawn.redundancy.push(DrawnLink { a: a.clone(), b: b.clone() });
                }
            }
        }
        // By backup and parent: those who would come at once.
        let mut claims: BTreeMap<(&NodeId, &NodeId), usize> = BTreeMap::new();
        for (id, parent) in &self.parents {
            let Some(own) = ranks.get(id) else { continue };
            let mut backups: Vec<(bool, bool, Rank, &NodeId)> = Vec::new();
            for other in self.neighbours(id).filter(|other| *other != parent) {
                let Some(theirs) = ranks.get(other).filter(|theirs| *theirs < own) else {
                    continue;
                };
                let claimed = claims.get(&(other, parent)).copied().unwrap_or(0);
                let full = self.free(other) <= claimed;
                if self.nodes.get(other).is_some_and(|n| n.slots > 0) {
                    backups.push((full, self.shares(other, parent), *theirs, other));
                }
            }
            backups.sort();
            backups.truncate(BACKUPS);
            if let Some((false, _, _, first)) = backups.first() {
                *claims.entry((first, parent)).or_default() += 1;
            }
            let backups = backups.into_iter().map(|(_, _, _, id)| id.clone()).collect();
            let assignment = Assignment { parent: parent.clone(), rank: *own, backups };
            drawn.nodes.insert(id.clone(), assignment);
        }
    }

    /// Whether a backup's way to the root and the parent's have a relay in common.
    fn shares(&self, backup: &NodeId, parent: &NodeId) -> bool {
        let mut at = Some(backup).filter(|id| **id != self.root);
        while let Some(id) = at {
            if self.is_below(parent, id) {
                return true;
            }
            at = self.parents.get(id).filter(|id| **id != self.root);
        }
        false
    }
}

//! Nodes that are removed: by KILL, or because their join token was revoked. The streams get a key
//! that they don't have, and whoever gets it hears who does not.

use super::tree::Node;
use super::{RootCore, RootTimer};
use soleil_protocol::limits::MAX_REMOVALS;
use soleil_protocol::message::Kill;
use soleil_protocol::{Body, Incarnation, NodeId, PipelineId};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long removals are gathered before their new epoch: nodes that are killed together, one command
/// after the other, share one, which none of them gets.
const GATHER: Duration = Duration::from_millis(100);

/// How long a node whose join token was revoked may take to go: its viewers and what it holds on to
/// need a moment, as with SIGTERM.
const REVOKED_GRACE_SECS: u32 = 10;

impl RootCore {
    pub(super) fn kill(&mut self, id: &NodeId, grace_secs: u32, reason: String) {
        let known = self.tree.change(id, |node| {
            node.leaving = true;
            node.killed = true;
        });
        if !known {
            tracing::warn!(node = %id, "no such node to kill");
            return;
        }
        self.name_removed(id);
        self.move_children_of(id);
        self.node.send_to(id, Body::Kill(Kill { grace_secs, reason }));
        self.timers.set_if_idle(RootTimer::Rotate, self.now.mono.after(GATHER));
        self.touch();
    }

    /// From now on whoever gets new keys hears that this node has none of them.
    pub(super) fn name_removed(&mut self, id: &NodeId) {
        let Some(last) = self.tree.get(id).map(|node| node.issued) else { return };
        self.removed.retain(|(known, _)| known != id);
        if self.removed.len() >= MAX_REMOVALS {
            self.removed.pop_front();
        }
        self.removed.push_back((id.clone(), last));
    }

    /// Those who were removed, and have neither come back by a new token nor been gone for so long
    /// that no certificate of theirs is good.
    pub(super) fn removed(&mut self) -> Vec<(NodeId, Incarnation)> {
        let tree = &self.tree;
        self.removed.retain(|(id, _)| tree.get(id).is_some_and(|node| node.killed));
        self.removed.iter().cloned().collect()
    }

    /// Nodes have been removed: every pipeline gets a key that they don't.
    pub(super) fn rotate_all(&mut self) {
        // The root is a backup, too.
        let removed = self.removed();
        self.node.put_out(&removed);
        let ids: Vec<PipelineId> = self.pipelines.keys().copied().collect();
        for pipeline in ids {
            self.rotate(pipeline);
        }
    }

    /// Removes the nodes whose join token has been taken back since.
    pub(super) fn remove_revoked(&mut self) {
        let mut tokens: BTreeMap<&str, bool> = BTreeMap::new();
        for (_, node) in self.tree.iter().filter(|(_, node)| !node.killed) {
            tokens.entry(&node.token).or_insert_with(|| self.authority.token_stands(&node.token));
        }
        let revoked = |node: &Node| !node.killed && tokens.get(node.token.as_str()) == Some(&false);
        let gone: Vec<NodeId> =
            self.tree.iter().filter(|(_, n)| revoked(n)).map(|(id, _)| id.clone()).collect();
        for id in gone {
            tracing::warn!(node = %id, "its join token was revoked: it is removed");
            self.kill(&id, REVOKED_GRACE_SECS, "the join token was revoked".to_owned());
        }
    }
}

//! Asking nodes for their own numbers: viewers of leaves, round trips of all.

use super::tree::Place;
use super::{RootCore, RootTimer};
use soleil_protocol::message::{ReqFullStats, StatsContainer};
use soleil_protocol::stats::VERSION_STAT;
use soleil_protocol::{Body, NodeId, Role};
use std::time::Duration;

/// How often a leaf is asked for its FULLSTATS (in [`POLL_SLOTS`] groups, so that a thousand
/// requests don't leave at once).
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Groups of leaves that are asked one after another.
pub(super) const POLL_SLOTS: u32 = 4;

/// Groups of relays: each is asked every 10 s. Their round trips change slowly, and viewers are not
/// sent by what they say.
const RELAY_POLL_SLOTS: u32 = 20;

/// What FULLSTATS calls a round trip to another node, before that node's id.
const RTT_PREFIX: &str = "rtt.";

impl RootCore {
    /// Asks one group of leaves, and one of relays, for their statistics.
    pub(super) fn poll(&mut self) {
        self.timers.set(RootTimer::Poll, self.now.mono.after(POLL_INTERVAL / POLL_SLOTS));
        self.poll_slot = self.poll_slot.wrapping_add(1);
        let mut asked = self.group(Role::Leaf, POLL_SLOTS);
        asked.extend(self.group(Role::Relay, RELAY_POLL_SLOTS));
        for id in asked {
            self.node.send_to(&id, Body::ReqFullStats(ReqFullStats { pipeline: None }));
        }
    }

    fn group(&self, role: Role, slots: u32) -> Vec<NodeId> {
        let slot = (self.poll_slot % slots) as usize;
        self.tree
            .iter()
            .filter(|(_, n)| n.role == role && n.place == Place::Attached)
            .enumerate()
            .filter(|(i, _)| i % slots as usize == slot)
            .map(|(_, (id, _))| id.clone())
            .collect()
    }

    /// Takes the version that a node speaks out of its FULLSTATS: one that joined at a root of an older
    /// version may know more than that root wrote down.
    pub(super) fn take_version(&mut self, from: &NodeId, containers: &[StatsContainer]) {
        let own = containers.iter().filter(|c| c.id.is_none());
        let said = own.flat_map(|c| &c.stats).find(|stat| stat.name == VERSION_STAT);
        if let Some(stat) = said {
            // A cast saturates.
            self.set_version(from, stat.value as u32);
        }
    }

    /// A node says which version it speaks.
    pub(super) fn set_version(&mut self, id: &NodeId, said: u32) {
        let version = said.min(self.node.speaks());
        if let Some(node) = self.tree.get_mut(id).filter(|node| node.version != version) {
            node.version = version;
            self.versions_changed.insert(id.clone());
        }
    }

    /// If some node's version has changed, those who may go to it are told anew what it speaks: a few
    /// at a time, as ever.
    pub(super) fn tell_versions(&mut self) {
        for id in std::mem::take(&mut self.versions_changed) {
            self.tree.planner_mut().forget_told_around(&id);
            self.plan_soon();
        }
    }

    /// Takes the round trips out of a node's FULLSTATS.
    pub(super) fn take_rtts(&mut self, from: &NodeId, containers: &[StatsContainer]) {
        let own = containers.iter().filter(|c| c.id.is_none());
        for stat in own.flat_map(|c| &c.stats) {
            let peer = stat.name.strip_prefix(RTT_PREFIX).and_then(|id| NodeId::new(id).ok());
            if let Some(peer) = peer {
                self.tree.planner_mut().set_rtt(from, &peer, stat.value);
            }
        }
    }
}

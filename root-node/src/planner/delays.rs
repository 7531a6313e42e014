//! Delays between nodes: measured where they are, else assumed by region.

use super::forest::{Ix, Planner};
use super::{ALIKE_MICROS, FAR_MICROS, MAX_RTT_MICROS, MAX_RTTS, NEAR_MICROS};
use soleil_protocol::NodeId;

impl Planner {
    /// A round trip that `from` has measured, in milliseconds. What is no time is not believed.
    pub fn set_rtt(&mut self, from: &NodeId, to: &NodeId, millis: f64) {
        let (Some(from), Some(to)) = (self.ix(from), self.ix(to)) else { return };
        if !millis.is_finite() || millis < 0.0 || from == to {
            return;
        }
        // A cast saturates.
        let micros = ((millis * 500.0) as u32).min(MAX_RTT_MICROS / 2);
        let entry = &mut self.entries[from];
        let parent = entry.parent;
        if entry.rtts.len() >= MAX_RTTS && !entry.rtts.contains_key(&to) {
            let other = entry.rtts.keys().copied().find(|ix| Some(*ix) != parent);
            if let Some(other) = other {
                entry.rtts.remove(&other);
                self.entries[other].measured_by.remove(&from);
            }
        }
        let old = self.entries[from].rtts.insert(to, micros);
        self.entries[to].measured_by.insert(from);
        // A subtree is not gone through for a trifle.
        let trifle = old.is_some_and(|old| old.abs_diff(micros) < ALIKE_MICROS / 5);
        if trifle {
            self.entries[from].rtts.insert(to, old.unwrap_or(micros));
        } else if parent == Some(to) {
            self.refresh(from);
        }
    }

    /// One-way delay between a node and a (possible) parent.
    fn hop(&self, ix: Ix, parent: Ix) -> u32 {
        let (node, above) = (&self.entries[ix], &self.entries[parent]);
        let assumed = if node.region == above.region { NEAR_MICROS } else { FAR_MICROS };
        node.rtts.get(&parent).copied().unwrap_or(assumed)
    }

    /// Delay from the root to a node below a (possible) parent.
    pub(super) fn delay_via(&self, ix: Ix, parent: Ix) -> u32 {
        self.entries[parent].delay.saturating_add(self.hop(ix, parent))
    }
}

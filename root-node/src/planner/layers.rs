//! Nodes with room, sorted: a set for each depth, and within it one for each region. So the best
//! candidate is found at the front instead of by a look at everybody.

use super::forest::Ix;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// How candidates for a parent are sorted within a depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OpenKey {
    /// Only what is kept for backups is left.
    pub(super) over: bool,
    /// Delay from the root, in steps.
    pub(super) far: u32,
    /// It has no leaf below it.
    pub(super) asleep: bool,
    /// Used slots in thousandths.
    pub(super) load: u32,
    pub(super) serial: u32,
    pub(super) ix: Ix,
}

/// How candidates for a backup are sorted within a depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct SpareKey {
    /// Nodes that would come here first, in thousandths of its slots.
    pub(super) load: u32,
    pub(super) serial: u32,
    pub(super) ix: Ix,
}

/// One depth.
#[derive(Debug)]
struct Layer<K> {
    all: BTreeSet<K>,
    near: BTreeMap<u32, BTreeSet<K>>,
}

/// All depths.
#[derive(Debug)]
pub(super) struct Layers<K> {
    depths: Vec<Layer<K>>,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot<K> {
    pub(super) depth: u32,
    pub(super) region: u32,
    pub(super) key: K,
}

impl<K> Default for Layers<K> {
    fn default() -> Self {
        Self { depths: Vec::new() }
    }
}

impl<K: Ord + Copy> Layers<K> {
    /// Depths that may have entries.
    pub(super) fn depths(&self) -> u32 {
        // At most MAX_DEPTH + 1 of them.
        self.depths.len() as u32
    }

    /// Moves an entry from where it was to where it belongs now.
    pub(super) fn change(&mut self, old: Option<Spot<K>>, new: Option<Spot<K>>) {
        if let Some(old) = old
            && let Some(layer) = self.depths.get_mut(old.depth as usize)
        {
            layer.all.remove(&old.key);
            if let Some(near) = layer.near.get_mut(&old.region) {
                near.remove(&old.key);
                if near.is_empty() {
                    layer.near.remove(&old.region);
                }
            }
        }
        if let Some(new) = new {
            while self.depths.len() <= new.depth as usize {
                self.depths.push(Layer { all: BTreeSet::new(), near: BTreeMap::new() });
            }
            if let Some(layer) = self.depths.get_mut(new.depth as usize) {
                layer.all.insert(new.key);
                layer.near.entry(new.region).or_default().insert(new.key);
            }
        }
    }

    /// Entries of a depth from a key on, best first.
    pub(super) fn all(&self, depth: u32, from: K) -> impl Iterator<Item = &K> {
        let layer = self.depths.get(depth as usize);
        layer.into_iter().flat_map(move |l| l.all.range((Bound::Included(from), Bound::Unbounded)))
    }

    /// The same of one region.
    pub(super) fn near(&self, depth: u32, region: u32, from: K) -> impl Iterator<Item = &K> {
        let set = self.depths.get(depth as usize).and_then(|l| l.near.get(&region));
        set.into_iter().flat_map(move |s| s.range((Bound::Included(from), Bound::Unbounded)))
    }
}

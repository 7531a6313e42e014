//! Which nodes are connected already: union and find.

use soleil_protocol::NodeId;
use std::collections::BTreeMap;

/// Sets of connected nodes.
pub(super) struct Sets<'a> {
    numbers: BTreeMap<&'a NodeId, usize>,
    leaders: Vec<usize>,
}

impl<'a> Sets<'a> {
    /// Nobody is connected.
    pub(super) fn new(ids: impl Iterator<Item = &'a NodeId>) -> Self {
        let numbers: BTreeMap<&NodeId, usize> = ids.zip(0..).collect();
        let leaders = (0..numbers.len()).collect();
        Self { numbers, leaders }
    }

    fn leader(&mut self, id: &NodeId) -> Option<usize> {
        let mut at = *self.numbers.get(id)?;
        while self.leaders[at] != at {
            self.leaders[at] = self.leaders[self.leaders[at]];
            at = self.leaders[at];
        }
        Some(at)
    }

    /// Connects two; `false` if they were connected.
    pub(super) fn join(&mut self, a: &NodeId, b: &NodeId) -> bool {
        let (Some(a), Some(b)) = (self.leader(a), self.leader(b)) else { return false };
        if a != b {
            self.leaders[a] = b;
        }
        a != b
    }
}

//! Which parent a node gets. The rules, in this order:
//!
//! 0. What the operator has drawn comes before all of them ([`super::follow`]).
//! 1. Hard: a parent can be reached, is no leaf, has a free slot, has arrived (and everybody above
//!    it), is not about to leave and does not hang below the node. (One exception: [`Planner::makes_room`].)
//! 2. The root is kept for relays: a leaf goes there only if no relay has room, and never takes its
//!    last slot, nor the last one of the whole tree, or no relay could join and make room.
//! 3. Leaves take what is kept for backups only when nothing else is left.
//! 4. Least depth: a layer is used when the one above is full. For leaves it is full when three
//!    quarters of its slots are used, if there is a deeper one that is not.
//! 5. Least delay from the root, where less than 10 ms is no difference. What was not measured is
//!    assumed by region.
//! 6. For leaves: a relay that serves leaves already, so that the others sleep.
//! 7. The own region, the smaller load, the older node.

use super::forest::{Entry, Ix, Planner, ROOT};
use super::layers::OpenKey;
use super::{ALIKE_MICROS, MAX_DEPTH};
use soleil_protocol::NodeId;

/// How good a candidate is; less is better.
type Worth = (bool, u32, bool, bool, u32, u32);

impl Planner {
    /// Chooses a parent for a node that is known ([`Planner::put`]). `avoid` (the parent that it
    /// has just lost) is taken only if there is nobody else; the root is never avoided, since it
    /// answers right now.
    pub fn choose(&self, id: &NodeId, avoid: Option<&NodeId>) -> Option<NodeId> {
        let ix = self.ix(id).filter(|ix| *ix != ROOT)?;
        let avoid = avoid.and_then(|id| self.ix(id)).filter(|ix| *ix != ROOT);
        let found = self.place_for(ix, avoid);
        let found =
            if avoid.is_some() { found.or_else(|| self.place_for(ix, None)) } else { found };
        self.entries[found?].id.clone()
    }

    /// What the drawing says if it can be had, else what the rules say.
    pub(super) fn place_for(&self, ix: Ix, avoid: Option<Ix>) -> Option<Ix> {
        self.wished(ix, avoid).or_else(|| self.choose_ix(ix, avoid))
    }

    /// Whether a node may be moved (or sent) below another.
    pub fn may_take(&self, parent: &NodeId, id: &NodeId) -> bool {
        let (Some(parent), Some(ix)) = (self.ix(parent), self.ix(id)) else { return false };
        let entry = &self.entries[parent];
        entry.usable() && entry.free() > 0 && ix != ROOT && self.fits(ix, parent, None)
    }

    /// Whether a node takes children by its role and capacity and has a slot that is not in use,
    /// wherever it is.
    pub fn has_slot(&self, id: &NodeId) -> bool {
        self.ix(id).is_some_and(|ix| self.entries[ix].free() > 0)
    }

    /// Whether a node brings slots into the tree.
    pub(super) fn grows(&self, ix: Ix) -> bool {
        self.entries[ix].slots > 0
    }

    /// Hops from a node to the deepest one below it.
    pub(super) fn height(&self, ix: Ix) -> u32 {
        let mut height = 0;
        let mut stack = vec![(ix, 0)];
        while let Some((at, depth)) = stack.pop() {
            height = height.max(depth);
            stack.extend(self.entries[at].children.iter().map(|child| (*child, depth + 1)));
        }
        height
    }

    pub(super) fn choose_ix(&self, ix: Ix, avoid: Option<Ix>) -> Option<Ix> {
        let deepest = MAX_DEPTH.checked_sub(self.height(ix) + 1)?;
        let depths = self.open.depths().min(deepest + 1);
        if self.grows(ix) {
            return (0..depths).find_map(|depth| self.best(ix, depth, &[false, true], avoid));
        }
        if self.slots_total > 1 && self.free_total < 2 {
            return None;
        }
        let relays = |over| (1..depths).find_map(|depth| self.best(ix, depth, &[over], avoid));
        let mut wide = (1..depths).filter(|depth| self.is_wide(*depth));
        let wide = wide.find_map(|depth| self.best(ix, depth, &[false], avoid));
        wide.or_else(|| relays(false)).or_else(|| relays(true)).or_else(|| {
            let root = &self.entries[ROOT];
            let kept = u32::from(root.slots > 1);
            (root.usable() && root.free() > kept && Some(ROOT) != avoid).then_some(ROOT)
        })
    }

    /// Whether a relay for which there is no place is taken by a root that is full (or fuller: backups and
    /// a demand that has grown do that), for as long as it takes: a leaf can go below it. Leaves that
    /// have failed over to the root may have filled it, and without another relay nobody would ever
    /// leave. Where a relay is on its way, its places are waited for.
    pub fn makes_room(&self, id: &NodeId) -> bool {
        let Some(ix) = self.ix(id) else { return false };
        let comes = |entry: &Entry| entry.slots > 0 && entry.parent.is_some() && !entry.ready;
        if self.entries.iter().any(comes) {
            return false;
        }
        let root = &self.entries[ROOT];
        let leaf = |child: &Ix| !self.grows(*child);
        let full = root.used() >= root.slots && root.children.iter().any(leaf);
        full && root.usable() && self.entries[ix].slots > 1
    }

    /// The best candidate of one depth.
    fn best(&self, ix: Ix, depth: u32, overs: &[bool], avoid: Option<Ix>) -> Option<Ix> {
        let entry = &self.entries[ix];
        let mut best: Option<(Worth, Ix)> = None;
        let mut consider = |key: &OpenKey| {
            let found = (self.worth(ix, key), key.ix);
            if best.is_none_or(|best| found < best) {
                best = Some(found);
            }
        };
        for over in overs {
            let from = OpenKey { over: *over, far: 0, asleep: false, load: 0, serial: 0, ix: 0 };
            let near = self.open.near(depth, entry.region, from);
            first(near, *over, |key| self.try_out(ix, key, avoid, &mut consider));
            let all = self.open.all(depth, from);
            first(all, *over, |key| self.try_out(ix, key, avoid, &mut consider));
        }
        for candidate in entry.rtts.keys() {
            if let Some(spot) = self.entries[*candidate].open_at
                && spot.depth == depth
                && overs.contains(&spot.key.over)
            {
                self.try_out(ix, &spot.key, avoid, &mut consider);
            }
        }
        best.map(|(_, ix)| ix)
    }

    /// Considers a candidate if it may be one; `true` if none behind it can be better: the sets are
    /// sorted by everything but a measured delay.
    fn try_out(
        &self,
        ix: Ix,
        key: &OpenKey,
        avoid: Option<Ix>,
        consider: &mut impl FnMut(&OpenKey),
    ) -> bool {
        if !self.fits(ix, key.ix, avoid) {
            return false;
        }
        consider(key);
        !self.entries[ix].rtts.contains_key(&key.ix)
    }

    pub(super) fn fits(&self, ix: Ix, candidate: Ix, avoid: Option<Ix>) -> bool {
        let apart = self.entries[ix].children.is_empty() || !self.is_below(candidate, ix);
        candidate != ix && Some(candidate) != avoid && apart
    }

    fn worth(&self, ix: Ix, key: &OpenKey) -> Worth {
        let serves = !self.grows(ix);
        let far = self.delay_via(ix, key.ix) / ALIKE_MICROS;
        let elsewhere = self.entries[ix].region != self.entries[key.ix].region;
        (serves && key.over, far, serves && key.asleep, elsewhere, key.load, key.serial)
    }
}

/// Goes through candidates of one kind until `done`.
fn first<'a>(
    keys: impl Iterator<Item = &'a OpenKey>,
    over: bool,
    done: impl FnMut(&OpenKey) -> bool,
) {
    let mut done = done;
    for key in keys.take_while(|key| key.over == over) {
        if done(key) {
            return;
        }
    }
}

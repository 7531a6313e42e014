//! Which backups a node gets, and the room that is kept for them.
//!
//! Hard: a backup comes before the node in rank (so nobody gets into its own subtree, and two
//! orphans never adopt each other), takes children, and is not the parent. Then, in this order: it
//! has room for this node even if all children of the same parent come at once; the operator has
//! drawn a link there; it shares no relay with the parent's path; leaves get the root last; what the
//! node has stays; less delay; the parent's own depth (then nobody's rank changes), then the layers
//! above, then the node's own.
//!
//! Only one relay is expected to die at a time: of the nodes whose first backup is B, those of one
//! parent must find room there, not those of all parents together. But as each of them keeps a link
//! to B, there is a limit to all together as well.

use super::ALIKE_MICROS;
use super::forest::{Ix, Planner, ROOT};
use super::layers::SpareKey;
use super::moves::Move;
use soleil_protocol::{NodeId, Rank};

/// Backups of one node at most.
pub const BACKUPS: usize = 3;

/// Nodes whose first backup a node is, for each of its slots: their warm links cost it a PING each
/// and an entry, and a relay of 32 slots can have 512 links of one address.
pub(super) const CLAIMS_PER_SLOT: u32 = 2;

/// Candidates that are looked at in one set: the front is the least claimed, the others hardly
/// differ.
const LOOKED_AT: usize = 4;

/// And passed over because they don't fit: siblings and the parent itself.
const PASSED_OVER: usize = 64;

/// A reserved place: at this backup, for when this parent dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) backup: Ix,
    parent: Ix,
}

/// How good a candidate is; less is better.
type Worth = (bool, usize, bool, bool, usize, u32, u32, u32, u32);

impl Planner {
    /// A node's backups by the plan, best first.
    pub fn backups(&self, id: &NodeId) -> Vec<NodeId> {
        self.ix(id).map_or_else(Vec::new, |ix| self.ids(self.entries[ix].backups.iter().copied()))
    }

    /// Whether a place is reserved at the first backup.
    pub fn is_backed(&self, id: &NodeId) -> bool {
        self.ix(id).is_some_and(|ix| self.entries[ix].claim.is_some())
    }

    /// Looks at the backups of one node now.
    pub fn back_up(&mut self, id: &NodeId) {
        if let Some(ix) = self.ix(id) {
            self.check.remove(&ix);
            self.look_at(ix);
        }
    }

    /// Looks at the backups of at most so many nodes for which something has changed; `true` if
    /// there are more.
    pub fn settle(&mut self, limit: usize) -> bool {
        if std::mem::take(&mut self.grown) {
            self.check.extend(self.wanting.iter().copied());
        }
        for _ in 0..limit {
            let Some(ix) = self.check.pop_first() else { break };
            self.look_at(ix);
        }
        !self.check.is_empty()
    }

    /// Nodes in their places whose parent, rank or backups are not what they were told: at most so
    /// many, each of which the caller tells ([`Planner::tell`]) or leaves.
    pub fn news(&mut self, limit: usize) -> Vec<NodeId> {
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(ix) = self.news.pop_first() else { break };
            let entry = &self.entries[ix];
            let in_place = entry.ready && entry.leg.is_none();
            if in_place && entry.told.as_ref() != Some(&self.state(ix)) {
                found.extend(entry.id.clone());
            }
        }
        found
    }

    /// Whether there are nodes left for [`Planner::news`] to look at.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The node has been told what the plan says of it.
    pub fn tell(&mut self, id: &NodeId) {
        if let Some(ix) = self.ix(id) {
            self.entries[ix].told = Some(self.state(ix));
        }
    }

    /// Whether it has heard what it was told is not known any more: it is told again.
    pub fn forget_told(&mut self, id: &NodeId) {
        if let Some(ix) = self.ix(id) {
            self.entries[ix].told = None;
            self.news.insert(ix);
        }
    }

    /// The same for the node and all who have it as their parent or among their backups.
    pub fn forget_told_around(&mut self, id: &NodeId) {
        let Some(ix) = self.ix(id) else { return };
        let entry = &self.entries[ix];
        let around: Vec<Ix> = entry.children.iter().chain(&entry.held_by).copied().collect();
        for ix in around.into_iter().chain([ix]) {
            self.entries[ix].told = None;
            self.news.insert(ix);
        }
    }

    fn state(&self, ix: Ix) -> (Option<Ix>, Rank, Vec<Ix>) {
        let entry = &self.entries[ix];
        (entry.parent, self.rank_of(ix), entry.backups.clone())
    }

    fn look_at(&mut self, ix: Ix) {
        if ix == ROOT || self.entries[ix].id.is_none() {
            return;
        }
        let backups = self.pick(ix);
        self.assign(ix, backups);
    }

    /// Hard rules.
    fn may_back(&self, ix: Ix, backup: Ix) -> bool {
        let entry = &self.entries[ix];
        let taken = entry.parent == Some(backup) || entry.leg == Some(backup);
        self.entries[backup].usable() && !taken && self.rank_of(backup) < self.rank_of(ix)
    }

    /// Whether a node finds room there when its parent dies.
    fn has_room(&self, ix: Ix, backup: Ix, parent: Ix) -> bool {
        let claim = Claim { backup, parent };
        let own = u32::from(self.entries[ix].claim == Some(claim));
        let there = &self.entries[backup];
        let claims = there.claims.get(&parent).copied().unwrap_or(0).saturating_sub(own);
        self.room_for(ix, backup) > claims
    }

    /// Whether a backup's way to the root and the parent's have a relay in common.
    fn shares(&self, backup: Ix, parent: Ix) -> bool {
        let mut at = Some(backup).filter(|ix| *ix != ROOT);
        while let Some(ix) = at {
            if self.is_below(parent, ix) {
                return true;
            }
            at = self.entries[ix].parent.filter(|ix| *ix != ROOT);
        }
        false
    }

    /// Candidates of one set that are looked at: some that fit, and as many that share no relay with
    /// the parent. Its siblings and their children may be the least claimed of all.
    fn front<'a>(
        &'a self,
        ix: Ix,
        parent: Ix,
        set: impl Iterator<Item = &'a SpareKey> + 'a,
    ) -> impl Iterator<Item = Ix> + 'a {
        let (mut fit, mut apart) = (0, 0);
        set.take(PASSED_OVER).map(|key| key.ix).filter(move |candidate| {
            if (fit >= LOOKED_AT && apart >= LOOKED_AT) || !self.may_back(ix, *candidate) {
                return false;
            }
            fit += 1;
            let alone = apart < LOOKED_AT && !self.shares(*candidate, parent);
            apart += usize::from(alone);
            fit <= LOOKED_AT || alone
        })
    }

    fn pick(&self, ix: Ix) -> Vec<Ix> {
        let entry = &self.entries[ix];
        let (Some(parent), Some(depth)) = (entry.parent, entry.depth) else { return Vec::new() };
        let above = depth.saturating_sub(1);
        let mut found: Vec<(Worth, Ix)> = Vec::new();
        let add = |found: &mut Vec<(Worth, Ix)>, candidate: Ix, order: u32| {
            if found.iter().all(|(_, known)| *known != candidate) {
                found.push((self.backup_worth(ix, parent, candidate, order), candidate));
            }
        };
        let order = |at: u32| if at > above { above + 1 } else { above - at };
        for backup in entry.backups.iter().filter(|b| self.may_back(ix, **b)) {
            let at = self.entries[*backup].depth.unwrap_or(0);
            add(&mut found, *backup, order(at));
        }
        for place in self.places(ix).filter(|place| self.may_back(ix, *place)) {
            add(&mut found, place, order(self.entries[place].depth.unwrap_or(0)));
        }
        let leaf = entry.leaf;
        let layers = (0..=above).rev().filter(|d| !(leaf && *d == 0)).chain([depth]);
        for at in layers.chain(leaf.then_some(0)) {
            let near = self.spare.near(at, entry.region, SpareKey::default());
            let all = self.spare.all(at, SpareKey::default());
            for candidate in self.front(ix, parent, near).chain(self.front(ix, parent, all)) {
                add(&mut found, candidate, order(at));
            }
            let good = found.iter().filter(|(worth, _)| !worth.0 && !worth.2);
            if good.count() >= BACKUPS {
                break;
            }
        }
        found.sort_unstable();
        found.truncate(BACKUPS);
        found.into_iter().map(|(_, ix)| ix).collect()
    }

    fn backup_worth(&self, ix: Ix, parent: Ix, backup: Ix, order: u32) -> Worth {
        let entry = &self.entries[ix];
        let there = &self.entries[backup];
        let known = entry.backups.iter().position(|b| *b == backup).unwrap_or(BACKUPS);
        // The root's own children can only go to each other. They go to the first ones, or they would
        // hang in a row when the root dies.
        let row = parent == ROOT;
        let load = there.claimed.saturating_mul(1_000).checked_div(there.slots).unwrap_or(0);
        let load = if row { 0 } else { load };
        (
            !self.has_room(ix, backup, parent),
            self.wish_order(ix, backup),
            self.shares(backup, parent) || (row && !there.backups.is_empty()),
            entry.leaf && backup == ROOT,
            known,
            self.delay_via(ix, backup) / ALIKE_MICROS,
            order,
            load,
            there.serial,
        )
    }

    /// Gives up a node's reserved place.
    pub(super) fn release(&mut self, ix: Ix) {
        let Some(claim) = self.entries[ix].claim.take() else { return };
        let there = &mut self.entries[claim.backup];
        if let Some(count) = there.claims.get_mut(&claim.parent) {
            *count -= 1;
            there.claimed -= 1;
            if *count == 0 {
                there.claims.remove(&claim.parent);
            }
        }
        self.reindex(claim.backup);
    }

    /// Makes these a node's backups and reserves its place at the first.
    pub(super) fn assign(&mut self, ix: Ix, backups: Vec<Ix>) {
        let parent = self.entries[ix].parent;
        let wanted = backups.first().zip(parent).map(|(b, p)| Claim { backup: *b, parent: p });
        let claim = wanted.filter(|c| self.has_room(ix, c.backup, c.parent));
        if self.entries[ix].claim != claim {
            self.release(ix);
            if let Some(claim) = claim {
                let there = &mut self.entries[claim.backup];
                *there.claims.entry(claim.parent).or_default() += 1;
                there.claimed += 1;
                self.entries[ix].claim = Some(claim);
                self.reindex(claim.backup);
            }
        }
        let first = claim.map(|c| self.shares(c.backup, c.parent));
        if self.entries[ix].depth.is_some() && (first != Some(false) || backups.len() < BACKUPS) {
            self.wanting.insert(ix);
        } else {
            self.wanting.remove(&ix);
        }
        if self.entries[ix].backups == backups {
            return;
        }
        for old in std::mem::replace(&mut self.entries[ix].backups, backups.clone()) {
            self.entries[old].held_by.remove(&ix);
        }
        for new in backups {
            self.entries[new].held_by.insert(ix);
        }
        self.news.insert(ix);
    }

    pub(super) fn as_move(&self, ix: Ix, to: Ix, gain_micros: i64) -> Option<Move> {
        let id = |ix: Ix| self.entries[ix].id.clone();
        Some(Move { node: id(ix)?, from: id(self.entries[ix].parent?)?, to: id(to)?, gain_micros })
    }
}

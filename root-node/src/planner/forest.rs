//! The tree as it is planned. Each change touches the nodes that it concerns and no others; the
//! sums and sorted sets beside the tree are kept in `sums`, measured delays in `delays`.

use super::backups::Claim;
use super::follow::Wish;
use super::layers::{Layers, OpenKey, SpareKey, Spot};
use super::sums::LARGEST_SHARE;
use super::{MAX_DEPTH, MAX_REGIONS, NodeInput, Place, rank};
use soleil_protocol::{NodeId, Rank, Role};
use std::collections::{BTreeMap, BTreeSet};

/// Number of an entry.
pub(super) type Ix = usize;

/// The root's entry.
pub(super) const ROOT: Ix = 0;

/// What a node was told last.
pub(super) type Told = (Option<Ix>, Rank, Vec<Ix>);

/// One node.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// `None`: the entry is free.
    pub(super) id: Option<NodeId>,
    pub(super) leaf: bool,
    pub(super) serial: u32,
    pub(super) region: u32,
    pub(super) declared: u32,
    pub(super) egress: u64,
    pub(super) reachable: bool,
    /// Slots that it has at the present demand; 0 for what takes nobody.
    pub(super) slots: u32,
    pub(super) leaving: bool,
    pub(super) pinned: bool,
    pub(super) attached: bool,
    pub(super) parent: Option<Ix>,
    pub(super) leg: Option<Ix>,
    pub(super) children: BTreeSet<Ix>,
    /// Nodes that are leaving it and still have their place.
    pub(super) legs: u32,
    /// Hops to the root, if it is in the tree.
    pub(super) depth: Option<u32>,
    /// Delay from the root in microseconds.
    pub(super) delay: u32,
    /// It and everybody above it have arrived.
    pub(super) ready: bool,
    /// Leaves below it, itself included.
    pub(super) leaves: u32,
    pub(super) backups: Vec<Ix>,
    pub(super) claim: Option<Claim>,
    /// Nodes whose first backup this is, by their parent: they would all come at once.
    pub(super) claims: BTreeMap<Ix, u32>,
    pub(super) claimed: u32,
    /// Nodes that have this one among their backups.
    pub(super) held_by: BTreeSet<Ix>,
    /// Measured one-way delays in microseconds.
    pub(super) rtts: BTreeMap<Ix, u32>,
    pub(super) measured_by: BTreeSet<Ix>,
    pub(super) told: Option<Told>,
    pub(super) wish: Wish,
    pub(super) open_at: Option<Spot<OpenKey>>,
    pub(super) spare_at: Option<Spot<SpareKey>>,
    /// Its depth as long as it takes children.
    pub(super) standing: Option<u32>,
    /// What it adds to the sums: free slots that are kept for nobody, slots.
    pub(super) counted: (u32, u32),
    /// What it adds to its layer's sums: depth, used slots, slots.
    pub(super) layered: Option<(u32, u32, u32)>,
}

impl Entry {
    pub(super) fn used(&self) -> u32 {
        // Children are nodes, of which there are far fewer than 2^32.
        self.children.len() as u32 + self.legs
    }

    pub(super) fn free(&self) -> u32 {
        self.slots.saturating_sub(self.used())
    }

    /// Whether it takes children now.
    pub(super) fn usable(&self) -> bool {
        let deep = self.depth.is_none_or(|depth| depth >= MAX_DEPTH);
        self.slots > 0 && !self.leaving && self.ready && !deep
    }
}

/// The planner's memory.
#[derive(Debug)]
pub struct Planner {
    pub(super) entries: Vec<Entry>,
    index: BTreeMap<NodeId, Ix>,
    vacant: BTreeSet<Ix>,
    regions: BTreeMap<String, u32>,
    pub(super) demand: u64,
    pub(super) open: Layers<OpenKey>,
    pub(super) spare: Layers<SpareKey>,
    pub(super) free_total: u64,
    pub(super) slots_total: u64,
    /// Used slots and slots of the relays of each depth.
    pub(super) layers: Vec<(u64, u64)>,
    /// Relays that take children, by slots.
    pub(super) sizes: BTreeMap<u32, u32>,
    pub(super) relay_slots: u64,
    pub(super) share: u32,
    /// Nodes whose backups are to be looked at.
    pub(super) check: BTreeSet<Ix>,
    /// Nodes that would like better backups than there are.
    pub(super) wanting: BTreeSet<Ix>,
    /// There is more room for backups than before.
    pub(super) grown: bool,
    /// Nodes that may have to be told something.
    pub(super) news: BTreeSet<Ix>,
    /// Parents that have to lose children.
    pub(super) pressed: BTreeSet<Ix>,
    pub(super) cursor: Ix,
    /// What the drawing says, if there is one.
    pub(super) wishes: BTreeMap<NodeId, Wish>,
}

impl Planner {
    /// A tree of the root alone.
    pub fn new(root: &NodeInput) -> Self {
        let mut planner = Self {
            entries: vec![Entry::default()],
            index: BTreeMap::from([(root.id.clone(), ROOT)]),
            vacant: BTreeSet::new(),
            regions: BTreeMap::new(),
            demand: 0,
            open: Layers::default(),
            spare: Layers::default(),
            free_total: 0,
            slots_total: 0,
            layers: Vec::new(),
            sizes: BTreeMap::new(),
            relay_slots: 0,
            share: LARGEST_SHARE,
            check: BTreeSet::new(),
            wanting: BTreeSet::new(),
            grown: false,
            news: BTreeSet::new(),
            pressed: BTreeSet::new(),
            cursor: ROOT,
            wishes: BTreeMap::new(),
        };
        let region = planner.region(&root.region);
        planner.entries[ROOT] = Entry {
            id: Some(root.id.clone()),
            region,
            declared: root.slots,
            egress: root.egress,
            reachable: true,
            attached: true,
            ready: true,
            depth: Some(0),
            ..Entry::default()
        };
        planner.resize(ROOT);
        planner
    }

    fn region(&mut self, name: &str) -> u32 {
        if let Some(known) = self.regions.get(name) {
            return *known;
        }
        // At most MAX_REGIONS.
        let next = self.regions.len() as u32;
        if self.regions.len() < MAX_REGIONS {
            self.regions.insert(name.to_owned(), next);
        }
        next
    }

    pub(super) fn ix(&self, id: &NodeId) -> Option<Ix> {
        self.index.get(id).copied()
    }

    /// Whether the planner knows a node.
    pub fn knows(&self, id: &NodeId) -> bool {
        self.index.contains_key(id)
    }

    pub(super) fn ids(&self, all: impl IntoIterator<Item = Ix>) -> Vec<NodeId> {
        all.into_iter().filter_map(|ix| self.entries[ix].id.clone()).collect()
    }

    /// The parent that a node has or shall have.
    pub fn parent(&self, id: &NodeId) -> Option<&NodeId> {
        self.entries[self.entries[self.ix(id)?].parent?].id.as_ref()
    }

    /// Hops from the root by the plan, if it is in the tree.
    pub fn depth(&self, id: &NodeId) -> Option<u32> {
        self.entries[self.ix(id)?].depth
    }

    /// Whether it and everybody above it have arrived.
    pub fn is_ready(&self, id: &NodeId) -> bool {
        self.ix(id).is_some_and(|ix| self.entries[ix].ready)
    }

    /// A node's rank by the plan; the root's, if it is nowhere.
    pub fn rank(&self, id: &NodeId) -> Rank {
        self.ix(id).map_or(Rank(0), |ix| self.rank_of(ix))
    }

    pub(super) fn rank_of(&self, ix: Ix) -> Rank {
        let entry = &self.entries[ix];
        if ix == ROOT { Rank(0) } else { rank(entry.depth.unwrap_or(0), entry.serial) }
    }

    /// Places in use at a node: its children, those on their way, those that are leaving.
    pub fn used(&self, id: &NodeId) -> u32 {
        self.ix(id).map_or(0, |ix| self.entries[ix].used())
    }

    /// Children of a node by the plan.
    pub fn children(&self, id: &NodeId) -> Vec<NodeId> {
        let children = self.ix(id).map(|ix| &self.entries[ix].children);
        self.ids(children.into_iter().flatten().copied())
    }

    /// Adds a node (outside the tree), or changes what is known of one.
    pub fn put(&mut self, node: &NodeInput) {
        let region = self.region(&node.region);
        let ix = match self.ix(&node.id) {
            Some(ix) => ix,
            None => {
                let ix = self.vacant.pop_first().unwrap_or(self.entries.len());
                if ix == self.entries.len() {
                    self.entries.push(Entry::default());
                }
                self.entries[ix].wish = self.wishes.get(&node.id).cloned().unwrap_or_default();
                self.index.insert(node.id.clone(), ix);
                ix
            }
        };
        if ix == ROOT {
            return;
        }
        let entry = &mut self.entries[ix];
        let serial_changed = entry.serial != node.serial;
        entry.id = Some(node.id.clone());
        entry.leaf = node.role == Role::Leaf;
        entry.leaves = entry.leaves.max(u32::from(entry.leaf));
        entry.serial = node.serial;
        entry.region = region;
        entry.declared = node.slots;
        entry.egress = node.egress;
        entry.reachable = node.reachable;
        (entry.leaving, entry.pinned) = (node.leaving, node.pinned);
        if serial_changed {
            self.check.insert(ix);
        }
        self.resize(ix);
        self.fix_share();
    }

    /// Puts a node where it is or shall be. What would close a circle puts it nowhere.
    pub fn place(&mut self, id: &NodeId, place: &Place<'_>) {
        let Some(ix) = self.ix(id).filter(|ix| *ix != ROOT) else { return };
        let parent = place.parent.and_then(|p| self.ix(p)).filter(|p| !self.is_below(*p, ix));
        let leg = place.leg.and_then(|p| self.ix(p)).filter(|leg| Some(*leg) != parent);
        self.set_place(ix, parent, leg, place.attached);
        self.fix_share();
    }

    /// Whether a node is planned to be there.
    pub fn is_at(&self, id: &NodeId, place: &Place<'_>) -> bool {
        let ix = |id: Option<&NodeId>| id.and_then(|id| self.ix(id));
        let leg = ix(place.leg).filter(|leg| Some(*leg) != ix(place.parent));
        self.ix(id).is_some_and(|at| {
            let entry = &self.entries[at];
            (entry.parent, entry.leg, entry.attached) == (ix(place.parent), leg, place.attached)
        })
    }

    pub(super) fn set_place(
        &mut self,
        ix: Ix,
        parent: Option<Ix>,
        leg: Option<Ix>,
        attached: bool,
    ) {
        let entry = &mut self.entries[ix];
        let (old, old_leg) = (entry.parent, entry.leg);
        if (old, old_leg, entry.attached) == (parent, leg, attached) {
            return;
        }
        (entry.parent, entry.leg, entry.attached) = (parent, leg, attached);
        let leaves = entry.leaves;
        self.count_home(ix, old, parent);
        if let Some(old) = old.filter(|_| old != parent) {
            self.entries[old].children.remove(&ix);
            self.count_leaves(old, |n| n.saturating_sub(leaves));
        }
        if let Some(new) = parent.filter(|_| old != parent) {
            self.entries[new].children.insert(ix);
            self.count_leaves(new, |n| n + leaves);
        }
        if let Some(old) = old_leg {
            self.entries[old].legs = self.entries[old].legs.saturating_sub(1);
            self.reindex(old);
        }
        if let Some(new) = leg {
            self.entries[new].legs += 1;
            self.reindex(new);
        }
        self.check.insert(ix);
        self.news.insert(ix);
        self.refresh(ix);
    }

    fn count_leaves(&mut self, from: Ix, change: impl Fn(u32) -> u32) {
        let mut at = Some(from);
        while let Some(ix) = at {
            self.entries[ix].leaves = change(self.entries[ix].leaves);
            self.reindex(ix);
            at = self.entries[ix].parent;
        }
    }

    /// Depth, delay and readiness of a subtree.
    pub(super) fn refresh(&mut self, ix: Ix) {
        let mut stack = vec![ix];
        while let Some(at) = stack.pop() {
            let entry = &self.entries[at];
            let above = entry.parent.map(|p| (p, &self.entries[p]));
            let depth = above.and_then(|(_, p)| p.depth).map(|depth| depth.saturating_add(1));
            let delay = above.map_or(0, |(p, _)| self.delay_via(at, p));
            let ready = entry.attached && above.is_some_and(|(_, p)| p.ready);
            let before = (entry.depth, entry.delay, entry.ready);
            if before == (depth, delay, ready) && at != ix {
                continue;
            }
            let entry = &mut self.entries[at];
            (entry.depth, entry.delay, entry.ready) = (depth, delay, ready);
            stack.extend(entry.children.iter().copied());
            if before.0 != depth || before.2 != ready {
                self.check.insert(at);
                self.news.insert(at);
            }
            self.reindex(at);
        }
    }

    /// Forgets a node. What hangs below it is outside the tree from now on.
    pub fn remove(&mut self, id: &NodeId) {
        let Some(ix) = self.ix(id).filter(|ix| *ix != ROOT) else { return };
        let children: Vec<Ix> = self.entries[ix].children.iter().copied().collect();
        for child in children {
            let leg = self.entries[child].leg;
            self.set_place(child, None, leg, false);
        }
        self.set_place(ix, None, None, false);
        self.assign(ix, Vec::new());
        for holder in std::mem::take(&mut self.entries[ix].held_by) {
            self.entries[holder].backups.retain(|b| *b != ix);
            self.release(holder);
            self.check.insert(holder);
            self.news.insert(holder);
        }
        let legs = (0..self.entries.len()).filter(|_| self.entries[ix].legs > 0);
        let standing: Vec<Ix> = legs.filter(|n| self.entries[*n].leg == Some(ix)).collect();
        for node in standing {
            let (parent, attached) = (self.entries[node].parent, self.entries[node].attached);
            self.set_place(node, parent, None, attached);
        }
        for peer in std::mem::take(&mut self.entries[ix].measured_by) {
            self.entries[peer].rtts.remove(&ix);
        }
        for (peer, _) in std::mem::take(&mut self.entries[ix].rtts) {
            self.entries[peer].measured_by.remove(&ix);
        }
        self.entries[ix].slots = 0;
        self.reindex(ix);
        self.entries[ix] = Entry::default();
        for set in [&mut self.check, &mut self.wanting, &mut self.news, &mut self.pressed] {
            set.remove(&ix);
        }
        self.index.remove(id);
        self.vacant.insert(ix);
        self.fix_share();
    }

    /// Whether `ix` is `above` or below it.
    pub(super) fn is_below(&self, ix: Ix, above: Ix) -> bool {
        let mut at = Some(ix);
        while let Some(here) = at {
            if here == above {
                return true;
            }
            at = self.entries[here].parent;
        }
        false
    }
}

//! The tree as the operator has drawn it, followed while nodes come and go.
//!
//! A drawn node has *places*: first its parent in the drawn tree, then the other ends of its
//! redundancy links. It goes to the first that is there and has room; if none is, the automatic
//! rules apply; and it goes back as soon as it can. At a parent there is a slot for each of its
//! drawn children, also while the child is away or elsewhere: nobody else gets it, so the way back
//! is never blocked. Everybody whom the drawing does not name is placed by the automatic rules, in
//! what room is left.

use super::MAX_DEPTH;
use super::drawing::Drawing;
use super::drawn::Drawn;
use super::forest::{Entry, Ix, Planner};
use soleil_protocol::{NodeId, Role};
use std::collections::{BTreeMap, BTreeSet};

/// What the drawing says of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    /// Where it belongs, best first. Nobody has said if it is empty.
    places: Vec<NodeId>,
    /// Nodes that have this one among their places.
    named_by: Vec<NodeId>,
    /// Children that it takes at most.
    pub(super) limit: Option<u32>,
    /// Its children in the drawn tree.
    children: u32,
    /// Those of them that are there.
    at_home: u32,
}

impl Entry {
    /// Free slots that are kept for nobody.
    pub(super) fn room(&self) -> u32 {
        self.free().saturating_sub(self.kept())
    }

    /// Drawn children that are not there.
    pub(super) fn kept(&self) -> u32 {
        self.wish.children.saturating_sub(self.wish.at_home)
    }
}

impl Planner {
    /// Follows a drawing from now on: `drawn` is what [`super::drawn::draw`] has made of it. Who is
    /// elsewhere already is moved like everybody for whom there is a better place.
    pub fn follow(&mut self, drawing: &Drawing, drawn: &Drawn) {
        self.wishes = wishes(drawing, drawn);
        for ix in 0..self.entries.len() {
            let Some(id) = self.entries[ix].id.clone() else { continue };
            self.entries[ix].wish = self.wishes.get(&id).cloned().unwrap_or_default();
            self.check.insert(ix);
        }
        for ix in 0..self.entries.len() {
            let children = self.entries[ix].children.iter();
            let at_home = children.filter(|child| self.is_home(**child, ix)).count();
            // Far fewer than 2^32.
            self.entries[ix].wish.at_home = at_home as u32;
            self.resize(ix);
        }
        self.fix_share();
    }

    /// Whether the drawing says where a node belongs.
    pub(super) fn is_drawn(&self, ix: Ix) -> bool {
        !self.entries[ix].wish.places.is_empty()
    }

    /// Whether a node belongs there before all other places.
    pub(super) fn is_home(&self, ix: Ix, parent: Ix) -> bool {
        let home = self.entries[ix].wish.places.first();
        home.is_some() && home == self.entries[parent].id.as_ref()
    }

    /// How early a place comes among those of a node; nobody's is after all of them.
    pub(super) fn wish_order(&self, ix: Ix, place: Ix) -> usize {
        let (places, id) = (&self.entries[ix].wish.places, self.entries[place].id.as_ref());
        places.iter().position(|p| Some(p) == id).unwrap_or(places.len())
    }

    /// A node's places that are known, best first.
    pub(super) fn places(&self, ix: Ix) -> impl Iterator<Item = Ix> {
        self.entries[ix].wish.places.iter().filter_map(|id| self.ix(id))
    }

    /// Nodes that have this one among their places.
    pub(super) fn named_by(&self, ix: Ix) -> Vec<Ix> {
        self.entries[ix].wish.named_by.iter().filter_map(|id| self.ix(id)).collect()
    }

    /// Free slots for this node: at home there is its own.
    pub(super) fn room_for(&self, ix: Ix, at: Ix) -> u32 {
        let entry = &self.entries[at];
        if self.is_home(ix, at) { entry.free() } else { entry.room() }
    }

    /// The first of a node's places that takes it.
    pub(super) fn wished(&self, ix: Ix, avoid: Option<Ix>) -> Option<Ix> {
        if !self.is_drawn(ix) {
            return None;
        }
        let deepest = MAX_DEPTH.checked_sub(self.height(ix) + 1)?;
        self.places(ix).find(|at| {
            let shallow = self.entries[*at].depth.is_some_and(|depth| depth <= deepest);
            let takes = self.entries[*at].usable() && self.room_for(ix, *at) > 0;
            takes && shallow && self.fits(ix, *at, avoid)
        })
    }

    /// A place of a drawn node that comes before the one where it is.
    pub(super) fn homeward(&self, ix: Ix, parent: Ix) -> Option<Ix> {
        let to = self.wished(ix, Some(parent))?;
        (self.wish_order(ix, to) < self.wish_order(ix, parent)).then_some(to)
    }

    /// A node goes from one parent to another.
    pub(super) fn count_home(&mut self, ix: Ix, old: Option<Ix>, new: Option<Ix>) {
        if let Some(old) = old.filter(|old| Some(*old) != new && self.is_home(ix, *old)) {
            let there = &mut self.entries[old].wish;
            there.at_home = there.at_home.saturating_sub(1);
        }
        if let Some(new) = new.filter(|new| Some(*new) != old && self.is_home(ix, *new)) {
            self.entries[new].wish.at_home += 1;
        }
    }
}

fn wishes(drawing: &Drawing, drawn: &Drawn) -> BTreeMap<NodeId, Wish> {
    let mut wishes: BTreeMap<NodeId, Wish> = BTreeMap::new();
    let parents = drawing.nodes.iter().filter(|n| n.role != Role::Leaf);
    for node in parents.rev() {
        // Of two with the same name the first is the one that counts.
        wishes.entry(node.id.clone()).or_default().limit = Some(node.children);
    }
    let parents = drawing.nodes.iter().filter(|n| n.role != Role::Leaf);
    let feeding: BTreeSet<&NodeId> = parents.map(|n| &n.id).collect();
    for (id, a) in &drawn.nodes {
        let places = std::iter::once(&a.parent).chain(&a.backups).cloned().collect();
        wishes.entry(id.clone()).or_default().places = places;
        wishes.entry(a.parent.clone()).or_default().children += 1;
    }
    for link in &drawn.redundancy {
        for (id, other) in [(&link.a, &link.b), (&link.b, &link.a)] {
            if !drawn.nodes.contains_key(id) || !feeding.contains(other) {
                continue;
            }
            let places = &mut wishes.entry(id.clone()).or_default().places;
            if !places.contains(other) {
                places.push(other.clone());
            }
        }
    }
    let named: Vec<(NodeId, NodeId)> = wishes
        .iter()
        .flat_map(|(id, wish)| wish.places.iter().map(|place| (place.clone(), id.clone())))
        .collect();
    for (place, id) in named {
        wishes.entry(place).or_default().named_by.push(id);
    }
    wishes
}

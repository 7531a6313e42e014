//! Who is below a node, and behind which child: fed by links that open and close and by the
//! children's CHILDSUPDATE, and the source of the CHILDSUPDATE that goes up.
//!
//! A node may be announced by two children for a while (it moves, and the old parent has not yet
//! noticed). The newer incarnation wins; between equal incarnations the later announcement wins;
//! and a removal only counts if it comes from where the route leads, for that incarnation or a
//! later one. So a late removal cannot delete a newer route. What is believed is passed on even if
//! it is nothing new here: an ancestor may have taken another way meanwhile.
//!
//! The root raises a node's incarnation with every ticket, for a planned move too: among equal
//! incarnations of the same node an old announcement that arrives late would win. For what is
//! below a node that moved this is not needed, since an entry only counts if its parent is
//! routed the same way.
//!
//! A child whose media path is not open yet is *hidden*: it and what it announces are kept apart, and
//! ways stay as they are, for it may go back to where it was. [`SubtreeTable::show`] makes them count.
//!
//! A child that lies about its subtree can draw its neighbours' messages to itself: the threat
//! model counts nodes with a certificate as insiders.

use crate::ids::{Incarnation, NodeId};
use crate::limits::MAX_DESCENDANTS;
use crate::message::{Child, ChildsUpdate};
use std::collections::{BTreeMap, BTreeSet};

/// Everybody below a node, each with the child that leads there.
#[derive(Debug, Clone, Default)]
pub struct SubtreeTable {
    routes: BTreeMap<NodeId, Route>,
    links: BTreeMap<NodeId, Link>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    via: NodeId,
    parent: NodeId,
    incarnation: Incarnation,
}

#[derive(Debug, Clone, Default)]
struct Link {
    incarnation: Incarnation,
    /// The nodes whose route leads over this link.
    nodes: BTreeSet<NodeId>,
    /// What it has announced, as long as it is hidden.
    hidden: Option<Box<SubtreeTable>>,
}

/// What a CHILDSUPDATE changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// To be passed on to the parent (see [`ChildsUpdate::split`]); may be empty.
    pub forward: ChildsUpdate,
    /// Entries that were not believed: this node itself, the child itself, a parent that nobody
    /// knows, or more than [`MAX_DESCENDANTS`] nodes (and as many hidden ones), by their number or
    /// by the weight that they claim.
    pub refused: usize,
}

impl SubtreeTable {
    /// Nobody below.
    pub fn new() -> Self {
        Self::default()
    }

    /// The child that leads to a node.
    pub fn next_hop(&self, id: &NodeId) -> Option<&NodeId> {
        self.routes.get(id).map(|route| &route.via)
    }

    /// The incarnation of a node below.
    pub fn incarnation(&self, id: &NodeId) -> Option<Incarnation> {
        self.routes.get(id).map(|route| route.incarnation)
    }

    /// The newest incarnation of a node below or of a hidden child.
    pub fn newest(&self, id: &NodeId) -> Option<Incarnation> {
        self.incarnation(id).max(self.links.get(id).map(|link| link.incarnation))
    }

    /// The parent of a node below.
    pub fn parent(&self, id: &NodeId) -> Option<&NodeId> {
        self.routes.get(id).map(|route| &route.parent)
    }

    /// Direct children with an open link.
    pub fn children(&self) -> impl Iterator<Item = &NodeId> {
        self.links.keys()
    }

    /// Whether a node is a direct child with an open link.
    pub fn is_child(&self, id: &NodeId) -> bool {
        self.links.contains_key(id)
    }

    /// Nodes below, all together.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether nobody is below.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Nodes behind a child, itself included: the thesis' weight p. 0 if it is no child.
    pub fn weight(&self, child: &NodeId) -> u32 {
        let hidden = |link: &Link| link.hidden.as_ref().map(|hidden| hidden.len());
        self.links.get(child).map_or(0, |link| hidden(link).unwrap_or(link.nodes.len()) as u32)
    }

    /// Whether a child may speak for a node: it is behind it, or would be if it were not hidden.
    pub fn is_behind(&self, child: &NodeId, id: &NodeId) -> bool {
        let hidden = self.links.get(child).and_then(|link| link.hidden.as_ref());
        self.next_hop(id) == Some(child)
            || hidden.is_some_and(|table| table.routes.contains_key(id))
    }

    /// Nodes behind a child that is not hidden, itself included.
    pub fn behind(&self, child: &NodeId) -> impl Iterator<Item = &NodeId> {
        self.links.get(child).into_iter().flat_map(|link| link.nodes.iter())
    }

    /// A child's link has become primary. If it was a child already, what was behind it is
    /// forgotten: it announces its subtree anew. Gives what to pass on.
    ///
    /// `None` if the incarnation is older than the one that is known, or the table is full: the
    /// link has to be refused.
    pub fn attach(
        &mut self,
        me: &NodeId,
        child: &NodeId,
        incarnation: Incarnation,
    ) -> Option<ChildsUpdate> {
        let known = self.routes.get(child);
        let stale = known.is_some_and(|route| route.incarnation > incarnation);
        if stale || child == me || (known.is_none() && self.routes.len() >= MAX_DESCENDANTS) {
            return None;
        }
        let mut gone = self.links.remove(child).map_or_else(BTreeSet::new, |link| link.nodes);
        gone.remove(child);
        let removed = self.forget(gone);
        self.links.insert(child.clone(), Link { incarnation, ..Link::default() });
        let route = Route { via: child.clone(), parent: me.clone(), incarnation };
        self.learn(child, route);
        // Whoever is behind it is announced next, by itself.
        let entry = Child { id: child.clone(), incarnation, parent: me.clone(), weight: 1 };
        Some(ChildsUpdate { added: vec![entry], removed })
    }

    /// As [`SubtreeTable::attach`], for a child that is hidden until [`SubtreeTable::show`]: nothing but
    /// what was behind it before is to be passed on.
    pub fn attach_hidden(
        &mut self,
        me: &NodeId,
        child: &NodeId,
        incarnation: Incarnation,
    ) -> Option<ChildsUpdate> {
        let stale = self.newest(child).is_some_and(|known| known > incarnation);
        let mut hidden = Self::new();
        if stale || self.hidden_len() >= MAX_DESCENDANTS {
            return None;
        }
        hidden.attach(me, child, incarnation)?;
        let gone = self.links.remove(child).map_or_else(BTreeSet::new, |link| link.nodes);
        let removed = self.forget(gone);
        let hidden = Some(Box::new(hidden));
        self.links.insert(child.clone(), Link { incarnation, nodes: BTreeSet::new(), hidden });
        Some(ChildsUpdate { added: Vec::new(), removed })
    }

    /// A hidden child counts from now on, with all that it has announced. Gives what to pass on: nothing if it
    /// was not hidden, or is elsewhere by now. What the table has no room for is refused.
    pub fn show(&mut self, me: &NodeId, child: &NodeId) -> Applied {
        let link = self.links.get_mut(child);
        let Some((incarnation, hidden)) =
            link.and_then(|link| Some((link.incarnation, link.hidden.take()?)))
        else {
            return Applied::default();
        };
        let known = self.incarnation(child);
        if known.is_some_and(|known| known > incarnation) {
            return Applied::default();
        }
        if known.is_none() && self.routes.len() >= MAX_DESCENDANTS {
            return Applied { refused: hidden.len(), ..Applied::default() };
        }
        let mut added = hidden.snapshot(me).added;
        let below = added.split_off(added.len().min(1));
        let route = Route { via: child.clone(), parent: me.clone(), incarnation };
        self.learn(child, route);
        let update = ChildsUpdate { added: below, removed: Vec::new() };
        let mut applied = self.apply(me, child, &update);
        added.append(&mut applied.forward.added);
        applied.forward.added = added;
        applied
    }

    /// Nodes that hidden children have announced, themselves included.
    fn hidden_len(&self) -> usize {
        self.links.values().filter_map(|link| link.hidden.as_ref()).map(|hidden| hidden.len()).sum()
    }

    /// A child's link is gone, with everybody whose route still leads over it. Gives what to pass
    /// on. Does nothing if a newer incarnation of the child has attached meanwhile.
    pub fn detach(&mut self, child: &NodeId, incarnation: Incarnation) -> ChildsUpdate {
        match self.links.get(child) {
            Some(link) if link.incarnation <= incarnation => {}
            _ => return ChildsUpdate::default(),
        }
        let gone = self.links.remove(child).map_or_else(BTreeSet::new, |link| link.nodes);
        ChildsUpdate { added: Vec::new(), removed: self.forget(gone) }
    }

    /// Merges a child's CHILDSUPDATE. Does nothing if there is no such child.
    pub fn apply(&mut self, me: &NodeId, child: &NodeId, update: &ChildsUpdate) -> Applied {
        let mut applied = Applied::default();
        let room = MAX_DESCENDANTS.saturating_sub(self.hidden_len());
        let Some(link) = self.links.get_mut(child) else {
            applied.refused = update.added.len() + update.removed.len();
            return applied;
        };
        if let Some(hidden) = &mut link.hidden {
            applied.refused = match update.added.len() <= room {
                true => hidden.apply(me, child, update).refused,
                false => update.added.len(),
            };
            return applied;
        }
        let mut gone = BTreeSet::new();
        for (id, incarnation) in &update.removed {
            if id == child {
                applied.refused += 1;
                continue;
            }
            let counts = self
                .routes
                .get(id)
                .is_some_and(|route| route.via == *child && route.incarnation <= *incarnation);
            if counts {
                gone.insert(id.clone());
            }
        }
        let removed = self.forget(gone);
        let mut added = Vec::new();
        for entry in &update.added {
            let way = self.next_hop(&entry.parent);
            if way.is_some_and(|way| way != child) {
                // That parent has moved on, and this was on its way still: no fault of who passes it on.
                continue;
            }
            let inside = way == Some(child);
            let known = self.routes.get(&entry.id);
            let full = known.is_none() && self.routes.len() >= MAX_DESCENDANTS;
            let huge = entry.weight as usize > MAX_DESCENDANTS;
            let own = entry.id == *me || entry.id == *child || entry.id == entry.parent;
            if own || huge || !inside || full {
                applied.refused += 1;
                continue;
            }
            if known.is_some_and(|route| route.incarnation > entry.incarnation) {
                continue;
            }
            let route = Route {
                via: child.clone(),
                parent: entry.parent.clone(),
                incarnation: entry.incarnation,
            };
            self.learn(&entry.id, route);
            added.push(entry.clone());
        }
        applied.forward = ChildsUpdate { added, removed };
        applied
    }

    /// Everybody below, parents before their children: what a new parent has to be told.
    pub fn snapshot(&self, me: &NodeId) -> ChildsUpdate {
        let mut below: BTreeMap<&NodeId, Vec<&NodeId>> = BTreeMap::new();
        for (id, route) in &self.routes {
            below.entry(&route.parent).or_default().push(id);
        }
        let mut order: Vec<&NodeId> = below.remove(me).unwrap_or_default();
        let mut next = 0;
        while let Some(id) = order.get(next) {
            order.extend(below.remove(*id).unwrap_or_default());
            next += 1;
        }
        // Backwards every node comes before its parent.
        let mut weights: BTreeMap<&NodeId, u32> = BTreeMap::new();
        let mut added = Vec::with_capacity(order.len());
        for id in order.into_iter().rev() {
            let Some(route) = self.routes.get(id) else { continue };
            let weight = weights.get(id).copied().unwrap_or(0) + 1;
            *weights.entry(&route.parent).or_default() += weight;
            added.push(Child {
                id: id.clone(),
                incarnation: route.incarnation,
                parent: route.parent.clone(),
                weight,
            });
        }
        added.reverse();
        ChildsUpdate { added, removed: Vec::new() }
    }

    fn learn(&mut self, id: &NodeId, route: Route) {
        if let Some(link) = self.links.get_mut(&route.via) {
            link.nodes.insert(id.clone());
        }
        let via = route.via.clone();
        if let Some(old) = self.routes.insert(id.clone(), route)
            && old.via != via
            && let Some(link) = self.links.get_mut(&old.via)
        {
            link.nodes.remove(id);
        }
    }

    fn forget(&mut self, gone: BTreeSet<NodeId>) -> Vec<(NodeId, Incarnation)> {
        let mut removed = Vec::with_capacity(gone.len());
        for id in gone {
            if let Some(route) = self.routes.remove(&id) {
                if let Some(link) = self.links.get_mut(&route.via) {
                    link.nodes.remove(&id);
                }
                removed.push((id, route.incarnation));
            }
        }
        removed
    }
}

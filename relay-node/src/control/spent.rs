//! Tickets that have made a child: each is good for that once. An honest node never needs one twice
//! (whoever loses its parent goes to a backup or to the root, and gets new ones there); a node that
//! the plan has moved away could come back with its old one for as long as that has not run out.
//!
//! A backup's ticket may open the warm link as often as needed: it is used up when the node fails over.

use super::limits::MAX_SPENT;
use soleil_protocol::LinkId;
use std::collections::{BTreeSet, VecDeque};

/// The media links of used tickets: no two tickets name the same one.
#[derive(Debug, Default)]
pub(super) struct Spent {
    all: BTreeSet<LinkId>,
    order: VecDeque<LinkId>,
}

impl Spent {
    /// A ticket has made a child. The oldest is forgotten if there are too many.
    pub(super) fn insert(&mut self, link: LinkId) {
        if !self.all.insert(link) {
            return;
        }
        self.order.push_back(link);
        if self.order.len() > MAX_SPENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    /// Whether it has.
    pub(super) fn contains(&self, link: LinkId) -> bool {
        self.all.contains(&link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let mut spent = Spent::default();
        for n in 0..=MAX_SPENT as u64 {
            spent.insert(LinkId(n));
            spent.insert(LinkId(n));
        }
        assert!(!spent.contains(LinkId(0)) && spent.contains(LinkId(1)));
        assert_eq!((spent.all.len(), spent.order.len()), (MAX_SPENT, MAX_SPENT));
    }
}

//! Which nodes had better be elsewhere. A move is made before the break and costs little, but it is
//! not free: it must gain [`MOVE_PAYS_MICROS`], so that nothing goes to and fro, and the caller
//! says how many there may be. Moves for want of room come first: away from a parent that leaves or
//! can't carry what it has, and one leaf away from a relay that has no slot left for a backup or a
//! joining relay. The root is for relays: a leaf goes from there as soon as a relay has room.

use super::forest::{Ix, Planner, ROOT};
use soleil_protocol::NodeId;

/// What a hop less is worth: about what forwarding, a lost packet's repair and the hop's share of
/// failures cost.
const HOP_WORTH_MICROS: i64 = 30_000;

/// What a move must gain.
pub(super) const MOVE_PAYS_MICROS: i64 = 20_000;

/// A node that had better be elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Which one.
    pub node: NodeId,
    /// Its parent.
    pub from: NodeId,
    /// Where it shall go.
    pub to: NodeId,
    /// What is gained, in microseconds of delay; 0 for a move for want of room, away from the root,
    /// or to where the operator has drawn the node.
    pub gain_micros: i64,
}

impl Planner {
    /// Keeps the list of parents that have to lose children.
    pub(super) fn press(&mut self, ix: Ix) {
        let entry = &self.entries[ix];
        let children = !entry.children.is_empty();
        let too_many = entry.used() > entry.slots;
        let tight = entry.usable() && entry.free() == 0 && entry.slots > 1 && ix != ROOT;
        if children && (entry.leaving || too_many || tight) {
            self.pressed.insert(ix);
        } else {
            self.pressed.remove(&ix);
        }
    }

    /// At most `limit` moves that pay, looking at `looks` nodes one after the other, further on at
    /// each call. The moves are taken as begun: a node has both places until it is where it goes.
    pub fn improve(&mut self, looks: usize, limit: usize) -> Vec<Move> {
        let mut moves = Vec::new();
        let pressed: Vec<Ix> = self.pressed.iter().copied().take(looks).collect();
        for parent in pressed {
            self.relieve(parent, limit, &mut moves);
        }
        let looks = looks.min(self.entries.len());
        for _ in 0..looks {
            if moves.len() >= limit {
                break;
            }
            self.cursor = (self.cursor + 1) % self.entries.len();
            if let Some((to, gain)) = self.better(self.cursor) {
                self.begin(self.cursor, to, gain, &mut moves);
            }
        }
        self.fix_share();
        moves
    }

    /// Whether a node stands still in its place.
    fn settled(&self, ix: Ix) -> bool {
        let entry = &self.entries[ix];
        ix != ROOT && entry.ready && entry.leg.is_none() && !entry.leaving
    }

    fn relieve(&mut self, parent: Ix, limit: usize, moves: &mut Vec<Move>) {
        let entry = &self.entries[parent];
        let forced = entry.leaving || entry.used() > entry.slots;
        let surplus = match (entry.leaving, entry.used().checked_sub(entry.slots)) {
            (true, _) => entry.children.len(),
            (false, Some(0)) | (false, None) => 1,
            (false, Some(more)) => more as usize,
        };
        // Leaves first: a relay takes its subtree along.
        let mut children: Vec<Ix> = entry.children.iter().copied().collect();
        let loose = |child: Ix| self.entries[child].leaf && !self.is_home(child, parent);
        children.retain(|child| self.settled(*child) && (forced || loose(*child)));
        children.sort_by_key(|child| !self.entries[*child].leaf);
        let mut left = surplus.saturating_sub(entry.legs as usize);
        for child in children {
            if left == 0 || moves.len() >= limit {
                return;
            }
            let Some(to) = self.place_for(child, Some(parent)) else { return };
            // Room is made where there is some, not by using up another's last.
            let roomy = self.entries[to].open_at.is_some_and(|spot| !spot.key.over);
            if forced || (roomy && to != ROOT) {
                self.begin(child, to, 0, moves);
                left -= 1;
            }
        }
    }

    /// A place that is enough better than the present one.
    fn better(&self, ix: Ix) -> Option<(Ix, i64)> {
        let entry = &self.entries[ix];
        let parent = entry.parent.filter(|_| self.settled(ix) && !entry.pinned)?;
        if self.is_drawn(ix) {
            return self.homeward(ix, parent).map(|to| (to, 0));
        }
        let to = self.choose_ix(ix, Some(parent))?;
        let spot = self.entries[to].open_at?;
        let serves = !self.grows(ix);
        // The root is for relays, and what is kept for backups is not for comfort.
        if serves && (to == ROOT || spot.key.over) {
            return None;
        }
        // A leaf that found no room below a relay, or lost it, makes room again for relays.
        if serves && parent == ROOT {
            return Some((to, 0));
        }
        let hops = i64::from(self.entries[parent].depth?) - i64::from(spot.depth);
        let delay = i64::from(entry.delay) - i64::from(self.delay_via(ix, to));
        let gain = hops * HOP_WORTH_MICROS + delay;
        (gain >= MOVE_PAYS_MICROS).then_some((to, gain))
    }

    fn begin(&mut self, ix: Ix, to: Ix, gain_micros: i64, moves: &mut Vec<Move>) {
        let Some(planned) = self.as_move(ix, to, gain_micros) else { return };
        let (from, attached) = (self.entries[ix].parent, self.entries[ix].attached);
        self.set_place(ix, Some(to), from, attached);
        moves.push(planned);
    }
}

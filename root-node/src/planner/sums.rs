//! What is kept beside the tree: slots at the present demand, the sorted sets of those with room, the
//! sums, and the share of slots that is kept for backups.

use super::ALIKE_MICROS;
use super::backups::CLAIMS_PER_SLOT;
use super::forest::{Ix, Planner, ROOT};
use super::layers::{OpenKey, SpareKey, Spot};

/// The share that a relay keeps when nothing better is known: with two relays of a size, each must
/// be able to take the other's children.
pub(super) const LARGEST_SHARE: u32 = 500;

/// The part of a layer's slots that leaves use as long as a deeper layer has as much room: what is left
/// is for relays, or each layer could be no wider than the one above, and the tree would get deep.
const LEAVES_SHARE: (u64, u64) = (3, 4);

/// Shares of its slots that a relay keeps for backups, in thousandths: what is needed is rounded up
/// to one of these, so that not every joining relay changes the share of all.
const SHARES: [u32; 12] = [10, 20, 31, 50, 63, 84, 100, 125, 167, 250, 334, LARGEST_SHARE];

impl Planner {
    /// What every child costs at present, in bits a second: with it a declared egress becomes a
    /// number of slots. 0 if unknown.
    pub fn set_demand(&mut self, bits: u64) {
        if self.demand != bits {
            self.demand = bits;
            for ix in 0..self.entries.len() {
                self.resize(ix);
            }
            self.fix_share();
        }
    }

    pub(super) fn resize(&mut self, ix: Ix) {
        let entry = &mut self.entries[ix];
        let by_egress = match (entry.egress, self.demand) {
            (0, _) | (_, 0) => u32::MAX,
            (egress, demand) => u32::try_from(egress / demand).unwrap_or(u32::MAX),
        };
        let takes = entry.reachable && !entry.leaf && entry.id.is_some();
        let drawn = entry.wish.limit.unwrap_or(u32::MAX);
        entry.slots = if takes { entry.declared.min(by_egress).min(drawn) } else { 0 };
        self.reindex(ix);
    }

    /// Slots of a node that are given to children as long as there are others.
    fn soft(&self, ix: Ix) -> u32 {
        let slots = self.entries[ix].slots;
        if ix == ROOT {
            return slots;
        }
        let kept = (u64::from(slots) * u64::from(self.share)).div_ceil(1_000);
        slots.saturating_sub(u32::try_from(kept).unwrap_or(slots))
    }

    /// Brings the sorted sets and the sums in line with an entry.
    pub(super) fn reindex(&mut self, ix: Ix) {
        let entry = &self.entries[ix];
        let usable = entry.usable();
        let (used, free, slots) = (entry.used() + entry.kept(), entry.room(), entry.slots);
        let (serial, region) = (entry.serial, entry.region);
        let per_mille = |n: u32| n.saturating_mul(1_000).checked_div(slots).unwrap_or(0);
        let depth = entry.depth.unwrap_or(0);
        let open = (usable && free > 0).then(|| {
            let over = used >= self.soft(ix);
            let far = entry.delay / ALIKE_MICROS;
            let (asleep, load) = (entry.leaves == 0, per_mille(used));
            Spot { depth, region, key: OpenKey { over, far, asleep, load, serial, ix } }
        });
        let more_claims = entry.claimed < slots.saturating_mul(CLAIMS_PER_SLOT);
        let spare = (usable && free > 0 && more_claims).then(|| {
            let key = SpareKey { load: per_mille(entry.claimed), serial, ix };
            Spot { depth, region, key }
        });
        let had_room = entry.counted.0 > 0;
        let counted = if usable { (free, slots) } else { (0, 0) };
        self.recount(ix, counted);
        let layered = (usable && ix != ROOT).then_some((depth, used.min(slots), slots));
        self.relayer(ix, layered);
        let entry = &mut self.entries[ix];
        let (old_open, old_spare) = (entry.open_at, entry.spare_at);
        (entry.open_at, entry.spare_at) = (open, spare);
        let overdrawn = entry.claims.values().any(|claims| *claims > free);
        let standing = usable.then_some(depth);
        if std::mem::replace(&mut entry.standing, standing) != standing || overdrawn {
            self.check.extend(entry.held_by.iter().copied());
            let named_by = self.named_by(ix);
            self.check.extend(named_by);
        }
        if usable && free > 0 && !had_room {
            self.grown = true;
        }
        self.open.change(old_open, open);
        self.spare.change(old_spare, spare);
        self.press(ix);
    }

    fn recount(&mut self, ix: Ix, new: (u32, u32)) {
        let old = std::mem::replace(&mut self.entries[ix].counted, new);
        self.free_total = self.free_total - u64::from(old.0) + u64::from(new.0);
        self.slots_total = self.slots_total - u64::from(old.1) + u64::from(new.1);
        if ix == ROOT || old.1 == new.1 {
            return;
        }
        self.relay_slots = self.relay_slots - u64::from(old.1) + u64::from(new.1);
        if old.1 > 0
            && let Some(count) = self.sizes.get_mut(&old.1)
        {
            *count -= 1;
            if *count == 0 {
                self.sizes.remove(&old.1);
            }
        }
        if new.1 > 0 {
            *self.sizes.entry(new.1).or_default() += 1;
        }
    }

    /// Keeps the sums of the layers.
    fn relayer(&mut self, ix: Ix, new: Option<(u32, u32, u32)>) {
        let old = std::mem::replace(&mut self.entries[ix].layered, new);
        if let Some((depth, used, slots)) = old
            && let Some(layer) = self.layers.get_mut(depth as usize)
        {
            *layer = (layer.0 - u64::from(used), layer.1 - u64::from(slots));
        }
        if let Some((depth, used, slots)) = new {
            // At most MAX_DEPTH of them.
            let depth = depth as usize;
            self.layers.resize(self.layers.len().max(depth + 1), (0, 0));
            let layer = &mut self.layers[depth];
            *layer = (layer.0 + u64::from(used), layer.1 + u64::from(slots));
        }
    }

    /// Whether a layer has room for a leaf beside what relays may need there.
    pub(super) fn is_wide(&self, depth: u32) -> bool {
        let layer = self.layers.get(depth as usize);
        layer.is_some_and(|(used, slots)| used * LEAVES_SHARE.1 < slots * LEAVES_SHARE.0)
    }

    /// The share that must be kept so that the children of the largest relay find room elsewhere.
    pub(super) fn fix_share(&mut self) {
        let largest = u64::from(self.sizes.last_key_value().map_or(0, |(slots, _)| *slots));
        let needed = (largest * 1_000).checked_div(self.relay_slots).unwrap_or(1_000);
        let share = SHARES.into_iter().find(|s| u64::from(*s) >= needed).unwrap_or(LARGEST_SHARE);
        if share != self.share {
            self.share = share;
            for ix in 0..self.entries.len() {
                if self.entries[ix].open_at.is_some() {
                    self.reindex(ix);
                }
            }
        }
    }
}

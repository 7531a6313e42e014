//! What is missing of one layer and when to ask for it. A gap is waited out briefly (it may be
//! reordering), asked for with growing pauses, and given up by count and age. What children ask
//! for and we lack is remembered here too, and so asked for once however many they are.

#[cfg(test)]
mod tests;

use super::sizes::INDEX_LEAP;
use soleil_protocol::{Mono, PacketIndex};
use std::collections::BTreeMap;
use std::time::Duration;

/// Packets of one layer that are looked for at a time; beyond, the oldest are given up.
pub const MAX_MISSING: usize = 2048;

/// How far ahead of what has come a child may ask: as much as half a second of 4 Mbit/s, by which
/// another parent of its may be quicker.
const MAX_AHEAD: u64 = 256;

/// The longest pause between two requests for a packet.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// The shortest: less would repeat requests whose answers are under way.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// Added to the round-trip time: the peer's batching and ours.
const SLACK: Duration = Duration::from_millis(10);

/// Assumed until the link has been measured.
const DEFAULT_RTT: Duration = Duration::from_millis(50);

/// Limits of repair.
#[derive(Debug, Clone, Copy)]
pub struct RepairConfig {
    /// How long a gap may be mere reordering.
    pub reorder_delay: Duration,
    /// How long a packet is looked for; less than rings are long.
    pub give_up: Duration,
    /// How often it is asked for.
    pub max_asks: u32,
}

impl Default for RepairConfig {
    fn default() -> Self {
        // 16 requests with 20 % loss each way leave one packet in ten million.
        Self {
            reorder_delay: Duration::from_millis(5),
            give_up: Duration::from_millis(1500),
            max_asks: 16,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: Mono,
    next: Mono,
    asks: u32,
}

/// How a packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Higher than all before.
    Newest,
    /// It was missing; whether it had been asked for.
    Repaired {
        /// False if it was reordering only.
        asked: bool,
    },
    /// Neither: given up before, or older than the first.
    Late,
}

/// A packet to ask for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Which one.
    pub index: PacketIndex,
    /// It has been asked for before, and the answer is overdue.
    pub late: bool,
}

/// What becomes of a child's request for a packet that we have not got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It will be asked for.
    Added,
    /// It is looked for already.
    Known,
    /// Given up, or beyond all bounds.
    Refused,
}

/// The missing packets of one layer.
#[derive(Debug)]
pub struct Repair {
    config: RepairConfig,
    missing: BTreeMap<u64, Missing>,
    /// One more than the highest index heard of; `None` before the first.
    next: Option<u64>,
    /// Below, nothing is looked for any more.
    floor: u64,
    due: Option<Mono>,
    lost: u64,
    asked: u64,
}

impl Repair {
    /// Nothing is missing yet.
    pub fn new(config: RepairConfig) -> Self {
        Self {
            config,
            missing: BTreeMap::new(),
            next: None,
            floor: 0,
            due: None,
            lost: 0,
            asked: 0,
        }
    }

    /// Begins anew (counters go on): the layer was not received for a while. With `from` it is
    /// known which index comes first.
    pub fn restart(&mut self, from: Option<PacketIndex>) {
        self.missing.clear();
        self.due = None;
        self.floor = 0;
        self.next = from.map(|i| i.0);
    }

    /// The highest index heard of.
    pub fn highest(&self) -> Option<PacketIndex> {
        self.next?.checked_sub(1).map(PacketIndex)
    }

    /// Packets given up so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Packets that did not come on their own (asked for at least once).
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Packets looked for now.
    pub fn len(&self) -> usize {
        self.missing.len()
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }

    /// A packet has come, for the first time.
    pub fn arrived(&mut self, now: Mono, index: PacketIndex) -> Arrival {
        let index = index.0;
        if self.next.is_none_or(|next| index >= next) {
            if self.is_leap(index) {
                self.begin_at(index);
            } else if let Some(next) = self.next {
                self.lacks(now, next, index);
            }
            self.next = Some(index + 1);
            // A child may have asked for it already.
            self.missing.remove(&index);
            return Arrival::Newest;
        }
        match self.missing.remove(&index) {
            Some(m) => Arrival::Repaired { asked: m.asks > 0 },
            None => Arrival::Late,
        }
    }

    /// The parent says that `index` is the highest it has sent: a tail may be lost.
    pub fn revealed(&mut self, now: Mono, index: PacketIndex) {
        if self.is_leap(index.0) {
            // The first packet of the new life tells where it begins for us.
            return;
        }
        if let Some(next) = self.next.filter(|next| index.0 >= *next) {
            self.lacks(now, next, index.0 + 1);
        }
        self.next = Some(self.next.map_or(index.0 + 1, |next| next.max(index.0 + 1)));
    }

    /// Packets from `from` on have come before they could be verified: if they begin a life of the
    /// layer, they are missing.
    pub fn came_early(&mut self, from: PacketIndex) {
        if self.next.is_none() || self.is_leap(from.0) {
            self.begin_at(from.0);
        }
    }

    /// Whether an index belongs to another life of the layer than what came before (the root has
    /// started again).
    fn is_leap(&self, index: u64) -> bool {
        self.next.is_some_and(|next| index >= next.saturating_add(INDEX_LEAP))
    }

    /// What is looked for begins with this index.
    fn begin_at(&mut self, index: u64) {
        self.missing.clear();
        self.due = None;
        self.floor = index;
        self.next = Some(index);
    }

    /// A child asks for what we have neither had nor lost.
    pub fn wanted(&mut self, now: Mono, index: PacketIndex) -> Wanted {
        let Some(next) = self.next else { return Wanted::Refused };
        if self.missing.contains_key(&index.0) {
            return Wanted::Known;
        }
        // A little ahead is possible: the child may have another parent that is quicker.
        let bounds = self.floor..next.saturating_add(MAX_AHEAD);
        if !bounds.contains(&index.0) || self.missing.len() >= MAX_MISSING {
            return Wanted::Refused;
        }
        // What is ahead comes by itself, most likely.
        let first = if index.0 < next { now } else { now.after(MIN_PAUSE) };
        self.insert(now, first, index.0);
        Wanted::Added
    }

    /// All indexes from `from` up to, not including, `to` are missing.
    fn lacks(&mut self, now: Mono, from: u64, to: u64) {
        let start = from.max(to.saturating_sub(MAX_MISSING as u64));
        self.lost += start - from;
        for index in start..to {
            if self.missing.len() >= MAX_MISSING
                && let Some((oldest, _)) = self.missing.pop_first()
            {
                self.lost += 1;
                self.floor = self.floor.max(oldest + 1);
            }
            self.insert(now, now.after(self.config.reorder_delay), index);
        }
        if start > from {
            self.floor = self.floor.max(start);
        }
    }

    fn insert(&mut self, now: Mono, next: Mono, index: u64) {
        // What a child has asked for before stays as it is.
        self.missing.entry(index).or_insert(Missing { since: now, next, asks: 0 });
        self.due = Some(self.due.map_or(next, |due| due.min(next)));
    }

    /// When [`Repair::take_due`] has something to do.
    pub fn next_due(&self) -> Option<Mono> {
        self.due.filter(|_| !self.missing.is_empty())
    }

    /// Appends up to `limit` requests that are due, in rising order of index, and gives up what is
    /// too old. With `can_ask` false (no parent just now) requests wait and are not counted. On a
    /// `lossy` path the second request follows the first without waiting for its answer.
    pub fn take_due(
        &mut self,
        now: Mono,
        rtt: Option<Duration>,
        lossy: bool,
        can_ask: bool,
        limit: usize,
        out: &mut Vec<Request>,
    ) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        let config = self.config;
        let base = (rtt.unwrap_or(DEFAULT_RTT).mul_f32(1.25) + SLACK).max(MIN_PAUSE);
        let (mut due, mut lost, mut floor, mut asked) = (None::<Mono>, 0, self.floor, 0);
        let room = out.len() + limit;
        self.missing.retain(|index, m| {
            if now.since(m.since) >= config.give_up || (m.asks >= config.max_asks && now >= m.next)
            {
                lost += 1;
                floor = floor.max(index + 1);
                return false;
            }
            if now >= m.next && !can_ask {
                m.next = now.after(MIN_PAUSE);
            } else if now >= m.next && out.len() < room {
                out.push(Request { index: PacketIndex(*index), late: m.asks > 0 });
                // The pause grows by a quarter each time, to its bound or, on a longer path, to
                // that path's round trip.
                let pause = base.mul_f32(1.25f32.powi(m.asks.min(16) as i32));
                let pause = pause.min(MAX_PAUSE.max(base));
                let again = lossy && m.asks == 0;
                m.next = now.after(if again { pause.min(MIN_PAUSE) } else { pause });
                asked += u64::from(m.asks == 0);
                m.asks += 1;
            }
            let next = m.next.min(m.since.after(config.give_up));
            due = Some(due.map_or(next, |d| d.min(next)));
            true
        });
        self.lost += lost;
        self.asked += asked;
        self.floor = floor;
        // What did not fit in now follows at once, in the next packet.
        self.due = due.map(|d| d.max(Mono(now.0 + 1)));
    }
}

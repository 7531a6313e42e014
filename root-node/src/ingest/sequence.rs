//! Sequence numbers without their wrap, and a small reorder buffer in front of sealing. Pure;
//! payloads are whatever the caller puts in.

use soleil_protocol::Mono;
use std::collections::BTreeMap;
use std::time::Duration;

/// The largest forward jump that is loss and not a restart (RFC 3550 appendix A.1).
const MAX_DROPOUT: u64 = 3000;
/// The largest backward jump that is reordering and not a restart (RFC 3550 appendix A.1).
const MAX_MISORDER: u64 = 100;
/// How long a packet waits for an earlier one. A broadcaster's network reorders within a few
/// milliseconds; whatever is later than this is lost, and every viewer would wait with it.
pub const REORDER_TIME: Duration = Duration::from_millis(40);
/// How many packets may wait. 128 packets of 1,400 bytes are 40 ms of 36 Mbit/s.
pub const REORDER_PACKETS: usize = 128;

/// What a sequence number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It continues the source; here is the number without wrap.
    At(u64),
    /// Too far off to believe at once: drop it, the next one decides.
    Doubtful,
    /// Two in a row agree: the source has restarted at this number.
    Restart(u64),
}

/// Extends 16-bit sequence numbers (RFC 3550 appendix A.1).
#[derive(Debug, Clone, Default)]
pub struct Extender {
    highest: Option<u64>,
    doubtful: Option<u16>,
}

impl Extender {
    /// Places a sequence number; the first one is always taken.
    pub fn place(&mut self, seq: u16) -> Placed {
        let Some(highest) = self.highest else {
            // One cycle up, so that packets from before the first do not underflow.
            let at = 0x1_0000 | u64::from(seq);
            self.highest = Some(at);
            return Placed::At(at);
        };
        let ahead = u64::from(seq.wrapping_sub(highest as u16));
        if ahead < MAX_DROPOUT {
            self.highest = Some(highest + ahead);
            self.doubtful = None;
            return Placed::At(highest + ahead);
        }
        let behind = 0x1_0000 - ahead;
        if behind <= MAX_MISORDER {
            return Placed::At(highest - behind);
        }
        if self.doubtful == Some(seq) {
            let at = highest + 0x1_0000 - (highest & 0xffff) + u64::from(seq);
            self.highest = Some(at);
            self.doubtful = None;
            return Placed::Restart(at);
        }
        self.doubtful = Some(seq.wrapping_add(1));
        Placed::Doubtful
    }
}

/// What became of a packet that was put into the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// It is in.
    Queued,
    /// It is there already.
    Duplicate,
    /// Its place has passed.
    Late,
}

/// Packets in order, each with the number of those lost before it.
#[derive(Debug)]
pub struct Reorder<T> {
    next: Option<u64>,
    held: BTreeMap<u64, (Mono, T)>,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self { next: None, held: BTreeMap::new() }
    }
}

impl<T> Reorder<T> {
    /// Puts a packet in.
    pub fn push(&mut self, now: Mono, at: u64, item: T) -> Push {
        if self.next.is_some_and(|next| at < next) {
            return Push::Late;
        }
        if self.held.contains_key(&at) {
            return Push::Duplicate;
        }
        self.held.insert(at, (now, item));
        Push::Queued
    }

    /// The next packet whose turn has come, and how many were given up before it. Packets behind
    /// a hole wait for [`REORDER_TIME`], or until there are more than [`REORDER_PACKETS`].
    pub fn pop(&mut self, now: Mono) -> Option<(T, u64)> {
        let (&first, _) = self.held.first_key_value()?;
        let next = self.next.unwrap_or(first);
        let waited = self.deadline().is_some_and(|d| d <= now);
        if first != next && !waited && self.held.len() <= REORDER_PACKETS {
            return None;
        }
        self.take_first(next)
    }

    /// The next packet whether its turn has come or not (the source has changed).
    pub fn flush(&mut self) -> Option<(T, u64)> {
        let (&first, _) = self.held.first_key_value()?;
        let next = self.next.unwrap_or(first);
        self.take_first(next)
    }

    /// When [`Reorder::pop`] gives up a hole.
    pub fn deadline(&self) -> Option<Mono> {
        let oldest = self.held.values().map(|(at, _)| *at).min()?;
        Some(oldest.after(REORDER_TIME))
    }

    fn take_first(&mut self, next: u64) -> Option<(T, u64)> {
        let (first, (_, item)) = self.held.pop_first()?;
        self.next = Some(first + 1);
        Some((item, first.saturating_sub(next)))
    }
}

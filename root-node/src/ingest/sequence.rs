//! Sequence numbers without their wrap, and a small reorder buffer in front of sealing. Pure;
//! payloads are whatever the caller puts in.

use super::source::Patience;
use soleil_protocol::Mono;
use std::collections::BTreeMap;

/// The largest forward jump that is loss and not a restart (RFC 3550 appendix A.1).
const MAX_DROPOUT: u64 = 3000;
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
#[derive(Debug, Clone)]
pub struct Extender {
    highest: Option<u64>,
    doubtful: Option<u16>,
    misorder: u64,
}

impl Extender {
    /// For a source that has sent nothing yet.
    pub fn new(patience: Patience) -> Self {
        Self { highest: None, doubtful: None, misorder: patience.misorder }
    }

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
        if behind <= self.misorder {
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
    patience: Patience,
}

impl<T> Reorder<T> {
    /// Waits for holes as the source deserves.
    pub fn new(patience: Patience) -> Self {
        Self { next: None, held: BTreeMap::new(), patience }
    }

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
    /// a hole wait for the patience's time, or until there are more than its packets.
    pub fn pop(&mut self, now: Mono) -> Option<(T, u64)> {
        let (&first, _) = self.held.first_key_value()?;
        let next = self.next.unwrap_or(first);
        let waited = self.deadline().is_some_and(|d| d <= now);
        if first != next && !waited && self.held.len() <= self.patience.packets {
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
        Some(oldest.after(self.patience.time))
    }

    fn take_first(&mut self, next: u64) -> Option<(T, u64)> {
        let (first, (_, item)) = self.held.pop_first()?;
        self.next = Some(first + 1);
        Some((item, first.saturating_sub(next)))
    }
}

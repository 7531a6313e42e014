//! What was sent under which transport-wide number: a ring of send times and sizes. A packet costs
//! two stores; a viewer costs 3 KB.

use soleil_protocol::Mono;
use std::time::Duration;

/// Packets that are remembered. Feedback comes within a round trip and the viewer's reporting
/// interval (at most 250 ms): at 400 ms in all this is enough for 12 Mbit/s. A power of two.
pub const HISTORY_PACKETS: usize = 512;

const SIZE: u16 = 0x0fff;
const PROBE: u16 = 0x1000;
const MISSING: u16 = 0x4000;
const RECEIVED: u16 = 0x8000;

/// A packet as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Its number, counted on without wrapping.
    pub number: u64,
    /// When.
    pub at: Mono,
    /// Bytes of the datagram.
    pub size: u16,
    /// Whether it belongs to a probe.
    pub probe: bool,
    /// Whether an earlier message said that it was missing.
    pub missing: bool,
}

/// Packets of one viewer, by transport-wide number.
#[derive(Debug)]
pub struct History {
    next: u64,
    times: Box<[u32; HISTORY_PACKETS]>,
    sizes: Box<[u16; HISTORY_PACKETS]>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            next: 0,
            times: Box::new([0; HISTORY_PACKETS]),
            sizes: Box::new([RECEIVED; HISTORY_PACKETS]),
        }
    }
}

impl History {
    /// The number that the next packet has to carry.
    pub fn next(&self) -> u16 {
        self.next as u16
    }

    /// Packets so far.
    pub fn sent(&self) -> u64 {
        self.next
    }

    /// Whether something was sent, and nothing since so long (below the 71 minutes that are
    /// remembered).
    pub fn rests(&self, now: Mono, time: Duration) -> bool {
        let Some(last) = self.next.checked_sub(1) else { return false };
        let ago = (now.0 as u32).wrapping_sub(self.times[last as usize % HISTORY_PACKETS]);
        u128::from(ago) >= time.as_micros()
    }

    /// The next packet has left.
    pub fn push(&mut self, now: Mono, size: usize, probe: bool) {
        let slot = self.next as usize % HISTORY_PACKETS;
        let size = size.min(usize::from(SIZE)) as u16;
        self.times[slot] = now.0 as u32;
        self.sizes[slot] = if probe { size | PROBE } else { size };
        self.next += 1;
    }

    /// The full number that a feedback message means, if it can have been sent.
    pub fn unwrap(&self, number: u16) -> Option<u64> {
        let last = self.next.checked_sub(1)?;
        let back = (last as u16).wrapping_sub(number);
        last.checked_sub(u64::from(back))
    }

    /// The packet has come: tells what it was, once.
    pub fn receive(&mut self, now: Mono, number: u64) -> Option<Sent> {
        let slot = self.slot(number)?;
        let flags = self.sizes[slot];
        if flags & RECEIVED != 0 {
            return None;
        }
        self.sizes[slot] |= RECEIVED;
        Some(self.sent_at(now, number, slot, flags))
    }

    /// The packet has not come so far: tells what it was, once.
    pub fn miss(&mut self, now: Mono, number: u64) -> Option<Sent> {
        let slot = self.slot(number)?;
        let flags = self.sizes[slot];
        if flags & (RECEIVED | MISSING) != 0 {
            return None;
        }
        self.sizes[slot] |= MISSING;
        Some(self.sent_at(now, number, slot, flags))
    }

    fn slot(&self, number: u64) -> Option<usize> {
        let remembered = number < self.next && self.next - number <= HISTORY_PACKETS as u64;
        remembered.then_some(number as usize % HISTORY_PACKETS)
    }

    fn sent_at(&self, now: Mono, number: u64, slot: usize, flags: u16) -> Sent {
        // 32 bits of microseconds are 71 minutes: longer than anything stays of interest.
        let ago = (now.0 as u32).wrapping_sub(self.times[slot]);
        Sent {
            number,
            at: Mono(now.0.saturating_sub(u64::from(ago))),
            size: flags & SIZE,
            probe: flags & PROBE != 0,
            missing: flags & MISSING != 0,
        }
    }
}

//! The resend ring of one layer: the sealed packets of the last moments, found by their 48-bit
//! index. Bounded by packets (and so by bytes) and by age; slots and their buffers are reused, so
//! once it is warm nothing is allocated.

use super::sizes::MAX_HOP_PACKET;
use soleil_protocol::{Mono, PacketIndex};
use std::time::Duration;

/// Marks a slot without a packet: no 48-bit index.
const EMPTY: u64 = u64::MAX;

#[derive(Debug, Clone)]
struct Slot {
    index: u64,
    at: Mono,
    bytes: Vec<u8>,
}

/// Sealed packets by index.
#[derive(Debug)]
pub struct Ring {
    slots: Box<[Slot]>,
    max_age: Duration,
    newest: Option<u64>,
}

impl Ring {
    /// Room for `bytes` of packets of the largest size, not older than `max_age`. Memory is taken
    /// as packets come.
    pub fn new(bytes: usize, max_age: Duration) -> Self {
        let slot = Slot { index: EMPTY, at: Mono(0), bytes: Vec::new() };
        Self { slots: vec![slot; (bytes / MAX_HOP_PACKET).max(16)].into(), max_age, newest: None }
    }

    /// How many packets it can hold.
    pub fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// The highest index that it has had.
    pub fn newest(&self) -> Option<PacketIndex> {
        self.newest.map(PacketIndex)
    }

    /// The lowest index that can still be resent, as of when the newest packet came.
    pub fn oldest(&self) -> Option<PacketIndex> {
        let now = self.arrival(self.newest()?)?;
        self.next_from(now, PacketIndex(0))
    }

    fn slot(&self, index: u64) -> usize {
        (index % self.slots.len() as u64) as usize
    }

    /// Keeps a copy of a packet in the place of one that is older by the ring's length. A packet
    /// that is itself that old is not kept.
    pub fn store(&mut self, now: Mono, index: PacketIndex, packet: &[u8]) -> bool {
        let position = self.slot(index.0);
        let slot = &mut self.slots[position];
        if slot.index != EMPTY && slot.index > index.0 {
            return false;
        }
        slot.index = index.0;
        slot.at = now;
        slot.bytes.clear();
        slot.bytes.extend_from_slice(packet);
        self.newest = Some(self.newest.map_or(index.0, |n| n.max(index.0)));
        true
    }

    fn find(&self, index: u64) -> Option<&Slot> {
        let slot = &self.slots[self.slot(index)];
        (slot.index == index).then_some(slot)
    }

    /// A packet, whatever its age.
    pub fn peek(&self, index: PacketIndex) -> Option<&[u8]> {
        self.find(index.0).map(|s| &s.bytes[..])
    }

    /// A packet that is not too old to be resent.
    pub fn get(&self, now: Mono, index: PacketIndex) -> Option<&[u8]> {
        self.find(index.0).filter(|s| now.since(s.at) <= self.max_age).map(|s| &s.bytes[..])
    }

    /// When a packet arrived.
    pub fn arrival(&self, index: PacketIndex) -> Option<Mono> {
        self.find(index.0).map(|s| s.at)
    }

    /// The first packet from `from` on that can be resent: how a cursor moves, and how one that
    /// has fallen behind jumps.
    pub fn next_from(&self, now: Mono, from: PacketIndex) -> Option<PacketIndex> {
        let newest = self.newest?;
        let start = from.0.max((newest + 1).saturating_sub(self.capacity()));
        (start..=newest).map(PacketIndex).find(|i| self.get(now, *i).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: Duration = Duration::from_secs(2);

    fn ring(packets: usize) -> Ring {
        Ring::new(packets * MAX_HOP_PACKET, AGE)
    }

    #[test]
    fn packets_are_found_until_they_are_overwritten() {
        let mut r = ring(32);
        for i in 100..140u64 {
            assert!(r.store(Mono(i), PacketIndex(i), &[i as u8]));
        }
        assert_eq!(r.get(Mono(140), PacketIndex(139)), Some(&[139][..]));
        assert_eq!(r.get(Mono(140), PacketIndex(108)), Some(&[108][..]));
        assert_eq!(r.get(Mono(140), PacketIndex(107)), None);
        assert_eq!(r.newest(), Some(PacketIndex(139)));
        assert!(!r.store(Mono(140), PacketIndex(107), &[0]));
        assert_eq!(r.arrival(PacketIndex(139)), Some(Mono(139)));
    }

    #[test]
    fn old_packets_are_not_resent() {
        let mut r = ring(32);
        r.store(Mono(0), PacketIndex(1), &[1]);
        assert!(r.get(Mono(2_000_000), PacketIndex(1)).is_some());
        assert!(r.get(Mono(2_000_001), PacketIndex(1)).is_none());
        assert!(r.peek(PacketIndex(1)).is_some());
    }

    #[test]
    fn a_cursor_jumps_over_holes_and_over_what_is_gone() {
        let mut r = ring(32);
        assert_eq!(r.next_from(Mono(0), PacketIndex(0)), None);
        for i in (0..100u64).filter(|i| i % 10 != 5) {
            r.store(Mono(0), PacketIndex(i), &[]);
        }
        let next = |i| r.next_from(Mono(0), PacketIndex(i)).map(|i| i.0);
        assert_eq!(next(0), Some(68));
        assert_eq!(next(75), Some(76));
        assert_eq!(next(99), Some(99));
        assert_eq!(next(100), None);
    }

    #[test]
    fn buffers_are_reused() {
        let mut r = ring(16);
        for i in 0..16u64 {
            r.store(Mono(0), PacketIndex(i), &[0; 1000]);
        }
        let before: Vec<_> = r.slots.iter().map(|s| s.bytes.as_ptr()).collect();
        for i in 16..1000u64 {
            r.store(Mono(0), PacketIndex(i), &[0; 900]);
        }
        assert_eq!(before, r.slots.iter().map(|s| s.bytes.as_ptr()).collect::<Vec<_>>());
    }
}

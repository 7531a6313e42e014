//! The resend ring of one layer: opened packets, shared by all viewers of a worker. It only
//! stores; who gets what is the sessions' business.

#[cfg(test)]
mod tests;

use crate::rewriter::{LATE_WINDOW, Source};
use relay_node::media::api::{FrameMarks, LocalPacket};
use soleil_protocol::{PacketIndex, Ssrc};

/// Packets per layer: about 3.5 s of video at 2.5 Mbit/s (290 packets/s), the same as the
/// rewriter's window, so what can be asked for is there.
pub const RING_PACKETS: usize = LATE_WINDOW as usize;

/// So many packets in a row that lie behind the whole ring mean that the index began anew: repair
/// brings single ones, never a row without a new packet between.
const RESTART_AFTER: u32 = 16;

/// A packet as it lies in the ring.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Its index.
    pub index: PacketIndex,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker.
    pub marker: bool,
    /// Absolute capture time, NTP 32.32.
    pub capture: u64,
    /// Frame marks.
    pub marks: FrameMarks,
    /// The plain payload.
    pub payload: Vec<u8>,
}

/// Packets of one SSRC, by index.
#[derive(Debug)]
pub struct PacketRing {
    ssrc: Ssrc,
    frames: bool,
    generation: u32,
    slots: Vec<Option<Stored>>,
    highest: Option<u64>,
    behind: u32,
}

impl PacketRing {
    /// An empty ring; room is taken as packets come. `frames`: it is a picture, whose frames have
    /// several packets.
    pub fn new(ssrc: Ssrc, frames: bool) -> Self {
        Self {
            ssrc,
            frames,
            generation: 0,
            slots: (0..RING_PACKETS).map(|_| None).collect(),
            highest: None,
            behind: 0,
        }
    }

    /// The source that the packets belong to at present.
    pub fn source(&self) -> Source {
        Source { ssrc: self.ssrc, generation: self.generation }
    }

    /// Whether its packets make up frames that a marker ends.
    pub fn frames(&self) -> bool {
        self.frames
    }

    /// The highest index so far.
    pub fn highest(&self) -> Option<PacketIndex> {
        self.highest.map(PacketIndex)
    }

    /// Stores a packet; `false` if it is there already or too old. A slot that is never given
    /// other bytes under the same index is what makes resending safe.
    pub fn insert(&mut self, packet: &LocalPacket<'_>) -> bool {
        let index = packet.index.0;
        if let Some(highest) = self.highest {
            if index.saturating_add(RING_PACKETS as u64) <= highest {
                self.behind += 1;
                if self.behind < RESTART_AFTER {
                    return false;
                }
                self.restart();
            } else if index > highest {
                self.behind = 0;
            }
        }
        let slot = (index % RING_PACKETS as u64) as usize;
        let Some(slot) = self.slots.get_mut(slot) else { return false };
        let stored = slot
            .get_or_insert_with(|| Stored { index: PacketIndex(u64::MAX), ..Stored::default() });
        if stored.index.0 == index {
            return false;
        }
        stored.index = packet.index;
        stored.timestamp = packet.timestamp;
        stored.marker = packet.marker;
        stored.capture = packet.capture;
        stored.marks = packet.marks;
        stored.payload.clear();
        stored.payload.extend_from_slice(packet.payload);
        self.highest = Some(self.highest.map_or(index, |h| h.max(index)));
        true
    }

    /// A packet, if the ring (still) has it.
    pub fn get(&self, source: Source, index: PacketIndex) -> Option<&Stored> {
        if source != self.source() {
            return None;
        }
        self.slots
            .get((index.0 % RING_PACKETS as u64) as usize)?
            .as_ref()
            .filter(|stored| stored.index == index)
    }

    fn restart(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.highest = None;
        self.behind = 0;
        for stored in self.slots.iter_mut().flatten() {
            stored.index = PacketIndex(u64::MAX);
        }
    }
}

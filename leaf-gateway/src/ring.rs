//! The resend ring of one layer: opened packets, shared by all viewers of a worker. It only
//! stores; who gets what is the sessions' business.

#[cfg(test)]
mod tests;

use crate::bandwidth::meter::Meter;
use crate::rewriter::{LATE_WINDOW, Source};
use relay_node::media::api::{FrameMarks, LocalPacket};
use relay_node::media::sizes::INDEX_LEAP;
use soleil_protocol::{Mono, PacketIndex, Ssrc};
use std::time::Duration;

/// Packets per layer: some 7 s of video at 2.5 Mbit/s (290 packets/s), so that the last key frame
/// and all behind it is mostly there; twice the rewriter's window, so what can be asked for is.
pub const RING_PACKETS: usize = 2 * LATE_WINDOW as usize;

/// A viewer that joins starts from the last key frame, if it and what is behind it are not more
/// than this, in bytes: sent five times as fast as it was made, that is a second of 16 Mbit/s. With
/// more it is cheaper for all to ask the source for a new one.
pub const MAX_START_BYTES: usize = 2 << 20;

/// And not older than this, in seconds of the stream: five times as fast it has caught up with the
/// present within one.
pub const MAX_START_AGE: u32 = 4;

/// And if something has come within this time: nobody starts with a picture that stands.
const MAX_START_SILENCE: Duration = Duration::from_secs(1);

/// A layer of which nothing has come for so long is not sent: a browser sends fewer than the stream has, or
/// a reserve is on air.
const SILENT: Duration = Duration::from_secs(3);

/// What a viewer's datagram is longer than its payload: header, extensions, tag.
const VIEWER_OVERHEAD: usize = 12 + 16 + 16;

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
    /// When that came.
    at: Mono,
    /// The last packet that a decoder can start from, and the bytes from there on.
    key: Option<(u64, usize)>,
    behind: u32,
    meter: Meter,
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
            at: Mono(0),
            key: None,
            behind: 0,
            meter: Meter::default(),
        }
    }

    /// Bits per second that the layer takes on its way to a viewer, once that is known.
    pub fn rate(&self, now: Mono) -> Option<u64> {
        self.meter.rate(now)
    }

    /// Whether nothing has come for so long that it is no pause between frames.
    pub fn is_silent(&self, now: Mono) -> bool {
        self.highest.is_none() || now.since(self.at) >= SILENT
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

    /// The newest packet that a viewer can start from, with the newest of all: both in the ring,
    /// and not further apart than the limits say.
    pub fn start(&self, now: Mono, clock_rate: u32) -> Option<(&Stored, &Stored)> {
        let (key, bytes) = self.key?;
        if bytes > MAX_START_BYTES || now.since(self.at) > MAX_START_SILENCE {
            return None;
        }
        let first = self.get(self.source(), PacketIndex(key))?;
        let last = self.get(self.source(), PacketIndex(self.highest?))?;
        let age = last.timestamp.wrapping_sub(first.timestamp);
        (age <= MAX_START_AGE.saturating_mul(clock_rate)).then_some((first, last))
    }

    /// Stores a packet that has come now; `false` if it is there already or too old. A slot that is never given
    /// other bytes under the same index is what makes resending safe.
    pub fn insert(&mut self, now: Mono, packet: &LocalPacket<'_>) -> bool {
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
                if index - highest >= INDEX_LEAP {
                    // The root has started again: what came before does not lead up to this.
                    self.restart();
                }
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
        self.meter.push(now, packet.payload.len() + VIEWER_OVERHEAD);
        if self.highest.is_none_or(|highest| index > highest) {
            self.highest = Some(index);
            self.at = now;
        }
        match &mut self.key {
            Some((key, bytes)) if index > *key && !packet.marks.key_start() => {
                *bytes += packet.payload.len();
            }
            Some((key, _)) if index < *key => {}
            key if packet.marks.key_start() => *key = Some((index, packet.payload.len())),
            _ => {}
        }
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
        self.key = None;
        self.behind = 0;
        for stored in self.slots.iter_mut().flatten() {
            stored.index = PacketIndex(u64::MAX);
        }
    }
}

//! A track's start from the last key frame: what the ring has behind it is sent faster than it was made,
//! until it has caught up with the stream.

use super::OutTrack;
use crate::rewriter::{Input, Source, Squeeze};
use crate::ring::{PacketRing, Stored};
use soleil_protocol::{Mono, PacketIndex};

/// How many times faster than it was made a start from the last key frame is sent: four seconds of
/// the past (`MAX_START_AGE`) are made up for in one, at five times the stream's rate.
const START_FACTOR: u32 = 5;

/// A start from the last key frame: a cursor into the ring that runs faster than the stream until
/// it has caught up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) source: Source,
    pub(super) next: u64,
    at: Mono,
    /// Timestamp of the first packet.
    timestamp: u32,
}

impl OutTrack {
    /// Begins with the last key frame that the ring has, if it has one that is fit for it and the
    /// viewer does not change over from another layer.
    pub(in super::super) fn start(&mut self, now: Mono, ring: &PacketRing) -> bool {
        let source = ring.source();
        let other = self.rewriter.current().is_some_and(|s| s.ssrc != source.ssrc);
        if other || self.paused || !self.waiting || source.ssrc != self.setup.source {
            return false;
        }
        let Some((first, last)) = ring.start(now, self.setup.clock_rate) else { return false };
        if self.rewriter.current() == Some(source) && self.rewriter.has(first.index) {
            // It knows this key frame already, and could not go on from it.
            return false;
        }
        // While the cursor catches up, the stream goes on: 1 / (factor - 1) of the way more.
        let way = last.timestamp.wrapping_sub(first.timestamp);
        let until = last.timestamp.wrapping_add(way / (START_FACTOR - 1));
        let input =
            Input { source, index: first.index, timestamp: first.timestamp, capture: last.capture };
        self.rewriter.begin(input, Some(Squeeze { until, factor: START_FACTOR }));
        self.waiting = false;
        self.start =
            Some(Start { source, next: first.index.0, at: now, timestamp: first.timestamp });
        true
    }

    /// Whether a start is under way.
    pub(in super::super) fn is_starting(&self) -> bool {
        self.start.is_some()
    }

    /// What the cursor has not reached yet comes as it comes.
    pub(in super::super) fn end_start(&mut self) {
        self.start = None;
    }

    /// Whether the present range is of this source.
    pub(in super::super) fn began_with(&self, source: Source) -> bool {
        self.rewriter.current() == Some(source)
    }

    /// The next packet of a start whose time has come; give it to [`forward`](Self::forward).
    pub(in super::super) fn next_of_start<'r>(
        &mut self,
        now: Mono,
        ring: &'r PacketRing,
    ) -> Option<&'r Stored> {
        let start = self.start.as_mut()?;
        if ring.source() != start.source {
            return None;
        }
        let micros = now.since(start.at).as_micros() as u64;
        let ticks = micros * u64::from(self.setup.clock_rate) * u64::from(START_FACTOR) / 1_000_000;
        let highest = ring.highest().map_or(0, |h| h.0);
        while start.next <= highest {
            // What is missing comes later, as repairs do.
            let Some(packet) = ring.get(start.source, PacketIndex(start.next)) else {
                start.next += 1;
                continue;
            };
            let way = packet.timestamp.wrapping_sub(start.timestamp) as i32;
            if i64::from(way) > ticks as i64 {
                return None;
            }
            start.next += 1;
            return Some(packet);
        }
        self.start = None;
        None
    }
}

//! Sequence numbers and timestamps as one viewer sees them on one track.
//!
//! The viewer gets a stream without seams: its sequence starts at a random number and goes on
//! across joins, gaps and changes of the source, while a packet that was repaired late gets exactly
//! the place that was left for it. Pure: it knows neither packets nor sockets nor the clock. It
//! does not decide when a range may begin (a key frame, live audio): its user does.
//!
//! No output index is handed out twice ([`Rewriter::rewrite`] remembers them): under AES-GCM a
//! second packet with other bytes under the same index would give the key away (RFC 7714
//! section 8.1).

#[cfg(test)]
mod tests;

use soleil_protocol::{PacketIndex, Ssrc};
use std::collections::VecDeque;

/// Ranges that are kept per viewer and track. A range ends at a source change or a great gap, both
/// rare, and where frames are left out: with each second one of 30 a second these reach back for
/// four seconds, further than a resend comes in time.
pub const MAX_RANGES: usize = 64;

/// A larger gap in the source begins a new range instead of a hole in the viewer's sequence:
/// browsers give up on holes of about a thousand packets, and the ring holds no more either.
pub const MAX_HOLE: u64 = 512;

/// How far behind the newest packet a late one may come. Longer than a repair takes at any rate
/// that we serve, and as long as the resend ring.
pub const LATE_WINDOW: u64 = 1024;

/// A pause between two ranges that is longer than this is not believed (clocks may have jumped).
const MAX_PAUSE_SECS: u64 = 3600;

/// Where packets come from: an SSRC, and which life of it (an SSRC whose index began anew is
/// another source).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The layer's SSRC on the hops.
    pub ssrc: Ssrc,
    /// Raised when the index of this SSRC begins anew.
    pub generation: u32,
}

/// A packet before rewriting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input {
    /// Its source.
    pub source: Source,
    /// Its index there.
    pub index: PacketIndex,
    /// Its RTP timestamp there.
    pub timestamp: u32,
    /// Absolute capture time, NTP 32.32: tells how much time lies between two sources.
    pub capture: u64,
}

/// A range whose beginning is played faster than it was made: it starts from a key frame of the
/// past, and catches up with the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Squeeze {
    /// The source's timestamp from which on time runs as usual.
    pub until: u32,
    /// How many times faster before that; at least 1.
    pub factor: u32,
}

impl Squeeze {
    /// The timestamp with the beginning moved up to the present; rises with the source's.
    fn apply(self, timestamp: u32) -> u32 {
        let ahead = self.until.wrapping_sub(timestamp);
        if ahead as i32 <= 0 {
            return timestamp;
        }
        self.until.wrapping_sub(ahead / self.factor.max(1))
    }
}

/// Numbers of the picture, within its payload, that frames which were left out had: what comes
/// behind them is numbered lower by so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped {
    /// Numbers of pictures.
    pub pictures: u16,
    /// Numbers of the base layer's pictures.
    pub bases: u8,
}

/// Numbers for the viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// 48-bit index; its low 16 bits are the sequence number.
    pub index: PacketIndex,
    /// RTP timestamp.
    pub timestamp: u32,
    /// What it would be without a [`Squeeze`]: the one that belongs to the capture time.
    pub natural: u32,
    /// What was skipped before it.
    pub skipped: Skipped,
}

/// What a sequence number that a viewer has named was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original {
    /// The source.
    pub source: Source,
    /// The index there.
    pub index: PacketIndex,
    /// The index that the viewer saw.
    pub output: PacketIndex,
    /// Add this (wrapping) to the source's timestamp.
    pub timestamp_offset: u32,
    /// After this.
    pub squeeze: Option<Squeeze>,
    /// What was skipped before it.
    pub skipped: Skipped,
}

impl Original {
    /// The timestamp that the viewer saw, made from the source's.
    pub fn timestamp(&self, source: u32) -> u32 {
        squeezed(self.squeeze, source).wrapping_add(self.timestamp_offset)
    }
}

fn squeezed(squeeze: Option<Squeeze>, timestamp: u32) -> u32 {
    squeeze.map_or(timestamp, |s| s.apply(timestamp))
}

#[derive(Debug, Clone, Copy)]
struct Range {
    source: Source,
    first_in: u64,
    /// One before `first_in` as long as it is empty.
    last_in: u64,
    first_out: u64,
    timestamp_offset: u32,
    squeeze: Option<Squeeze>,
    skipped: Skipped,
}

impl Range {
    /// One past the last output index that may belong to a closed range.
    fn end_out(&self) -> u64 {
        self.first_out + (self.last_in + 1 - self.first_in)
    }
}

/// The rewriter of one viewer and track.
#[derive(Debug, Clone)]
pub struct Rewriter {
    clock_rate: u32,
    ranges: VecDeque<Range>,
    next_out: u64,
    /// The present range is over, and the next packet has to begin one.
    closed: bool,
    start_timestamp: u32,
    newest: Option<(u32, u64)>,
    sent: [u64; (LATE_WINDOW / 64) as usize],
}

impl Rewriter {
    /// A rewriter whose sequence begins at `first_seq` (its highest bit is cleared: the first
    /// sequence number must lie in the lower half, so that loss at the beginning can't confuse the
    /// receiver's roll-over counter, RFC 3711 section 3.3.1) and whose timestamps begin at
    /// `start_timestamp`; both random, RFC 3550 section 5.1.
    pub fn new(first_seq: u16, start_timestamp: u32, clock_rate: u32) -> Self {
        Self {
            clock_rate,
            ranges: VecDeque::new(),
            next_out: u64::from(first_seq & 0x7fff),
            closed: false,
            start_timestamp,
            newest: None,
            sent: [0; (LATE_WINDOW / 64) as usize],
        }
    }

    /// Whether anything has been begun.
    pub fn started(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// The source of the present range.
    pub fn current(&self) -> Option<Source> {
        self.ranges.back().map(|r| r.source)
    }

    /// Whether an index of the present range's source lies in that range.
    pub fn has(&self, index: PacketIndex) -> bool {
        self.ranges.back().is_some_and(|r| (r.first_in..=r.last_in).contains(&index.0))
    }

    /// Ends the present range: what follows begins another, of the same source or not.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// The highest sequence number so far.
    pub fn highest(&self) -> Option<u16> {
        self.ranges.back()?;
        self.next_out.checked_sub(1).map(|out| out as u16)
    }

    /// The index behind the highest so far.
    pub fn next_output(&self) -> PacketIndex {
        PacketIndex(self.next_out)
    }

    /// Whether the packet continues the present range (or fills a hole in it); otherwise the
    /// user calls [`begin`](Self::begin) with a packet that a decoder can start from.
    pub fn continues(&self, source: Source, index: PacketIndex) -> bool {
        let reach = |last: u64| index.0 <= last.saturating_add(MAX_HOLE);
        !self.closed && self.ranges.back().is_some_and(|r| r.source == source && reach(r.last_in))
    }

    /// Whether the packet comes right behind the last one of the present range.
    pub fn is_next(&self, source: Source, index: PacketIndex) -> bool {
        self.ranges.back().is_some_and(|r| r.source == source && r.last_in + 1 == index.0)
    }

    /// Leaves packets out: what comes behind the last one, up to this one. The viewer's sequence
    /// gets no hole, and what was left out has no place any more, should it come. `false` if this
    /// one is not behind the present range, or too far.
    pub fn leave_out(&mut self, source: Source, index: PacketIndex) -> bool {
        if !self.continues(source, index) {
            return false;
        }
        let Some(last) = self.ranges.back_mut().filter(|r| r.last_in < index.0) else {
            return false;
        };
        let first_in = index.0 + 1;
        if last.first_in > last.last_in {
            (last.first_in, last.last_in) = (first_in, index.0);
            return true;
        }
        let next = Range { first_in, last_in: index.0, first_out: self.next_out, ..*last };
        self.push(next);
        true
    }

    /// Of what was left out last, so many numbers of the picture are gone; once for each frame, before
    /// anything else is sent.
    pub fn skip(&mut self, skipped: Skipped) {
        if let Some(last) = self.ranges.back_mut().filter(|r| r.first_in > r.last_in) {
            last.skipped.pictures = last.skipped.pictures.wrapping_add(skipped.pictures);
            last.skipped.bases = last.skipped.bases.wrapping_add(skipped.bases);
        }
    }

    /// Begins a range with this packet: the output goes on right after the highest sequence number
    /// so far. Call [`rewrite`](Self::rewrite) with the same packet next.
    ///
    /// With a squeeze, the capture time of `input` is the one of the present that it is moved to.
    pub fn begin(&mut self, input: Input, squeeze: Option<Squeeze>) {
        self.closed = false;
        let timestamp = squeezed(squeeze, input.timestamp);
        let timestamp_offset = match (self.ranges.back(), self.newest) {
            // The same source goes on: so does its clock.
            (Some(last), _) if last.source == input.source => last.timestamp_offset,
            (Some(_), Some((newest, capture))) => {
                let pause = self.pause(capture, input.capture);
                newest.wrapping_add(pause).wrapping_sub(timestamp)
            }
            _ => self.start_timestamp.wrapping_sub(timestamp),
        };
        let last = self.ranges.back().filter(|last| last.source == input.source);
        let skipped = last.map(|last| last.skipped).unwrap_or_default();
        self.push(Range {
            source: input.source,
            first_in: input.index.0,
            last_in: input.index.0,
            first_out: self.next_out,
            timestamp_offset,
            squeeze,
            skipped,
        });
    }

    fn push(&mut self, range: Range) {
        if self.ranges.len() == MAX_RANGES {
            self.ranges.pop_front();
        }
        self.ranges.push_back(range);
    }

    /// Numbers for a packet, once: `None` if its place is taken, too long ago, or was never left.
    pub fn rewrite(&mut self, input: Input) -> Option<Output> {
        let index = input.index.0;
        let current = self.ranges.len().checked_sub(1)?;
        let place =
            self.ranges.iter().rposition(|r| r.source == input.source && index >= r.first_in)?;
        let range = self.ranges.get_mut(place)?;
        if place == current {
            if index > range.last_in.saturating_add(MAX_HOLE) {
                return None;
            }
            range.last_in = range.last_in.max(index);
        } else if index > range.last_in {
            return None;
        }
        let out = range.first_out + (index - range.first_in);
        let timestamp = squeezed(range.squeeze, input.timestamp);
        let timestamp = timestamp.wrapping_add(range.timestamp_offset);
        let natural = input.timestamp.wrapping_add(range.timestamp_offset);
        let skipped = range.skipped;
        if out > PacketIndex::MAX.0 || !self.take(out) {
            return None;
        }
        let later = self.newest.is_none_or(|(t, _)| (timestamp.wrapping_sub(t) as i32) >= 0);
        if later {
            self.newest = Some((timestamp, input.capture));
        }
        Some(Output { index: PacketIndex(out), timestamp, natural, skipped })
    }

    /// The original of a sequence number that the viewer has named (a NACK).
    pub fn original(&self, seq: u16) -> Option<Original> {
        let highest = self.next_out.checked_sub(1)?;
        let mut out = (highest & !0xffff) | u64::from(seq);
        if out > highest {
            out = out.checked_sub(0x1_0000)?;
        }
        let range = self.ranges.iter().rev().find(|r| r.first_out <= out)?;
        if out >= range.end_out() {
            return None;
        }
        Some(Original {
            source: range.source,
            index: PacketIndex(range.first_in + (out - range.first_out)),
            output: PacketIndex(out),
            timestamp_offset: range.timestamp_offset,
            squeeze: range.squeeze,
            skipped: range.skipped,
        })
    }

    /// Marks an output index as used; `false` if it was or is too old to know.
    fn take(&mut self, out: u64) -> bool {
        let slot = |i: u64| ((i % LATE_WINDOW / 64) as usize, 1u64 << (i % 64));
        if out >= self.next_out {
            if out - self.next_out >= LATE_WINDOW {
                self.sent.fill(0);
            } else {
                for skipped in self.next_out..out {
                    let (word, bit) = slot(skipped);
                    self.sent[word] &= !bit;
                }
            }
            self.next_out = out + 1;
        } else {
            let (word, bit) = slot(out);
            if self.next_out - out > LATE_WINDOW || self.sent[word] & bit != 0 {
                return false;
            }
        }
        let (word, bit) = slot(out);
        self.sent[word] |= bit;
        true
    }

    /// Clock ticks between two capture times, at least one.
    fn pause(&self, from: u64, to: u64) -> u32 {
        let ticks = match to.checked_sub(from) {
            Some(gap) if gap >> 32 < MAX_PAUSE_SECS => {
                ((u128::from(gap) * u128::from(self.clock_rate)) >> 32) as u32
            }
            // Clocks that disagree: the shortest step that every player takes for a new frame.
            _ => self.clock_rate / 50,
        };
        ticks.max(1)
    }
}

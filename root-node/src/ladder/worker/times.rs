//! The times of frames on their way through the child: RTP timestamps become GStreamer's times, and come
//! back as they were. It also knows with which of the source's frames each layer has to begin a key
//! frame. Pure.

use soleil_protocol::Mono;
use std::collections::VecDeque;

/// Frames that are remembered: more than four seconds at 60 frames a second.
const MAX_KNOWN: usize = 300;
/// GStreamer's times begin here, so that frames which are shown before the first one have one, too.
const BEGIN_NS: i64 = 10_000_000_000;
const SECOND_NS: i128 = 1_000_000_000;

#[derive(Debug, Clone, Copy)]
struct Known {
    timestamp: u32,
    pts: u64,
    arrived: Mono,
    key: bool,
}

/// The frames that have come lately.
#[derive(Debug)]
pub struct Times {
    clock_rate: u32,
    /// The first timestamp and the last one, the latter in ticks from the former.
    first: Option<(u32, i64)>,
    known: VecDeque<Known>,
}

impl Times {
    /// For timestamps of this rate.
    pub fn new(clock_rate: u32) -> Times {
        Times { clock_rate: clock_rate.max(1), first: None, known: VecDeque::new() }
    }

    /// A packet has come; `key`: a key frame begins with it. Gives its time in nanoseconds.
    pub fn arrive(&mut self, now: Mono, timestamp: u32, key: bool) -> u64 {
        let (first, last) = *self.first.get_or_insert((timestamp, 0));
        let before = first.wrapping_add(last as u32);
        let ticks = last + i64::from(timestamp.wrapping_sub(before) as i32);
        self.first = Some((first, ticks));
        if let Some(known) = self.known.back_mut().filter(|known| known.timestamp == timestamp) {
            known.arrived = now;
            known.key |= key;
            return known.pts;
        }
        let media = (i128::from(ticks) * SECOND_NS / i128::from(self.clock_rate)) as i64;
        let pts = BEGIN_NS.saturating_add(media).max(0) as u64;
        if self.known.len() == MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(Known { timestamp, pts, arrived: now, key });
        pts
    }

    /// The timestamp of a frame with that time, and when its last packet came.
    pub fn leave(&self, pts: u64) -> Option<(u32, Mono)> {
        self.known.iter().rev().find(|k| k.pts == pts).map(|k| (k.timestamp, k.arrived))
    }

    /// Whether a layer that has last made a key frame for `served` has to make one with the frame of that
    /// time: the source's own frame is one, or one before it that did not get here.
    pub fn key_due(&self, served: &mut u64, pts: u64) -> bool {
        let last = self.known.iter().rev().find(|known| known.key && known.pts <= pts);
        let due = last.map(|known| known.pts).filter(|key| key > served);
        if let Some(key) = due {
            *served = key;
        }
        due.is_some()
    }
}

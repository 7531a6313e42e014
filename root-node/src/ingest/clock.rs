//! Two mappings of a sender's RTP timestamps: to our own timestamps, which go on across changes
//! of source, and to the wall clock, which is the absolute capture time that travels to viewers.

use soleil_protocol::{Mono, Now};
use std::collections::VecDeque;
use std::time::Duration;

/// Frames whose capture times are remembered for layers that are made out of them: four seconds at 60
/// frames a second, and nothing that takes longer is live.
const MAX_CAPTURES: usize = 256;
/// A timestamp that is this far off from the time that has passed is a new timeline, not jitter.
/// B-frames and bursts move timestamps by less than a second.
const JUMP: Duration = Duration::from_secs(2);
/// A sender's clock that is further off than this from ours is shifted.
pub const MAX_CLOCK_OFFSET: Duration = Duration::from_secs(5);
/// Length of one window of the minimum filter; two are looked at. Long enough to see an
/// undelayed packet, short enough to follow a drift of 100 ppm within 2 ms.
const FILTER_WINDOW: Duration = Duration::from_secs(10);

/// Our timestamps for a sender's.
#[derive(Debug, Clone)]
pub struct Timeline {
    clock_rate: u32,
    next_base: u32,
    state: Option<Running>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    offset: u32,
    last_in: u32,
    last_at: Mono,
    /// Where the next packet begins a new timeline of the sender.
    anchored: bool,
}

impl Timeline {
    /// A timeline that begins at `base` (random, RFC 3550 section 5.1).
    pub fn new(clock_rate: u32, base: u32) -> Self {
        Self { clock_rate: clock_rate.max(1), next_base: base, state: None }
    }

    /// The source has changed: the next timestamp continues by the time that has passed.
    pub fn change_source(&mut self) {
        if let Some(state) = &mut self.state {
            state.anchored = false;
        }
    }

    /// Our timestamp for the sender's, and whether the sender's timeline was found to have jumped.
    pub fn map(&mut self, now: Mono, timestamp: u32) -> (u32, bool) {
        let Some(state) = &mut self.state else {
            let offset = self.next_base.wrapping_sub(timestamp);
            self.state = Some(Running { offset, last_in: timestamp, last_at: now, anchored: true });
            return (self.next_base, false);
        };
        let elapsed = now.since(state.last_at);
        let ticks = elapsed.as_micros() as u64 * u64::from(self.clock_rate) / 1_000_000;
        let moved = i64::from(timestamp.wrapping_sub(state.last_in) as i32);
        let limit = (JUMP.as_secs() * u64::from(self.clock_rate)) as i64;
        let jumped = state.anchored && (moved - ticks as i64).abs() > limit;
        if !state.anchored || jumped {
            let last_out = state.last_in.wrapping_add(state.offset);
            // At least one tick: two frames never share a timestamp by accident.
            let out = last_out.wrapping_add((ticks as u32).max(1));
            state.offset = out.wrapping_sub(timestamp);
            state.anchored = true;
        }
        state.last_in = timestamp;
        state.last_at = now;
        (timestamp.wrapping_add(state.offset), jumped)
    }
}

/// Microseconds since the Unix epoch, negative where a sender's clock says so.
pub type WallMicros = i64;

/// How far the clock of a stream's sender is shifted: one value for all its tracks, or they would
/// drift apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockShift(Option<i64>);

impl ClockShift {
    /// Puts a sender's time on our clock. A first time, or one that is off by more than
    /// [`MAX_CLOCK_OFFSET`] although it was shifted, sets the shift anew.
    pub fn apply(&mut self, captured: WallMicros, arrival: WallMicros) -> WallMicros {
        let limit = MAX_CLOCK_OFFSET.as_micros() as i64;
        let shifted = captured.saturating_add(self.0.unwrap_or(0));
        if arrival.saturating_sub(shifted).saturating_abs() <= limit {
            return shifted;
        }
        let unshifted = arrival.saturating_sub(captured);
        self.0 = (unshifted.saturating_abs() > limit).then_some(unshifted);
        captured.saturating_add(self.0.unwrap_or(0))
    }
}

/// When a packet was captured, out of what the sender says or of when it came.
#[derive(Debug, Clone)]
pub struct CaptureClock {
    clock_rate: u32,
    report: Option<(WallMicros, u32)>,
    filter: Option<Filter>,
}

#[derive(Debug, Clone, Copy)]
struct Filter {
    last: u32,
    /// `last` without its wrap.
    extended: i64,
    window_began: Mono,
    before: i64,
    current: i64,
}

impl CaptureClock {
    /// For timestamps of this rate.
    pub fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.max(1), report: None, filter: None }
    }

    /// The source has changed: nothing that was learnt holds.
    pub fn change_source(&mut self) {
        self.report = None;
        self.filter = None;
    }

    /// A Sender Report says which wall-clock time a timestamp stands for (RFC 3550 section 6.4.1).
    pub fn sender_report(&mut self, ntp: u64, timestamp: u32) {
        const UNIX_TO_NTP: i64 = 2_208_988_800;
        let secs = (ntp >> 32) as i64 - UNIX_TO_NTP;
        let micros = ((ntp & 0xffff_ffff) * 1_000_000) >> 32;
        self.report = Some((secs * 1_000_000 + micros as i64, timestamp));
    }

    /// The capture time of a timestamp that has just come, on our clock.
    pub fn capture(&mut self, now: Now, timestamp: u32, shift: &mut ClockShift) -> WallMicros {
        let arrival = i64::try_from(now.wall.0).unwrap_or(i64::MAX);
        let by_arrival = self.by_arrival(now.mono, arrival, timestamp);
        match self.report {
            Some((wall, reported)) => {
                let ticks = i64::from(timestamp.wrapping_sub(reported) as i32);
                shift.apply(wall + self.micros(ticks), arrival)
            }
            None => by_arrival,
        }
    }

    fn micros(&self, ticks: i64) -> i64 {
        (i128::from(ticks) * 1_000_000 / i128::from(self.clock_rate)) as i64
    }

    /// The least delayed packet of the last windows tells where the timeline lies.
    fn by_arrival(&mut self, now: Mono, arrival: i64, timestamp: u32) -> WallMicros {
        let extended = match &self.filter {
            Some(f) => f.extended + i64::from(timestamp.wrapping_sub(f.last) as i32),
            None => 0,
        };
        let media = self.micros(extended);
        let base = arrival - media;
        let filter = self.filter.get_or_insert(Filter {
            last: timestamp,
            extended: 0,
            window_began: now,
            before: base,
            current: base,
        });
        filter.last = timestamp;
        filter.extended = extended;
        if now.since(filter.window_began) >= FILTER_WINDOW {
            filter.window_began = now;
            filter.before = filter.current;
            filter.current = base;
        }
        filter.current = filter.current.min(base);
        media + filter.current.min(filter.before)
    }
}

/// When the last frames of a layer were captured: layers that are made out of it bear its times.
#[derive(Debug, Clone, Default)]
pub struct Captures(VecDeque<(u32, u64)>);

impl Captures {
    /// A packet with this timestamp was captured then (NTP 32.32).
    pub fn note(&mut self, timestamp: u32, capture: u64) {
        if self.0.back().is_some_and(|last| last.0 == timestamp) {
            return;
        }
        if self.0.len() == MAX_CAPTURES {
            self.0.pop_front();
        }
        self.0.push_back((timestamp, capture));
    }

    /// When the frame of that timestamp was captured, if it was lately.
    pub fn of(&self, timestamp: u32) -> Option<u64> {
        self.0.iter().rev().find(|known| known.0 == timestamp).map(|known| known.1)
    }
}

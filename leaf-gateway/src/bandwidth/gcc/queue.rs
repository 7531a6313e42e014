//! How long packets wait in the path's queue, and how much of that our own bursts explain.
//!
//! A key frame is sent at once and is six times as large as other frames: any link takes a while to
//! carry it, and that is no congestion. A link that carries what we think it carries would have the
//! queue of a bucket that leaks at that rate; only what is longer speaks of a slower link.

use soleil_protocol::Mono;
use std::time::Duration;

/// The shortest time under way within the last one to two of these is the path without a queue.
const BASE_WINDOW: Duration = Duration::from_secs(10);

/// Bursts explain no more than so much (µs): a key frame is gone by then on a link that carries its
/// layer. Without a bound nothing would be congestion for a sender that can't send less.
const MAX_EXPLAINED: f64 = 250_000.0;

/// The bucket leaks faster than the link is thought to be: it has to be empty between frames, or a
/// sender that uses the whole link could explain any queue.
const LEAK: f64 = 1.3;

#[derive(Debug, Default)]
pub(super) struct Queue {
    base: Option<[i64; 2]>,
    turned: Mono,
    recent: [i64; 3],
    /// Bits that a link of the estimated rate would still hold, and when.
    backlog: f64,
    at: Mono,
}

impl Queue {
    /// A packet was sent; in order of sending, whatever became of it.
    pub(super) fn sent(&mut self, at: Mono, size: u16, rate: f64) {
        self.leak(at, rate);
        self.backlog += f64::from(size) * 8.0;
    }

    /// The first packet of a group has come, before it is told by [`sent`](Self::sent): how long
    /// it waited beyond what our own bursts explain. Microseconds.
    pub(super) fn waited(&mut self, now: Mono, sent: Mono, delay: i64, rate: f64) -> i64 {
        self.leak(sent, rate);
        let base = self.base.get_or_insert_with(|| {
            self.turned = now;
            [delay; 2]
        });
        if now.since(self.turned) >= BASE_WINDOW {
            *base = [delay, base[0]];
            self.turned = now;
        }
        base[0] = base[0].min(delay);
        let wait = delay - base[0].min(base[1]);
        let explained = (self.backlog * 1e6 / rate.max(1.0)).min(MAX_EXPLAINED) as i64;
        let waited = (wait - explained).max(0);
        self.recent = [waited, self.recent[0], self.recent[1]];
        waited
    }

    /// The least of the last three groups: one late packet is no queue.
    pub(super) fn micros(&self) -> i64 {
        self.recent.iter().min().copied().unwrap_or(0)
    }

    /// Whether the last three groups waited longer and longer, or as long.
    pub(super) fn grows(&self) -> bool {
        self.recent.is_sorted_by(|newer, older| newer >= older)
    }

    fn leak(&mut self, at: Mono, rate: f64) {
        let secs = at.since(self.at).as_secs_f64();
        self.backlog = (self.backlog - secs * rate * LEAK).clamp(0.0, rate * MAX_EXPLAINED / 1e6);
        self.at = self.at.max(at);
    }
}

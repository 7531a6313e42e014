//! The delay-based half's rate: multiplicative increase far from what the link was seen to carry, additive
//! near it, decrease to a part of what arrives (draft-ietf-rmcat-gcc-02 section 5.5).

use soleil_protocol::Mono;
use std::time::Duration;

/// Part of the arriving rate that is left after overuse: the rest drains the queue.
pub(super) const DECREASE: f64 = 0.85;

/// Growth per second while nothing is known of the link's capacity.
const INCREASE: f64 = 1.08;

/// At least this much more a second (bits per second), or a small rate would never grow.
const MIN_INCREASE: f64 = 1_000.0;

/// The target is raised to at most 1.5 times the arriving rate and this (section 5.5): what was
/// never tried is not known. Beyond it one must probe.
const MAX_ABOVE_ACKED: f64 = 1.5;
const ABOVE_ACKED: f64 = 10_000.0;

/// Near the capacity: one packet more for each round trip and reporting interval.
const PACKET_BITS: f64 = 9_600.0;
const REPORT_SECS: f64 = 0.1;
const MIN_ADDED: f64 = 4_000.0;

/// Time between two decreases.
const MIN_REACTION: Duration = Duration::from_millis(10);
const MAX_REACTION: Duration = Duration::from_millis(200);

/// What the link was seen to carry at overuse, and how much that varies (in kbit/s: the variance
/// is taken relative to the rate, and its bounds are chosen in that unit, as browsers do).
#[derive(Debug, Default)]
struct Capacity {
    estimate: Option<f64>,
    deviation: f64,
}

impl Capacity {
    const WEIGHT: f64 = 0.05;
    const MIN_DEVIATION: f64 = 0.4;
    const MAX_DEVIATION: f64 = 2.5;

    fn seen(&mut self, rate: f64) {
        let rate = rate / 1e3;
        let estimate = self.estimate.map_or(rate, |e| e + Self::WEIGHT * (rate - e));
        let error = estimate - rate;
        let deviation =
            self.deviation + Self::WEIGHT * (error * error / estimate.max(1.0) - self.deviation);
        self.deviation = deviation.clamp(Self::MIN_DEVIATION, Self::MAX_DEVIATION);
        self.estimate = Some(estimate);
    }

    /// Three standard deviations about the estimate, bits per second.
    fn bounds(&self) -> Option<(f64, f64)> {
        let e = self.estimate?;
        let spread = 3.0 * (self.deviation * e).sqrt();
        Some(((e - spread) * 1e3, (e + spread) * 1e3))
    }
}

/// The delay-based half's rate.
#[derive(Debug)]
pub(super) struct Rate {
    target: f64,
    max: f64,
    min: f64,
    growing: bool,
    capacity: Capacity,
    changed: Option<Mono>,
    decreased: Option<Mono>,
}

impl Rate {
    pub(super) fn new(start: f64, min: f64, max: f64) -> Self {
        Self {
            target: start.clamp(min, max),
            max,
            min,
            growing: false,
            capacity: Capacity::default(),
            changed: None,
            decreased: None,
        }
    }

    pub(super) fn target(&self) -> f64 {
        self.target
    }

    /// A better guess, as long as nothing is known.
    pub(super) fn assume(&mut self, rate: f64) {
        self.target = self.target.max(rate).clamp(self.min, self.max);
    }

    /// When it was last taken down.
    pub(super) fn decreased(&self) -> Option<Mono> {
        self.decreased
    }

    /// A probe has shown that the link carries so much.
    pub(super) fn raise(&mut self, now: Mono, rate: f64) {
        if rate > self.target {
            self.target = rate.min(self.max);
            self.changed = Some(now);
            if self.capacity.bounds().is_some_and(|(_, upper)| rate > upper) {
                self.capacity = Capacity::default();
            }
        }
    }

    /// The queue drains, or nothing is sure: leave it as it is.
    pub(super) fn hold(&mut self) {
        self.growing = false;
    }

    /// All is well; `acked` is what arrives.
    pub(super) fn increase(&mut self, now: Mono, acked: Option<f64>, rtt: Duration) {
        if !self.growing {
            // Growth is counted from here: what passed before was no time to grow.
            self.growing = true;
            self.changed = Some(now);
        }
        let secs = self.changed.map_or(0.0, |at| now.since(at).as_secs_f64()).min(1.0);
        self.changed = Some(now);
        if let (Some(acked), Some((_, upper))) = (acked, self.capacity.bounds())
            && acked > upper
        {
            // The link has become faster: look for its new end.
            self.capacity = Capacity::default();
        }
        if let Some(acked) = acked.filter(|_| self.decreased.is_none()) {
            // We send what a layer takes, not what is allowed: as long as nothing was too much, the
            // link carries what has come, whatever the guess at the beginning was.
            self.target = self.target.max(acked).min(self.max);
        }
        let limit = acked.map_or(self.target, |a| MAX_ABOVE_ACKED * a + ABOVE_ACKED);
        if self.target >= limit {
            return;
        }
        let grown = if self.capacity.estimate.is_some() {
            let round = rtt.as_secs_f64() + REPORT_SECS;
            self.target + (PACKET_BITS / round).max(MIN_ADDED) * secs
        } else {
            (self.target * INCREASE.powf(secs)).max(self.target + MIN_INCREASE * secs)
        };
        self.target = grown.min(limit).clamp(self.min, self.max);
    }

    /// More was sent than the link carries, which is `acked`.
    pub(super) fn decrease(&mut self, now: Mono, acked: Option<f64>, rtt: Duration) {
        self.growing = false;
        let reaction = rtt.clamp(MIN_REACTION, MAX_REACTION);
        let Some(acked) = acked else {
            // Nothing known of what arrives: half, once in a while.
            if self.decreased.is_none_or(|at| now.since(at) >= MAX_REACTION) {
                self.target = (self.target / 2.0).max(self.min);
                (self.decreased, self.changed) = (Some(now), Some(now));
            }
            return;
        };
        let early = self.decreased.is_some_and(|at| now.since(at) < reaction);
        if early && acked >= self.target {
            return;
        }
        if self.capacity.bounds().is_some_and(|(lower, upper)| acked < lower || acked > upper) {
            self.capacity = Capacity::default();
        }
        let mut reduced = acked * DECREASE;
        if reduced > self.target
            && let Some(estimate) = self.capacity.estimate
        {
            reduced = estimate * 1e3 * DECREASE;
        }
        self.capacity.seen(acked);
        if reduced < self.target {
            self.target = reduced.clamp(self.min, self.max);
        }
        (self.decreased, self.changed) = (Some(now), Some(now));
    }
}

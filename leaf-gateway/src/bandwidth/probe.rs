//! Probing: whether a link carries more than is sent through it. A viewer gets what its layer needs
//! and no more, so nothing that arrives can show that the next layer would fit; a probe does.
//!
//! A probe is a cluster of redundant packets (RTX of recent ones), as long as 25 ms of the rate in
//! question and sent at once: the link spreads it out, and the pace of its arrival is the link's.
//! (Senders that pace need a schedule of some milliseconds for it, and a timer for each viewer; the
//! outcome is held down to the rate in question here as there.) [`Prober`] decides when and how
//! much, [`Cluster`] reads the outcome from feedback.

#[cfg(test)]
mod tests;

use soleil_protocol::Mono;
use std::time::Duration;

/// A cluster lasts so long at its rate.
const CLUSTER: Duration = Duration::from_millis(25);

/// Bytes of a cluster's packet, about.
const PACKET: u64 = 1_100;

/// Fewer packets tell nothing (five give four intervals), and more than a frame's worth would be
/// felt by the viewer: 40 packets are 25 ms of 14 Mbit/s.
pub const MIN_PACKETS: usize = 6;
/// On a narrow link the sound would wait behind them for too long: then as many as leave within
/// this time, but two intervals at least.
const NARROW: Duration = Duration::from_millis(100);
const FEWEST_PACKETS: usize = 3;
/// See [`MIN_PACKETS`].
pub const MAX_PACKETS: usize = 40;

/// A probe asks for at most twice the estimate: if that is too much, the queue that it makes is
/// gone after another 25 ms.
const MAX_STEP: f64 = 2.0;

/// It asks for a little more than what is wanted, since the outcome is rounded down.
const MARGIN: f64 = 1.1;

/// Of the packets so many must arrive for an outcome.
const MIN_RECEIVED: f64 = 0.8;

/// What arrives slower than at this part of the rate met a bottleneck; and below a bottleneck one
/// aims a little lower.
const SATURATED: f64 = 0.9;
const BELOW: f64 = 0.95;

/// The least time between a cluster's first and last packet that is believed: four steps of the
/// feedback's clock.
const MIN_SPAN_MICROS: i64 = 1_000;

/// Without feedback for so long, a cluster is given up.
const GIVE_UP: Duration = Duration::from_secs(2);

/// After a decrease: first let the queue drain.
pub const CALM: Duration = Duration::from_secs(1);

/// The pause after a probe that showed no room, and how far it grows while that repeats.
const PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// The pause after one that showed room, but not yet enough: long enough for its own queue, if it
/// was one, to show.
const NEXT_STEP: Duration = Duration::from_millis(300);

/// What a probe showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The link carries at least so many bits per second.
    Carries(u64),
    /// Too little of it arrived.
    Lost,
    /// Nothing of it could be sent.
    Unsent,
}

/// A probe to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The rate that it asks for, bits per second.
    pub rate: u64,
    /// Packets of about the usual size, to be sent at once.
    pub packets: usize,
}

/// A cluster under way.
#[derive(Debug)]
pub struct Cluster {
    begun: Mono,
    rate: u64,
    first: u64,
    end: u64,
    sent_packets: u32,
    received: u32,
    bytes: u64,
    earliest: (i64, u16),
    latest: i64,
}

impl Cluster {
    /// Begins with the packet that gets this number.
    pub(super) fn new(now: Mono, first: u64, rate: u64) -> Self {
        Self {
            begun: now,
            rate,
            first,
            end: first,
            sent_packets: 0,
            received: 0,
            bytes: 0,
            earliest: (i64::MAX, 0),
            latest: i64::MIN,
        }
    }

    pub(super) fn sent(&mut self, number: u64) {
        self.sent_packets += 1;
        self.end = number + 1;
    }

    pub(super) fn received(&mut self, number: u64, arrived: i64, size: u16) {
        if !(self.first..self.end).contains(&number) {
            return;
        }
        self.received += 1;
        self.bytes += u64::from(size);
        self.earliest = self.earliest.min((arrived, size));
        self.latest = self.latest.max(arrived);
    }

    /// Once feedback has spoken of everything below `reported`.
    pub(super) fn outcome(&self, now: Mono, reported: u64) -> Option<Outcome> {
        if self.sent_packets == 0 {
            return (now > self.begun).then_some(Outcome::Unsent);
        }
        if reported < self.end {
            return (now.since(self.begun) >= GIVE_UP).then_some(Outcome::Lost);
        }
        let received = f64::from(self.received);
        if self.received < 2 || received < MIN_RECEIVED * f64::from(self.sent_packets) {
            return Some(Outcome::Lost);
        }
        // What came after the first packet took that time.
        let bytes = self.bytes - u64::from(self.earliest.1);
        let span = (self.latest - self.earliest.0).max(MIN_SPAN_MICROS);
        let arrived = bytes as f64 * 8e6 / span as f64;
        let asked = self.rate as f64;
        let carries =
            if arrived < SATURATED * asked { BELOW * arrived } else { arrived.min(asked) };
        Some(Outcome::Carries(carries as u64))
    }
}

/// Decides when to probe.
#[derive(Debug)]
pub struct Prober {
    next: Mono,
    pause: Duration,
    under_way: Option<u64>,
}

impl Default for Prober {
    fn default() -> Self {
        Self { next: Mono(0), pause: PAUSE, under_way: None }
    }
}

impl Prober {
    /// The probe to send now, if any. `goal` is what the next better choice needs, `estimate` what
    /// the link is thought to carry, `at_ease` whether it is the time for that
    /// ([`Estimator::at_ease`](super::gcc::Estimator::at_ease) with [`CALM`]).
    pub fn poll(
        &mut self,
        now: Mono,
        estimate: u64,
        goal: Option<u64>,
        at_ease: bool,
    ) -> Option<Probe> {
        let goal = goal.filter(|goal| estimate < *goal)?;
        if !at_ease || self.under_way.is_some() || now < self.next {
            return None;
        }
        let rate = (goal as f64 * MARGIN).min(estimate as f64 * MAX_STEP) as u64;
        let bytes = u128::from(rate) * CLUSTER.as_micros() / 8_000_000;
        let narrow = u128::from(estimate) * NARROW.as_micros() / 8_000_000 / u128::from(PACKET);
        let least = (narrow as usize).clamp(FEWEST_PACKETS, MIN_PACKETS);
        let packets = (bytes.div_ceil(u128::from(PACKET)) as usize).clamp(least, MAX_PACKETS);
        self.under_way = Some(rate);
        Some(Probe { rate, packets })
    }

    /// The outcome of the probe under way.
    pub fn done(&mut self, now: Mono, outcome: Outcome) {
        let rate = self.under_way.unwrap_or(u64::MAX);
        let room = matches!(outcome, Outcome::Carries(r) if r as f64 >= SATURATED * rate as f64);
        self.finish(now, room);
    }

    /// The choice has changed: the pauses of the old one say nothing of the new one.
    pub fn reset(&mut self, now: Mono) {
        self.pause = PAUSE;
        self.next = self.next.min(now.after(PAUSE));
    }

    fn finish(&mut self, now: Mono, room: bool) {
        self.under_way = None;
        if room {
            self.pause = PAUSE;
            self.next = now.after(NEXT_STEP);
        } else {
            self.next = now.after(self.pause);
            self.pause = (self.pause * 2).min(MAX_PAUSE);
        }
    }
}

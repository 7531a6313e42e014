//! Google's congestion control (draft-ietf-rmcat-gcc-02) for one viewer: from feedback to the rate
//! that its link carries.
//!
//! The parts: `groups` of packets, their time in the `queue`, its `trend`, the `rate` that follows
//! from it, `loss`, what is `acked`, and the `train` that a frame's packets are. Five hundred packets of history and these
//! figures are 4 KB a viewer; nothing is allocated after [`Estimator::new`], and a packet that is
//! sent costs two stores.
//!
//! Why our own. We ran `rtc-interceptor` 0.21.1's `Gcc` on the simulated link of the tests. On a
//! steady 2 Mbit/s link it swings between 0.9 and 3.8 Mbit/s and fills a queue of one second, when
//! the link halves it fills that queue for four seconds, and for a sender of 600 kbit/s it claims
//! 100 Mbit/s: it times what arrives by when feedback comes, in lumps, and binds the target to
//! nothing that arrives. It does not probe, wants `Instant`s, and takes a vector of 100-byte reports
//! for each message. `goog_cc` 0.1.4 is a port of libwebrtc's controller (its last release is of
//! 2024): it counts on a pacer that we have not, wants to be called every 25 ms and at every packet
//! with some 200 bytes, and allocates throughout. What both lack, since a call has an encoder and a
//! pacer: we send frames as they come, so a key frame's own queue must not be congestion.

mod acked;
mod groups;
mod loss;
mod queue;
mod rate;
#[cfg(test)]
pub(crate) mod tests;
mod train;
mod trend;

pub use trend::Usage;

use super::probe::{Cluster, Outcome};
use super::twcc::{Epoch, Fate, Feedback, HISTORY_PACKETS, History};
use acked::Acked;
use groups::Groups;
use loss::Loss;
use queue::Queue;
use rate::Rate;
use soleil_protocol::Mono;
use std::time::Duration;
use train::Train;
use trend::Trend;

/// A queue shorter than this is not taken for congestion, however it grew (µs): radio links hold
/// packets back so long, and a decrease costs a viewer the layer. Longer, and a link that slows
/// down would be noticed too late.
const MIN_QUEUE_MICROS: i64 = 30_000;

/// Without any feedback for so long, though packets were sent, the rate is halved, and again each
/// time as long: the link is down, or carries nothing back.
const SILENCE: Duration = Duration::from_secs(1);

/// Halvings by silence: after ten nothing is left of any rate.
const MAX_HALVINGS: u32 = 10;

/// One that is longer than this and grows is congestion, whatever the trend says.
const CLEAR_QUEUE_MICROS: i64 = 60_000;

/// A train that came in with less than this part of what has arrived on average was sent over a link that
/// has just become narrower.
const NARROWER: f64 = 0.6;

/// Before the first feedback the round trip is taken for this.
const DEFAULT_RTT: Duration = Duration::from_millis(100);

/// The bounds of an estimate, bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// What is assumed before anything is known.
    pub start: u64,
    /// Never less: audio, and enough feedback to notice that the link is better again.
    pub min: u64,
    /// Never more.
    pub max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { start: 1_000_000, min: 50_000, max: 100_000_000 }
    }
}

/// What an estimator knows, for metrics and tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// What the delays say.
    pub usage: Usage,
    /// Bits per second that arrive, once known.
    pub acked: Option<f64>,
    /// Part of the packets that is lost, 0 to 1.
    pub loss: f64,
    /// Time that packets wait in the path's queue.
    pub queue: Duration,
    /// Round-trip time, the viewer's reporting included.
    pub rtt: Duration,
}

/// The estimator of one viewer.
#[derive(Debug)]
pub struct Estimator {
    config: Config,
    history: History,
    epoch: Epoch,
    groups: Groups,
    train: Train,
    trend: Trend,
    acked: Acked,
    loss: Loss,
    rate: Rate,
    queue: Queue,
    rtt: Option<Duration>,
    /// Highest number that feedback has spoken of, plus one.
    reported: u64,
    feedback_at: Option<Mono>,
    first_sent: Option<Mono>,
    cluster: Option<Cluster>,
}

impl Estimator {
    /// Starts at the configured rate.
    pub fn new(config: Config) -> Self {
        let (start, min, max) = (config.start as f64, config.min as f64, config.max as f64);
        Self {
            config,
            history: History::default(),
            epoch: Epoch::default(),
            groups: Groups::default(),
            train: Train::default(),
            trend: Trend::default(),
            acked: Acked::default(),
            loss: Loss::default(),
            rate: Rate::new(start, min, max.max(min)),
            queue: Queue::default(),
            rtt: None,
            reported: 0,
            feedback_at: None,
            first_sent: None,
            cluster: None,
        }
    }

    /// The transport-wide number that the next packet has to carry.
    pub fn next_number(&self) -> u16 {
        self.history.next()
    }

    /// The packet with that number has left, with so many bytes.
    pub fn on_sent(&mut self, now: Mono, size: usize) {
        self.first_sent.get_or_insert(now);
        self.history.push(now, size, false);
    }

    /// A probe begins: the next packets, told by [`on_probe_sent`](Self::on_probe_sent), are sent
    /// at once and stand for `rate`.
    pub fn begin_probe(&mut self, now: Mono, rate: u64) {
        self.cluster = Some(Cluster::new(now, self.history.sent(), rate));
    }

    /// Like [`on_sent`](Self::on_sent), for a packet of a probe.
    pub fn on_probe_sent(&mut self, now: Mono, size: usize) {
        if let Some(cluster) = &mut self.cluster {
            cluster.sent(self.history.sent());
        }
        self.history.push(now, size, true);
    }

    /// Takes a message; tells the outcome of a probe that it completes.
    pub fn on_feedback(&mut self, now: Mono, feedback: &Feedback<'_>) -> Option<Outcome> {
        let first = self.history.unwrap(feedback.base())?;
        let reference = self.epoch.micros(feedback.reference());
        self.feedback_at = Some(now);
        let mut unreported = self.take_unreported(now, first);
        if unreported > 0 {
            self.train.miss();
        }
        let mut newest = None;
        // The longest queue at which the trend gave alarm, and what the full link carried then.
        let mut over: Option<(i64, Option<f64>)> = None;
        let rate = self.capped();
        for (number, (_, fate)) in (first..self.history.sent()).zip(feedback.packets()) {
            if fate == Fate::Missing {
                if let Some(sent) = self.history.miss(now, number) {
                    self.loss.missing();
                    self.queue.sent(sent.at, sent.size, rate);
                }
                self.train.miss();
                continue;
            }
            let Some(sent) = self.history.receive(now, number) else { continue };
            self.loss.received(sent.missing);
            newest = newest.max(Some(sent.at));
            let Fate::At(offset) = fate else {
                self.queue.sent(sent.at, sent.size, rate);
                self.train.miss();
                continue;
            };
            let arrived = reference + offset;
            self.acked.push(arrived, u32::from(sent.size) + std::mem::take(&mut unreported));
            if sent.probe
                && let Some(cluster) = &mut self.cluster
            {
                cluster.received(number, arrived, sent.size);
            }
            let usual = self.acked.rate().unwrap_or(0.0);
            let train = self.train.push(sent.at.0 as i64, arrived, sent.size);
            if let Some(carried) = train.filter(|carried| *carried < usual * NARROWER)
                && over.is_none_or(|(longest, _)| longest <= CLEAR_QUEUE_MICROS)
            {
                over = Some((CLEAR_QUEUE_MICROS, Some(carried)));
            }
            if let Some(sample) = self.groups.push(sent.at.0 as i64, arrived) {
                let waited = self.queue.waited(now, sent.at, sample.delay, rate);
                let alarm = self.trend.push(&sample, waited) == Usage::Over
                    || self.queue.micros() >= CLEAR_QUEUE_MICROS;
                if alarm && self.queue.grows() {
                    let queue = self.queue.micros();
                    if over.is_none_or(|(longest, _)| queue >= longest) {
                        over = Some((queue, self.acked.latest()));
                    }
                }
            }
            if !sent.missing {
                self.queue.sent(sent.at, sent.size, rate);
            }
        }
        let end = first + u64::from(feedback.len());
        self.reported = self.reported.max(end.min(self.history.sent()));
        if let Some(sent) = newest {
            let took = now.since(sent);
            // Down at once, up slowly: what the viewer holds back varies from message to message.
            self.rtt = Some(match self.rtt {
                Some(rtt) if took > rtt => rtt + (took - rtt) / 8,
                _ => took,
            });
        }
        self.update(now, over);
        self.conclude(now)
    }

    /// Bits per second that the viewer's link carries, as far as is known.
    pub fn target(&self, now: Mono) -> u64 {
        let rate = self.capped();
        // Packets are out, and nothing is heard of them.
        let out = self.reported < self.history.sent();
        let heard = self.feedback_at.or(self.first_sent).filter(|_| out);
        let silent = heard.map_or(0, |at| now.since(at).as_micros() / SILENCE.as_micros());
        let halvings = silent.min(u128::from(MAX_HALVINGS)) as i32;
        (rate / f64::from(halvings).exp2()).max(self.config.min as f64) as u64
    }

    /// Before the first feedback: the link is taken to carry so much, if that is more than what was
    /// configured.
    pub fn assume(&mut self, rate: u64) {
        if !self.heard() {
            self.rate.assume(rate as f64);
        }
    }

    /// Whether any feedback has come.
    pub fn heard(&self) -> bool {
        self.feedback_at.is_some()
    }

    /// Whether packets are out, and nothing has been heard of them for so long that the rate is taken down.
    pub fn is_silent(&self, now: Mono) -> bool {
        let out = self.reported < self.history.sent();
        out && self.feedback_at.is_some_and(|at| now.since(at) >= SILENCE)
    }

    /// The link is back: what was out when it went down says nothing of it any more. `false` if it
    /// was not silent.
    pub fn revive(&mut self, now: Mono) -> bool {
        let silent = self.is_silent(now);
        if silent {
            self.reported = self.history.sent();
            self.feedback_at = Some(now);
        }
        silent
    }

    /// Whether the link seems at ease: no queue grows, and none was taken for congestion within
    /// `calm`. The time to try for more. Where nothing is sent nothing is reported either, and no
    /// queue is left.
    pub fn at_ease(&self, now: Mono, calm: Duration) -> bool {
        let fed = self.feedback_at.is_some_and(|at| now.since(at) < SILENCE);
        let empty = self.history.rests(now, SILENCE);
        (empty || (fed && self.trend.usage() != Usage::Over))
            && self.rate.decreased().is_none_or(|at| now.since(at) >= calm)
    }

    /// What it knows.
    pub fn state(&self) -> State {
        State {
            usage: self.trend.usage(),
            acked: self.acked.rate(),
            loss: self.loss.fraction(),
            queue: Duration::from_micros(self.queue.micros() as u64),
            rtt: self.rtt.unwrap_or(DEFAULT_RTT),
        }
    }

    fn capped(&self) -> f64 {
        let rate = self.rate.target();
        self.loss.cap().map_or(rate, |cap| rate.min(cap)).max(self.config.min as f64)
    }

    /// Bytes that no message has spoken of, because one was lost: they count as having come.
    fn take_unreported(&mut self, now: Mono, first: u64) -> u32 {
        let from = self.reported.max(first.saturating_sub(HISTORY_PACKETS as u64));
        (from..first).filter_map(|n| self.history.receive(now, n)).map(|s| u32::from(s.size)).sum()
    }

    fn update(&mut self, now: Mono, over: Option<(i64, Option<f64>)>) {
        let acked = self.acked.rate();
        let rtt = self.rtt.unwrap_or(DEFAULT_RTT);
        match over {
            Some((queue, full)) if queue >= MIN_QUEUE_MICROS => self.rate.decrease(now, full, rtt),
            Some(_) => self.rate.hold(),
            None if self.trend.usage() == Usage::Normal => self.rate.increase(now, acked, rtt),
            None => self.rate.hold(),
        }
        // Against what is really sent, where that is less than what was allowed.
        let sent = acked.map_or(f64::INFINITY, |a| a / (1.0 - self.loss.fraction().min(0.9)));
        self.loss.update(now, self.capped().min(sent), acked);
    }

    /// The outcome of a probe that is complete, or that nothing more will be heard of; to be called
    /// now and then without feedback.
    pub fn conclude(&mut self, now: Mono) -> Option<Outcome> {
        let cluster = self.cluster.as_ref()?;
        let outcome = cluster.outcome(now, self.reported)?;
        self.cluster = None;
        if let Outcome::Carries(rate) = outcome {
            let rate = (rate as f64).min(self.config.max as f64);
            self.rate.raise(now, rate);
            self.loss.raise(rate);
        }
        Some(outcome)
    }
}

//! A viewer's link in virtual time: a sender as the leaf is one (frames as they come, unpaced), a
//! bottleneck with a queue, delay, jitter and loss, and a browser that reports as Chromium does.

use super::super::*;
use crate::bandwidth::probe::{CALM, Probe, Prober};
use crate::bandwidth::twcc::tests::encode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, VecDeque};

#[derive(Clone)]
pub(crate) struct Path {
    /// (from ms, bits per second).
    pub(crate) rates: Vec<(u64, u64)>,
    pub(crate) queue_ms: u64,
    pub(crate) delay_ms: u64,
    pub(crate) jitter_ms: u64,
    pub(crate) loss: f64,
    pub(crate) feedback_loss: f64,
}

impl Path {
    pub(crate) fn steady(rate: u64) -> Self {
        Self {
            rates: vec![(0, rate)],
            queue_ms: 1_000,
            delay_ms: 25,
            jitter_ms: 0,
            loss: 0.0,
            feedback_loss: 0.0,
        }
    }

    fn rate(&self, ms: u64) -> u64 {
        self.rates.iter().take_while(|(from, _)| *from <= ms).last().map_or(0, |r| r.1)
    }
}

pub(crate) struct Sim {
    pub(crate) path: Path,
    pub(crate) estimator: Estimator,
    pub(crate) prober: Prober,
    pub(crate) now: Mono,
    /// A key frame every so many frames, six times as large; 0 for never.
    pub(crate) key_every: u64,
    /// What the next better choice would need.
    pub(crate) goal: Option<u64>,
    pub(crate) probes: u32,
    /// The longest time that a packet waited in the queue since it was last asked.
    pub(crate) worst_queue: u64,
    rng: StdRng,
    frame: u64,
    busy_until: u64,
    last_due: u64,
    /// (arrives, number)
    wire: VecDeque<(u64, u64)>,
    arrived: BTreeMap<u64, u64>,
    next_report: u64,
    reported: u64,
    serial: u8,
    backwards: VecDeque<(u64, Vec<u8>)>,
    sent: u64,
}

impl Sim {
    pub(crate) fn new(path: Path, config: Config, seed: u64) -> Self {
        Self {
            path,
            estimator: Estimator::new(config),
            prober: Prober::default(),
            now: Mono(7_000_000),
            key_every: 0,
            goal: None,
            probes: 0,
            worst_queue: 0,
            rng: StdRng::seed_from_u64(seed),
            frame: 0,
            busy_until: 0,
            last_due: 0,
            wire: VecDeque::new(),
            arrived: BTreeMap::new(),
            next_report: 0,
            reported: 0,
            serial: 0,
            backwards: VecDeque::new(),
            sent: 0,
        }
    }

    pub(crate) fn ms(&self) -> u64 {
        self.now.0 / 1_000 - 7_000
    }

    pub(crate) fn target(&self) -> u64 {
        self.estimator.target(self.now)
    }

    /// A millisecond at this rate of pictures (and 50 audio packets a second).
    pub(crate) fn step(&mut self, rate: u64) {
        self.now = Mono(self.now.0 + 1_000);
        let ms = self.ms();
        if ms.is_multiple_of(20) {
            self.send(160);
        }
        // Thirty frames a second.
        if ms * 3 / 100 != (ms - 1) * 3 / 100 {
            self.send_frame(rate);
        }
        if let Some(probe) = self.poll_probe() {
            self.probes += 1;
            self.estimator.begin_probe(self.now, probe.rate);
            for _ in 0..probe.packets {
                self.transmit(1_100);
                self.estimator.on_probe_sent(self.now, 1_100);
            }
        }
        self.deliver();
    }

    fn poll_probe(&mut self) -> Option<Probe> {
        let at_ease = self.estimator.at_ease(self.now, CALM);
        self.prober.poll(self.now, self.target(), self.goal, at_ease)
    }

    /// Runs until then, following the estimate if no rate is given; the estimates of all the time.
    pub(crate) fn run(&mut self, until_ms: u64, rate: Option<u64>) -> Vec<u64> {
        let mut all = vec![];
        while self.ms() < until_ms {
            let rate = rate.unwrap_or(self.target().saturating_sub(64_000));
            self.step(rate);
            all.push(self.target());
        }
        all
    }

    fn send_frame(&mut self, rate: u64) {
        let n = self.frame;
        self.frame += 1;
        let usual = rate as f64 / 8.0 / 30.0;
        // A key frame takes what the frames about it leave.
        let k = self.key_every as f64;
        let usual = if self.key_every > 0 { usual * k / (k + 5.0) } else { usual };
        let key = self.key_every > 0 && n.is_multiple_of(self.key_every);
        let size = usual * if key { 6.0 } else { self.rng.random_range(0.8..1.2) };
        let packets = (size / 1_150.0).ceil().max(1.0);
        let each = (size / packets) as usize;
        for _ in 0..packets as usize {
            self.send(each + 40);
        }
    }

    fn send(&mut self, size: usize) {
        self.transmit(size);
        self.estimator.on_sent(self.now, size);
    }

    fn transmit(&mut self, size: usize) {
        assert_eq!(self.estimator.next_number(), self.sent as u16);
        let number = self.sent;
        self.sent += 1;
        let rate = self.path.rate(self.ms());
        let now = self.now.0;
        let waits = self.busy_until.saturating_sub(now);
        if waits > self.path.queue_ms * 1_000 || rate == 0 {
            return;
        }
        self.worst_queue = self.worst_queue.max(waits);
        self.busy_until = now.max(self.busy_until) + size as u64 * 8_000_000 / rate;
        if self.rng.random_bool(self.path.loss) {
            return;
        }
        let jitter = self.rng.random_range(0..=self.path.jitter_ms * 1_000);
        let due = self.busy_until + self.path.delay_ms * 1_000 + jitter;
        self.last_due = self.last_due.max(due);
        self.wire.push_back((self.last_due, number));
    }

    fn deliver(&mut self) {
        let now = self.now.0;
        while self.wire.front().is_some_and(|(at, _)| *at <= now) {
            let (at, number) = self.wire.pop_front().unwrap();
            self.arrived.insert(number, at);
        }
        if now >= self.next_report && !self.arrived.is_empty() {
            self.next_report = now + self.rng.random_range(50_000..100_000);
            self.report();
        }
        while self.backwards.front().is_some_and(|(at, _)| *at <= now) {
            let (_, message) = self.backwards.pop_front().unwrap();
            let feedback = Feedback::parse(&message).unwrap();
            if let Some(outcome) = self.estimator.on_feedback(self.now, &feedback) {
                self.prober.done(self.now, outcome);
            }
        }
    }

    fn report(&mut self) {
        // The viewer's clock is another one.
        let clock = |at: u64| (at + 987_654_321) as i64 / 250;
        let end = *self.arrived.last_key_value().unwrap().0 + 1;
        let first = clock(*self.arrived.first_key_value().unwrap().1);
        let reference = first / 256;
        let fates: Vec<_> = (self.reported..end)
            .map(|n| self.arrived.get(&n).map(|at| clock(*at) - reference * 256))
            .collect();
        let base = self.reported as u16;
        self.arrived.clear();
        self.reported = end;
        self.serial = self.serial.wrapping_add(1);
        if fates.len() <= 2_048 && !self.rng.random_bool(self.path.feedback_loss) {
            let message = encode(base, reference as u32 & 0xff_ffff, self.serial, &fates);
            self.backwards.push_back((self.now.0 + self.path.delay_ms * 1_000, message));
        }
    }
}

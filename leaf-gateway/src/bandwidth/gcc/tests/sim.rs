//! A viewer's link in virtual time: a bottleneck with a queue, delay, jitter and loss, a browser
//! that reports as Chromium does, and a sender as the leaf is one (frames as they come, unpaced).

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

/// The link and the browser behind it. Time begins at [`START`].
pub(crate) struct Wire {
    pub(crate) path: Path,
    /// The longest time that a packet waited in the queue, µs.
    pub(crate) worst_queue: u64,
    /// Packets that did not come, by number.
    pub(crate) lost: Vec<u64>,
    rng: StdRng,
    sent: u64,
    busy_until: u64,
    last_due: u64,
    /// (arrives, number)
    under_way: VecDeque<(u64, u64)>,
    arrived: BTreeMap<u64, u64>,
    next_report: u64,
    reported: u64,
    serial: u8,
    backwards: VecDeque<(u64, Vec<u8>)>,
}

pub(crate) const START: Mono = Mono(7_000_000);

pub(crate) fn ms(now: Mono) -> u64 {
    (now.0 - START.0) / 1_000
}

impl Wire {
    pub(crate) fn new(path: Path, seed: u64) -> Self {
        Self {
            path,
            worst_queue: 0,
            lost: vec![],
            rng: StdRng::seed_from_u64(seed),
            sent: 0,
            busy_until: 0,
            last_due: 0,
            under_way: VecDeque::new(),
            arrived: BTreeMap::new(),
            next_report: 0,
            reported: 0,
            serial: 0,
            backwards: VecDeque::new(),
        }
    }

    /// The next packet goes out, with this number.
    pub(crate) fn send(&mut self, now: Mono, number: u16, size: usize) {
        assert_eq!(number, self.sent as u16);
        let number = self.sent;
        self.sent += 1;
        let rate = self.path.rate(ms(now));
        let waits = self.busy_until.saturating_sub(now.0);
        if waits > self.path.queue_ms * 1_000 || rate == 0 {
            self.lost.push(number);
            return;
        }
        self.worst_queue = self.worst_queue.max(waits);
        self.busy_until = now.0.max(self.busy_until) + size as u64 * 8_000_000 / rate;
        if self.rng.random_bool(self.path.loss) {
            self.lost.push(number);
            return;
        }
        let jitter = self.rng.random_range(0..=self.path.jitter_ms * 1_000);
        let due = self.busy_until + self.path.delay_ms * 1_000 + jitter;
        self.last_due = self.last_due.max(due);
        self.under_way.push_back((self.last_due, number));
    }

    /// How long a packet would wait that is sent now, µs.
    pub(crate) fn queued(&self, now: Mono) -> u64 {
        self.busy_until.saturating_sub(now.0)
    }

    /// A feedback message that has come by now; call until there is none.
    pub(crate) fn feedback(&mut self, now: Mono) -> Option<Vec<u8>> {
        while self.under_way.front().is_some_and(|(at, _)| *at <= now.0) {
            let (at, number) = self.under_way.pop_front().unwrap();
            self.arrived.insert(number, at);
        }
        if now.0 >= self.next_report && !self.arrived.is_empty() {
            self.next_report = now.0 + self.rng.random_range(50_000..100_000);
            self.report(now);
        }
        self.backwards.front().filter(|(at, _)| *at <= now.0)?;
        self.backwards.pop_front().map(|(_, message)| message)
    }

    fn report(&mut self, now: Mono) {
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
            self.backwards.push_back((now.0 + self.path.delay_ms * 1_000, message));
        }
    }
}

/// When frames and audio packets are made, and how large they are.
pub(crate) struct Source {
    /// A key frame every so many frames, six times as large; 0 for never.
    pub(crate) key_every: u64,
    frame: u64,
    rng: StdRng,
}

impl Source {
    pub(crate) fn new(seed: u64) -> Self {
        Self { key_every: 0, frame: 0, rng: StdRng::seed_from_u64(seed ^ 0x5eed) }
    }

    /// Fifty packets of sound a second.
    pub(crate) fn audio(&self, now: Mono) -> bool {
        ms(now).is_multiple_of(20)
    }

    /// Thirty frames a second: how many packets of which size this millisecond brings at so many
    /// bits per second, and whether they are a key frame.
    pub(crate) fn frame(&mut self, now: Mono, rate: u64) -> Option<(usize, usize, bool)> {
        if ms(now) * 3 / 100 == (ms(now) - 1) * 3 / 100 {
            return None;
        }
        let n = self.frame;
        self.frame += 1;
        let usual = rate as f64 / 8.0 / 30.0;
        // A key frame takes what the frames about it leave.
        let k = self.key_every as f64;
        let usual = if self.key_every > 0 { usual * k / (k + 5.0) } else { usual };
        let key = self.key_every > 0 && n.is_multiple_of(self.key_every);
        let size = usual * if key { 6.0 } else { self.rng.random_range(0.8..1.2) };
        let packets = (size / 1_150.0).ceil().max(1.0);
        Some((packets as usize, (size / packets) as usize + 40, key))
    }
}

pub(crate) struct Sim {
    pub(crate) wire: Wire,
    pub(crate) source: Source,
    pub(crate) estimator: Estimator,
    pub(crate) prober: Prober,
    pub(crate) now: Mono,
    /// What the next better choice would need.
    pub(crate) goal: Option<u64>,
    pub(crate) probes: u32,
}

impl Sim {
    pub(crate) fn new(path: Path, config: Config, seed: u64) -> Self {
        Self {
            wire: Wire::new(path, seed),
            source: Source::new(seed),
            estimator: Estimator::new(config),
            prober: Prober::default(),
            now: START,
            goal: None,
            probes: 0,
        }
    }

    pub(crate) fn target(&self) -> u64 {
        self.estimator.target(self.now)
    }

    /// A millisecond at this rate of pictures (and 50 audio packets a second).
    pub(crate) fn step(&mut self, rate: u64) {
        self.now = Mono(self.now.0 + 1_000);
        if self.source.audio(self.now) {
            self.send(160);
        }
        if let Some((packets, size, _)) = self.source.frame(self.now, rate) {
            (0..packets).for_each(|_| self.send(size));
        }
        if let Some(probe) = self.poll_probe() {
            self.probes += 1;
            self.estimator.begin_probe(self.now, probe.rate);
            for _ in 0..probe.packets {
                self.wire.send(self.now, self.estimator.next_number(), 1_100);
                self.estimator.on_probe_sent(self.now, 1_100);
            }
        }
        while let Some(message) = self.wire.feedback(self.now) {
            let feedback = Feedback::parse(&message).unwrap();
            if let Some(outcome) = self.estimator.on_feedback(self.now, &feedback) {
                self.prober.done(self.now, outcome);
            }
        }
    }

    /// Runs until then, following the estimate if no rate is given; the estimates of all the time.
    pub(crate) fn run(&mut self, until_ms: u64, rate: Option<u64>) -> Vec<u64> {
        let mut all = vec![];
        while ms(self.now) < until_ms {
            let rate = rate.unwrap_or(self.target().saturating_sub(64_000));
            self.step(rate);
            all.push(self.target());
        }
        all
    }

    fn poll_probe(&mut self) -> Option<Probe> {
        let at_ease = self.estimator.at_ease(self.now, CALM);
        self.prober.poll(self.now, self.target(), self.goal, at_ease)
    }

    fn send(&mut self, size: usize) {
        self.wire.send(self.now, self.estimator.next_number(), size);
        self.estimator.on_sent(self.now, size);
    }
}

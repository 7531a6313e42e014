//! One direction of an emulated link: packets in with their time, packets out when they are due.
//! Pure: time and seed are arguments.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use soleil_protocol::Mono;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Loss in bursts: a link that is good or bad and changes with every packet by chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GilbertElliott {
    /// Chance per packet to go from good to bad.
    pub enter: f64,
    /// Chance per packet to go from bad to good; its inverse is the mean length of a bad stretch.
    pub leave: f64,
    /// Loss while bad.
    pub loss: f64,
}

/// What a link does to its packets. The default does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkConfig {
    /// Every packet is late by this many microseconds.
    pub delay_us: u64,
    /// And by up to this many more, evenly spread. Order is kept, as on real paths.
    pub jitter_us: u64,
    /// Chance that a packet is lost.
    pub loss: f64,
    /// Loss in bursts, on top of `loss`.
    pub bursts: Option<GilbertElliott>,
    /// Chance that a packet is overtaken by those behind it.
    pub reorder: f64,
    /// How much later an overtaken packet comes, in microseconds.
    pub reorder_by_us: u64,
    /// Chance that a packet comes twice.
    pub duplicate: f64,
    /// Bits per second; 0 is without limit.
    pub rate_bps: u64,
    /// With a rate: bytes that may wait; what does not fit is lost. 0 is without limit.
    pub queue_bytes: u64,
}

/// What a link did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkStats {
    /// Packets that came in.
    pub packets: u64,
    /// Bytes that came in.
    pub bytes: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the queue was full.
    pub overflowed: u64,
    /// Sent late on purpose so that others overtake.
    pub reordered: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Packets that went out.
    pub delivered: u64,
}

/// A packet that waits: due time, then order of arrival.
type Waiting<T> = Reverse<(u64, u64, Order<T>)>;

/// Keeps the payload out of the heap's comparison.
#[derive(Debug)]
struct Order<T>(T);
impl<T> PartialEq for Order<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<T> Eq for Order<T> {}
impl<T> PartialOrd for Order<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Order<T> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// One direction of a link; `T` is what a packet carries besides its size.
#[derive(Debug)]
pub struct Link<T> {
    config: LinkConfig,
    rng: StdRng,
    bad: bool,
    waiting: BinaryHeap<Waiting<T>>,
    order: u64,
    /// The sender's line is busy until then (µs).
    busy_until: u64,
    /// No packet that keeps its order may come before this (µs).
    last_due: u64,
    stats: LinkStats,
}

impl<T: Clone> Link<T> {
    /// A link with this behaviour; the same seed and packets give the same fate.
    #[must_use]
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        Self {
            config,
            rng: StdRng::seed_from_u64(seed),
            bad: false,
            waiting: BinaryHeap::new(),
            order: 0,
            busy_until: 0,
            last_due: 0,
            stats: LinkStats::default(),
        }
    }

    /// Behaves differently from now on; packets under way keep their times.
    pub fn set_config(&mut self, config: LinkConfig) {
        self.config = config;
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// A packet of `size` bytes enters.
    pub fn handle(&mut self, now: Mono, size: usize, packet: T) {
        let config = self.config;
        self.stats.packets += 1;
        self.stats.bytes += size as u64;
        if self.is_lost(&config) {
            self.stats.lost += 1;
            return;
        }
        let mut leaves = now.0;
        if config.rate_bps > 0 {
            let start = self.busy_until.max(now.0);
            let queued = (start - now.0) * config.rate_bps / 8_000_000;
            if config.queue_bytes > 0 && queued + size as u64 > config.queue_bytes {
                self.stats.overflowed += 1;
                return;
            }
            leaves = start + size as u64 * 8_000_000 / config.rate_bps;
            self.busy_until = leaves;
        }
        let jitter =
            if config.jitter_us > 0 { self.rng.random_range(0..=config.jitter_us) } else { 0 };
        let due = leaves + config.delay_us + jitter;
        let copies = 1 + usize::from(self.chance(config.duplicate));
        self.stats.duplicated += copies as u64 - 1;
        if self.chance(config.reorder) {
            self.stats.reordered += 1;
            for _ in 0..copies {
                self.push(due + config.reorder_by_us, packet.clone());
            }
            return;
        }
        let due = due.max(self.last_due);
        self.last_due = due;
        for _ in 0..copies {
            self.push(due, packet.clone());
        }
    }

    /// The next packet that is due.
    pub fn poll(&mut self, now: Mono) -> Option<T> {
        if self.waiting.peek()?.0.0 > now.0 {
            return None;
        }
        let Reverse((_, _, Order(packet))) = self.waiting.pop()?;
        self.stats.delivered += 1;
        Some(packet)
    }

    /// When the next packet is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.waiting.peek().map(|next| Mono(next.0.0))
    }

    fn push(&mut self, due: u64, packet: T) {
        self.order += 1;
        self.waiting.push(Reverse((due, self.order, Order(packet))));
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random::<f64>() < probability
    }

    fn is_lost(&mut self, config: &LinkConfig) -> bool {
        let mut lost = self.chance(config.loss);
        if let Some(bursts) = config.bursts {
            let turn = if self.bad { bursts.leave } else { bursts.enter };
            if self.chance(turn) {
                self.bad = !self.bad;
            }
            lost |= self.bad && self.chance(bursts.loss);
        } else {
            self.bad = false;
        }
        lost
    }
}

//! Trees with an audience: how scenarios begin, and viewers that come and go.

use crate::sim::{Setup, Sim, Weather};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::control::api::NodeCommand;
use root_node::core::{LeafPicker, Pick};
use soleil_protocol::{Mono, NodeId, PipelineId, Role};
use std::collections::BTreeMap;
use std::time::Duration;

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);

/// How long a tree may take to settle before anything happens to it.
const SETTLES: Duration = Duration::from_secs(60);

/// Links of scenarios: 10 to 20 ms one way, one datagram in a thousand lost (a message is late
/// then).
pub fn weather() -> Weather {
    let ms = Duration::from_millis;
    Weather { delay: ms(10), jitter: ms(10), loss: 0.001, ..Weather::default() }
}

/// What a tree is made of.
#[derive(Debug, Clone, Copy)]
pub struct Stage {
    /// Fixes everything.
    pub seed: u64,
    /// Relays.
    pub relays: usize,
    /// Leaves.
    pub leaves: usize,
    /// Children that a relay takes.
    pub slots: u32,
    /// Children that the root takes.
    pub root_slots: u32,
    /// Regions that nodes stand in, in turn; 0: none, and distances make no difference.
    pub regions: usize,
    /// One way between two regions, beyond the usual.
    pub far: Duration,
    /// With forwarding planes.
    pub media: bool,
}

impl Stage {
    /// A tree in one place, control alone: so many relays and leaves, and children that a relay and
    /// the root take.
    pub fn new(
        seed: u64,
        (relays, leaves): (usize, usize),
        (slots, root_slots): (u32, u32),
    ) -> Self {
        let (regions, far, media) = (0, Duration::ZERO, false);
        Self { seed, relays, leaves, slots, root_slots, regions, far, media }
    }

    /// The same over several regions.
    #[must_use]
    pub fn over(self, regions: usize, far: Duration) -> Self {
        Self { regions, far, ..self }
    }

    /// The region of the n-th node.
    pub fn region(&self, n: usize) -> String {
        if self.regions == 0 { String::new() } else { format!("region-{}", n % self.regions) }
    }

    /// The root alone.
    pub fn root(&self) -> Sim {
        let (seed, media) = (self.seed, self.media);
        let setup = Setup { seed, weather: weather(), media, root_children: self.root_slots };
        let mut sim = Sim::new(setup);
        if self.regions > 0 {
            sim.set_far(self.far);
        }
        sim
    }

    /// Starts the n-th relay.
    pub fn relay(&self, sim: &mut Sim, n: usize) -> usize {
        sim.start_in(&self.region(n), Role::Relay, &format!("relay-{n}"), self.slots, 0)
    }

    /// Starts the n-th leaf.
    pub fn leaf(&self, sim: &mut Sim, n: usize) -> usize {
        sim.start_in(&self.region(n), Role::Leaf, &format!("leaf-{n}"), 0, 1_000)
    }

    /// The whole tree, settled, with a stream that all leaves play.
    ///
    /// # Panics
    /// If it does not settle.
    pub fn build(&self) -> (Sim, PipelineId, Vec<usize>) {
        let mut sim = self.root();
        for n in 0..self.relays {
            self.relay(&mut sim, n);
            sim.run(Duration::from_millis(10));
        }
        sim.until(SETTLES, "the relays are attached", Sim::settled);
        let leaves: Vec<usize> = (0..self.leaves)
            .map(|n| {
                let leaf = self.leaf(&mut sim, n);
                sim.run(Duration::from_millis(2));
                leaf
            })
            .collect();
        sim.until(SETTLES, "the leaves are attached", Sim::settled);
        let pipeline = sim.define(1);
        sim.run(SECOND);
        for leaf in &leaves {
            sim.command(*leaf, NodeCommand::Play(pipeline));
        }
        sim.run(5 * SECOND);
        (sim, pipeline, leaves)
    }
}

/// Viewers of leaves, who come and go.
#[derive(Debug)]
pub struct Crowd {
    rng: StdRng,
    pipeline: PipelineId,
    viewers: BTreeMap<usize, u32>,
    picker: LeafPicker,
    /// Viewers whom the root had no leaf for.
    pub refused: u64,
}

impl Crowd {
    /// Nobody yet.
    pub fn new(seed: u64, pipeline: PipelineId) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed ^ 0xc0_0c),
            pipeline,
            viewers: BTreeMap::new(),
            picker: LeafPicker::new(),
            refused: 0,
        }
    }

    /// How many there are.
    pub fn total(&self) -> u32 {
        self.viewers.values().sum()
    }

    /// Who was there goes, and so many in all come, to leaves at random; each leaf has one at least
    /// if there are enough.
    pub fn spread(&mut self, sim: &mut Sim, leaves: &[usize], total: u32) {
        if leaves.is_empty() {
            return;
        }
        let each = total / leaves.len() as u32;
        let mut viewers = vec![each; leaves.len()];
        let rest = total as usize - each as usize * leaves.len();
        viewers.iter_mut().take(rest).for_each(|v| *v += 1);
        for _ in 0..leaves.len() {
            let from = self.rng.random_range(0..leaves.len());
            let to = self.rng.random_range(0..leaves.len());
            let leave = self.rng.random_range(0..=viewers[from].saturating_sub(1));
            viewers[from] -= leave;
            viewers[to] += leave;
        }
        self.viewers = leaves.iter().copied().zip(viewers).collect();
        self.tell(sim);
    }

    /// So many come, and the root sends each to a leaf.
    pub fn arrive(&mut self, sim: &Sim, count: u32) {
        let stream = format!("stream-{}", self.pipeline.0);
        let places: BTreeMap<&NodeId, usize> =
            sim.nodes.iter().enumerate().map(|(place, n)| (n.core().id(), place)).collect();
        let now = Mono(sim.elapsed().as_micros() as u64);
        for _ in 0..count {
            match self.picker.pick(now, &sim.view, &stream) {
                Pick::Leaf { leaf, .. } => {
                    let place = places.get(&leaf).copied().unwrap_or_default();
                    *self.viewers.entry(place).or_default() += 1;
                }
                _ => self.refused += 1,
            }
        }
    }

    /// About this share of all goes.
    pub fn leave(&mut self, share: f64) {
        for viewers in self.viewers.values_mut() {
            let gone = (f64::from(*viewers) * share * self.rng.random_range(0.0..2.0)).round();
            *viewers = viewers.saturating_sub(gone as u32);
        }
    }

    /// The leaves say what they have.
    pub fn tell(&mut self, sim: &mut Sim) {
        for (leaf, viewers) in &self.viewers {
            let rtt_ms = f64::from(self.rng.random_range(50..2_000_u32)) / 10.0;
            sim.set_audience(*leaf, self.pipeline, *viewers, rtt_ms);
        }
    }
}

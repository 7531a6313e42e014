//! Ready-made trees for tests.

use super::{Setup, Sim, Weather};
use soleil_protocol::Role;
use std::time::Duration;

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);

/// Links with delay, jitter and a little loss; control alone; a root for five children.
pub fn setup(seed: u64) -> Setup {
    let weather = Weather {
        delay: Duration::from_millis(15),
        jitter: Duration::from_millis(10),
        loss: 0.01,
        ..Weather::default()
    };
    Setup { seed, weather, media: false, root_children: 5 }
}

/// So many seconds.
pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A root, its relays, and leaves below them; settled.
pub fn tree(setup: Setup, relays: usize, leaves: usize) -> Sim {
    let mut sim = Sim::new(setup);
    for n in 0..relays {
        sim.start(Role::Relay, &format!("relay-{n}"), 12, 0);
    }
    sim.until(seconds(10), "relays are attached", Sim::settled);
    for n in 0..leaves {
        sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 100);
    }
    settle(&mut sim, 20);
    sim
}

/// Runs until all beliefs are true.
///
/// # Panics
/// If one is not within `limit` seconds; says which.
pub fn settle(sim: &mut Sim, limit: u64) {
    let end = sim.elapsed() + seconds(limit);
    while let Some(wrong) = sim.disagreement() {
        assert!(sim.elapsed() < end, "not settled within {limit} s: {wrong}");
        sim.run(Duration::from_millis(50));
    }
}

/// Places of all leaves.
pub fn leaves(sim: &Sim) -> Vec<usize> {
    (0..sim.nodes.len()).filter(|i| sim.nodes[*i].role == Role::Leaf).collect()
}

/// Places of all relays.
pub fn relays(sim: &Sim) -> Vec<usize> {
    (0..sim.nodes.len()).filter(|i| sim.nodes[*i].role == Role::Relay).collect()
}

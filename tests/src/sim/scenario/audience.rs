//! What control costs does not depend on the audience: the same nodes with few viewers and with a
//! thousand times as many.

use super::crowd::{Crowd, SECOND, Stage};
use super::{Outcome, PROMISED, Scenario, Size, Watch};

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "audience",
    about: "the same nodes with 1,000 and with 1,000,000 viewers: the same bytes of control",
    run,
};

/// Simulated seconds that are measured with each audience.
const SECONDS: u32 = 20;

/// So much more may a thousand times the viewers cost: their numbers have more digits.
const MORE: f64 = 0.05;

fn run(size: Size, seed: u64) -> Outcome {
    let (relays, leaves) = match size {
        Size::Small => (8, 100),
        Size::Full => (40, 1_000),
    };
    let stage = Stage::new(seed, (relays, leaves), (40, 16));
    let (sim, pipeline, places) = stage.build();
    let mut watch = Watch::new(SCENARIO.name, size, sim, PROMISED);
    watch.audience(pipeline);
    let mut crowd = Crowd::new(seed, pipeline);
    let mut costs = Vec::new();
    for each in [1, 1_000] {
        let viewers = leaves as u32 * each;
        crowd.spread(&mut watch.sim, &places, viewers);
        watch.happens(format!("{viewers} viewers"));
        watch.calm(20 * SECOND);
        let before: u64 = watch.sim.nodes.iter().map(|n| n.traffic.bytes).sum();
        for _ in 0..SECONDS {
            crowd.spread(&mut watch.sim, &places, viewers);
            watch.run(SECOND);
        }
        let after: u64 = watch.sim.nodes.iter().map(|n| n.traffic.bytes).sum();
        let nodes = (watch.sim.nodes.len() as u32 * SECONDS) as f64;
        let cost = (after - before) as f64 / nodes;
        watch.figure(&format!("control with {viewers} viewers, a node and second"), cost, "bytes");
        costs.push(cost);
    }
    let more = costs[1] / costs[0] - 1.0;
    watch.at_most("a thousand times the viewers cost more, share", more, MORE, "");
    watch.at_most("or less, share", -more, MORE, "");
    watch.finish()
}

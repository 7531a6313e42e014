//! Growth from the root alone to 10,000 nodes with 1,000,000 viewers within a minute.

use super::crowd::{Crowd, SECOND, Stage};
use super::{Outcome, PROMISED, Scenario, Size, Watch};
use relay_node::control::api::NodeCommand;
use soleil_protocol::Role;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "growth",
    about: "1 to 10,000 nodes in a minute, 1,000,000 viewers who come and go",
    run,
};

/// How long it grows.
const MINUTE: u32 = 60;

/// Share of the viewers that goes each second (and as many come).
const GONE: f64 = 0.02;

/// Batches of joiners in a second.
const BATCHES: u32 = 10;

/// Of so many nodes one is a relay. 32 slots each leave room for those above and for the reserve.
const OF_RELAYS: usize = 24;

fn run(size: Size, seed: u64) -> Outcome {
    let (nodes, viewers): (usize, u32) = match size {
        Size::Small => (300, 30_000),
        Size::Full => (10_000, 1_000_000),
    };
    let stage = Stage::new(seed, (0, 0), (32, 32));
    let mut sim = stage.root();
    let pipeline = sim.define(1);
    let mut watch = Watch::new(SCENARIO.name, size, sim, PROMISED);
    watch.audience(pipeline);
    let mut crowd = Crowd::new(seed, pipeline);
    let batches = MINUTE * BATCHES;
    let mut playing = 1;
    for batch in 1..=batches {
        let due = nodes * batch as usize / batches as usize;
        while watch.sim.nodes.len() <= due {
            let n = watch.sim.nodes.len() - 1;
            if n.is_multiple_of(OF_RELAYS) {
                stage.relay(&mut watch.sim, n);
            } else {
                stage.leaf(&mut watch.sim, n);
            }
        }
        watch.run(SECOND / BATCHES);
        // Whoever is attached plays: viewers come at once.
        let attached = watch.sim.nodes.len();
        for node in std::mem::replace(&mut playing, attached)..attached {
            if watch.sim.nodes[node].role == Role::Leaf {
                watch.sim.command(node, NodeCommand::Play(pipeline));
            }
        }
        let aim = (u64::from(viewers) * u64::from(batch) / u64::from(batches)) as u32;
        crowd.arrive(&watch.sim, aim.saturating_sub(crowd.total()));
        if batch.is_multiple_of(BATCHES) {
            crowd.leave(if batch < batches { GONE } else { 0.0 });
            crowd.tell(&mut watch.sim);
        }
    }
    let running = watch.sim.nodes.len() - 1;
    watch.at_most("nodes short of the aim", nodes.saturating_sub(running) as f64, 0.0, "nodes");
    let short = viewers.saturating_sub(crowd.total());
    watch.at_most("viewers short of the aim", f64::from(short), 0.0, "viewers");
    watch.happens("the last have come");
    watch.calm(60 * SECOND);
    watch.figure("viewers whom the root had no leaf for yet", crowd.refused as f64, "times");
    let (before, _) = watch.sim.root_took;
    watch.peace(10 * SECOND);
    // Real time: no two runs have the same.
    let (after, longest) = watch.sim.root_took;
    let share = (after - before).as_secs_f64() / 10.0 * 100.0;
    watch.figure("the root's core in peace, of one processor here", share, "%");
    let longest = longest.as_secs_f64() * 1_000.0;
    watch.figure("the longest that it was busy with one event", longest, "ms");
    watch.finish()
}

//! A fifth of the nodes goes every hour, in all the ways in which nodes go, and as many come.

use super::crowd::{Crowd, SECOND, Stage};
use super::{Outcome, PROMISED, Scenario, Size, Watch};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use relay_node::control::api::NodeCommand;
use soleil_protocol::Role;
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "churn",
    about: "an hour in which nodes go by kill, drain or power cut, a fifth of all, and as many come",
    run,
};

/// Nodes that go in an hour, of all.
const SHARE: f64 = 0.2;

fn run(size: Size, seed: u64) -> Outcome {
    let (relays, leaves, seconds) = match size {
        Size::Small => (14, 286, 300),
        Size::Full => (60, 940, 3_600),
    };
    let pause = Duration::from_secs(3_600).div_f64(SHARE * (relays + leaves) as f64);
    let goers = (seconds / pause.as_secs()) as u32;
    let stage = Stage::new(seed, (relays, leaves), (32, 16));
    let (sim, pipeline, places) = stage.build();
    let mut watch = Watch::new(SCENARIO.name, size, sim, PROMISED);
    watch.audience(pipeline);
    let mut crowd = Crowd::new(seed, pipeline);
    crowd.spread(&mut watch.sim, &places, leaves as u32 * 100);
    watch.happens("the audience comes");
    watch.calm(20 * SECOND);
    let mut rng = StdRng::seed_from_u64(seed);
    for n in 0..goers {
        // Relays go as often as their share of the nodes.
        let live: Vec<usize> =
            (1..watch.sim.nodes.len()).filter(|i| watch.sim.nodes[*i].runs()).collect();
        let Some(node) = live.choose(&mut rng).copied() else { break };
        let id = watch.sim.nodes[node].id();
        let role = watch.sim.nodes[node].role;
        let mut unseen = false;
        let how = match rng.random_range(0..3) {
            0 => {
                watch.sim.kill(node);
                "dies"
            }
            1 => {
                watch.sim.power_off(node);
                unseen = true;
                "loses its power"
            }
            _ => {
                watch.sim.command(node, NodeCommand::Drain("churn".into()));
                "drains"
            }
        };
        let what = format!("{id} {how}");
        if unseen {
            watch.happens_unseen(what)
        } else {
            watch.happens(what)
        }
        // Late enough that the tree has got over it.
        let share = rng.random_range(0.6..0.9);
        watch.run(pause.mul_f64(share));
        let name = 10_000 + n as usize;
        match role {
            Role::Leaf => {
                let leaf = stage.leaf(&mut watch.sim, name);
                watch.sim.command(leaf, NodeCommand::Play(pipeline));
                watch.sim.set_audience(leaf, pipeline, rng.random_range(1..200), 20.0);
            }
            _ => {
                stage.relay(&mut watch.sim, name);
            }
        }
        watch.happens(format!("a {role} comes"));
        watch.run(pause.mul_f64(1.0 - share));
    }
    watch.calm(60 * SECOND);
    watch.peace(10 * SECOND);
    watch.finish()
}

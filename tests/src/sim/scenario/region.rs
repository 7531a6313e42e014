//! A whole region loses its power, and comes back at once.

use super::crowd::{Crowd, SECOND, Stage};
use super::{Outcome, PROMISED, Scenario, Size, Watch};
use relay_node::control::api::NodeCommand;
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "region",
    about: "one of four regions loses its power and comes back half a minute later, all at once",
    run,
};

/// The one that is lost.
const LOST: &str = "region-1";

fn run(size: Size, seed: u64) -> Outcome {
    let (relays, leaves) = match size {
        Size::Small => (16, 160),
        Size::Full => (120, 1_880),
    };
    let stage = Stage::new(seed, (relays, leaves), (32, 32)).over(4, Duration::from_millis(40));
    let (sim, pipeline, places) = stage.build();
    let mut watch = Watch::new(SCENARIO.name, size, sim, PROMISED);
    watch.audience(pipeline);
    let mut crowd = Crowd::new(seed, pipeline);
    crowd.spread(&mut watch.sim, &places, leaves as u32 * 100);
    watch.happens("the audience comes");
    watch.calm(20 * SECOND);
    let before: Vec<u32> = watch.sim.nodes.iter().map(|n| n.attaches).collect();
    let lost = watch.sim.in_region(LOST);
    for node in &lost {
        watch.sim.power_off(*node);
    }
    watch.happens_unseen(format!("{} nodes of a region lose their power", lost.len()));
    watch.run(30 * SECOND);
    watch.calm(30 * SECOND);
    let again = watch.sim.nodes.iter().zip(&before);
    let again = again.filter(|(node, before)| node.runs() && node.attaches > **before).count();
    watch.figure("nodes elsewhere that had to join again", again as f64, "");
    for node in &lost {
        watch.sim.start_again(*node);
        if let Some(place) = places.iter().position(|leaf| leaf == node) {
            let viewers = 50 + place as u32 % 50;
            watch.sim.command(*node, NodeCommand::Play(pipeline));
            watch.sim.set_audience(*node, pipeline, viewers, 30.0);
        }
    }
    watch.happens("they come back");
    watch.calm(60 * SECOND);
    watch.peace(10 * SECOND);
    watch.finish()
}

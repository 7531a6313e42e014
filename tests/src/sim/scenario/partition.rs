//! A group of nodes is cut off from all others and comes back: no connection closes, none carries
//! anything.

use super::crowd::{Crowd, SECOND, Stage};
use super::{Outcome, PROMISED, Scenario, Size, UNSEEN, Watch};
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "partition",
    about: "a region is cut off for 1, 5 and 40 s; no connection closes, none carries anything",
    run,
};

/// The one that is cut off.
const APART: &str = "region-2";

/// How long, one after the other: shorter than a time-out of the control links, shorter than a
/// parent's silence is borne, and long.
const LASTS: [u64; 3] = [1, 5, 40];

fn run(size: Size, seed: u64) -> Outcome {
    let (relays, leaves) = match size {
        Size::Small => (16, 120),
        Size::Full => (100, 1_400),
    };
    let stage = Stage::new(seed, (relays, leaves), (32, 32)).over(4, Duration::from_millis(40));
    let (sim, pipeline, places) = stage.build();
    let mut watch = Watch::new(SCENARIO.name, size, sim, PROMISED);
    watch.audience(pipeline);
    let mut crowd = Crowd::new(seed, pipeline);
    crowd.spread(&mut watch.sim, &places, leaves as u32 * 100);
    watch.happens("the audience comes");
    watch.calm(20 * SECOND);
    for lasts in LASTS {
        let apart = watch.sim.in_region(APART);
        watch.sim.cut(&apart);
        if lasts > 20 {
            // Time enough for the others to be right again without them.
            watch.happens_unseen(format!("{} nodes are cut off", apart.len()));
        }
        watch.run(lasts as u32 * SECOND);
        watch.sim.heal();
        // Behind a long cut the next try of TCP, or of a node for the root, may be as far away.
        let back = Duration::from_secs(lasts.min(15));
        watch.bounds.routing = PROMISED.routing.map(|bound| bound + UNSEEN + back);
        watch.bounds.statistics = PROMISED.statistics.map(|bound| bound + UNSEEN + back);
        watch.happens(format!("the cut is mended after {lasts} s"));
        watch.bounds = PROMISED;
        watch.calm(90 * SECOND);
        watch.run(10 * SECOND);
    }
    watch.peace(10 * SECOND);
    watch.finish()
}

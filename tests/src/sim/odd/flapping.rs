//! Relays that die and come back every few seconds, for minutes. Their children move once or twice;
//! then nobody is put below them any more, and nobody else notices them.

use crate::sim::Sim;
use crate::sim::scenario::crowd::{Crowd, SECOND, Stage};
use crate::sim::scenario::{Bounds, Outcome, Scenario, Size, Watch};
use soleil_protocol::Role;
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "flapping",
    about: "relays die and come back every four seconds; soon nobody is put below them",
    run,
};

/// Falls after which nobody may be below such a node: the root sees a pattern in the second return.
const SEEN_AFTER: u32 = 3;

/// How long it stands, and how long it is gone.
const STANDS: Duration = Duration::from_secs(3);
const GONE: Duration = Duration::from_secs(1);

/// Whoever of the others hangs below one of these nodes, or has one of them as a backup by the plan.
fn relies(sim: &Sim, flapping: &[usize]) -> Option<String> {
    let names: Vec<_> = flapping.iter().map(|place| sim.nodes[*place].id()).collect();
    if let Some((child, parent)) = sim.edges().iter().find(|(_, to)| flapping.contains(to)) {
        let (child, parent) = (sim.nodes[*child].id(), sim.nodes[*parent].id());
        return Some(format!("{child} hangs below {parent}"));
    }
    let attached = sim.view.nodes.iter().filter(|node| node.attached);
    attached
        .filter_map(|node| Some((node, node.backups.iter().find(|b| names.contains(b))?)))
        .map(|(node, backup)| format!("{} counts on {backup}", node.id))
        .next()
}

fn run(size: Size, seed: u64) -> Outcome {
    let (relays, leaves, flapping, falls) = match size {
        Size::Small => (6, 40, 1, 12),
        Size::Full => (40, 600, 4, 90),
    };
    let stage = Stage::new(seed, (relays, leaves), (24, 12));
    let bounds = Bounds { routing: None, statistics: None, ..Bounds::default() };
    let (sim, pipeline, places) = stage.build();
    let mut watch = Watch::new(SCENARIO.name, size, sim, bounds);
    watch.audience(pipeline);
    let mut crowd = Crowd::new(seed, pipeline);
    crowd.spread(&mut watch.sim, &places, leaves as u32 * 50);
    watch.run(5 * SECOND);
    // Those with the most children.
    let load = |sim: &Sim, node: usize| sim.edges().iter().filter(|(_, to)| *to == node).count();
    let mut all: Vec<usize> = (1..watch.sim.nodes.len())
        .filter(|place| watch.sim.nodes[*place].role == Role::Relay)
        .collect();
    all.sort_by_key(|place| (std::cmp::Reverse(load(&watch.sim, *place)), *place));
    let flappers: Vec<usize> = all.into_iter().take(flapping).collect();
    let others: Vec<usize> =
        (1..watch.sim.nodes.len()).filter(|place| !flappers.contains(place)).collect();
    let joins = |sim: &Sim| others.iter().map(|n| sim.nodes[*n].attaches).sum::<u32>();
    let moved = |sim: &Sim| others.iter().map(|n| sim.nodes[*n].failovers).sum::<u32>();
    let joined = joins(&watch.sim);
    let mut relied = None;
    let (mut moved_late, mut joined_late) = (0, joined);
    for fall in 0..falls {
        if fall == SEEN_AFTER {
            (moved_late, joined_late) = (moved(&watch.sim), joins(&watch.sim));
        }
        if fall >= SEEN_AFTER {
            relied = relied.or(relies(&watch.sim, &flappers));
        }
        for node in &flappers {
            watch.sim.kill(*node);
        }
        watch.happens(format!("fall {fall}"));
        watch.run(GONE);
        for node in &flappers {
            watch.sim.start_again(*node);
        }
        watch.run(STANDS);
    }
    watch.nothing("somebody relies on a node that keeps falling over", relied);
    let (early, all) = (moved_late, moved(&watch.sim));
    watch.figure("failovers of others until it is seen", f64::from(early), "nodes");
    watch.at_most("failovers of others after that", f64::from(all - early), 0.0, "nodes");
    // Several fall at the same moment: who has one as its parent and another one as its backup is
    // without a parent then. One alone leaves nobody alone.
    let early = joined_late - joined;
    let what = "others without a parent until it is seen";
    if flapping > 1 {
        watch.figure(what, f64::from(early), "times");
    } else {
        watch.at_most(what, f64::from(early), 0.0, "times");
    }
    let again = joins(&watch.sim) - joined_late;
    watch.at_most("others without a parent after that", f64::from(again), 0.0, "times");
    watch.happens("they stand");
    watch.calm(60 * SECOND);
    watch.run(30 * SECOND);
    watch.peace(5 * SECOND);
    watch.finish()
}

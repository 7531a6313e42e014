//! Machines with wrong clocks. Up to five minutes behind and a certificate's remaining life ahead
//! everything goes on as if they were right, through renewals and when somebody sets them right; a
//! clock that is further off keeps its node out (TLS refuses), and the others do not notice.
//!
//! Certificates of the simulation live for an hour, the real ones for a day.

use crate::sim::Sim;
use crate::sim::scenario::crowd::{Crowd, SECOND, Stage};
use crate::sim::scenario::{Bounds, Outcome, Scenario, Size, Watch};
use soleil_protocol::Role;
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "skew",
    about: "clocks that are minutes and hours off, through renewals of certificates",
    run,
};

const MINUTE: i64 = 60_000_000;

/// Clocks that are borne.
const BORNE: [i64; 4] = [15 * MINUTE, -4 * MINUTE, 10 * MINUTE, -2 * MINUTE];

/// Clocks that are not: behind what certificates reach back, and ahead of their end.
const TOO_MUCH: [i64; 3] = [-10 * MINUTE, 120 * MINUTE, -600 * MINUTE];

fn run(size: Size, seed: u64) -> Outcome {
    let (relays, leaves, minutes) = match size {
        Size::Small => (4, 12, 50),
        Size::Full => (12, 80, 150),
    };
    let stage = Stage::new(seed, (0, 0), (8, 8));
    let bounds =
        Bounds { routing: Some(20 * SECOND), statistics: Some(25 * SECOND), ..Bounds::default() };
    let mut watch = Watch::new(SCENARIO.name, size, stage.root(), bounds);
    let pipeline = watch.sim.define(1);
    watch.audience(pipeline);
    let mut places = Vec::new();
    for n in 0..relays {
        let relay = stage.relay(&mut watch.sim, n);
        watch.sim.nodes[relay].clock_ahead = BORNE[n % BORNE.len()];
        watch.run(SECOND);
    }
    for n in 0..leaves {
        let leaf = stage.leaf(&mut watch.sim, n);
        watch.sim.nodes[leaf].clock_ahead = BORNE[(n + 1) % BORNE.len()];
        places.push(leaf);
    }
    watch.happens("nodes with wrong clocks come");
    watch.calm(30 * SECOND);
    for leaf in &places {
        watch.sim.command(*leaf, relay_node::control::api::NodeCommand::Play(pipeline));
    }
    let mut crowd = Crowd::new(seed, pipeline);
    crowd.spread(&mut watch.sim, &places, leaves as u32 * 50);
    watch.happens("the audience comes");
    watch.calm(30 * SECOND);
    let misplaced =
        watch.sim.nodes[1..].iter().find(|n| n.attaches != 1).map(|n| n.id().to_string());
    watch.nothing("a node with a clock that is borne that did not attach at once", misplaced);
    let parents = watch.sim.edges().iter().filter(|(_, to)| *to != 0).count();
    watch.figure("nodes below relays with wrong clocks", parents as f64, "");
    watch.at_most("none", f64::from(u8::from(parents == 0)), 0.0, "");

    // Nobody else notices those that can't be borne; they try, with pauses.
    let kinds = |sim: &Sim, kind: &str| sim.kinds.get(kind).copied().unwrap_or_default();
    let before = kinds(&watch.sim, "hello");
    let mut out = Vec::new();
    for (n, ahead) in TOO_MUCH.iter().enumerate() {
        let name = format!("lost-{n}");
        let node = watch.sim.start(Role::Leaf, &name, 0, 10);
        watch.sim.nodes[node].clock_ahead = *ahead;
        out.push(node);
    }
    watch.run(120 * SECOND);
    let inside = out.iter().find(|n| watch.sim.nodes[**n].attaches > 0);
    let inside = inside.map(|n| watch.sim.nodes[*n].id().to_string());
    watch.nothing("a node whose clock TLS must refuse got in", inside);
    let tries = kinds(&watch.sim, "hello") - before;
    watch.at_most("HELLOs of those in two minutes", tries as f64, 120.0, "messages");
    for node in out {
        watch.sim.kill(node);
    }

    // Two thirds of a certificate's life and more: each is renewed once, not again and again.
    let (before, nodes) = (kinds(&watch.sim, "redirect"), relays + leaves);
    let hellos = kinds(&watch.sim, "hello");
    let half = Duration::from_secs(minutes * 30);
    watch.run(half);
    // Somebody sets the clocks right, or wrong in another way.
    for (n, node) in watch.sim.nodes.iter_mut().enumerate().skip(1) {
        node.clock_ahead = if n % 2 == 0 { 0 } else { 3 * MINUTE };
    }
    watch.happens("all clocks are set");
    watch.run(half);
    let most = (minutes as usize / 35 + 1) * nodes * 3;
    let renewals = kinds(&watch.sim, "hello") - hellos;
    watch.at_most("HELLOs in all that time", renewals as f64, most as f64 * 4.0, "messages");
    let told = kinds(&watch.sim, "redirect") - before;
    watch.figure("REDIRECTs in that time", told as f64, "messages");
    let lost = watch.sim.nodes[1..=nodes].iter().find(|n| n.attaches != 1 || !n.runs());
    let lost = lost.map(|n| format!("{} attached {} times", n.id(), n.attaches));
    watch.nothing("a node that lost its place over its clock", lost);
    watch.peace(5 * SECOND);
    watch.finish()
}

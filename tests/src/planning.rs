//! The benchmark of the planner: a whole plan of many nodes, and what one change costs in a tree of
//! that size. Same seed, same nodes.

#![allow(clippy::disallowed_methods)]
// It measures time: the one thing that the planner itself has no idea of.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use root_node::planner::{Input, NodeInput, Place, Planner, plan};
use serde::Serialize;
use soleil_protocol::{NodeId, Role};
use std::time::{Duration, Instant};

/// Child nodes of a relay, and of the root.
const SLOTS: u32 = 32;

/// Regions that the nodes stand in.
const REGIONS: u32 = 8;

/// What the caller of the planner does after each change: see `root_node::core`.
const SETTLED_AT_ONCE: usize = 1_024;

/// How long something took.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Times {
    /// How often it was done.
    pub count: usize,
    /// Median in milliseconds.
    pub median_ms: f64,
    /// The longest in milliseconds.
    pub max_ms: f64,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Times {
        times.sort();
        let ms = |at: usize| times.get(at).map_or(0.0, |t| t.as_secs_f64() * 1_000.0);
        let last = times.len().saturating_sub(1);
        Times { count: times.len(), median_ms: ms(times.len() / 2), max_ms: ms(last) }
    }
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct PlanningResult {
    /// Nodes of the tree.
    pub nodes: usize,
    /// Of those, relays.
    pub relays: usize,
    /// Depth of the tree.
    pub depth: u32,
    /// Nodes without a place.
    pub left_out: usize,
    /// Nodes with a reserved place at their first backup.
    pub backed: usize,
    /// A plan from nothing.
    pub whole: Times,
    /// A plan of the tree as it stands.
    pub again: Times,
    /// A leaf or relay joins: parent, place, backups, and what follows for others.
    pub join: Times,
    /// A leaf leaves.
    pub leave: Times,
    /// A relay with its children goes: they are outside the tree, and others lose a backup.
    pub relay_leaves: Times,
    /// A look at so many nodes for better places as the root takes at once.
    pub improve: Times,
}

fn node(name: &str, role: Role, serial: u32, region: u32) -> Option<NodeInput> {
    Some(NodeInput {
        id: NodeId::new(name).ok()?,
        role,
        slots: if role == Role::Leaf { 0 } else { SLOTS },
        egress: 0,
        reachable: role != Role::Leaf,
        region: format!("region-{region}"),
        serial,
        leaving: false,
        pinned: false,
    })
}

fn input(nodes: usize, rng: &mut StdRng) -> Option<Input> {
    // As many relays as the leaves need with a good tenth to spare.
    let relays = (nodes * 10 / 9).div_ceil(SLOTS as usize - 2).max(2);
    let mut all = Vec::with_capacity(nodes);
    for n in 0..nodes {
        let role = if n < relays { Role::Relay } else { Role::Leaf };
        let region = rng.random_range(0..REGIONS);
        all.push((node(&format!("node-{n}"), role, n as u32 + 1, region)?, None));
    }
    let mut rtts = Vec::new();
    for (n, (node, _)) in all.iter().enumerate() {
        for _ in 0..2 {
            let peer = &all[rng.random_range(0..relays)].0;
            if n > 0 {
                rtts.push((node.id.clone(), peer.id.clone(), rng.random_range(5.0..150.0)));
            }
        }
    }
    all.shuffle(rng);
    let root = node("root", Role::Root, 0, 0)?;
    Some(Input { root, nodes: all, rtts, demand: 0, moves: 0 })
}

fn timed<T>(times: &mut Vec<Duration>, what: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = what();
    times.push(began.elapsed());
    result
}

/// Measures with so many nodes; `None` only if a name could not be one.
pub fn run(nodes: usize, repeat: usize, seed: u64) -> Option<PlanningResult> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut input = input(nodes, &mut rng)?;
    let mut whole = Vec::new();
    let mut made = plan(&input);
    for _ in 0..repeat {
        made = timed(&mut whole, || plan(&input));
    }
    for (node, parent) in &mut input.nodes {
        *parent = made.nodes.get(&node.id).map(|a| a.parent.clone());
    }
    let mut again = Vec::new();
    for _ in 0..repeat {
        timed(&mut again, || plan(&input));
    }

    let mut planner = Planner::new(&input.root);
    let mut by_rank: Vec<&NodeInput> = input.nodes.iter().map(|(n, _)| n).collect();
    by_rank.sort_by_key(|n| made.nodes.get(&n.id).map(|a| a.rank));
    for node in by_rank {
        planner.put(node);
        if let Some(a) = made.nodes.get(&node.id) {
            let place = Place { parent: Some(&a.parent), leg: None, attached: true };
            planner.place(&node.id, &place);
        }
    }
    while planner.settle(SETTLED_AT_ONCE) {}
    let backed = input.nodes.iter().filter(|(n, _)| planner.is_backed(&n.id)).count();

    let mut join = Vec::new();
    let mut leave = Vec::new();
    for n in 0..500_u32 {
        let role = if n % 10 == 9 { Role::Relay } else { Role::Leaf };
        let new = node(&format!("new-{n}"), role, nodes as u32 + n + 1, n % REGIONS)?;
        timed(&mut join, || {
            planner.put(&new);
            if let Some(parent) = planner.choose(&new.id, None) {
                let place = Place { parent: Some(&parent), leg: None, attached: true };
                planner.place(&new.id, &place);
            }
            planner.back_up(&new.id);
            planner.settle(SETTLED_AT_ONCE)
        });
        while planner.settle(SETTLED_AT_ONCE) {}
        if role == Role::Leaf {
            timed(&mut leave, || {
                planner.remove(&new.id);
                planner.settle(SETTLED_AT_ONCE)
            });
            while planner.settle(SETTLED_AT_ONCE) {}
        }
    }
    let mut improve = Vec::new();
    for _ in 0..200 {
        timed(&mut improve, || planner.improve(256, 2));
    }
    let mut relay_leaves = Vec::new();
    let relays: Vec<&NodeInput> =
        input.nodes.iter().map(|(n, _)| n).filter(|n| n.role == Role::Relay).collect();
    for relay in relays.iter().rev().take(50) {
        timed(&mut relay_leaves, || {
            planner.remove(&relay.id);
            planner.settle(SETTLED_AT_ONCE)
        });
        while planner.settle(SETTLED_AT_ONCE) {}
    }
    let depth = made.nodes.values().map(|a| root_node::planner::depth_of(a.rank)).max();
    Some(PlanningResult {
        nodes,
        relays: relays.len(),
        depth: depth.unwrap_or(0),
        left_out: made.left_out.len(),
        backed,
        whole: Times::of(whole),
        again: Times::of(again),
        join: Times::of(join),
        leave: Times::of(leave),
        relay_leaves: Times::of(relay_leaves),
        improve: Times::of(improve),
    })
}

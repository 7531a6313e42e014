//! Storms, churn and chaos in whole trees on virtual time, and that a seed is a history. Every
//! failure prints its seed.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::control::api::NodeCommand;
use root_node::core::api::RootCommand;
use soleil_protocol::Role;
use soleil_tests::sim::trees::{leaves, relays, seconds, settle, setup, tree};
use soleil_tests::sim::{Setup, Sim};
use std::time::Duration;

#[test]
fn a_storm_of_two_hundred_joins_settles_within_seconds() {
    let mut setup = setup(11);
    setup.root_children = 10;
    let mut sim = Sim::new(setup);
    for n in 0..10 {
        sim.start(Role::Relay, &format!("relay-{n}"), 20, 0);
    }
    sim.until(seconds(5), "relays are attached", Sim::settled);
    let began = sim.elapsed();
    for n in 0..190 {
        sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 100);
    }
    settle(&mut sim, 5);
    let took = sim.elapsed() - began;
    assert!(took < seconds(3), "{took:?}");
    // And everybody at once, with relays among them: some leaves come before there is room.
    let mut sim = Sim::new(Setup { seed: 12, root_children: 10, ..self::setup(12) });
    for n in 0..200 {
        let (role, children) = if n % 20 == 19 { (Role::Relay, 30) } else { (Role::Leaf, 0) };
        sim.start(role, &format!("node-{n}"), children, 100);
    }
    settle(&mut sim, 60);
}

/// Churn of everything for a while; returns the digest.
fn churn(seed: u64) -> String {
    let mut sim = tree(setup(seed), 4, 16);
    let pipeline = sim.define(1);
    for round in 0..4 {
        for leaf in leaves(&sim) {
            let play = (leaf + round) % 3 > 0;
            let command = if play { NodeCommand::Play } else { NodeCommand::Stop };
            sim.command(leaf, command(pipeline));
        }
        sim.run(seconds(2));
        let victim = leaves(&sim)[round * 3];
        sim.kill(victim);
        sim.start(Role::Leaf, &format!("more-{round}"), 0, 10);
        if round == 2 {
            let victim = relays(&sim)[0];
            sim.kill(victim);
        }
        sim.run(seconds(3));
    }
    settle(&mut sim, 20);
    sim.digest()
}

#[test]
fn the_same_seed_is_the_same_history() {
    assert_eq!(churn(77), churn(77));
    assert_ne!(churn(77), churn(78));
}

#[test]
fn many_seeds_of_churn_settle() {
    for seed in 1_000..1_012 {
        churn(seed);
    }
}

/// Random deaths, freezes, moves, drains, kills and joins in a deep tree, then peace.
fn chaos(seed: u64) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut setup = setup(seed);
    setup.root_children = 3;
    let mut sim = Sim::new(setup);
    for n in 0..6 {
        sim.start(Role::Relay, &format!("relay-{n}"), 6, 0);
        sim.run(Duration::from_millis(rng.random_range(0..400)));
    }
    for n in 0..12 {
        sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 100);
    }
    let pipeline = sim.define(1);
    sim.run(seconds(5));
    for n in 0..40 {
        let node = rng.random_range(1..sim.nodes.len());
        let gone = !sim.nodes[node].alive || sim.nodes[node].stopped;
        let id = sim.nodes[node].id();
        match rng.random_range(0..10) {
            0 if !gone => sim.kill(node),
            1 if !gone => sim.command(node, NodeCommand::Drain("chaos".into())),
            2 if !gone => {
                let reason = "chaos".to_owned();
                sim.root(RootCommand::Kill { node: id, grace_secs: 2, reason });
            }
            3 => sim.freeze(node, true),
            4 | 5 => {
                let parent = sim.nodes[rng.random_range(0..sim.nodes.len())].id();
                sim.root(RootCommand::Move { node: id, parent });
            }
            6 => {
                sim.start(Role::Relay, &format!("more-{n}"), 6, 0);
            }
            7 => {
                sim.start(Role::Leaf, &format!("more-{n}"), 0, 100);
            }
            _ => {
                let command = if rng.random() { NodeCommand::Play } else { NodeCommand::Stop };
                sim.command(node, command(pipeline));
            }
        }
        sim.run(Duration::from_millis(rng.random_range(0..3_000)));
        if rng.random_bool(0.3) {
            for node in 0..sim.nodes.len() {
                sim.freeze(node, false);
            }
        }
    }
    for node in 0..sim.nodes.len() {
        sim.freeze(node, false);
    }
    for _ in 0..3 {
        sim.start(Role::Relay, "room", 12, 0);
    }
    settle(&mut sim, 120);
    // No message runs in a circle: in peace there are PING, PONG, STATS and the root's questions.
    let before = sim.messages;
    sim.run(seconds(10));
    let each = (sim.messages - before) / sim.connections() as u64;
    assert!(each <= 10 * (4 + 2), "{each} messages on each link in 10 s");
    sim.digest()
}

#[test]
fn chaos_ends_in_peace() {
    for seed in 0..24 {
        chaos(seed);
    }
}

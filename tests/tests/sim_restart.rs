//! The root dies and comes back with what its store has: the tree is adopted as it stands, and what
//! the root says of it is true again soon.

use relay_node::control::api::NodeCommand;
use relay_node::media::sizes::INDEX_LEAP;
use root_node::core::api::RootCommand;
use soleil_protocol::{NodeId, PacketIndex, Role, Ssrc};
use soleil_tests::sim::trees::{SECOND, leaves, relays, seconds, settle, setup, tree};
use soleil_tests::sim::{Peering, Setup, Sim};
use std::collections::BTreeSet;
use std::time::Duration;

/// From the root's start until tree, routing and statistics are true again: the orphans dial every
/// half second, join and attach (some round trips, a lost message costs 200 ms), and STATS come
/// once a second from each of three levels.
const ADOPTED: Duration = Duration::from_secs(3);
const COUNTED: Duration = Duration::from_secs(6);

/// A root for two children, four relays, so two of them below others, and leaves below all.
fn deep(seed: u64) -> Sim {
    let mut sim = Sim::new(Setup { root_children: 2, ..setup(seed) });
    for n in 0..4 {
        sim.start(Role::Relay, &format!("relay-{n}"), 6, 0);
        settle(&mut sim, 10);
    }
    for n in 0..16 {
        sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 100);
    }
    settle(&mut sim, 20);
    sim
}

fn attaches(sim: &Sim) -> Vec<u32> {
    sim.nodes.iter().map(|n| n.attaches).collect()
}

/// Kills the root and starts it again later; everybody plays, and does so again.
fn lose_root(sim: &mut Sim, away: Duration) {
    let pipeline = sim.define(1);
    let all: BTreeSet<usize> = leaves(sim).into_iter().collect();
    for (n, leaf) in all.iter().enumerate() {
        sim.command(*leaf, NodeCommand::Play(pipeline));
        sim.set_viewers(*leaf, pipeline, n as u32 + 1);
    }
    sim.until(seconds(5), "all play", |sim| sim.plays_exactly(pipeline, &all));
    let epoch = sim.view.pipelines[0].epoch;
    let edges: BTreeSet<Peering> = sim.edges().into_iter().collect();
    let before = attaches(sim);
    sim.kill(0);
    sim.run(away);
    sim.start_root_again(|_| false);
    sim.define(1);
    let began = sim.elapsed();
    sim.until(ADOPTED, "the tree is adopted and plays", |sim| {
        sim.settled() && sim.plays_exactly(pipeline, &all)
    });
    println!("adopted after {:?} of simulated time", sim.elapsed() - began);
    // Those below the root have failed over to one another, but for the first of them, which had
    // nobody above it any more.
    let now: BTreeSet<Peering> = sim.edges().into_iter().collect();
    let kept = |edge: &&Peering| edge.1 != 0;
    assert!(edges.iter().filter(kept).all(|edge| now.contains(edge)), "as it stood: {now:?}");
    for (index, (now, before)) in attaches(sim).into_iter().zip(before).enumerate().skip(1) {
        let below_root = edges.contains(&(index, 0));
        assert!(now - before <= u32::from(below_root), "{}", sim.nodes[index].id());
    }
    sim.until(COUNTED, "the root's statistics are the truth", |sim| {
        let (seen, truth) = sim.viewers(pipeline);
        truth > 0.0 && seen == truth
    });
    println!("counted after {:?} of simulated time", sim.elapsed() - began);
    assert!(sim.view.pipelines[0].epoch > epoch);
    let current = sim.view.pipelines[0].epoch;
    let keys = BTreeSet::from([(pipeline, current)]);
    sim.until(COUNTED, "everybody has the new key and no other", |sim| {
        sim.nodes.iter().all(|node| node.shadow.keys == keys)
    });
    // The first of the root's children has not room for all the others.
    let full = "no room for another child";
    assert!(sim.errors.iter().all(|text| text == full), "{:?}", sim.errors);
}

#[test]
fn a_root_that_was_away_for_a_moment_adopts_its_tree() {
    lose_root(&mut deep(31), Duration::from_millis(300));
}

#[test]
fn a_root_that_was_away_for_minutes_adopts_its_tree() {
    lose_root(&mut deep(32), seconds(300));
}

#[test]
fn a_wide_tree_is_adopted() {
    lose_root(&mut tree(setup(33), 5, 40), seconds(20));
}

#[test]
fn the_root_may_be_lost_again_and_again() {
    let mut sim = deep(34);
    for away in [1, 7, 2] {
        lose_root(&mut sim, seconds(away));
    }
}

#[test]
fn who_was_not_written_joins_again() {
    let mut sim = deep(35);
    let lost: BTreeSet<NodeId> =
        ["relay-2", "leaf-3", "leaf-7"].map(|n| NodeId::new(n).unwrap()).into();
    sim.kill(0);
    sim.run(SECOND);
    sim.start_root_again(|id| lost.contains(id));
    settle(&mut sim, 20);
    let names: BTreeSet<String> = sim.nodes.iter().map(|n| n.id().to_string()).collect();
    assert!(lost.iter().all(|id| names.contains(id.as_str())), "they keep their names: {names:?}");
}

#[test]
fn a_killed_node_stays_out_over_a_restart() {
    let mut sim = tree(setup(36), 3, 6);
    let victim = leaves(&sim)[0];
    let id = sim.nodes[victim].id();
    // It does not hear of it, and would go on.
    sim.freeze(victim, true);
    let kill = RootCommand::Kill { node: id.clone(), grace_secs: 1, reason: "stolen".into() };
    sim.root(kill);
    sim.run(seconds(5));
    sim.kill(0);
    sim.run(SECOND);
    sim.start_root_again(|_| false);
    let pipeline = sim.define(1);
    sim.freeze(victim, false);
    sim.run(seconds(20));
    assert!(sim.view.nodes.iter().any(|n| n.id == id && !n.attached));
    let current = sim.view.pipelines[0].epoch;
    assert!(!sim.nodes[victim].shadow.keys.contains(&(pipeline, current)), "no key of now");
}

#[test]
fn media_flow_on_to_the_same_leaves_from_the_first_packet() {
    let mut setup = setup(37);
    // Datagrams overtake each other, but come: the first packet tells where the new life begins.
    setup.weather.loss = 0.0;
    let mut sim = Sim::new(Setup { media: true, root_children: 2, ..setup });
    for n in 0..2 {
        sim.start(Role::Relay, &format!("relay-{n}"), 6, 0);
    }
    settle(&mut sim, 10);
    for n in 0..4 {
        sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 100);
    }
    settle(&mut sim, 20);
    let pipeline = sim.define(1);
    let all: BTreeSet<usize> = leaves(&sim).into_iter().collect();
    for leaf in &all {
        sim.command(*leaf, NodeCommand::Play(pipeline));
    }
    sim.until(seconds(5), "all play", |sim| sim.plays_exactly(pipeline, &all));
    let ssrc = Ssrc(10);
    let send = |sim: &mut Sim, from: u64, count: u64| {
        for index in from..from + count {
            sim.send_media(pipeline, ssrc, PacketIndex(index));
            sim.run(Duration::from_millis(10));
        }
    };
    send(&mut sim, 0, 100);
    sim.run(SECOND);
    sim.kill(0);
    sim.run(seconds(3));
    sim.start_root_again(|_| false);
    sim.define(1);
    // The source has never stopped: its first packets are there before any node is.
    let first = 100 + INDEX_LEAP;
    send(&mut sim, first, 300);
    sim.run(seconds(2));
    assert_eq!(relays(&sim).len(), 2);
    for leaf in all {
        let node = &sim.nodes[leaf];
        let mut got: Vec<u64> = node.sink.got[&ssrc].iter().map(|i| i.0).collect();
        got.sort_unstable();
        assert_eq!(got[..100], (0..100).collect::<Vec<_>>());
        assert_eq!(got[100..], (first..first + 300).collect::<Vec<_>>(), "{}", node.id());
        assert_eq!((node.sink.wrong, node.attaches), (0, 1), "{}", node.id());
    }
}

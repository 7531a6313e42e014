//! The real control cores as whole trees on virtual time: joining, playing, statistics, deaths
//! and moves. Every failure prints its seed.

use relay_node::control::api::{Event, NodeCommand};
use root_node::core::api::RootCommand;
use soleil_protocol::{Incarnation, NodeId, Role};
use soleil_tests::sim::Sim;
use soleil_tests::sim::trees::{SECOND, leaves, relays, seconds, settle, setup, tree};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn a_tree_joins_settles_and_is_balanced() {
    let sim = tree(setup(1), 5, 40);
    let mut load: BTreeMap<usize, usize> = BTreeMap::new();
    for (child, parent) in sim.edges() {
        if sim.nodes[child].role == Role::Leaf {
            *load.entry(parent).or_default() += 1;
        } else {
            assert_eq!(parent, 0, "relays are below the root");
        }
    }
    let mut loads: Vec<usize> = load.values().copied().collect();
    loads.sort();
    let what =
        "leaves are below relays, which keep a quarter of their slots; the last is woken last";
    assert_eq!(loads, [4, 9, 9, 9, 9], "{what}");
    assert!(sim.nodes.iter().skip(1).all(|n| n.attaches == 1), "nobody tries twice");
    let ranks: BTreeSet<u32> = sim.view.nodes.iter().map(|n| n.depth).collect();
    assert_eq!(ranks, BTreeSet::from([0, 1, 2]));
    assert_eq!(sim.kinds.get("error"), None, "{:?}", sim.kinds);
    // Each node has one to its parent and, but for the first relay, one to its backup.
    assert_eq!(sim.connections(), 45 + 44, "the joins' connections are closed");
}

#[test]
fn relays_hang_below_relays_when_the_root_is_full() {
    let mut setup = setup(2);
    setup.root_children = 2;
    let mut sim = Sim::new(setup);
    for n in 0..6 {
        sim.start(Role::Relay, &format!("relay-{n}"), 2, 0);
        settle(&mut sim, 10);
    }
    let depths: Vec<u32> = sim.view.nodes.iter().map(|n| n.depth).collect();
    assert_eq!(depths.iter().filter(|d| **d == 1).count(), 2);
    assert_eq!(depths.iter().filter(|d| **d == 2).count(), 4);
    // Six relays have room for eight more at the third level; the last slot is kept for a relay.
    for n in 0..9 {
        sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 10);
    }
    sim.run(seconds(30));
    let attached = sim.view.nodes.iter().filter(|n| n.attached).count();
    assert_eq!(attached, 1 + 6 + 7, "two leaves too many are refused and try again");
    sim.start(Role::Relay, "late", 2, 0);
    sim.run(seconds(30));
    let attached = sim.view.nodes.iter().filter(|n| n.attached).count();
    assert_eq!(attached, 1 + 7 + 8, "a relay brings room for one of them, and for the next relay");
}

#[test]
fn play_and_stop_reach_everybody_and_drain() {
    let mut sim = tree(setup(3), 5, 40);
    let pipeline = sim.define(1);
    sim.until(seconds(5), "everybody knows the pipeline", |sim| {
        sim.nodes.iter().all(|n| n.core().pipelines().contains_key(&pipeline))
    });
    let epoch = sim.view.pipelines[0].epoch;
    assert!(sim.nodes.iter().all(|n| n.shadow.keys == BTreeSet::from([(pipeline, epoch)])));
    let all: BTreeSet<usize> = leaves(&sim).into_iter().collect();
    let some: BTreeSet<usize> = all.iter().copied().step_by(7).collect();
    for leaf in &some {
        sim.command(*leaf, NodeCommand::Play(pipeline));
    }
    sim.until(seconds(3), "some play", |sim| sim.plays_exactly(pipeline, &some));
    for leaf in &all {
        sim.command(*leaf, NodeCommand::Play(pipeline));
    }
    sim.until(seconds(3), "all play", |sim| sim.plays_exactly(pipeline, &all));
    for leaf in &all {
        sim.command(*leaf, NodeCommand::Stop(pipeline));
    }
    // A leaf lingers, then its relay does.
    sim.run(seconds(9));
    assert!(!sim.plays_exactly(pipeline, &BTreeSet::new()), "viewers may come back");
    sim.until(seconds(14), "nobody plays", |sim| sim.plays_exactly(pipeline, &BTreeSet::new()));
    assert!(sim.nodes.iter().all(|n| n.core().routes() == 0));

    sim.command(*all.first().unwrap(), NodeCommand::Play(pipeline));
    sim.run(SECOND);
    sim.root(RootCommand::RemovePipeline(pipeline, "over".into()));
    sim.run(seconds(2));
    for node in &sim.nodes {
        assert!(node.shadow.pipelines.is_empty() && node.shadow.rows.is_empty());
        assert!(node.shadow.keys.is_empty());
    }
    assert_eq!(sim.kinds.get("error"), None, "{:?}", sim.kinds);
}

#[test]
fn statistics_at_the_root_are_the_truth() {
    let mut sim = tree(setup(4), 5, 40);
    let pipeline = sim.define(1);
    sim.run(SECOND);
    for (n, leaf) in leaves(&sim).into_iter().enumerate() {
        sim.set_viewers(leaf, pipeline, (n as u32 * 13) % 50);
    }
    sim.until(seconds(5), "the sum of viewers", |sim| {
        let (seen, truth) = sim.viewers(pipeline);
        truth > 900.0 && seen == truth
    });
    sim.until(seconds(3), "each leaf's viewers", |sim| {
        leaves(sim).into_iter().all(|leaf| {
            let id = sim.nodes[leaf].id();
            let view = sim.view.nodes.iter().find(|n| n.id == id).unwrap();
            view.viewers == sim.nodes[leaf].viewers
        })
    });
    let victim = leaves(&sim)[3];
    sim.kill(victim);
    sim.until(seconds(5), "a dead leaf's viewers are gone", |sim| {
        let (seen, truth) = sim.viewers(pipeline);
        seen == truth
    });
    let leaf = leaves(&sim)[0];
    sim.set_viewers(leaf, pipeline, 0);
    sim.until(seconds(5), "the sum follows", |sim| {
        let (seen, truth) = sim.viewers(pipeline);
        seen == truth
    });
}

#[test]
fn the_children_of_a_killed_relay_go_to_their_backups() {
    let mut sim = tree(setup(5), 5, 40);
    let pipeline = sim.define(1);
    sim.run(SECOND);
    let all: BTreeSet<usize> = leaves(&sim).into_iter().collect();
    for leaf in &all {
        sim.command(*leaf, NodeCommand::Play(pipeline));
    }
    sim.until(seconds(3), "all play", |sim| sim.plays_exactly(pipeline, &all));
    let victim = relays(&sim)[2];
    let orphans: Vec<usize> =
        sim.edges().into_iter().filter(|(_, p)| *p == victim).map(|(c, _)| c).collect();
    assert_eq!(orphans.len(), 9);
    let died = sim.elapsed();
    sim.kill(victim);
    settle(&mut sim, 5);
    sim.until(seconds(2), "all play again", |sim| sim.plays_exactly(pipeline, &all));
    let took = sim.elapsed() - died;
    assert!(took < seconds(3), "{took:?}");
    for orphan in orphans {
        let node = &sim.nodes[orphan];
        assert_eq!(node.attaches, 1, "it was never without a parent");
        assert_eq!(node.core().identity().unwrap().incarnation, Incarnation(1), "no new join");
        assert_eq!(node.id(), NodeId::new(&format!("leaf-{}", orphan - 6)).unwrap());
    }
}

#[test]
fn a_frozen_relay_is_noticed_by_ping_and_may_come_back() {
    let mut sim = tree(setup(6), 3, 12);
    let victim = relays(&sim)[1];
    sim.freeze(victim, true);
    sim.until(seconds(15), "its children are elsewhere", |sim| {
        let id = sim.nodes[victim].id();
        let gone = sim.view.nodes.iter().any(|n| n.id == id && !n.attached);
        gone && sim.edges().iter().all(|(_, parent)| *parent != victim)
    });
    sim.freeze(victim, false);
    // Its connections are gone, and it finds out by PING.
    settle(&mut sim, 30);
}

#[test]
fn an_orphaned_relay_brings_its_subtree_along() {
    let mut setup = setup(7);
    setup.root_children = 2;
    let mut sim = Sim::new(setup);
    for n in 0..4 {
        sim.start(Role::Relay, &format!("relay-{n}"), 4, 0);
        settle(&mut sim, 10);
    }
    for n in 0..8 {
        sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 10);
    }
    settle(&mut sim, 10);
    let pipeline = sim.define(1);
    sim.run(SECOND);
    let all: BTreeSet<usize> = leaves(&sim).into_iter().collect();
    for leaf in &all {
        sim.command(*leaf, NodeCommand::Play(pipeline));
    }
    sim.until(seconds(3), "all play", |sim| sim.plays_exactly(pipeline, &all));
    let edges = sim.edges();
    let (deep, victim) = edges
        .iter()
        .find(|(c, p)| sim.nodes[*c].role == Role::Relay && *p != 0)
        .copied()
        .expect("a relay below a relay");
    let below: Vec<usize> =
        edges.iter().filter(|(_, p)| *p == deep).map(|(child, _)| *child).collect();
    let before: Vec<u32> = below.iter().map(|n| sim.nodes[*n].attaches).collect();
    sim.kill(victim);
    settle(&mut sim, 10);
    sim.until(seconds(2), "all play again", |sim| sim.plays_exactly(pipeline, &all));
    let after: Vec<u32> = below.iter().map(|n| sim.nodes[*n].attaches).collect();
    assert_eq!(before, after, "what hung below the orphan kept its link");
}

#[test]
fn moves_are_made_before_the_break() {
    let mut sim = tree(setup(8), 3, 6);
    let pipeline = sim.define(1);
    sim.run(SECOND);
    let all: BTreeSet<usize> = leaves(&sim).into_iter().collect();
    for leaf in &all {
        sim.command(*leaf, NodeCommand::Play(pipeline));
    }
    sim.until(seconds(3), "all play", |sim| sim.plays_exactly(pipeline, &all));
    let (leaf, old) = sim.edges().into_iter().find(|(c, _)| all.contains(c)).unwrap();
    let new = relays(&sim).into_iter().find(|r| *r != old).unwrap();
    let (node, parent) = (sim.nodes[leaf].id(), sim.nodes[new].id());
    sim.root(RootCommand::Move { node, parent: parent.clone() });
    sim.until(seconds(3), "it is there", |sim| sim.nodes[leaf].core().parent() == Some(&parent));
    assert_eq!(sim.nodes[leaf].shadow.links.len(), 2, "the old link still stands");
    settle(&mut sim, 10);
    assert_eq!(sim.nodes[leaf].attaches, 1, "it was never detached");
    // The old relay lingers with its own parent only if nobody else below it plays.
    sim.until(seconds(15), "all play", |sim| sim.plays_exactly(pipeline, &all));

    // A relay below itself: refused, nothing happens.
    let (relay, child) = (sim.nodes[new].id(), sim.nodes[new].id());
    sim.root(RootCommand::Move { node: relay, parent: child });
    // A relay below another takes its leaves along.
    let (relay, under) = (sim.nodes[new].id(), sim.nodes[old].id());
    sim.root(RootCommand::Move { node: relay, parent: under.clone() });
    sim.run(seconds(2));
    settle(&mut sim, 10);
    assert_eq!(sim.nodes[new].core().parent(), Some(&under));
    // And now the other way round would be a circle: refused.
    let (relay, under) = (sim.nodes[old].id(), sim.nodes[new].id());
    sim.root(RootCommand::Move { node: relay, parent: under });
    sim.run(seconds(5));
    settle(&mut sim, 1);
    assert_eq!(sim.nodes[old].core().parent().map(NodeId::as_str), Some("root"));
}

#[test]
fn a_drained_relay_hands_its_children_over_first() {
    let mut sim = tree(setup(9), 3, 9);
    let relay = relays(&sim)[0];
    sim.command(relay, NodeCommand::Drain("update".into()));
    sim.until(seconds(8), "it has stopped", |sim| sim.nodes[relay].stopped);
    settle(&mut sim, 5);
    let leaves = leaves(&sim);
    assert!(leaves.iter().all(|l| sim.nodes[*l].attaches == 1), "nobody was detached");
}

#[test]
fn a_killed_node_stops_and_keys_change() {
    let mut sim = tree(setup(10), 3, 9);
    let pipeline = sim.define(1);
    sim.run(SECOND);
    let before = sim.view.pipelines[0].epoch;
    let relay = relays(&sim)[0];
    let node = sim.nodes[relay].id();
    sim.root(RootCommand::Kill { node, grace_secs: 5, reason: "stolen".into() });
    sim.until(seconds(8), "it has stopped", |sim| sim.nodes[relay].stopped);
    settle(&mut sim, 5);
    sim.until(seconds(5), "the new epoch is in use", |sim| sim.view.pipelines[0].epoch > before);
    let after = sim.view.pipelines[0].epoch;
    let knows = |n: &soleil_tests::sim::SimNode| n.shadow.keys.contains(&(pipeline, after));
    assert!(sim.nodes.iter().filter(|n| !n.stopped).all(knows));
    assert!(!knows(&sim.nodes[relay]), "the killed node never saw the new key");
    sim.run(seconds(35));
    let only = BTreeSet::from([(pipeline, after)]);
    assert!(sim.nodes.iter().filter(|n| !n.stopped).all(|n| n.shadow.keys == only));
}

#[test]
fn names_are_unique_and_a_second_node_of_a_name_gets_a_suffix() {
    let mut sim = tree(setup(13), 1, 0);
    for _ in 0..3 {
        sim.start(Role::Leaf, "twin", 0, 1);
    }
    sim.start(Role::Leaf, "root", 0, 1);
    settle(&mut sim, 10);
    let ids: BTreeSet<String> = sim.nodes.iter().map(|n| n.id().to_string()).collect();
    let expected = ["relay-0", "root", "root-2", "twin", "twin-2", "twin-3"].map(String::from);
    assert_eq!(ids, BTreeSet::from(expected));
}

#[test]
fn forged_senders_and_nonsense_from_inside_the_tree_change_nothing() {
    let mut sim = tree(setup(14), 2, 4);
    let pipeline = sim.define(1);
    sim.run(SECOND);
    let (leaf, relay) =
        sim.edges().into_iter().find(|(c, _)| sim.nodes[*c].role == Role::Leaf).unwrap();
    let kill = "<grace>0</grace><reason>x</reason>";
    for (from, to) in
        [("^", "*"), ("^", "leaf-1"), ("relay-0", "*"), ("nobody", "^"), ("leaf-0", "*")]
    {
        let xml = format!(
            "<message type=\"kill\" time=\"1\" from=\"{from}\" to=\"{to}\">{kill}</message>"
        );
        sim.say(leaf, relay, &xml);
        sim.run(SECOND);
    }
    sim.say(leaf, relay, "<message type=\"teleport\" time=\"1\"></message>");
    sim.run(SECOND);
    assert!(sim.nodes.iter().all(|n| !n.stopped));
    assert!(sim.kinds["error"] >= 4, "{:?}", sim.kinds);
    settle(&mut sim, 1);
    // What is not XML ends the link; the node goes to its backup.
    sim.say(leaf, relay, "<message type=");
    sim.run(SECOND);
    settle(&mut sim, 10);
    let parent = sim.nodes[leaf].core().parent().cloned();
    assert_ne!(parent, Some(sim.nodes[relay].id()));
    assert!(sim.nodes.iter().all(|n| n.core().pipelines().contains_key(&pipeline)));
}

#[test]
fn a_pipeline_that_ended_while_a_node_was_away_is_forgotten() {
    let mut sim = tree(setup(15), 2, 4);
    let pipeline = sim.define(1);
    sim.run(SECOND);
    let relay = relays(&sim)[0];
    sim.freeze(relay, true);
    sim.run(seconds(15));
    sim.root(RootCommand::RemovePipeline(pipeline, "over".into()));
    sim.freeze(relay, false);
    settle(&mut sim, 30);
    sim.run(seconds(2));
    assert!(sim.nodes.iter().all(|n| n.core().pipelines().is_empty()));
}

#[test]
fn late_events_do_no_harm() {
    let mut sim = tree(setup(16), 1, 1);
    for node in 0..sim.nodes.len() {
        sim.give(node, Event::Timeout);
        sim.give(node, Event::Closed(relay_node::control::api::ConnId(999_999)));
    }
    settle(&mut sim, 1);
}

#[test]
fn tickets_of_backups_are_given_anew_in_time() {
    let mut sim = tree(setup(17), 3, 3);
    sim.run(seconds(30));
    let with_backups = || sim.view.nodes.iter().filter(|n| !n.backups.is_empty());
    assert_eq!(with_backups().count(), 5, "all but the root and the first relay");
    // A message is counted at each hop.
    let hops: u64 = with_backups().map(|n| u64::from(n.depth)).sum();
    let told = sim.kinds["redirect"];
    sim.run(seconds(1_700));
    assert_eq!(sim.kinds["redirect"], told, "nothing changes, nothing is said");
    sim.run(seconds(120));
    assert_eq!(sim.kinds["redirect"], told + hops);
}

#[test]
fn a_slot_above_is_taken_by_whom_it_pays_for() {
    let mut setup = setup(18);
    setup.root_children = 2;
    let mut sim = Sim::new(setup);
    for n in 0..4 {
        sim.start(Role::Relay, &format!("relay-{n}"), 6, 0);
        settle(&mut sim, 10);
    }
    let deep = |sim: &Sim| sim.view.nodes.iter().filter(|n| n.depth == 2).count();
    assert_eq!(deep(&sim), 2);
    // The root has a slot free: one of the two goes up by itself.
    sim.kill(1);
    sim.until(seconds(10), "the layer above is full again", |sim| sim.settled() && deep(sim) == 1);
    assert_eq!(sim.view.nodes.iter().filter(|n| n.depth == 1).count(), 2);
}

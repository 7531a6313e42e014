//! The scenarios of `soleil-scenarios` at the size of a test, several seeds each: every invariant
//! holds. A lost region and a partition also with forwarding planes, where no packet may be lost at
//! whoever is not cut off. Every failure prints its seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relay_node::control::api::NodeCommand;
use soleil_protocol::{PacketIndex, PipelineId, Role, Ssrc};
use soleil_tests::sim::Sim;
use soleil_tests::sim::scenario::crowd::{SECOND, Stage};
use soleil_tests::sim::scenario::{self, Size, plot};
use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const VIDEO: Ssrc = Ssrc(10);
const AUDIO: Ssrc = Ssrc(11);
const FIRST: u64 = 1_000;

fn play(name: &str, seeds: Range<u64>) {
    let scenario = scenario::named(name).expect("a scenario");
    for seed in seeds {
        (scenario.run)(Size::Small, seed).assert_holds();
    }
}

#[test]
fn a_tree_grows_within_a_minute() {
    play("growth", 1..3);
}

#[test]
fn control_does_not_depend_on_the_audience() {
    play("audience", 1..3);
}

#[test]
fn an_hours_churn_leaves_the_tree_right() {
    play("churn", 1..3);
}

#[test]
fn a_lost_region_is_got_over_and_comes_back() {
    play("region", 1..7);
}

#[test]
fn a_partition_heals() {
    play("partition", 1..6);
}

#[test]
fn a_seed_is_a_history_and_can_be_drawn() {
    let scenario = scenario::named("partition").expect("a scenario");
    let (one, two) = ((scenario.run)(Size::Small, 5), (scenario.run)(Size::Small, 5));
    assert_eq!(one, two);
    assert_ne!(one.digest, (scenario.run)(Size::Small, 6).digest);
    let picture = plot::svg(&one).expect("a picture");
    for part in ["partition, seed 5", "as the root knows", "bytes/s", "statistics", "</svg>"] {
        assert!(picture.contains(part), "{part}");
    }
    // A dot for each event that the tree has got over, by routing and by statistics.
    let dots =
        one.happenings.iter().map(|h| h.routing.iter().count() + h.statistics.iter().count());
    assert_eq!(picture.matches("<circle").count(), dots.sum::<usize>());
}

/// A tree of two regions with forwarding planes, whose leaves all play.
struct Scene {
    sim: Sim,
    pipeline: PipelineId,
    leaves: Vec<usize>,
    next: u64,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let stage = Stage { media: true, ..Stage::new(seed, (6, 8), (16, 6)).over(2, 10 * MS) };
        let (sim, pipeline, leaves) = stage.build();
        let mut scene = Self { sim, pipeline, leaves, next: FIRST };
        scene.calm();
        scene
    }

    /// The tree is right, all leaves play, and each has a backup.
    fn calm(&mut self) {
        let all: BTreeSet<usize> = self.leaves.iter().copied().collect();
        self.sim.until(60 * SECOND, "every leaf plays and has a backup", |sim| {
            let backed = all.iter().all(|leaf| sim.nodes[*leaf].core().backup().is_some());
            backed && sim.settled() && sim.plays_exactly(self.pipeline, &all)
        });
    }

    fn broadcast(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / 5 {
            self.sim.send_media(self.pipeline, VIDEO, PacketIndex(self.next));
            self.sim.send_media(self.pipeline, AUDIO, PacketIndex(self.next));
            self.next += 1;
            self.sim.run(5 * MS);
        }
    }

    /// Each of these leaves has got every packet from this one on, once.
    fn complete(&self, leaves: impl Iterator<Item = usize>, from: u64) {
        for leaf in leaves {
            let node = &self.sim.nodes[leaf];
            assert_eq!(node.sink.wrong, 0, "payloads as they were sent");
            for ssrc in [VIDEO, AUDIO] {
                let mut got = node.sink.got.get(&ssrc).cloned().unwrap_or_default();
                got.retain(|index| index.0 >= from);
                got.sort();
                let sent: Vec<PacketIndex> = (from..self.next).map(PacketIndex).collect();
                let lack: Vec<_> = sent.iter().filter(|i| !got.contains(i)).take(5).collect();
                assert!(lack.is_empty(), "{} lacks {ssrc} {lack:?}", node.id());
                assert_eq!(got.len(), sent.len(), "{} got copies", node.id());
            }
        }
    }

    /// Leaves that are not among these nodes.
    fn others<'a>(&'a self, nodes: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
        self.leaves.iter().copied().filter(|leaf| !nodes.contains(leaf))
    }
}

#[test]
fn nobody_elsewhere_loses_a_packet_with_a_region() {
    for seed in 1..4 {
        let mut scene = Scene::new(seed);
        scene.broadcast(SECOND);
        let lost = scene.sim.in_region("region-1");
        assert!(lost.iter().any(|n| scene.sim.nodes[*n].role == Role::Relay));
        for node in &lost {
            scene.sim.power_off(*node);
        }
        scene.broadcast(12 * SECOND);
        for node in &lost {
            scene.sim.start_again(*node);
            if scene.sim.nodes[*node].role == Role::Leaf {
                scene.sim.command(*node, NodeCommand::Play(scene.pipeline));
            }
        }
        scene.broadcast(10 * SECOND);
        let since = scene.next;
        scene.calm();
        scene.broadcast(2 * SECOND);
        scene.sim.run(2 * SECOND);
        assert!(scene.others(&lost).count() >= 4);
        scene.complete(scene.others(&lost), FIRST);
        scene.complete(scene.leaves.iter().copied(), since);
    }
}

#[test]
fn nobody_elsewhere_loses_a_packet_by_a_partition() {
    for seed in 11..14 {
        let mut scene = Scene::new(seed);
        scene.broadcast(SECOND);
        let apart = scene.sim.in_region("region-1");
        scene.sim.cut(&apart);
        scene.broadcast(20 * SECOND);
        scene.sim.heal();
        scene.broadcast(20 * SECOND);
        let since = scene.next;
        scene.calm();
        scene.broadcast(2 * SECOND);
        scene.sim.run(2 * SECOND);
        assert!(scene.others(&apart).count() >= 4);
        scene.complete(scene.others(&apart), FIRST);
        scene.complete(scene.leaves.iter().copied(), since);
        // The leaves that were cut off were not asked to join anew by themselves: their relays did.
        let again = apart.iter().filter(|n| scene.sim.nodes[**n].role == Role::Leaf);
        let again = again.filter(|n| scene.sim.nodes[**n].attaches > 1).count();
        println!("seed {seed}: {again} of the leaves that were cut off have attached again");
    }
}

#[test]
fn a_short_cut_costs_nobody_a_packet() {
    for seed in 21..24 {
        let mut scene = Scene::new(seed);
        scene.broadcast(SECOND);
        let apart = scene.sim.in_region("region-1");
        scene.sim.cut(&apart);
        scene.broadcast(500 * MS);
        scene.sim.heal();
        scene.broadcast(5 * SECOND);
        scene.sim.run(2 * SECOND);
        scene.complete(scene.leaves.iter().copied(), FIRST);
    }
}

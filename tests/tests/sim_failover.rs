//! Failing over in the simulator: relays die, freeze and are cut off, in whatever order a seed makes
//! of it, with loss on every link. Every leaf gets every packet, no node with a backup goes back to
//! the root, and what the cores believe is true again soon. Every failure prints its seed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use relay_node::control::api::NodeCommand;
use soleil_protocol::{Body, NodeId, PacketIndex, PipelineId, Role, Ssrc};
use soleil_tests::sim::{Setup, Sim, Weather};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const VIDEO: Ssrc = Ssrc(10);
const AUDIO: Ssrc = Ssrc(11);
const LEAVES: usize = 8;
const RELAYS: usize = 6;
/// Children that each relay takes: all leaves and relays, so that nobody is turned away.
const PLACES: u32 = 16;
/// Everybody has a backup, and the root knows the truth, within this time.
const CALM: Duration = Duration::from_secs(30);

/// Links of the machines' own speed, that lose nothing.
const WEATHER: Weather = Weather {
    delay: Duration::from_millis(8),
    jitter: Duration::from_millis(4),
    loss: 0.0,
    rate: None,
    queue: Duration::from_millis(100),
};

struct Scene {
    sim: Sim,
    pipeline: PipelineId,
    leaves: Vec<usize>,
    next: u64,
    /// Nodes that no datagram reaches or leaves.
    cut: Rc<RefCell<BTreeSet<usize>>>,
}

impl Scene {
    /// Two layers of relays, and leaves that all play.
    fn new(seed: u64) -> Self {
        Self::over(Weather { loss: 0.01, ..WEATHER }, seed)
    }

    fn over(weather: Weather, seed: u64) -> Self {
        Self::with(RELAYS, weather, seed)
    }

    fn with(relays: usize, weather: Weather, seed: u64) -> Self {
        let mut sim = Sim::new(Setup { seed, weather, media: true, root_children: 3 });
        for n in 0..relays {
            sim.start(Role::Relay, &format!("relay-{n}"), PLACES, 0);
            sim.until(CALM, "a relay", Sim::settled);
        }
        let leaves: Vec<usize> =
            (0..LEAVES).map(|n| sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 100)).collect();
        sim.until(CALM, "the leaves", Sim::settled);
        let cut: Rc<RefCell<BTreeSet<usize>>> = Rc::default();
        let shared = cut.clone();
        sim.filter = Some(Box::new(move |from, to, _| {
            let cut = shared.borrow();
            !cut.contains(&from) && !cut.contains(&to)
        }));
        let pipeline = sim.define(1);
        sim.run(500 * MS);
        for leaf in &leaves {
            sim.command(*leaf, NodeCommand::Play(pipeline));
        }
        let all: BTreeSet<usize> = leaves.iter().copied().collect();
        sim.until(CALM, "all play", |sim| sim.plays_exactly(pipeline, &all));
        Self { sim, pipeline, leaves, next: 1_000, cut }
    }

    /// Every leaf has a backup that is ready.
    fn calm(&mut self) {
        let leaves = self.leaves.clone();
        self.sim.until(CALM, "backups", |sim| {
            sim.settled() && leaves.iter().all(|l| sim.nodes[*l].core().backup().is_some())
        });
    }

    fn broadcast(&mut self, packets: u64) {
        for _ in 0..packets {
            self.sim.send_media(self.pipeline, VIDEO, PacketIndex(self.next));
            self.sim.send_media(self.pipeline, AUDIO, PacketIndex(self.next));
            self.next += 1;
            self.sim.run(5 * MS);
        }
    }

    /// The same with one layer, of 2.5 Mbit/s on the wire.
    fn picture(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            self.sim.send_media(self.pipeline, VIDEO, PacketIndex(self.next));
            self.next += 1;
            self.sim.run(Duration::from_micros(870));
        }
    }

    /// A live relay that a leaf hangs below, or one above that.
    fn victim(&self, rng: &mut StdRng) -> usize {
        let edges = self.sim.edges();
        let parent = |node: usize| edges.iter().find(|e| e.0 == node).map(|e| e.1);
        let mut above = BTreeSet::new();
        for leaf in &self.leaves {
            let mut at = *leaf;
            while let Some(next) = parent(at).filter(|next| *next != 0) {
                above.insert(next);
                at = next;
            }
        }
        let above: Vec<usize> = above.into_iter().collect();
        *above.choose(rng).expect("a relay in use")
    }

    /// Every packet since the beginning came to each leaf once.
    fn complete(&self) {
        self.complete_in(&[VIDEO, AUDIO]);
    }

    fn complete_in(&self, layers: &[Ssrc]) {
        for leaf in &self.leaves {
            let node = &self.sim.nodes[*leaf];
            assert_eq!(node.sink.wrong, 0, "payloads as they were sent");
            for ssrc in layers {
                let mut got = node.sink.got.get(ssrc).cloned().unwrap_or_default();
                got.sort();
                let expected: Vec<PacketIndex> = (1_000..self.next).map(PacketIndex).collect();
                let lack: Vec<_> = expected.iter().filter(|i| !got.contains(i)).take(5).collect();
                assert!(lack.is_empty(), "{} lacks {ssrc} {lack:?}", node.id());
                assert_eq!(got.len(), expected.len(), "{} got copies", node.id());
            }
        }
    }
}

fn many_deaths(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut scene = Scene::new(seed);
    let mut failovers = 0;
    for round in 0..5 {
        scene.calm();
        scene.broadcast(100);
        let victim = scene.victim(&mut rng);
        let kind = rng.random_range(0..3);
        match kind {
            0 => scene.sim.kill(victim),
            1 => scene.sim.freeze(victim, true),
            _ => drop(scene.cut.borrow_mut().insert(victim)),
        }
        scene.broadcast(600);
        match kind {
            0 => drop(scene.sim.start(Role::Relay, &format!("new-{round}"), PLACES, 0)),
            1 => scene.sim.freeze(victim, false),
            _ => drop(scene.cut.borrow_mut().remove(&victim)),
        }
        scene.broadcast(200);
        scene.sim.run(2_000 * MS);
        scene.complete();
        failovers = scene.sim.nodes.iter().map(|n| n.failovers).sum();
        assert!(failovers > round, "round {round}: somebody has failed over");
    }
    scene.calm();
    let again = scene.leaves.iter().filter(|l| scene.sim.nodes[**l].attaches != 1).count();
    assert_eq!(again, 0, "no leaf was without a parent for a moment");
    println!("seed {seed}: {failovers} nodes failed over, {} packets each", scene.next - 1_000);
}

#[test]
fn no_packet_is_lost_whatever_dies() {
    for seed in 0..6 {
        many_deaths(seed);
    }
}

#[test]
fn both_parents_die_at_once() {
    for seed in 10..14 {
        let mut scene = Scene::new(seed);
        scene.calm();
        scene.broadcast(100);
        let leaf = scene.leaves[0];
        let core = scene.sim.nodes[leaf].core();
        let both = [core.parent().cloned().unwrap(), core.backup().cloned().unwrap()];
        for id in both {
            let place = scene.sim.place(&id).unwrap();
            if place != 0 {
                scene.sim.kill(place);
            }
        }
        // The tree heals all the same: over the next backup, or over the root.
        scene.calm();
        let since = scene.next;
        scene.broadcast(200);
        scene.sim.run(2_000 * MS);
        for leaf in &scene.leaves {
            let got = &scene.sim.nodes[*leaf].sink.got[&VIDEO];
            let lately = got.iter().filter(|i| i.0 >= since).count();
            assert_eq!(lately, 200, "seed {seed}");
        }
    }
}

/// The picture takes 2.5 of a hop's 4 Mbit/s: what the new parent sends again must not push out what
/// comes behind it.
#[test]
fn a_narrow_hop_is_not_drowned_in_what_it_missed() {
    for (seed, dies) in [(20, true), (21, false), (22, false)] {
        let narrow = Weather { rate: Some(4_000_000), ..WEATHER };
        let mut scene = Scene::over(narrow, seed);
        scene.calm();
        scene.picture(1_000 * MS);
        assert_eq!(scene.sim.drowned, 0, "the picture alone fits");
        let victim = scene.victim(&mut StdRng::seed_from_u64(seed));
        match dies {
            true => scene.sim.kill(victim),
            false => drop(scene.cut.borrow_mut().insert(victim)),
        }
        scene.picture(3_000 * MS);
        scene.sim.run(2_000 * MS);
        let failovers: u32 = scene.sim.nodes.iter().map(|n| n.failovers).sum();
        println!("seed {seed}: {failovers} failed over, {} datagrams drowned", scene.sim.drowned);
        assert!(failovers > 0);
        // Three times the picture's rate is more than the hop carries, for an eighth of a second. All at
        // once would drown 750 and more.
        assert!(scene.sim.drowned < 500, "seed {seed}: {} drowned", scene.sim.drowned);
        scene.complete_in(&[VIDEO]);
    }
}

/// Two relays lose their way up and keep that to the leaves: those that have one as the parent and the
/// other as the backup find a third, or the root.
#[test]
fn whoever_has_lost_both_ways_finds_another() {
    for (seed, relays) in [(30, RELAYS), (31, RELAYS), (32, 3), (33, 3)] {
        let mut scene = Scene::with(relays, Weather { loss: 0.01, ..WEATHER }, seed);
        scene.calm();
        scene.broadcast(100);
        let above = |id: Option<&NodeId>| id.and_then(|id| scene.sim.place(id));
        let both = |leaf: &usize| {
            let core = scene.sim.nodes[*leaf].core();
            Some([above(core.parent())?, above(core.backup())?])
        };
        let lost = scene.leaves.iter().filter_map(both).find(|both| !both.contains(&0));
        let lost = lost.expect("a leaf that has relays as parent and backup");
        let leaves = scene.leaves.clone();
        scene.sim.filter = Some(Box::new(move |from, to, _| {
            let up = |a, b| lost.contains(&a) && !leaves.contains(&b);
            !up(from, to) && !up(to, from)
        }));
        scene.broadcast(6_000);
        let since = scene.next;
        scene.broadcast(200);
        scene.sim.run(500 * MS);
        for leaf in &scene.leaves {
            let node = &scene.sim.nodes[*leaf];
            let lately = node.sink.got[&VIDEO].iter().filter(|i| i.0 >= since).count();
            assert_eq!(lately, 200, "seed {seed}: {} at {:?}", node.id(), node.core().parent());
        }
        // The way is there again: the root finds everybody.
        scene.sim.filter = None;
        scene.calm();
    }
}

/// A leaf that stays at its parent while it asks the root for a place, and never hears the answer: the
/// root counts on that place, and takes no news of where the leaf is. They find each other again.
#[test]
fn a_root_whose_answers_are_lost_believes_again_where_everybody_is() {
    for seed in 40..44 {
        let mut scene = Scene::with(2, Weather { loss: 0.01, ..WEATHER }, seed);
        scene.calm();
        scene.broadcast(100);
        // Media of the root reach nobody: there is nowhere to go, and all who are asked say so.
        scene.sim.filter = Some(Box::new(|from, to, _| from != 0 && to != 0));
        let lost = Rc::new(RefCell::new(0));
        let count = lost.clone();
        scene.sim.breaks = Some(Box::new(move |_, message| {
            let Body::Redirect(redirect) = &message.body else { return false };
            let answer = redirect.identity.is_some() && !redirect.parents.is_empty();
            *count.borrow_mut() += u32::from(answer);
            answer
        }));
        scene.sim.run(Duration::from_secs(40));
        assert!(*lost.borrow() > 0, "seed {seed}: nobody has asked the root");
        scene.sim.breaks = None;
        scene.sim.filter = None;
        // By what the root knows, not by what the nodes believe.
        scene.calm();
        scene.sim.run(Duration::from_secs(1));
        let since = scene.next;
        scene.broadcast(200);
        scene.sim.run(500 * MS);
        for leaf in &scene.leaves {
            let node = &scene.sim.nodes[*leaf];
            let lately = node.sink.got[&VIDEO].iter().filter(|i| i.0 >= since).count();
            assert_eq!(lately, 200, "seed {seed}: {} at {:?}", node.id(), node.core().parent());
        }
    }
}

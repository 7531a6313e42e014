//! The real cores and the real forwarding planes together on virtual time: sealed packets over
//! three hops, repair, moves and deaths under load. Every failure prints its seed.

use relay_node::control::api::NodeCommand;
use relay_node::media::packet::HopPacket;
use root_node::core::api::RootCommand;
use soleil_protocol::{PacketIndex, PipelineId, Role, Ssrc};
use soleil_tests::sim::{Setup, Sim, Weather};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const VIDEO: Ssrc = Ssrc(10);
const AUDIO: Ssrc = Ssrc(11);
/// The source begins here: just before the roll-over counter changes.
const FIRST: u64 = 0xffff - 200;

fn weather(loss: f64) -> Weather {
    Weather { delay: 8 * MS, jitter: 4 * MS, loss, ..Weather::default() }
}

/// Root, two relays in a row, `leaves` leaves: three hops. Everybody plays.
fn chain(seed: u64, leaves: usize) -> (Sim, PipelineId, Vec<usize>) {
    let setup = Setup { seed, weather: weather(0.0), media: true, root_children: 1 };
    let mut sim = Sim::new(setup);
    sim.start(Role::Relay, "upper", 1, 0);
    sim.until(5_000 * MS, "the upper relay", Sim::settled);
    sim.start(Role::Relay, "lower", 64, 0);
    sim.until(5_000 * MS, "the lower relay", Sim::settled);
    let leaves = (0..leaves).map(|n| sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 100));
    let leaves: Vec<usize> = leaves.collect();
    sim.until(5_000 * MS, "the leaves", Sim::settled);
    assert!(sim.view.nodes.iter().filter(|n| n.role == Role::Leaf).all(|n| n.depth == 3));
    let pipeline = play(&mut sim, &leaves);
    (sim, pipeline, leaves)
}

fn play(sim: &mut Sim, leaves: &[usize]) -> PipelineId {
    let pipeline = sim.define(1);
    sim.run(500 * MS);
    for leaf in leaves {
        sim.command(*leaf, NodeCommand::Play(pipeline));
    }
    let all: BTreeSet<usize> = leaves.iter().copied().collect();
    sim.until(3_000 * MS, "all play", |sim| sim.plays_exactly(pipeline, &all));
    sim.run(500 * MS);
    pipeline
}

/// The source sends `count` packets of each layer, one of each in 4 ms.
fn broadcast(sim: &mut Sim, pipeline: PipelineId, next: &mut u64, count: u64) {
    for _ in 0..count {
        sim.send_media(pipeline, VIDEO, PacketIndex(*next));
        sim.send_media(pipeline, AUDIO, PacketIndex(*next));
        *next += 1;
        sim.run(4 * MS);
    }
}

/// Every packet since the beginning came to this leaf, once, and unchanged.
fn complete(sim: &Sim, leaf: usize, next: u64) {
    let sink = &sim.nodes[leaf].sink;
    assert_eq!(sink.wrong, 0, "payloads as they were sent");
    for ssrc in [VIDEO, AUDIO] {
        let mut got = sink.got.get(&ssrc).cloned().unwrap_or_default();
        let count = got.len();
        got.sort();
        got.dedup();
        assert_eq!(count, got.len(), "{} got copies of {ssrc}", sim.nodes[leaf].id());
        let expected: Vec<PacketIndex> = (FIRST..next).map(PacketIndex).collect();
        let missing: Vec<_> = expected.iter().filter(|i| !got.contains(i)).take(5).collect();
        assert_eq!(got.len(), expected.len(), "{} lacks {ssrc} {missing:?}…", sim.nodes[leaf].id());
    }
}

#[test]
fn a_sealed_packet_crosses_three_hops() {
    let (mut sim, pipeline, leaves) = chain(1, 2);
    sim.send_media(pipeline, VIDEO, PacketIndex(FIRST));
    sim.run(37 * MS);
    for leaf in leaves {
        assert_eq!(sim.nodes[leaf].sink.got[&VIDEO], [PacketIndex(FIRST)], "within three delays");
        assert_eq!(sim.nodes[leaf].sink.wrong, 0);
    }
    assert!(sim.nodes[1].sink.got.is_empty(), "a relay opens nothing for itself");
}

#[test]
fn everything_arrives_in_spite_of_loss_on_every_hop() {
    for seed in [2, 3, 4] {
        let (mut sim, pipeline, leaves) = chain(seed, 4);
        let mut next = FIRST;
        broadcast(&mut sim, pipeline, &mut next, 20);
        sim.set_weather(weather(0.05));
        broadcast(&mut sim, pipeline, &mut next, 800);
        sim.run(3_000 * MS);
        for leaf in leaves {
            complete(&sim, leaf, next);
        }
    }
}

#[test]
fn a_relay_asks_upward_once_per_packet_however_many_leaves_lack_it() {
    let (mut sim, pipeline, leaves) = chain(5, 8);
    let mut next = FIRST;
    broadcast(&mut sim, pipeline, &mut next, 20);
    // One packet in twenty is lost between the relays, and never its repair.
    let lost = Rc::new(Cell::new(0));
    let asked = lost.clone();
    let mut seen = BTreeSet::new();
    sim.filter = Some(Box::new(move |from, to, bytes| {
        let Ok(packet) = HopPacket::parse(bytes) else { return true };
        let header = packet.header;
        let drop = (from, to) == (1, 2)
            && header.index.0 % 20 == 7
            && seen.insert((header.ssrc, header.index));
        lost.set(lost.get() + u64::from(drop));
        !drop
    }));
    broadcast(&mut sim, pipeline, &mut next, 600);
    sim.run(1_000 * MS);
    let nacks = |node: usize| -> u64 {
        sim.nodes[node].plane().unwrap().stats().layers.iter().map(|l| l.nacks).sum()
    };
    assert_eq!(asked.get(), 60);
    assert_eq!(nacks(2), asked.get(), "one request upward for each");
    assert_eq!(nacks(1), 0, "the relay above had them");
    for leaf in &leaves {
        complete(&sim, *leaf, next);
    }
    let above = sim.nodes[1].plane().unwrap().stats();
    let resent: u64 = above.links.iter().map(|l| l.resent).sum();
    assert_eq!(resent, asked.get(), "and one answer");
}

#[test]
fn statistics_of_media_reach_the_root() {
    let (mut sim, pipeline, leaves) = chain(6, 4);
    sim.set_weather(weather(0.05));
    let mut next = FIRST;
    broadcast(&mut sim, pipeline, &mut next, 400);
    // Three hops, a second each, and a report.
    sim.run(6_000 * MS);
    let truth: u64 =
        sim.nodes.iter().flat_map(|n| n.plane().unwrap().stats().layers).map(|l| l.nacks).sum();
    let view = sim.view.pipelines.iter().find(|p| p.def.id == pipeline).unwrap();
    let value = |name: &str| view.stats.iter().find(|s| s.name == name).unwrap();
    assert!(truth > 20);
    assert_eq!(value("nacks").value, truth as f64);
    assert_eq!(value("cumpktlost").value, 0.0, "repaired");
    assert_eq!(value("injitter").weight, Some(2.0 + leaves.len() as f64), "all but the root");
    let jitter = value("injitter").value;
    assert!((0.1..10.0).contains(&jitter), "{jitter} ms");
}

#[test]
fn key_frame_requests_of_many_viewers_are_one_at_the_source() {
    let (mut sim, pipeline, leaves) = chain(7, 8);
    let mut next = FIRST;
    broadcast(&mut sim, pipeline, &mut next, 20);
    for leaf in &leaves {
        for _ in 0..5 {
            sim.command(*leaf, NodeCommand::KeyFrame(pipeline, VIDEO));
        }
    }
    sim.run(400 * MS);
    assert_eq!(sim.key_frames, 1);
}

/// Root, two relays beside each other, leaves below both. Everybody plays.
fn fork(seed: u64) -> (Sim, PipelineId, Vec<usize>) {
    let setup = Setup { seed, weather: weather(0.0), media: true, root_children: 3 };
    let mut sim = Sim::new(setup);
    for n in 0..2 {
        sim.start(Role::Relay, &format!("relay-{n}"), 8, 0);
    }
    sim.until(5_000 * MS, "the relays", Sim::settled);
    let leaves: Vec<usize> =
        (0..4).map(|n| sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 100)).collect();
    sim.until(5_000 * MS, "the leaves", Sim::settled);
    let pipeline = play(&mut sim, &leaves);
    (sim, pipeline, leaves)
}

#[test]
fn a_move_loses_nothing() {
    let (mut sim, pipeline, leaves) = fork(8);
    let mut next = FIRST;
    broadcast(&mut sim, pipeline, &mut next, 300);
    let leaf = leaves[0];
    let old = sim.nodes[leaf].core().parent().cloned();
    let new = (1..3).map(|r| sim.nodes[r].id()).find(|id| Some(id) != old.as_ref()).unwrap();
    sim.root(RootCommand::Move { node: sim.nodes[leaf].id(), parent: new.clone() });
    broadcast(&mut sim, pipeline, &mut next, 500);
    sim.run(2_000 * MS);
    assert_eq!(sim.nodes[leaf].core().parent(), Some(&new));
    assert!(sim.settled(), "{:?}", sim.disagreement());
    for leaf in leaves {
        complete(&sim, leaf, next);
    }
}

#[test]
fn a_dead_relay_costs_time_but_no_packet() {
    let (mut sim, pipeline, leaves) = fork(9);
    let mut next = FIRST;
    broadcast(&mut sim, pipeline, &mut next, 600);
    sim.kill(1);
    broadcast(&mut sim, pipeline, &mut next, 600);
    sim.run(2_000 * MS);
    assert!(sim.settled(), "{:?}", sim.disagreement());
    for leaf in leaves {
        complete(&sim, leaf, next);
    }
}

#[test]
fn a_silent_relay_is_left_after_a_while() {
    let (mut sim, pipeline, leaves) = fork(10);
    let mut next = FIRST;
    broadcast(&mut sim, pipeline, &mut next, 100);
    // Its media are lost and its control link lives: the path is broken, not the node.
    sim.filter = Some(Box::new(|from, to, _| from != 1 && to != 1));
    sim.until(15_000 * MS, "its leaves are elsewhere", |sim| {
        leaves.iter().all(|l| sim.nodes[*l].core().parent() == Some(&sim.nodes[2].id()))
    });
}

#[test]
fn keys_change_under_load_without_a_gap() {
    let (mut sim, pipeline, leaves) = chain(11, 2);
    let mut next = FIRST;
    broadcast(&mut sim, pipeline, &mut next, 100);
    let before = sim.view.pipelines[0].epoch;
    sim.root(RootCommand::Rotate(pipeline));
    broadcast(&mut sim, pipeline, &mut next, 1_000);
    sim.run(1_000 * MS);
    assert!(sim.view.pipelines[0].epoch > before);
    for leaf in leaves {
        complete(&sim, leaf, next);
    }
}

/// Media, loss and a death; returns the digest of everything that happened.
fn history(seed: u64) -> String {
    let (mut sim, pipeline, _) = fork(seed);
    sim.set_weather(weather(0.03));
    let mut next = FIRST;
    broadcast(&mut sim, pipeline, &mut next, 200);
    sim.kill(2);
    broadcast(&mut sim, pipeline, &mut next, 200);
    sim.digest()
}

#[test]
fn the_same_seed_is_the_same_history_with_media() {
    assert_eq!(history(12), history(12));
    assert_ne!(history(12), history(13));
}

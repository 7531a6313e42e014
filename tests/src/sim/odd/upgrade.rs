//! A rolling upgrade: a tree of nodes that speak the protocol's first version is restarted node by
//! node, in an order that the seed makes, the root among them, while streams run. A node that is told
//! to stop drains, so that what hangs below it is moved; whoever is not restarted itself loses no
//! packet. Nobody is told a word that its version does not have, and in the end all have the newest
//! version's warm backups.

use crate::sim::scenario::{Bounds, Outcome, Scenario, Size, Watch};
use crate::sim::{Setup, Sim, Weather};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use relay_node::control::api::NodeCommand;
use soleil_protocol::message::VERSION;
use soleil_protocol::{PacketIndex, PipelineId, Role, Ssrc};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "upgrade",
    about: "a tree of the previous protocol version is restarted node by node, streams running",
    run,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const VIDEO: Ssrc = Ssrc(10);
/// Between two packets.
const PACE: Duration = Duration::from_millis(10);

struct Stream {
    pipeline: PipelineId,
    next: u64,
    /// From where on each leaf's packets count: since it was last started.
    since: BTreeMap<usize, u64>,
}

impl Stream {
    /// Sends for a while.
    fn run(&mut self, watch: &mut Watch, time: Duration) {
        let end = watch.sim.elapsed() + time;
        while watch.sim.elapsed() < end {
            watch.sim.send_media(self.pipeline, VIDEO, PacketIndex(self.next));
            self.next += 1;
            watch.run(PACE);
        }
    }

    /// Sends until something holds.
    fn until(&mut self, watch: &mut Watch, what: &str, holds: impl Fn(&Sim) -> bool) {
        let end = watch.sim.elapsed() + 60 * SECOND;
        while !holds(&watch.sim) {
            assert!(watch.sim.elapsed() < end, "not within a minute: {what}");
            self.run(watch, 50 * MS);
        }
    }

    /// The first leaf that lacks a packet, of all but those sent in the last second.
    fn lacking(&self, sim: &Sim) -> Option<String> {
        let until = self.next.saturating_sub(100);
        for (leaf, since) in &self.since {
            let node = &sim.nodes[*leaf];
            let got: BTreeSet<u64> =
                node.sink.got.get(&VIDEO).into_iter().flatten().map(|i| i.0).collect();
            if let Some(lost) = (*since..until).find(|n| !got.contains(n)) {
                let more = (*since..until).filter(|n| !got.contains(n)).count();
                return Some(format!("{} lacks {lost} and {} more", node.id(), more - 1));
            }
        }
        None
    }
}

fn run(size: Size, seed: u64) -> Outcome {
    let (relays, leaves) = match size {
        Size::Small => (3, 4),
        Size::Full => (6, 16),
    };
    let weather = Weather { delay: 8 * MS, jitter: 4 * MS, loss: 0.002, ..Weather::default() };
    let setup = Setup { seed, weather, media: true, root_children: 4 };
    let sim = Sim::of_version(setup, VERSION - 1);
    let bounds = Bounds { routing: Some(20 * SECOND), ..Bounds::default() };
    let mut watch = Watch::new(SCENARIO.name, size, sim, bounds);
    for n in 0..relays {
        watch.sim.start(Role::Relay, &format!("relay-{n}"), 12, 0);
        watch.run(SECOND);
    }
    let places: Vec<usize> =
        (0..leaves).map(|n| watch.sim.start(Role::Leaf, &format!("leaf-{n}"), 0, 100)).collect();
    watch.happens("a tree of the first version");
    watch.calm(30 * SECOND);
    let pipeline = watch.sim.define(1);
    watch.run(SECOND);
    for leaf in &places {
        watch.sim.command(*leaf, NodeCommand::Play(pipeline));
    }
    watch.run(2 * SECOND);
    let since = places.iter().map(|leaf| (*leaf, 1_000)).collect();
    let mut stream = Stream { pipeline, next: 1_000, since };
    stream.run(&mut watch, 2 * SECOND);
    let warm = watch.sim.nodes.iter().filter(|n| n.core().backup().is_some()).count();
    watch.at_most("warm links in a tree of the first version", warm as f64, 0.0, "links");

    let mut order: Vec<usize> = (0..watch.sim.nodes.len()).collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    watch.sim.speaks = VERSION;
    let mut lacking = None;
    for node in order {
        if node == 0 {
            restart_root(&mut watch, &mut stream);
        } else {
            restart(&mut watch, &mut stream, node, &places);
        }
        lacking = lacking.or(stream.lacking(&watch.sim));
    }
    watch.nothing("a leaf that lost a packet though it was not restarted", lacking);
    let words = watch.sim.unknown_words.iter().next().cloned();
    watch.nothing("a node was told what its version does not know", words);
    let refused =
        |why: &str| -> u64 { watch.sim.nodes.iter().filter_map(|n| n.refused.get(why)).sum() };
    let (versions, tickets) = (refused("version"), refused("ticket"));
    watch.at_most("HELLOs refused over their version", versions as f64, 0.0, "messages");
    watch.at_most("tickets that could not be read", tickets as f64, 0.0, "tickets");
    let old = watch.sim.nodes.iter().filter(|n| n.core().speaks() < VERSION).count();
    watch.at_most("nodes of the first version at the end", old as f64, 0.0, "nodes");
    // Everybody is told of everybody's version, and keeps a link warm again.
    stream.until(&mut watch, "warm backups", |sim| {
        places.iter().all(|leaf| sim.nodes[*leaf].core().backup().is_some())
    });
    watch.peace(5 * SECOND);
    watch.finish()
}

/// A relay or leaf is told to stop, and the newer program is started on its machine.
fn restart(watch: &mut Watch, stream: &mut Stream, node: usize, leaves: &[usize]) {
    let id = watch.sim.nodes[node].id();
    watch.sim.command(node, NodeCommand::Drain("update".into()));
    stream.until(watch, "the node has stopped", |sim| sim.nodes[node].stopped);
    watch.sim.kill(node);
    stream.since.remove(&node);
    stream.run(watch, 500 * MS);
    watch.sim.start_again(node);
    watch.happens(format!("{id} comes back, newer"));
    stream.until(watch, "it is back", |sim| sim.nodes[node].core().parent().is_some());
    if leaves.contains(&node) {
        let pipeline = stream.pipeline;
        stream.until(watch, "it knows the stream", |sim| {
            sim.nodes[node].core().pipelines().contains_key(&pipeline)
        });
        watch.sim.command(node, NodeCommand::Play(pipeline));
        stream.run(watch, 2 * SECOND);
        stream.since.insert(node, stream.next);
    }
    stream.run(watch, 3 * SECOND);
}

/// The root is killed and started again on its data: what the source sends to the new one counts.
fn restart_root(watch: &mut Watch, stream: &mut Stream) {
    watch.sim.kill(0);
    watch.run(500 * MS);
    watch.sim.start_root_again(|_| false);
    watch.happens("the root comes back, newer");
    watch.sim.define(1);
    watch.calm(30 * SECOND);
    watch.run(5 * SECOND);
    // As the root does: numbers go on far above all that were used.
    stream.next += 1 << 20;
    let since = stream.next + 200;
    stream.run(watch, 2 * SECOND);
    stream.since.values_mut().for_each(|from| *from = since);
    stream.run(watch, 2 * SECOND);
}

//! Keys and certificates over real sockets: nodes that are removed together can open nothing that is
//! sent after the change, and nobody else misses a packet; certificates that live for seconds are
//! renewed under a tree that stays as it is; a node that is not renewed is out when its own ends;
//! who was removed does not come back, and has no warm link to fall back on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use leaf_gateway::Started;
use relay_node::control::api::NodeCommand;
use relay_node::media::packet::{HopPacket, Opener};
use relay_node::node::NodeHandle;
use relay_node::ops::MetricsSource;
use root_node::core::api::RootCommand;
use soleil_protocol::{NodeId, Role};
use soleil_tests::emulator::{Dir, LinkConfig, UdpEmulator};
use soleil_tests::harness::{Metrics, Ports};
use soleil_tests::small::{Manners, Node, Small, Watched, any};
use soleil_tests::wait::until;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);
/// Packets that have to arrive before and after each event.
const SOME: u64 = 25;

/// The root with relay `a`, and below it `leaf`, which plays.
struct Scene {
    leaf: Started,
    relay: Node,
    tree: Small,
}

impl Scene {
    fn new(tree: Small) -> Self {
        let token = tree.token(Role::Relay, None).unwrap();
        let relay = tree.relay("a", &token, |_| ()).unwrap();
        until("the relay", LIMIT, || tree.is_below("a", "root"));
        let token = tree.token(Role::Leaf, None).unwrap();
        let leaf = tree.leaf("leaf", &token).unwrap();
        until("the leaf", LIMIT, || tree.is_below("leaf", "a"));
        until("the stream", LIMIT, || !leaf.node.pipelines().borrow().is_empty());
        leaf.node.command(NodeCommand::Play(tree.pipeline));
        let scene = Self { leaf, relay, tree };
        scene.hears_on();
        scene
    }

    /// The highest index that the leaf has, packets that it has, packets that it is without.
    fn heard(&self) -> (u64, u64, u64) {
        let stats = self.leaf.node.media().stats();
        let layer = stats.layers.iter().find(|l| l.pipeline == self.tree.pipeline);
        layer.map_or((0, 0, 0), |l| (l.highest.map_or(0, |h| h.0), l.packets, l.lost + l.missing))
    }

    fn hears_on(&self) {
        let (_, before, _) = self.heard();
        until("the leaf to hear more", LIMIT, || self.heard().1 >= before + SOME);
    }

    fn missed_nothing_since(&self, before: (u64, u64, u64)) {
        self.hears_on();
        // What is on its way again is waited for; what is given up never comes.
        until("every packet to have come", LIMIT, || {
            let now = self.heard();
            now.2 == before.2 && now.0 - before.0 == now.1 - before.1
        });
    }

    fn kill(&self, node: &str, grace_secs: u32) {
        let (node, reason) = (NodeId::new(node).unwrap(), "stolen".to_owned());
        assert!(self.tree.root.node.command(RootCommand::Kill { node, grace_secs, reason }));
    }

    fn epoch(&self) -> soleil_protocol::Epoch {
        self.tree.root.view.borrow().pipelines[0].epoch
    }

    /// Errors of this kind that the root has sent.
    fn refused(&self) -> f64 {
        let mut text = String::new();
        self.tree.root.node.counters().write_metrics(&mut text);
        let labels = [("direction", "out"), ("code", "unauthorized")];
        Metrics::parse(&text).sum("soleil_control_errors_total", &labels)
    }

    fn end(self, others: Vec<Watched>) {
        let Self { leaf, relay: (handle, task), tree } = self;
        let Small { root, runtime, .. } = tree;
        runtime.block_on(async {
            timeout(LIMIT, leaf.stop()).await.unwrap().unwrap();
            for Watched { handle, task, .. } in others {
                handle.drain("test");
                timeout(LIMIT, task.wait()).await.unwrap().unwrap();
            }
            handle.drain("test");
            timeout(LIMIT, task.wait()).await.unwrap().unwrap();
            timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();
        });
    }
}

/// Sealed packets that a recording has, each index once, in order.
fn sealed(emulator: &UdpEmulator) -> Vec<(u64, Vec<u8>)> {
    let mut all: Vec<(u64, Vec<u8>)> = emulator
        .recorded()
        .into_iter()
        .filter(|(dir, _)| *dir == Dir::FromTarget)
        .filter_map(|(_, bytes)| Some((HopPacket::parse(&bytes).ok()?.header.index.0, bytes)))
        .collect();
    all.sort();
    all.dedup_by_key(|(index, _)| *index);
    all
}

fn opens(opener: &Opener, packet: &[u8]) -> bool {
    let header = HopPacket::parse(packet).unwrap().header;
    opener.open(&mut packet.to_vec(), &header).is_ok()
}

#[test]
fn nodes_removed_together_open_nothing_that_is_sent_afterwards() {
    // Whoever stands at a cable of the tree sees what goes over it.
    let port = Ports::default().take(2).unwrap();
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let cable = UdpEmulator::start(at(port), at(port + 1), LinkConfig::default(), 1).unwrap();
    let tree = Small::start(|config| {
        config.media.listen = at(port + 1);
        config.media.announce = vec![at(port)];
    })
    .unwrap();
    let scene = Scene::new(tree);
    let token = scene.tree.token(Role::Relay, None).unwrap();
    let names = ["x", "y", "z"];
    let bad: Vec<Watched> = names
        .iter()
        .map(|name| Watched::start(&scene.tree, name, &token, Manners::Bad).unwrap())
        .collect();
    until("all to be there", LIMIT, || scene.tree.in_tree() == 5);
    until("their keys", LIMIT, || bad.iter().all(|node| !node.seen().keys.is_empty()));
    cable.record();
    scene.hears_on();

    let (before, old) = (scene.heard(), scene.epoch());
    names.iter().for_each(|name| scene.kill(name, 1));
    until("a new epoch", LIMIT, || scene.epoch() > old);
    let new = scene.epoch();
    scene.missed_nothing_since(before);
    // They don't go by themselves: they are put out, come to others, and are refused there.
    until("them to be out", LIMIT, || {
        names.iter().all(|name| scene.tree.view(name).is_none_or(|n| !n.attached))
    });
    until("the root to refuse them", LIMIT, || bad.iter().all(|node| node.seen().refusals > 0));
    assert!(scene.refused() >= names.len() as f64, "it counts that");
    assert!(bad.iter().all(|node| node.seen().kills > 0));
    scene.missed_nothing_since(before);

    // Late comers get the key in use.
    let late = Watched::start(&scene.tree, "late", &token, Manners::Good).unwrap();
    let has_new = |node: &Watched| node.seen().keys.iter().any(|(_, epoch, _)| *epoch >= new);
    until("its key", LIMIT, || has_new(&late));

    // Now with all keys that they ever had, on all that has gone over the cable.
    let packets = sealed(&cable);
    let opener = |node: &Watched| -> Vec<Opener> {
        node.seen().keys.iter().map(|(_, epoch, key)| Opener::new(key, *epoch)).collect()
    };
    let whole = opener(&late);
    let changed = packets.iter().position(|(_, p)| HopPacket::parse(p).unwrap().mki == new.mki());
    let (earlier, later) = packets.split_at(changed.expect("packets of the new epoch"));
    assert!(earlier.len() >= SOME as usize && later.len() >= 2 * SOME as usize);
    for node in &bad {
        assert!(!has_new(node), "it was given the new key");
        let keys = opener(node);
        for (index, packet) in earlier {
            assert!(keys.iter().any(|k| opens(k, packet)), "{index} was for it, too");
        }
        for (index, packet) in later {
            assert!(!keys.iter().any(|k| opens(k, packet)), "{index} was opened");
        }
    }
    assert!(later.iter().all(|(_, packet)| whole.iter().any(|key| opens(key, packet))));
    let mut all = bad;
    all.push(late);
    scene.end(all);
}

#[test]
fn a_node_that_is_removed_keeps_no_warm_link() {
    let scene = Scene::new(Small::start(|_| ()).unwrap());
    let token = scene.tree.token(Role::Relay, None).unwrap();
    let [good, bad] = [("good", Manners::Good), ("x", Manners::Bad)]
        .map(|(name, manners)| Watched::start(&scene.tree, name, &token, manners).unwrap());
    until("their warm links", LIMIT, || good.seen().backed && bad.seen().backed);
    let before = scene.heard();
    // It has an hour to go, at its parent, and does not want to know.
    scene.kill("x", 3_600);
    until("its warm link to be closed", LIMIT, || !bad.seen().backed);
    until("it to be refused a new one", LIMIT, || bad.seen().refusals > 0);
    assert!(!bad.seen().backed && good.seen().backed);
    assert!(scene.tree.view("x").is_some_and(|n| n.attached), "it has its grace");
    scene.missed_nothing_since(before);
    scene.end(vec![good, bad]);
}

/// A node's certificates so far, by their change.
fn renewals(handle: &NodeHandle<NodeCommand>, last: &mut Vec<u8>, count: &mut u32) {
    let identity = handle.identity();
    let now = identity.borrow().as_ref().map(|i| i.certificate.clone()).unwrap_or_default();
    *count += u32::from(now != *last && !last.is_empty());
    *last = now;
}

#[test]
fn certificates_of_seconds_are_renewed_and_who_is_not_renewed_is_out() {
    let life = Duration::from_secs(6);
    let tree = Small::start(|config| config.certificates.life = life).unwrap();
    let scene = Scene::new(tree);
    let before = scene.heard();
    let mut places = [&scene.relay.0, &scene.leaf.node].map(NodeHandle::attached);
    places.iter_mut().for_each(tokio::sync::watch::Receiver::mark_unchanged);
    let links = [&scene.relay.0, &scene.leaf.node].map(|n| n.counters().messages(Out, "hello"));

    // Three times, at both, while sound goes through them.
    let (mut last, mut count) = (<[Vec<u8>; 2]>::default(), [0; 2]);
    until("three renewals", LIMIT, || {
        renewals(&scene.relay.0, &mut last[0], &mut count[0]);
        renewals(&scene.leaf.node, &mut last[1], &mut count[1]);
        count.iter().all(|n| *n >= 3)
    });
    scene.missed_nothing_since(before);
    assert!(places.iter().all(|place| !place.has_changed().unwrap()), "without a parent");
    assert!(scene.tree.is_below("a", "root") && scene.tree.is_below("leaf", "a"));
    let said = [&scene.relay.0, &scene.leaf.node].map(|n| n.counters().messages(Out, "hello"));
    println!("HELLOs of relay and leaf in {count:?} renewals: {links:?}, then {said:?}");

    // One that is removed, has an hour to go, and does not hear that it is not renewed.
    let token = scene.tree.token(Role::Relay, None).unwrap();
    let bad = Watched::start(&scene.tree, "x", &token, Manners::Bad).unwrap();
    until("it to be there", LIMIT, || scene.tree.view("x").is_some_and(|n| n.attached));
    let before = scene.heard();
    scene.kill("x", 3_600);
    until("it to be out", LIMIT, || scene.tree.view("x").is_none_or(|n| !n.attached));
    assert!(bad.seen().kills > 0);
    // Its certificate has run out, and the token that it came by lets it in no more.
    until("the root to refuse it", LIMIT, || bad.seen().refusals > 0);
    scene.missed_nothing_since(before);
    scene.end(vec![bad]);
}

#[test]
fn a_token_that_is_revoked_removes_who_came_by_it_and_nobody_else() {
    let scene = Scene::new(Small::start(|_| ()).unwrap());
    let token = scene.tree.token(Role::Relay, None).unwrap();
    let stolen = Watched::start(&scene.tree, "x", &token, Manners::Good).unwrap();
    let (handle, task) =
        scene.tree.relay("y", &token, |config| config.overlay.listen = any()).unwrap();
    until("both to be there", LIMIT, || scene.tree.in_tree() == 4);
    let (before, old) = (scene.heard(), scene.epoch());
    assert!(scene.tree.store().unwrap().revoke_token(soleil_protocol::Wall(1), &token.id).unwrap());
    let reason = scene.tree.runtime.block_on(async { timeout(LIMIT, task.wait()).await });
    assert_eq!(reason.expect("it does not end").unwrap(), "killed: the join token was revoked");
    let Watched { task, handle: other, .. } = stolen;
    let reason = scene.tree.runtime.block_on(async { timeout(LIMIT, task.wait()).await });
    assert_eq!(reason.expect("it does not end").unwrap(), "killed: the join token was revoked");
    until("a new epoch", LIMIT, || scene.epoch() > old);
    scene.missed_nothing_since(before);
    assert!(scene.tree.is_below("a", "root") && scene.tree.is_below("leaf", "a"));
    assert!(!*handle.attached().borrow() && !*other.attached().borrow());

    // Nor does it let anybody in.
    let refused = || {
        let why = relay_node::refusals::Refusal::Token;
        scene.tree.root.node.counters().refusals(why)
    };
    assert_eq!(refused(), 0);
    let again = Watched::start(&scene.tree, "again", &token, Manners::Good).unwrap();
    until("it to be refused", LIMIT, || refused() > 0);
    // Nor one whose time is over.
    let short = scene.tree.token(Role::Relay, Some(Duration::from_millis(1))).unwrap();
    let before = refused();
    let late = Watched::start(&scene.tree, "late", &short, Manners::Good).unwrap();
    until("it to be refused, too", LIMIT, || refused() > before);
    assert!(scene.tree.view("again").is_none() && scene.tree.view("late").is_none());
    scene.end(vec![again, late]);
}

use relay_node::io::counters::Direction::Out;

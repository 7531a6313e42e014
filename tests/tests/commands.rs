//! What the root can ask of nodes, over real sockets: MOVE (REDIRECT, make before break), KILL and
//! REMOVEPIPELINE. Root, two relays and a leaf in this process, with sound on its way through them,
//! of which the leaf must not miss a packet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use leaf_gateway::Started;
use leaf_gateway::config::LeafConfig;
use relay_node::clock::Clock;
use relay_node::control::api::NodeCommand;
use relay_node::io::counters::Direction;
use relay_node::logging::LogControl;
use relay_node::node::{NodeHandle, NodeTask};
use relay_node::relay::{Relay, RelayConfig};
use root_node::config::{Config, StreamSection};
use root_node::core::api::{NodeView, RootCommand};
use root_node::root::Root;
use root_node::store::Store;
use soleil_protocol::message::HostPort;
use soleil_protocol::{NodeId, PipelineId, Role};
use soleil_tests::harness::Ports;
use soleil_tests::wait::{pause, until};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than anything here takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
/// Opus: a packet each 20 ms.
const PACKET: Duration = Duration::from_millis(20);
/// What has to arrive before and after each event.
const SOME: u64 = 25;

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn id(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// Somebody who speaks without a pause.
struct Broadcaster {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Broadcaster {
    fn start(to: SocketAddr) -> Broadcaster {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let socket = UdpSocket::bind(any()).unwrap();
            let mut number = 0_u16;
            while !stopped.load(Ordering::Relaxed) {
                let mut packet = vec![0x80, 111];
                packet.extend(number.to_be_bytes());
                packet.extend((u32::from(number) * 960).to_be_bytes());
                packet.extend([0, 0, 0, 9, 0xfc, 1, 2, 3]);
                socket.send_to(&packet, to).unwrap();
                number = number.wrapping_add(1);
                pause(PACKET);
            }
        });
        Broadcaster { stop, thread: Some(thread) }
    }
}

impl Drop for Broadcaster {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Node = (NodeHandle<NodeCommand>, NodeTask);

/// The root with the relays `a` and `b` and the leaf `leaf`, which plays and is below `a`.
struct Scene {
    root: Root,
    a: Node,
    b: Node,
    leaf: Started,
    /// The leaf's place: has it changed since the scene began?
    place: watch::Receiver<bool>,
    pipeline: PipelineId,
    _source: Broadcaster,
    runtime: Runtime,
    _data: TempDir,
}

impl Scene {
    fn start() -> Scene {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.node.data_dir = Some(data.path().to_owned());
        config.overlay.listen = any();
        config.media.listen = any();
        config.http.listen = any();
        config.webrtc.listen = any();
        config.ops.enabled = false;
        let mut stream = StreamSection::demo();
        stream.track.remove(0);
        stream.track[0].ports = vec![Ports::default().take(2).unwrap()];
        config.stream = vec![stream];
        let root = runtime.block_on(Root::start(config, LogControl::none())).unwrap();
        let source = Broadcaster::start(root.ingest[0].ports[0]);
        let port = root.node.bound().overlay.unwrap().port();
        let address = HostPort { host: "127.0.0.1".into(), port };
        let token = |role| {
            let store = Store::open(data.path()).unwrap();
            store.create_token(Clock::start().now().wall, role, None, "").unwrap()
        };
        let relay = |name: &str| {
            let mut config = RelayConfig::default();
            config.node.name = Some(id(name));
            config.overlay.listen = any();
            config.media.listen = any();
            config.ops.enabled = false;
            let relay = Relay { config, root: address.clone(), token: token(Role::Relay) };
            runtime.block_on(relay.start(LogControl::none())).unwrap()
        };
        // One after the other: leaves fill the relay that came first.
        let mut view = root.view.clone();
        let mut attached = |count: usize| {
            let all = view.wait_for(|v| v.nodes.iter().filter(|n| n.attached).count() == count);
            runtime.block_on(async { timeout(LIMIT, all).await.unwrap().unwrap() });
        };
        let a = relay("a");
        attached(2);
        let b = relay("b");
        attached(3);

        let mut config = LeafConfig::default();
        config.node.name = Some(id("leaf"));
        config.root.address = Some(address);
        config.root.token = Some(token(Role::Leaf));
        config.http.listen = any();
        config.webrtc.listen = any();
        config.webrtc.listen = any();
        config.ops.enabled = false;
        let leaf =
            runtime.block_on(leaf_gateway::start(&config, None, LogControl::none())).unwrap();
        until("the leaf to know the stream", LIMIT, || !leaf.node.pipelines().borrow().is_empty());
        let pipeline = *leaf.node.pipelines().borrow().keys().next().unwrap();
        leaf.node.command(NodeCommand::Play(pipeline));
        let mut place = leaf.node.attached();
        assert!(*place.borrow_and_update());
        let scene =
            Scene { root, a, b, leaf, place, pipeline, _source: source, runtime, _data: data };
        scene.expect_parent("leaf", "a");
        scene.hears_on();
        scene
    }

    fn view(&self, node: &str) -> Option<NodeView> {
        let view = self.root.view.borrow();
        view.nodes.iter().find(|n| n.id.as_str() == node).cloned()
    }

    fn expect_parent(&self, node: &str, parent: &str) {
        until(&format!("{node} to be below {parent}"), LIMIT, || {
            self.view(node)
                .is_some_and(|n| n.attached && n.parent.is_some_and(|p| p.as_str() == parent))
        });
    }

    fn expect_gone(&self, node: &str) {
        until(&format!("{node} to be gone"), LIMIT, || {
            self.view(node).is_none_or(|n| !n.attached && n.parent.is_none())
        });
    }

    fn move_to(&self, node: &str, parent: &str) {
        self.root.node.command(RootCommand::Move { node: id(node), parent: id(parent) });
    }

    fn kill(&self, node: &str) {
        let reason = "stolen".to_owned();
        self.root.node.command(RootCommand::Kill { node: id(node), grace_secs: 10, reason });
    }

    /// The highest index that the leaf has, packets that it has, packets that it is without.
    fn heard(&self) -> (u64, u64, u64) {
        let stats = self.leaf.node.media().stats();
        let layer = stats.layers.iter().find(|l| l.pipeline == self.pipeline);
        layer.map_or((0, 0, 0), |l| (l.highest.map_or(0, |h| h.0), l.packets, l.lost + l.missing))
    }

    /// More packets arrive.
    fn hears_on(&self) {
        let (_, before, _) = self.heard();
        until("the leaf to hear more", LIMIT, || self.heard().1 >= before + SOME);
    }

    /// The leaf was never without a parent, and has every packet since that moment.
    fn missed_nothing_since(&self, before: (u64, u64, u64)) {
        self.hears_on();
        assert!(!self.place.has_changed().unwrap(), "it was without a parent");
        // What is on its way again is waited for; what is given up never comes.
        until("every packet to have come", LIMIT, || {
            let now = self.heard();
            now.2 == before.2 && now.0 - before.0 == now.1 - before.1
        });
    }

    /// Everybody else ends as well.
    fn end(runtime: &Runtime, root: Root, relays: Vec<Node>, leaf: Option<Started>) {
        runtime.block_on(async {
            if let Some(leaf) = leaf {
                timeout(LIMIT, leaf.stop()).await.unwrap().unwrap();
            }
            for (handle, task) in relays {
                handle.drain("test");
                timeout(LIMIT, task.wait()).await.unwrap().unwrap();
            }
            timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();
        });
    }
}

fn byes(node: &NodeHandle<NodeCommand>) -> u64 {
    node.counters().messages(Direction::Out, "bye")
}

fn media_links(node: &NodeHandle<NodeCommand>) -> usize {
    node.media().stats().links.len()
}

#[test]
fn a_move_takes_a_node_to_another_parent_and_nothing_is_missed() {
    let scene = Scene::start();
    // Its BYE to the join connection does not count.
    let (before, said) = (scene.heard(), byes(&scene.leaf.node));
    scene.move_to("leaf", "b");
    scene.expect_parent("leaf", "b");
    until("the leaf to leave the old parent", LIMIT, || byes(&scene.leaf.node) == said + 1);
    // To its parent, and to its backup `a`, which is also the backup of `b`.
    until("its media to come by one way", LIMIT, || {
        (media_links(&scene.leaf.node), media_links(&scene.a.0), media_links(&scene.b.0))
            == (2, 3, 3)
    });
    scene.missed_nothing_since(before);
    assert_eq!(scene.leaf.node.id(), Some(id("leaf")));

    // A relay below another takes its leaf along.
    let (before, mut relay_place) = (scene.heard(), scene.b.0.attached());
    relay_place.mark_unchanged();
    scene.move_to("b", "a");
    scene.expect_parent("b", "a");
    until("the leaf to be one hop further away", LIMIT, || {
        scene.view("leaf").is_some_and(|n| n.attached && n.depth == 3)
    });
    // Its backup is the root now, and so is the leaf's.
    until("the relay to have one way up", LIMIT, || {
        (media_links(&scene.a.0), media_links(&scene.b.0)) == (2, 3)
    });
    scene.missed_nothing_since(before);
    assert!(!relay_place.has_changed().unwrap(), "the relay was without a parent");

    // Below itself: refused, and nothing happens. The next move shows that it was looked at.
    scene.move_to("a", "b");
    scene.move_to("leaf", "root");
    scene.expect_parent("leaf", "root");
    scene.expect_parent("a", "root");
    let Scene { root, a, b, leaf, runtime, .. } = scene;
    Scene::end(&runtime, root, vec![b, a], Some(leaf));
}

#[test]
fn a_killed_node_says_bye_and_ends_after_its_children_have_moved() {
    let scene = Scene::start();
    let epoch = |scene: &Scene| scene.root.view.borrow().pipelines[0].epoch;
    let (before, old_epoch) = (scene.heard(), epoch(&scene));
    let (handle, said) = (scene.a.0.clone(), byes(&scene.a.0));
    let heard = scene.root.node.counters().messages(Direction::In, "bye");
    scene.kill("a");
    scene.expect_parent("leaf", "b");
    scene.expect_gone("a");
    until("BYE to come", LIMIT, || {
        byes(&handle) > said && scene.root.node.counters().messages(Direction::In, "bye") > heard
    });
    until("a new key", LIMIT, || epoch(&scene) > old_epoch);
    scene.missed_nothing_since(before);
    let Scene { root, a: (_, task), b, leaf, runtime, .. } = scene;
    let reason = runtime.block_on(async { timeout(LIMIT, task.wait()).await });
    assert_eq!(reason.expect("it does not end").unwrap(), "killed: stolen");
    assert!(!*handle.attached().borrow());
    Scene::end(&runtime, root, vec![b], Some(leaf));
}

#[test]
fn a_killed_leaf_ends_and_a_removed_pipeline_is_forgotten_everywhere() {
    let scene = Scene::start();
    let reason = "over".to_owned();
    scene.root.node.command(RootCommand::RemovePipeline(scene.pipeline, reason));
    for node in [&scene.leaf.node, &scene.a.0, &scene.b.0] {
        until("the pipeline to go", LIMIT, || node.pipelines().borrow().is_empty());
        until("its packets to go", LIMIT, || node.media().stats().layers.is_empty());
    }
    until("the root to forget it", LIMIT, || scene.root.view.borrow().pipelines.is_empty());
    assert!(!scene.place.has_changed().unwrap(), "it was without a parent");

    let said = byes(&scene.leaf.node);
    scene.kill("leaf");
    scene.expect_gone("leaf");
    assert_eq!(byes(&scene.leaf.node), said + 1);
    let Scene { root, a, b, leaf, runtime, .. } = scene;
    let reason = runtime.block_on(async { timeout(LIMIT, leaf.wait()).await });
    assert_eq!(reason.expect("it does not end").unwrap(), "killed: stolen");
    Scene::end(&runtime, root, vec![a, b], None);
}

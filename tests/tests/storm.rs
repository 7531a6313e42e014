//! A storm of joins: 200 nodes, relays and leaves in any order, dial the root in the same moment,
//! over real sockets. Nobody is refused, the tree is right afterwards, and the root answers
//! meanwhile. How long it took is printed; only that it happened is asserted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use leaf_gateway::Started;
use relay_node::clock::Clock;
use relay_node::control::api::NodeCommand;
use relay_node::node::NodeHandle;
use relay_node::ops::MetricsSource;
use soleil_protocol::{NodeId, Role};
use soleil_tests::harness::Metrics;
use soleil_tests::http;
use soleil_tests::small::{Node, Small, any};
use soleil_tests::wait::until;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::timeout;

const NODES: usize = 200;
/// One relay in so many nodes.
const ONE_RELAY_IN: usize = 10;
/// Nodes that a relay takes.
const RELAY_CHILDREN: u32 = 12;
/// Longer than it may take on the slowest machine.
const LIMIT: Duration = Duration::from_secs(100);

/// The `share` of sorted times, in milliseconds.
fn share(sorted: &[u64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default() as f64 / 1_000.0
}

fn print(what: &str, mut micros: Vec<u64>) {
    micros.sort_unstable();
    let [half, most, all] = [0.5, 0.99, 1.0].map(|part| share(&micros, part));
    println!("{what}: {} times, p50 {half:.1}, p99 {most:.1}, max {all:.1} ms", micros.len());
}

/// Somebody who asks the root one thing after the other, and how long each answer takes.
struct Asker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<&'static str, Vec<u64>>>,
}

impl Asker {
    fn start(http: SocketAddr, ops: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let clock = Clock::start();
            let mut times: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                for (server, path) in
                    [(ops, "/healthz"), (http, "/api/v1/streams"), (ops, "/metrics")]
                {
                    let before = clock.now().mono.0;
                    let answer = http::get(&format!("http://{server}{path}")).unwrap();
                    assert_eq!(answer.status, 200, "{path}");
                    times.entry(path).or_default().push(clock.now().mono.0 - before);
                }
            }
            times
        });
        Self { stop, thread }
    }

    fn end(self) -> BTreeMap<&'static str, Vec<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// When a node was in the tree for the first time, in microseconds.
async fn attached(handle: NodeHandle<NodeCommand>, clock: Clock, begun: u64) -> u64 {
    let mut attached = handle.attached();
    attached.wait_for(|there| *there).await.unwrap();
    clock.now().mono.0 - begun
}

#[test]
fn two_hundred_nodes_join_at_once_and_none_is_refused() {
    let tree = Small::start(|config| {
        config.ops.enabled = true;
        config.ops.listen = any();
    })
    .unwrap();
    let (relay_token, leaf_token) =
        (tree.token(Role::Relay, None).unwrap(), tree.token(Role::Leaf, None).unwrap());
    let asker = Asker::start(tree.root.http, tree.root.node.bound().ops.unwrap());

    let clock = Clock::start();
    let mut relays: Vec<Node> = Vec::new();
    let mut leaves: Vec<Started> = Vec::new();
    let mut waiting = Vec::new();
    for n in 0..NODES {
        let begun = clock.now().mono.0;
        let handle = if n % ONE_RELAY_IN == ONE_RELAY_IN - 1 {
            let change = |config: &mut relay_node::relay::RelayConfig| {
                config.capacity.children = RELAY_CHILDREN;
            };
            relays.push(tree.relay(&format!("relay-{n}"), &relay_token, change).unwrap());
            relays.last().unwrap().0.clone()
        } else {
            leaves.push(tree.leaf(&format!("leaf-{n}"), &leaf_token).unwrap());
            leaves.last().unwrap().node.clone()
        };
        waiting.push(tree.runtime.spawn(attached(handle, clock, begun)));
    }
    let started = clock.now().mono.0;
    until("all to be in the tree", LIMIT, || tree.in_tree() == NODES);
    let joined = clock.now().mono.0;
    let answers = asker.end();
    let each: Vec<u64> = tree.runtime.block_on(async {
        let mut each = Vec::new();
        for one in waiting {
            each.push(timeout(LIMIT, one).await.unwrap().unwrap());
        }
        each
    });
    println!(
        "{NODES} nodes: all started after {:.2} s, all in the tree after {:.2} s",
        started as f64 / 1e6,
        joined as f64 / 1e6
    );
    print("start to place", each);
    for (path, times) in answers {
        print(path, times);
    }

    // Nobody was turned away, neither at the door nor by the plan.
    let mut text = String::new();
    tree.root.node.counters().write_metrics(&mut text);
    let metrics = Metrics::parse(&text);
    assert_eq!(metrics.sum("soleil_control_refused_total", &[]), 0.0, "{text}");
    assert_eq!(metrics.sum("soleil_control_errors_total", &[("direction", "out")]), 0.0, "{text}");

    // One tree: everybody once, below the root or a relay that has a place for it.
    let view = tree.root.view.borrow().clone();
    let mut children: BTreeMap<NodeId, u32> = BTreeMap::new();
    for node in view.nodes.iter().skip(1) {
        let parent = node.parent.clone().unwrap();
        let above = view.nodes.iter().find(|n| n.id == parent).unwrap();
        assert_ne!(above.role, Role::Leaf, "{} is below {parent}", node.id);
        assert_eq!(node.depth, above.depth + 1);
        *children.entry(parent).or_default() += 1;
    }
    for node in &view.nodes {
        let has = children.get(&node.id).copied().unwrap_or_default();
        assert!(has <= node.capacity.children, "{} has {has}", node.id);
    }
    assert_eq!(view.nodes.len(), NODES + 1, "no name was given twice");
    let depth = view.nodes.iter().map(|n| n.depth).max();
    println!("deepest: {depth:?}, relays that serve: {}", children.len() - 1);

    // All at once again, and the root last.
    let Small { root, runtime, .. } = tree;
    runtime.block_on(async {
        let mut ending = Vec::new();
        for leaf in leaves {
            ending.push(tokio::spawn(async move { drop(leaf.stop().await) }));
        }
        for (handle, task) in relays {
            handle.drain("test");
            ending.push(tokio::spawn(async move { drop(task.wait().await) }));
        }
        for one in ending {
            timeout(LIMIT, one).await.unwrap().unwrap();
        }
        timeout(LIMIT, root.stop("test")).await.unwrap().unwrap();
    });
}

//! A leaf with three viewer threads on one port, where the kernel lets viewers' datagrams land at any
//! of them: everybody gets everything, over UDP and TCP, with loss and when ports change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relay_node::clock::Clock;
use soleil_tests::emulator::{Dir, LinkConfig};
use soleil_tests::harness::{Options, Stream, Tree};
use soleil_tests::load::{LoadSource, Pattern};
use soleil_tests::viewer::{self, Report, Viewers};
use soleil_tests::wait::until;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const WORKERS: usize = 3;
/// Frames that show that media flow: 5 s.
const SOME: u64 = 150;
const BITRATE: u64 = 1_000_000;

fn tree(viewer_hop: Option<LinkConfig>) -> (Tree, LoadSource) {
    let tree = Tree::start(&Options {
        relays: 0,
        streams: vec![Stream { name: "load".into(), codec: "VP8" }],
        leaf_workers: WORKERS,
        viewer_hop,
        ..Options::default()
    })
    .unwrap();
    let pattern = Pattern { bitrate: BITRATE, ..Pattern::default() };
    let source = LoadSource::start(tree.ingest(0).0, pattern, Clock::start()).unwrap();
    until("the stream", DEADLINE, || tree.is_live("load"));
    (tree, source)
}

fn metric(tree: &Tree, name: &str) -> f64 {
    tree.leaves[0].metrics().sum(name, &[])
}

/// How many viewers each worker has.
fn at_workers(tree: &Tree) -> Vec<f64> {
    let metrics = tree.leaves[0].metrics();
    (0..WORKERS)
        .map(|w| metrics.sum("soleil_leaf_worker_viewers", &[("worker", &w.to_string())]))
        .collect()
}

/// Whether so many viewers have come and had so many frames each.
fn have(report: &Report, viewers: usize, frames: u64) -> bool {
    report.each.iter().filter(|v| v.video.frames >= frames).count() == viewers
}

#[test]
fn twenty_viewers_of_three_workers_get_everything() {
    let (mut tree, source) = tree(None);
    let url = tree.whep_url("load");
    let viewers = Viewers::start(&url, 20, &viewer::Options::default()).unwrap();
    let over_tcp = viewer::Options { tcp: true, ..viewer::Options::default() };
    let tcp = Viewers::start(&url, 4, &over_tcp).unwrap();
    for (name, viewers, count) in [("UDP", &viewers, 20), ("TCP", &tcp, 4)] {
        let seen = viewers.wait(DEADLINE, |r| have(r, count, SOME)).unwrap();
        println!("{name}: {seen}");
        assert_eq!((seen.video.lost, seen.video.broken_frames, seen.unopened), (0, 0, 0));
        assert_eq!(seen.failed, 0);
    }
    until("all are counted", DEADLINE, || metric(&tree, "soleil_leaf_viewers") >= 24.0);
    let at = at_workers(&tree);
    println!("viewers at the workers: {at:?}");
    assert_eq!(at, [8.0; WORKERS]);
    let handed = metric(&tree, "soleil_leaf_datagrams_handed_total");
    let received = metric(&tree, "soleil_leaf_datagrams_received_total");
    println!("handed over: {handed} of {received}");
    assert!(handed > 0.0, "the kernel spreads what comes");
    for name in [
        "soleil_leaf_datagrams_handed_lost_total",
        "soleil_leaf_packets_overrun_total",
        "soleil_leaf_srtp_failures_total",
        "soleil_leaf_worker_failures_total",
        "soleil_leaf_tcp_refused_total",
    ] {
        assert_eq!(metric(&tree, name), 0.0, "{name}");
    }
    // What all workers' viewers wanted in one second of joining was merged.
    println!("key frames asked for: {}", source.key_requests());
    assert!(source.key_requests() <= 2, "{}", source.key_requests());
    assert_eq!(viewers.stop().1, 20);
    assert_eq!(tcp.stop().1, 4);
    until("all are gone", DEADLINE, || metric(&tree, "soleil_leaf_viewers") == 0.0);
    assert_eq!(at_workers(&tree), [0.0; WORKERS]);
    drop(source);
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn losses_are_repaired_and_ports_may_change() {
    let delay = LinkConfig { delay_us: 5_000, ..LinkConfig::default() };
    let (mut tree, source) = tree(Some(delay));
    let hop = tree.viewer_hop(0).unwrap();
    let viewers = Viewers::start(&tree.whep_url("load"), 9, &viewer::Options::default()).unwrap();
    viewers.wait(DEADLINE, |r| have(r, 9, 1)).unwrap();
    // What is lost of a handshake is another matter.
    hop.set(Dir::FromTarget, LinkConfig { loss: 0.03, ..delay });
    let seen = viewers.wait(DEADLINE, |r| have(r, 9, SOME)).unwrap();
    println!("3% lost: {seen}");
    assert!(seen.video.gaps > 100, "the link lost too little");
    assert!(seen.video.lost * 50 <= seen.video.gaps, "not repaired");
    until("figures", DEADLINE, || metric(&tree, "soleil_leaf_resends_total") > 100.0);

    hop.set(Dir::FromTarget, delay);
    hop.rebind();
    let more = seen.each.iter().map(|v| v.video.frames).max().unwrap_or(0) + SOME;
    let after = viewers.wait(DEADLINE, |r| have(r, 9, more)).unwrap();
    println!("at other ports: {after}");
    assert_eq!(after.failed, 0);
    // A report or a check that lands anywhere shows where the viewer is.
    assert!(after.video.longest_gap_ms <= 4_000.0, "{}", after.video.longest_gap_ms);
    assert_eq!(viewers.stop().1, 9);
    drop(source);
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

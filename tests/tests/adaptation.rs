//! A viewer gets what its link carries: the lower layer when the link narrows, the better one again
//! when it widens, and the sound alone where no picture fits. On sockets, through the link emulator,
//! judged by what the viewer received.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relay_node::clock::Clock;
use soleil_tests::emulator::{Dir, LinkConfig};
use soleil_tests::harness::{Options, Stream, Tree};
use soleil_tests::load::{LoadSource, Pattern};
use soleil_tests::viewer::{self, Report, Viewers};
use soleil_tests::wait::until;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const BEST: u64 = 1_600_000;
const LESSER: u64 = 350_000;
/// Frames after which a rate is known: three seconds.
const SPAN: u64 = 90;

/// Of so many such spans one is without loss, or the link is congested.
const STRETCHES: usize = 8;

/// A link of 10 ms that carries so many bits per second, and holds 300 ms of them.
fn link(rate_bps: u64) -> LinkConfig {
    let queue_bytes = rate_bps * 3 / 80;
    LinkConfig { delay_us: 10_000, rate_bps, queue_bytes, ..LinkConfig::default() }
}

fn metric(tree: &Tree, name: &str) -> f64 {
    tree.leaves[0].metrics().sum(name, &[])
}

/// What the leaf did about the link.
fn adaptation(tree: &Tree) -> String {
    let names = ["layer_downs", "layer_ups", "thinned", "pauses", "probes", "feedback", "resends"];
    let told = names.map(|n| (n, metric(tree, &format!("soleil_leaf_{n}_total"))));
    told.map(|(name, value)| format!("{value} {name}")).join(", ")
}

/// Waits for so many frames more and tells what the viewer had of the picture meanwhile, in bits
/// per second by the source's clock (30 frames a second).
fn rate(tree: &Tree, viewers: &Viewers) -> (Report, u64) {
    let before = viewers.report();
    let enough = before.video.frames + SPAN;
    let after = viewers.wait(DEADLINE, |r| r.video.frames >= enough).unwrap_or_else(|report| {
        panic!("no picture any more:\n{report}\n{}", adaptation(tree));
    });
    let frames = after.video.frames - before.video.frames;
    let bits = 8 * (after.video.bytes - before.video.bytes);
    (after, bits * 30 / frames)
}

#[test]
fn the_layer_follows_the_link() {
    let mut tree = Tree::start(&Options {
        relays: 0,
        layers: 2,
        streams: vec![Stream { name: "load".into(), codec: "VP8" }],
        viewer_hop: Some(LinkConfig { delay_us: 10_000, ..LinkConfig::default() }),
        ..Options::default()
    })
    .unwrap();
    let clock = Clock::start();
    let sources: Vec<_> = [BEST, LESSER]
        .iter()
        .zip(0..)
        .map(|(bitrate, layer)| {
            let pattern = Pattern { bitrate: *bitrate, ..Pattern::default() };
            LoadSource::start(tree.ingest_layer(0, layer), pattern, clock).unwrap()
        })
        .collect();
    until("the stream", DEADLINE, || tree.is_live("load"));
    let viewers = Viewers::start(&tree.whep_url("load"), 1, &viewer::Options::default()).unwrap();
    viewers.wait(DEADLINE, |r| r.video.frames >= SPAN).unwrap();
    let (seen, wide) = rate(&tree, &viewers);
    println!("free link: {wide} bit/s, {} lost", seen.video.lost);
    assert!(wide > BEST, "the best layer fits: {wide}");
    assert_eq!(metric(&tree, "soleil_leaf_layer_downs_total"), 0.0);

    let hop = tree.viewer_hop(0).unwrap();
    hop.set(Dir::FromTarget, link(900_000));
    until("the lower layer", DEADLINE, || metric(&tree, "soleil_leaf_layer_downs_total") >= 1.0);
    // What the queue has dropped is given up after a second. Then it goes on without loss, and
    // without being moved to and fro; a busy machine may take a packet of one stretch or the other.
    let mut stretches = Vec::new();
    let narrow = loop {
        let before = viewers.report().video.lost;
        let (steady, narrow) = rate(&tree, &viewers);
        let lost = steady.video.lost - before;
        println!("narrow link: {narrow} bit/s, {lost} lost\n{steady}");
        if lost == 0 {
            break narrow;
        }
        stretches.push(lost);
        assert!(stretches.len() < STRETCHES, "losses in a row: {stretches:?}");
    };
    assert!(narrow < 2 * LESSER, "the lesser layer fits: {narrow}");
    let moves = metric(&tree, "soleil_leaf_layer_downs_total");
    assert_eq!((moves, metric(&tree, "soleil_leaf_layer_ups_total")), (1.0, 0.0));

    hop.set(Dir::FromTarget, LinkConfig { delay_us: 10_000, ..LinkConfig::default() });
    until("the better layer", DEADLINE, || metric(&tree, "soleil_leaf_layer_ups_total") >= 1.0);
    let (again, wide) = rate(&tree, &viewers);
    println!("free again: {wide} bit/s, {}", adaptation(&tree));
    assert!(wide > BEST, "the best layer fits again: {wide}");
    assert_eq!((again.failed, again.connected), (0, 1), "{again}");
    drop(viewers);
    drop(sources);
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn the_sound_outlives_the_picture() {
    let hop = Some(LinkConfig { delay_us: 10_000, ..LinkConfig::default() });
    let mut tree = Tree::start(&Options { viewer_hop: hop, ..Options::default() }).unwrap();
    let source = tree.go_live(0, &[]).unwrap();
    let viewers = Viewers::start(&tree.whep_url("demo"), 1, &viewer::Options::default()).unwrap();
    viewers.wait(DEADLINE, |r| r.video.frames >= SPAN && r.audio.packets >= SPAN).unwrap();
    let hop = tree.viewer_hop(0).unwrap();
    // The sound takes some 80 kbit/s of these, the picture would take thousands.
    hop.set(Dir::FromTarget, link(200_000));
    until("a pause", DEADLINE, || metric(&tree, "soleil_leaf_pauses_total") >= 1.0);
    // What waited in the link has come, or is given up after a second; then the sound is whole.
    let before = viewers.report().audio.packets + 2 * 50;
    let paused = viewers.wait(DEADLINE, |r| r.audio.packets >= before).unwrap();
    let enough = paused.audio.packets + 3 * 50;
    let heard = viewers.wait(DEADLINE, |r| r.audio.packets >= enough).unwrap();
    println!("paused:\n{heard}");
    let missed = heard.audio.lost - paused.audio.lost;
    assert!(missed <= 3, "the sound lost {missed} packets: {heard}");

    hop.set(Dir::FromTarget, LinkConfig { delay_us: 10_000, ..LinkConfig::default() });
    let enough = heard.video.frames + SPAN;
    let seen = viewers.wait(DEADLINE, |r| r.video.frames >= enough).unwrap();
    println!("again:\n{seen}");
    assert_eq!((seen.failed, seen.connected), (0, 1), "{seen}");
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

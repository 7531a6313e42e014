//! The operator moves a leaf, and a relay with all leaves and viewers below it, to another relay,
//! make before break: nobody loses a packet, and nobody a session. Real processes and sockets.
//!
//! How long the picture stands still is measured by `make soak`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::harness::{Options, Tree};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::until;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const VIEWERS: usize = 50;
/// Frames that every viewer watches around each move: two seconds.
const SPAN: u64 = 60;
/// The picture stands still for less; how long it does is for `make soak` to measure.
const STANDSTILL_MS: f64 = 1_000.0;
const LEAVES: [&str; 3] = ["leaf-1", "leaf-2", "leaf-3"];

fn sum(tree: &Tree, name: &str) -> f64 {
    tree.leaves.iter().map(|leaf| leaf.metrics().sum(name, &[])).sum()
}

/// Hops from the root.
fn depths(tree: &Tree) -> Vec<u32> {
    let seen = tree.seen().unwrap();
    LEAVES.iter().filter_map(|l| seen.iter().find(|n| n.id == *l)).map(|n| n.depth).collect()
}

#[test]
fn a_leaf_and_a_whole_subtree_move_without_a_loss() {
    let options =
        Options { relays: 3, leaves: 3, root_children: 6, steered: true, ..Options::default() };
    let mut tree = Tree::start(&options).unwrap();
    let _source = tree.go_live(0, &["--bitrate", "2500"]).unwrap();
    tree.move_node("relay-3", "relay-1", DEADLINE).unwrap();
    for leaf in LEAVES {
        tree.move_node(leaf, "relay-3", DEADLINE).unwrap();
    }
    until("three hops to each leaf", DEADLINE, || depths(&tree) == [3, 3, 3]);

    let viewers =
        Viewers::start(&tree.whep_url("demo"), VIEWERS, &viewer::Options::default()).unwrap();
    let watch = |what: &str| {
        let seen = viewers.watch(DEADLINE, SPAN);
        seen.unwrap_or_else(|r| panic!("{what}: a viewer has too few frames:\n{r}"))
    };
    viewers
        .wait(DEADLINE, |r| r.with_picture() == VIEWERS)
        .unwrap_or_else(|r| panic!("not all have a picture:\n{r}"));
    let before = watch("at first");
    // There and back, and a leaf by itself in between.
    let moves = [
        ("relay-3", "relay-2", [3, 3, 3]),
        ("leaf-2", "relay-1", [3, 2, 3]),
        ("relay-3", "relay-1", [3, 2, 3]),
        ("leaf-2", "relay-3", [3, 3, 3]),
    ];
    for (node, parent, hops) in moves {
        let what = format!("{node} to {parent}");
        viewers.mark();
        tree.move_node(node, parent, DEADLINE).unwrap();
        let after = watch(&what);
        println!("{what}: longest gap {:.0} ms", after.video.gap_ms());
        assert!(after.video.gap_ms() < STANDSTILL_MS, "{what}\n{after}");
        let lost = |of: fn(&viewer::StreamReport) -> u64| {
            (of(&after.video) - of(&before.video), of(&after.audio) - of(&before.audio))
        };
        assert_eq!(lost(|s| s.lost), (0, 0), "{what}: packets of picture and sound\n{after}");
        assert_eq!(lost(|s| s.broken_frames).0, 0, "{what}: frames\n{after}");
        assert_eq!((after.failed, after.connected), (0, VIEWERS), "{what}\n{after}");
        until("the tree to be as it was asked for", DEADLINE, || depths(&tree) == hops);
        // It went where it was sent, and did not fall from one parent to the other.
        assert_eq!(sum(&tree, "soleil_failovers_total"), 0.0, "{what}");
        assert_eq!(sum(&tree, "soleil_leaf_sessions_ended_total"), 0.0, "{what}");
    }
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

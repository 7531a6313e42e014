//! A leaf is told to stop: its viewer in Chromium is told so, goes to another leaf by itself and
//! keeps the last picture until the new one is there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser;
use soleil_tests::harness::{Options, Tree};
use soleil_tests::wait::until;
use std::time::Duration;

/// Some five seconds of the stream: the browser has begun to judge what it sees.
const PACKETS: f64 = 1_500.0;
/// A short wait, so that not all viewers of a leaf come at once, and a join. The page's stall timer
/// alone would take 4 s.
const LONGEST_FREEZE_MS: f64 = 2_000.0;

#[test]
fn a_viewer_of_a_draining_leaf_goes_to_another_one() {
    let mut tree = Tree::start(&Options { leaves: 2, ..Options::default() }).unwrap();
    let source = tree.go_live(0, &[]).unwrap();
    let url = tree.watch_url("demo");
    let watching = std::thread::spawn(move || browser::watch(&url, 15).unwrap());
    let packets =
        |tree: &Tree, n: usize| tree.leaves[n].metrics().sum("soleil_leaf_packets_total", &[]);
    until("the browser to watch", Duration::from_secs(60), || {
        (0..2).any(|n| packets(&tree, n) > PACKETS)
    });
    let busy = if packets(&tree, 0) > PACKETS { 0 } else { 1 };
    tree.leaves[busy].process.terminate();
    let status = tree.leaves[busy].process.wait(Duration::from_secs(20));
    assert_eq!(status.and_then(|s| s.code()), Some(0));
    let seen = watching.join().unwrap();
    println!("{}", seen.line);
    assert!(seen.ok, "{}", seen.line);
    assert!(packets(&tree, 1 - busy) > 300.0, "it is at the other leaf: {}", seen.line);
    assert!(seen.freeze_ms.unwrap() <= LONGEST_FREEZE_MS, "freeze: {}", seen.line);
    // So the freeze was within what was judged, and not before it.
    assert!(seen.freeze_ms.unwrap() > 100.0, "nothing happened: {}", seen.line);
    source.stop().unwrap();
}

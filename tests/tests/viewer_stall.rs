//! A viewer whose link carries nothing for ten seconds: the others notice nothing, and it plays again
//! within a second after the link is back, in the same session. Headless viewer and Chromium.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use relay_node::clock::Clock;
use soleil_tests::browser;
use soleil_tests::emulator::LinkConfig;
use soleil_tests::harness::{Options, Tree};
use soleil_tests::viewer::{self, Report, Viewers};
use soleil_tests::wait::{pause, until};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const OTHERS: usize = 5;
/// How long nothing gets through.
const CUT: Duration = Duration::from_secs(10);
/// "It plays again within 1 s."
const AGAIN: Duration = Duration::from_secs(1);
/// Frames that show that media flow: 3 s.
const SOME: u64 = 90;

fn tree() -> Tree {
    let hop = Some(LinkConfig { delay_us: 10_000, ..LinkConfig::default() });
    Tree::start(&Options { viewer_hop: hop, ..Options::default() }).unwrap()
}

/// Viewers who come before the one that is cut off.
fn others(tree: &Tree) -> Viewers {
    let url = tree.whep_url("demo");
    let viewers = Viewers::start(&url, OTHERS, &viewer::Options::default()).unwrap();
    viewers.wait(DEADLINE, |r| r.with_picture() == OTHERS).unwrap();
    viewers
}

/// They have had everything, without a pause.
fn untouched(others: Viewers) {
    let (report, deleted) = others.stop();
    assert_eq!((report.failed, report.connected, deleted), (0, OTHERS, OTHERS), "{report}");
    assert_eq!((report.video.lost, report.audio.lost, report.unopened), (0, 0, 0), "{report}");
    assert_eq!(report.video.broken_frames, 0, "{report}");
    assert!(report.video.longest_gap_ms < 1_000.0, "{report}");
}

/// Cuts off all but so many senders; a clock that starts when the link is back.
fn cut(tree: &Tree, kept: usize) -> Clock {
    tree.viewer_hop(0).unwrap().cut_all_but(Some(kept));
    // The time itself is what this is about.
    pause(CUT);
    tree.viewer_hop(0).unwrap().cut_all_but(None);
    Clock::start()
}

#[test]
fn a_headless_viewer_plays_on_within_a_second() {
    let mut tree = tree();
    let source = tree.go_live(0, &[]).unwrap();
    let others = others(&tree);
    let kept = tree.viewer_hop(0).unwrap().flows();
    let stalled = Viewers::start(&tree.whep_url("demo"), 1, &viewer::Options::default()).unwrap();
    stalled.wait(DEADLINE, |r| r.video.frames >= SOME).unwrap();
    let back = cut(&tree, kept);
    let silent = stalled.report();
    // Ten frames. It is packets that tell: this viewer holds frames back for a second where packets
    // before them are missing, while browsers go on from a key frame at once.
    let enough = silent.video.packets + 100;
    let after = stalled.wait(DEADLINE, |r| r.video.packets >= enough).unwrap();
    let took = Duration::from_micros(back.now().mono.0);
    println!("headless: ten frames {} ms after the link is back\n{after}", took.as_millis());
    assert!(took <= AGAIN, "{took:?}: {after}");
    let whole = |r: &Report| {
        r.video.key_frames > silent.video.key_frames && r.video.frames >= silent.video.frames + SOME
    };
    let later = stalled.wait(DEADLINE, whole).unwrap();
    assert_eq!((later.failed, later.connected), (0, 1), "{later}");
    assert_eq!(stalled.stop().1, 1);
    untouched(others);
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn chromium_plays_on_within_a_second() {
    let mut tree = tree();
    let source = tree.go_live(0, &[]).unwrap();
    let others = others(&tree);
    let kept = tree.viewer_hop(0).unwrap().flows();
    let url = tree.watch_url("demo");
    let live = || tree.leaves[0].metrics().sum("soleil_leaf_live_total", &[]);
    let before = live();
    let (seen, cut_for) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| browser::watch(&url, 25).unwrap());
        until("the browser's session", DEADLINE, || live() > before);
        // It is watched from its third second on.
        pause(Duration::from_secs(6));
        let begun = Clock::start();
        cut(&tree, kept);
        let cut_for = Duration::from_micros(begun.now().mono.0);
        (watching.join().unwrap(), cut_for)
    });
    println!("Chromium: {:?} ms without a new frame: {}", seen.freeze_ms, seen.line);
    assert!(seen.ok && seen.sound.present, "{}", seen.line);
    let freeze = seen.freeze_ms.unwrap();
    assert!(freeze >= 9_000.0, "it was not cut off: {}", seen.line);
    assert!(freeze <= (cut_for + AGAIN).as_millis() as f64, "{}", seen.line);
    let now = seen.connection.as_ref().unwrap().location.as_ref();
    assert_eq!(now, seen.location.as_ref(), "another session: {}", seen.line);
    assert!(now.is_some(), "{}", seen.line);
    untouched(others);
    source.stop().unwrap();
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

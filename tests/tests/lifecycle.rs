//! Coming and going: sources that stop and return, viewers that leave properly or vanish, and
//! nodes that are told to stop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::harness::{Options, Tree};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::until;
use std::time::Duration;

const VIEWERS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(20);

fn watched(tree: &Tree) -> Viewers {
    let viewers =
        Viewers::start(&tree.whep_url("demo"), VIEWERS, &viewer::Options::default()).unwrap();
    viewers
        .wait(DEADLINE, |r| r.with_picture() == VIEWERS)
        .unwrap_or_else(|report| panic!("not all have a picture:\n{report}"));
    viewers
}

fn sessions(tree: &Tree) -> f64 {
    tree.leaves[0].metrics().sum("soleil_leaf_viewers", &[])
}

#[test]
fn viewers_stay_while_the_source_is_away() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let source = tree.go_live(0, &[]).unwrap();
    let viewers = watched(&tree);
    source.stop().unwrap();
    until("the stream to be off air", DEADLINE, || !tree.is_live("demo"));
    let frames = viewers.report().video.frames;
    // Another process: other SSRC, sequence numbers and time stamps.
    let _source = tree.go_live(0, &[]).unwrap();
    let wanted = frames + 60 * VIEWERS as u64;
    let report = viewers
        .wait(DEADLINE, |r| r.video.frames >= wanted)
        .unwrap_or_else(|report| panic!("the picture does not come back:\n{report}"));
    assert_eq!((report.connected, report.failed, report.unopened), (VIEWERS, 0, 0), "{report}");
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn viewers_stay_when_the_source_dies_and_another_takes_its_place_at_once() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let mut source = tree.go_live(0, &[]).unwrap();
    let viewers = watched(&tree);
    // No BYE: the ports are its own for two seconds more, and the other one is refused so long.
    source.process().kill();
    let keys: Vec<u64> = viewers.report().each.iter().map(|v| v.video.key_frames).collect();
    let _source = tree.broadcast(0, &[]).unwrap();
    let report = viewers
        .wait(DEADLINE, |r| r.each.iter().zip(&keys).all(|(v, k)| v.video.key_frames > *k))
        .unwrap_or_else(|report| panic!("the picture does not come back:\n{report}"));
    let wanted = report.video.frames + 60 * VIEWERS as u64;
    let report = viewers
        .wait(DEADLINE, |r| r.video.frames >= wanted)
        .unwrap_or_else(|report| panic!("the picture stops:\n{report}"));
    assert_eq!((report.connected, report.failed, report.unopened), (VIEWERS, 0, 0), "{report}");
    assert!(tree.is_live("demo"));
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn sessions_end_by_delete_and_without_consent() {
    let options = Options {
        // The default of 30 s is RFC 7675's; the rule is the same with less.
        leaf_extra: "consent_timeout = \"6s\"\n".into(),
        ..Options::default()
    };
    let mut tree = Tree::start(&options).unwrap();
    let _source = tree.go_live(0, &[]).unwrap();
    let viewers = watched(&tree);
    until("the leaf to count them", DEADLINE, || sessions(&tree) == VIEWERS as f64);
    let (report, deleted) = viewers.stop();
    assert_eq!((deleted, report.failed), (VIEWERS, 0), "{report}");
    until("sessions to end by DELETE", Duration::from_secs(5), || sessions(&tree) == 0.0);

    // Now without a word.
    drop(watched(&tree));
    until("sessions to end without consent", DEADLINE, || sessions(&tree) == 0.0);
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn every_node_drains_and_ends_with_0() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let _source = tree.go_live(0, &[]).unwrap();
    let viewers = watched(&tree);
    for node in [&mut tree.leaves[0], &mut tree.relays[0], &mut tree.root] {
        node.process.terminate();
        let status = node.process.wait(DEADLINE);
        let name = node.process.name();
        assert_eq!(status.and_then(|s| s.code()), Some(0), "{name}\n{}", node.process.log_tail());
    }
    drop(viewers);
}

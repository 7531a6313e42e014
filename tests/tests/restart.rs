//! The root is killed and started again on its data, while nodes and viewers stay: the tree is
//! adopted as it stands, and the same viewers see the stream go on. With real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser;
use soleil_tests::harness::{Options, Running, Tree};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::until;
use std::collections::BTreeMap;
use std::time::Duration;

const VIEWERS: usize = 50;
const DEADLINE: Duration = Duration::from_secs(40);

/// How long the page waits for a picture.
const PATIENCE_MS: f64 = 4_000.0;

fn tree() -> Tree {
    Tree::start(&Options { relays: 2, leaves: 3, root_children: 2, ..Options::default() }).unwrap()
}

/// Kills the root, lets everybody notice, and starts it again.
fn restart(tree: &mut Tree) {
    tree.root.process.kill();
    // The first one has no backup above it; another may have gone over to it.
    until("a relay to miss the root", DEADLINE, || !tree.relays[0].is_ready());
    tree.start_root_again().unwrap();
}

/// Lines of a node's log that say that it has come to a parent.
fn attaches(node: &Running) -> usize {
    node.process.log().iter().filter(|line| line.contains("attached parent=")).count()
}

#[test]
fn viewers_see_the_stream_go_on_after_a_restart_of_the_root() {
    let mut tree = tree();
    let _source = tree.go_live(0, &[]).unwrap();
    let viewers =
        Viewers::start(&tree.whep_url("demo"), VIEWERS, &viewer::Options::default()).unwrap();
    viewers
        .wait(DEADLINE, |r| r.with_picture() == VIEWERS)
        .unwrap_or_else(|report| panic!("not all have a picture:\n{report}"));
    for round in 0..2 {
        let keys: BTreeMap<_, _> =
            viewers.report().each.iter().map(|v| (v.id, v.video.key_frames)).collect();
        restart(&mut tree);
        let report = viewers
            .wait(DEADLINE, |r| r.each.iter().all(|v| v.video.key_frames > keys[&v.id]))
            .unwrap_or_else(|report| panic!("round {round}: no picture again:\n{report}"));
        // The source has sent all the time: its first packet comes at once, and its first key frame
        // when it is asked for one.
        let took = tree.root.logged_ago("stream is on air: true").expect("it is on air");
        println!("round {round}: {took:.3?} from the first packet to the last viewer's key frame");
        let wanted = report.video.frames + 30 * VIEWERS as u64;
        let report = viewers
            .wait(DEADLINE, |r| r.video.frames >= wanted)
            .unwrap_or_else(|report| panic!("round {round}: the picture stops:\n{report}"));
        let states = (report.connected, report.failed, report.unopened);
        assert_eq!(states, (VIEWERS, 0, 0), "{report}");
        for viewer in &report.each {
            assert_eq!(viewer.video.lost, 0, "a hole in the sequence: {report}");
        }
    }
    let ended = |leaf: &Running| leaf.metrics().sum("soleil_leaf_sessions_ended_total", &[]);
    assert_eq!(tree.leaves.iter().map(ended).sum::<f64>(), 0.0, "no session was lost");
    for leaf in &tree.leaves {
        assert_eq!(attaches(leaf), 1, "a leaf stays where it is\n{}", leaf.process.log_tail());
    }
    let relay = &tree.relays[0];
    assert_eq!(attaches(relay), 3, "at once, each time\n{}", relay.process.log_tail());
    assert!(tree.complaints().is_empty(), "{:?}", tree.complaints());
}

#[test]
fn a_browser_watches_on_after_a_restart_of_the_root() {
    let mut tree = Tree::start(&Options::default()).unwrap();
    let _source = tree.go_live(0, &[]).unwrap();
    let url = tree.watch_url("demo");
    let watching = std::thread::spawn(move || browser::watch(&url, 15).unwrap());
    let packets = |tree: &Tree| tree.leaves[0].metrics().sum("soleil_leaf_packets_total", &[]);
    // Some five seconds of the stream: the browser has begun to judge what it sees.
    until("the browser to watch", Duration::from_secs(60), || packets(&tree) > 1_500.0);
    restart(&mut tree);
    let seen = watching.join().unwrap();
    println!("{}", seen.line);
    assert!(seen.ok && seen.frames.backwards == 0, "{}", seen.line);
    let freeze = seen.freeze_ms.unwrap();
    assert!(freeze > 100.0, "nothing happened: {}", seen.line);
    // A page whose picture has stood for so long joins anew by itself.
    if freeze < PATIENCE_MS {
        let at_end = seen.connection.unwrap().location;
        assert!(
            seen.location.is_some() && seen.location == at_end,
            "another session: {}",
            seen.line
        );
    }
}

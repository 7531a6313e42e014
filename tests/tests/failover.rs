//! A relay dies, is stopped, or cannot be reached any more under its viewers: nobody loses a frame,
//! and nobody a session. Real processes and sockets, headless viewers and Chromium.
//!
//! How long the picture stands still is measured by `make soak`; here only that it is far shorter
//! than any time-out, since other things may run on the machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use soleil_tests::browser;
use soleil_tests::harness::{Broadcast, Options, Running, Tree};
use soleil_tests::viewer::{self, Report, Viewers};
use soleil_tests::wait::until;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const VIEWERS: usize = 50;
/// Frames that every viewer watches before and after the event: four seconds.
const SPAN: u64 = 120;
const SOURCE: [&str; 2] = ["--bitrate", "2500"];
/// The picture stands still for less. A node that had to go to the root would take longer.
const STANDSTILL_MS: f64 = 1_000.0;

/// Two relays and three leaves. The planner fills one relay before it wakes the other.
fn options() -> Options {
    Options { relays: 2, leaves: 3, root_children: 4, ..Options::default() }
}

fn sum(tree: &Tree, name: &str) -> f64 {
    tree.leaves.iter().map(|leaf| leaf.metrics().sum(name, &[])).sum()
}

/// A tree on air with viewers who have a picture, and a backup ready for each leaf.
struct Scene {
    tree: Tree,
    viewers: Viewers,
    before: Report,
}

impl Scene {
    fn new(options: &Options) -> (Self, Broadcast) {
        let tree = Tree::start(options).unwrap();
        let source = tree.go_live(0, &SOURCE).unwrap();
        let viewers =
            Viewers::start(&tree.whep_url("demo"), VIEWERS, &viewer::Options::default()).unwrap();
        viewers
            .wait(DEADLINE, |r| r.with_picture() == VIEWERS)
            .unwrap_or_else(|r| panic!("not all have a picture:\n{r}"));
        let leaves = tree.leaves.len() as f64;
        until("backups", DEADLINE, || sum(&tree, "soleil_backup_warm") == leaves);
        let mut scene = Self { before: viewers.report(), tree, viewers };
        scene.before = scene.watch();
        (scene, source)
    }

    /// Lets the viewers watch for a while.
    fn watch(&self) -> Report {
        self.viewers
            .watch(DEADLINE, SPAN)
            .unwrap_or_else(|r| panic!("a viewer has too few frames:\n{r}"))
    }

    /// Nobody has lost anything since the scene began.
    fn nothing_lost(&self) {
        let after = self.watch();
        let (a, b) = (&self.before.video, &after.video);
        let gaps = (a.gap_ms(), b.gap_ms());
        println!("longest gap until then and in all, ms: {gaps:?}; repaired {}", b.repaired);
        let lost = (b.lost - a.lost, b.broken_frames - a.broken_frames);
        assert_eq!(lost, (0, 0), "packets and frames\n{after}");
        assert_eq!(after.audio.lost, self.before.audio.lost, "the sound\n{after}");
        assert_eq!((after.failed, after.connected), (0, VIEWERS), "{after}");
        assert!(b.gap_ms() < STANDSTILL_MS, "{after}");
        assert_eq!(sum(&self.tree, "soleil_leaf_sessions_ended_total"), 0.0, "no session ended");
    }

    /// The relay that the leaves hang below: what it sends rises.
    fn serving(&self) -> usize {
        let sent = |relay: &Running| {
            relay.metrics().sum("soleil_hop_packets_sent_total", &[("peer", "child")])
        };
        let live = |n: &usize| self.tree.relays[*n].is_ready();
        let relays: Vec<usize> = (0..self.tree.relays.len()).filter(live).collect();
        let before: Vec<f64> = relays.iter().map(|n| sent(&self.tree.relays[*n])).collect();
        let mut serving = 0;
        until("a relay that sends", DEADLINE, || {
            let rise = |at: &usize| sent(&self.tree.relays[relays[*at]]) > before[*at] + 50.0;
            (0..relays.len()).find(rise).map(|at| serving = relays[at]).is_some()
        });
        serving
    }
}

#[test]
fn a_relay_that_is_killed_costs_no_frame() {
    let (mut scene, _source) = Scene::new(&options());
    let url = scene.tree.watch_url("demo");
    let chromium = std::thread::spawn(move || browser::watch(&url, 25));
    let joined = VIEWERS as f64 + 1.0;
    until("Chromium", DEADLINE, || sum(&scene.tree, "soleil_leaf_live_total") == joined);
    scene.before = scene.watch();
    // One after the other: the leaves go to the second relay, and from there to the root.
    for _ in 0..2 {
        let relay = scene.serving();
        until("backups", DEADLINE, || sum(&scene.tree, "soleil_backup_warm") == 3.0);
        scene.tree.relays[relay].process.kill();
        scene.nothing_lost();
    }
    assert!(sum(&scene.tree, "soleil_failovers_total") == 6.0);
    let seen = chromium.join().unwrap().unwrap();
    println!("{}", seen.line);
    assert!(seen.ok, "{}", seen.line);
    assert_eq!(seen.frames.decoded, seen.frames.expected, "{}", seen.line);
    assert!(seen.freeze_ms.unwrap() < STANDSTILL_MS, "{}", seen.line);
    assert_eq!(seen.frames.backwards, 0, "{}", seen.line);
}

#[test]
fn a_relay_that_is_stopped_costs_no_frame() {
    // No connection breaks: that nothing comes is all that there is to be seen.
    let (mut scene, _source) = Scene::new(&options());
    let relay = scene.serving();
    scene.tree.relays[relay].process.freeze(true);
    scene.nothing_lost();
    assert!(sum(&scene.tree, "soleil_failovers_total") >= 3.0);
    // It comes back and finds nobody below it; nobody is hurt by that.
    scene.tree.relays[relay].process.freeze(false);
    scene.nothing_lost();
    assert!(scene.tree.complaints().is_empty(), "{:?}", scene.tree.complaints());
}

#[test]
fn a_link_that_becomes_a_black_hole_costs_no_frame() {
    // Control and media, to its parent and to its children.
    let (mut scene, _source) = Scene::new(&options().with_holes());
    scene.tree.black_hole(scene.serving(), true);
    scene.nothing_lost();
    assert!(sum(&scene.tree, "soleil_failovers_total") >= 3.0);
    assert!(scene.tree.complaints().is_empty(), "{:?}", scene.tree.complaints());
}

#[test]
fn a_relay_that_loses_its_way_to_the_root_costs_no_frame() {
    // Its children hear its heartbeats all the time: it has to tell them.
    let (mut scene, _source) = Scene::new(&options().with_holes());
    scene.tree.cut_off(scene.serving(), true);
    scene.nothing_lost();
    assert!(sum(&scene.tree, "soleil_failovers_total") >= 3.0);
    assert!(scene.tree.complaints().is_empty(), "{:?}", scene.tree.complaints());
}

#[test]
fn a_relay_that_is_told_to_stop_hands_its_children_over_first() {
    let (mut scene, _source) = Scene::new(&options());
    let relay = scene.serving();
    scene.tree.relays[relay].process.terminate();
    scene.nothing_lost();
    let process = &mut scene.tree.relays[relay].process;
    let status = process.wait(DEADLINE);
    assert_eq!(status.and_then(|s| s.code()), Some(0), "{}", process.log_tail());
    assert_eq!(sum(&scene.tree, "soleil_failovers_total"), 0.0, "they were moved in time");
}

#[test]
fn an_idle_source_is_no_dead_parent() {
    let (mut scene, source) = Scene::new(&options());
    source.stop().unwrap();
    until("silence", DEADLINE, || !scene.tree.is_live("demo"));
    // Four seconds at least: the root asks each leaf for its statistics every two.
    let labels = [("direction", "in"), ("type", "reqfullstats")];
    let asked = || -> f64 {
        let of = |leaf: &Running| leaf.metrics().sum("soleil_control_messages_total", &labels);
        scene.tree.leaves.iter().map(of).sum()
    };
    let enough = asked() + 3.0 * scene.tree.leaves.len() as f64;
    until("the root's questions", DEADLINE, || asked() >= enough);
    assert_eq!(sum(&scene.tree, "soleil_failovers_total"), 0.0);
    assert_eq!(sum(&scene.tree, "soleil_backup_warm"), 3.0);
    assert!(scene.tree.complaints().is_empty(), "{:?}", scene.tree.complaints());
}

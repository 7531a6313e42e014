//! "Bad input and attack, each tested", on whole trees of processes over real sockets: an insider
//! with a certificate and the root's own ticket key (`insider`), strangers who hold connections
//! open (`crowd`), and forged packets on a hop (`media`). Each thing is refused, counted in a metric,
//! told in a bounded number of lines of the log, and viewers lose nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crowd;
mod evil;
mod insider;
mod media;

use relay_node::clock::Clock;
use relay_node::refusals::{TOLD_AT_ONCE, TOLD_EVERY};
use soleil_tests::harness::{Broadcast, Options, Running, Tree};
use soleil_tests::viewer::{self, Viewers};
use soleil_tests::wait::until;
use std::time::Duration;

const VIEWERS: usize = 3;
const DEADLINE: Duration = Duration::from_secs(30);

/// A tree with a stream on air and viewers, who have lost nothing so far.
struct Scene {
    tree: Tree,
    viewers: Viewers,
    _source: Broadcast,
    clock: Clock,
}

impl Scene {
    fn new(options: &Options) -> Self {
        let tree = Tree::start(options).unwrap();
        let source = tree.go_live(0, &[]).unwrap();
        let url = tree.whep_url("demo");
        let viewers = Viewers::start(&url, VIEWERS, &viewer::Options::default()).unwrap();
        viewers
            .wait(DEADLINE, |r| r.with_picture() == VIEWERS)
            .unwrap_or_else(|report| panic!("not all have a picture:\n{report}"));
        Self { tree, viewers, _source: source, clock: Clock::start() }
    }

    /// The viewers go on for a second and have lost nothing; the nodes of the tree are attached where
    /// they were, and nobody has ended or panicked.
    fn unharmed(&mut self) {
        let frames = self.viewers.report().video.frames;
        let report = self
            .viewers
            .wait(DEADLINE, |r| r.video.frames >= frames + 30 * VIEWERS as u64)
            .unwrap_or_else(|report| panic!("the picture stands still:\n{report}"));
        assert_eq!((report.failed, report.unopened), (0, 0), "{report}");
        assert_eq!((report.video.lost, report.audio.lost), (0, 0), "{report}");
        assert_eq!(report.video.broken_frames, 0, "{report}");
        for node in self.tree.relays.iter().chain(&self.tree.leaves) {
            assert!(node.is_ready(), "{} is not ready", node.process.name());
            let failovers = node.metrics().sum("soleil_failovers_total", &[]);
            assert_eq!(failovers, 0.0, "{}", node.process.name());
        }
        assert!(self.tree.complaints().is_empty(), "{:?}", self.tree.complaints());
    }

    /// The log of a node tells of everything that was refused for this reason, and in few lines.
    fn told(&self, node: &Running, reason: &str, times: u64) {
        let name = node.process.name();
        until(&format!("the log of {name} to tell of {times} {reason}"), DEADLINE, || {
            told(node, reason).1 >= times
        });
        let (lines, spoken) = told(node, reason);
        let seconds = self.clock.now().mono.0 / 1_000_000;
        let most = u64::from(TOLD_AT_ONCE) + seconds / TOLD_EVERY.as_secs() + 2;
        assert!(lines <= most, "{name}: {lines} lines of {reason} in {seconds} s");
        println!("{name}: {reason}: {spoken} told in {lines} lines within {seconds} s");
    }
}

/// Lines of a node's log about what it refused for this reason, and for how many they speak.
fn told(node: &Running, reason: &str) -> (u64, u64) {
    let mark = format!("reason=\"{reason}\"");
    let lines = node.process.log().into_iter().filter(|line| line.contains(&mark));
    lines.fold((0, 0), |(lines, sum), line| {
        let times = line.rsplit_once("times=").map_or("", |(_, rest)| rest);
        let digits: String = times.chars().take_while(char::is_ascii_digit).collect();
        (lines + 1, sum + digits.parse::<u64>().unwrap_or(0))
    })
}

/// How often a node has refused something on its control links for this reason.
fn refused(node: &Running, reason: &str) -> u64 {
    node.metrics().sum("soleil_control_refused_total", &[("reason", reason)]) as u64
}

//! The long run: relays die, stop and leave under viewers, again and again, and the longest time
//! without a new frame at any viewer is measured each time. `make soak` prints the table that
//! docs/failover.md shows.

use anyhow::{Context, bail, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;
use soleil_tests::harness::{Broadcast, Options, Tree};
use soleil_tests::viewer::{self, Report, Viewers};
use soleil_tests::wait::holds_within;
use std::path::PathBuf;
use std::time::Duration;

/// Nothing that is waited for takes longer.
const DEADLINE: Duration = Duration::from_secs(60);
/// Frames that each viewer watches after an event: three seconds.
const FRAMES: u64 = 90;

/// What happens to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    /// SIGKILL: its connections break.
    Kill,
    /// SIGSTOP for three seconds: no connection breaks, nothing comes.
    Stop,
    /// SIGTERM: it drains, and its children are moved before it goes.
    Drain,
}

/// Breaks relays under viewers and measures what they notice.
#[derive(Debug, Parser)]
#[command(name = "soleil-soak", version)]
struct Arguments {
    /// What happens to a relay.
    #[arg(value_enum)]
    event: Event,
    /// How often.
    #[arg(short, long, default_value_t = 20)]
    times: usize,
    /// Viewers at the three leaves.
    #[arg(short = 'n', long, default_value_t = 50)]
    viewers: usize,
    /// Writes all figures there, too.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One event's figures.
#[derive(Debug, Serialize)]
struct Row {
    /// Longest time without a new frame at any viewer, ms.
    gap_ms: f64,
    /// The same in the seconds before the event.
    before_ms: f64,
    /// Packets of the picture that never came, over all viewers.
    lost: u64,
    /// Frames that could not be shown, over all viewers.
    broken: u64,
    /// Viewers whose session ended.
    sessions: u64,
}

#[derive(Debug, Serialize)]
struct Results {
    event: Event,
    viewers: usize,
    rows: Vec<Row>,
}

struct Scene {
    tree: Tree,
    viewers: Viewers,
    count: usize,
    _source: Broadcast,
}

impl Scene {
    fn start(count: usize) -> anyhow::Result<Self> {
        let options = Options { relays: 2, leaves: 3, root_children: 5, ..Options::default() };
        let tree = Tree::start(&options)?;
        let source = tree.go_live(0, &[])?;
        let viewers = Viewers::start(&tree.whep_url("demo"), count, &viewer::Options::default())?;
        if let Err(report) = viewers.wait(DEADLINE, |r| r.with_picture() == count) {
            bail!("not all viewers have a picture:\n{report}");
        }
        Ok(Self { tree, viewers, count, _source: source })
    }

    fn sum(&self, name: &str) -> f64 {
        self.tree.leaves.iter().map(|leaf| leaf.metrics().sum(name, &[])).sum()
    }

    /// Each leaf has a backup, and both relays have children (or are one at least).
    fn settle(&self) -> anyhow::Result<()> {
        let leaves = self.tree.leaves.len() as f64;
        let settled = || self.sum("soleil_backup_warm") == leaves;
        ensure!(holds_within(DEADLINE, settled), "the leaves have no backups");
        Ok(())
    }

    fn watch(&self) -> anyhow::Result<Report> {
        let enough = self.viewers.report().video.frames + FRAMES * self.count as u64;
        match self.viewers.wait(DEADLINE, |r| r.video.frames >= enough) {
            Ok(report) => Ok(report),
            Err(report) => bail!("too few frames:\n{report}"),
        }
    }

    /// One event at a relay that somebody hangs below, and what came of it.
    fn event(&mut self, event: Event) -> anyhow::Result<Row> {
        self.settle()?;
        self.viewers.mark();
        let before = self.watch()?;
        let busy = |relay: &soleil_tests::harness::Running| {
            relay.metrics().sum("soleil_hop_packets_sent_total", &[("peer", "child")])
        };
        // The one that sends: what it has sent rises.
        let first: Vec<f64> = self.tree.relays.iter().map(busy).collect();
        self.watch()?;
        let rise = |n: &usize| busy(&self.tree.relays[*n]) - first[*n];
        let relay = (0..self.tree.relays.len())
            .max_by(|a, b| rise(a).total_cmp(&rise(b)))
            .context("no relay")?;
        self.viewers.mark();
        match event {
            Event::Kill => self.tree.relays[relay].process.kill(),
            Event::Stop => self.tree.relays[relay].process.freeze(true),
            Event::Drain => self.tree.relays[relay].process.terminate(),
        }
        let after = self.watch()?;
        match event {
            Event::Stop => self.tree.relays[relay].process.freeze(false),
            Event::Kill | Event::Drain => {
                let ended = self.tree.relays[relay].process.wait(DEADLINE).is_some();
                ensure!(ended, "relay-{} does not end", relay + 1);
                self.tree.start_relay_again(relay)?;
            }
        }
        Ok(Row {
            gap_ms: after.video.longest_gap_ms,
            before_ms: before.video.longest_gap_ms,
            lost: after.video.lost - before.video.lost,
            broken: after.video.broken_frames - before.video.broken_frames,
            sessions: after.failed as u64 + (self.count - after.connected) as u64,
        })
    }
}

/// Of sorted figures.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or(0.0)
}

fn main() -> anyhow::Result<()> {
    soleil_tests::log_to_stderr();
    let a = Arguments::parse();
    let mut scene = Scene::start(a.viewers)?;
    let mut rows = Vec::new();
    for n in 1..=a.times {
        let row = scene.event(a.event)?;
        eprintln!(
            "{n}/{}: gap {:.0} ms (before {:.0}), {} packets and {} frames lost",
            a.times, row.gap_ms, row.before_ms, row.lost, row.broken
        );
        rows.push(row);
    }
    let sorted = |of: fn(&Row) -> f64| {
        let mut all: Vec<f64> = rows.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (gaps, before) = (sorted(|r| r.gap_ms), sorted(|r| r.before_ms));
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    println!("{:?}, {} times, {} viewers", a.event, a.times, a.viewers);
    println!("{:<28}{:>10}{:>10}{:>10}", "longest gap, ms", "median", "p99", "max");
    for (what, all) in [("before", &before), ("after the event", &gaps)] {
        let (p50, p99) = (percentile(all, 0.5), percentile(all, 0.99));
        println!("{what:<28}{p50:>10.0}{p99:>10.0}{:>10.0}", percentile(all, 1.0));
    }
    let (lost, broken, sessions) = (sum(|r| r.lost), sum(|r| r.broken), sum(|r| r.sessions));
    println!("packets lost {lost}, frames lost {broken}, sessions lost {sessions}");
    if let Some(path) = a.json {
        let results = Results { event: a.event, viewers: a.viewers, rows };
        std::fs::write(&path, serde_json::to_string_pretty(&results)?)
            .with_context(|| path.display().to_string())?;
    }
    Ok(())
}

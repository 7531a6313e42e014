//! A tree on air with its viewers, what happens to one of its nodes, and what the viewers notice.

use crate::machine::{Held, Machine};
use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use soleil_tests::harness::{Broadcast, Options, Running, Seen, Tree};
use soleil_tests::viewer::{self, Report, Viewers};
use soleil_tests::wait::holds_within;
use std::time::Duration;

/// Nothing that is waited for takes longer.
const DEADLINE: Duration = Duration::from_secs(60);
/// Frames that every viewer watches before and after an event: three seconds.
const FRAMES: u64 = 90;
/// What the source sends, in kbit/s.
const BITRATE: &str = "2500";
/// Leaves, each with a share of the viewers.
const LEAVES: usize = 3;
/// Packets before an event that say that a relay carries the stream.
const CARRIES: f64 = 50.0;

/// Frames come so evenly before an event: no longer pause than this, in ms, at any viewer.
const EVEN_MS: f64 = 66.7;
/// So often there may be something else going on, in the whole run.
const MAX_UNEVEN: usize = 200;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Nothing: what pictures do on this machine by themselves.
    Nothing,
    /// SIGKILL of a relay: its connections break.
    Kill,
    /// SIGSTOP of a relay for three seconds: no connection breaks, nothing comes.
    Stop,
    /// A relay's links carry nothing for three seconds, up and down, and nobody closes them.
    Blackhole,
    /// A relay's link to the root carries nothing for three seconds, and its children reach it as
    /// before.
    Uplink,
    /// SIGTERM of a relay: it drains, and its children are moved before it goes.
    Drain,
    /// A leaf is moved to another relay.
    Move,
    /// A relay with all leaves and viewers below it is moved to another relay.
    Subtree,
    /// SIGKILL of the root, which is started again when it is missed. The time is the one from its
    /// first packet of the source to the key frame at the last viewer.
    Root,
}

/// A frame's time at 30 a second, in ms.
const FRAME_MS: f64 = 1_000.0 / 30.0;

impl Event {
    /// What docs/failover.md promises: the longest time without a new frame in ms, where frames
    /// came so evenly before.
    pub fn limit_ms(self, before_ms: f64) -> f64 {
        match self {
            Event::Kill => 150.0,
            Event::Stop | Event::Blackhole => 350.0,
            // The relay has to notice, and to be believed.
            Event::Uplink => 450.0,
            Event::Nothing | Event::Drain | Event::Move | Event::Subtree => before_ms + FRAME_MS,
            Event::Root => 1_000.0,
        }
    }
}

/// What one event did.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Longest time without a new frame at any viewer, ms.
    pub gap_ms: f64,
    /// Viewers whose picture stood for longer than any did before the event, and a frame's time more: all of
    /// them if the machine held its breath, those below one node if that did.
    pub stood: usize,
    /// The same in the seconds before the event.
    pub before_ms: f64,
    /// The same since the event before, while what it had broken was mended and the tree came to
    /// rest.
    pub mending_ms: f64,
    /// Packets that never came and frames that could not be shown meanwhile.
    pub mending_lost: u64,
    /// Packets of picture and sound that never came, over all viewers.
    pub lost: u64,
    /// Frames that could not be shown, over all viewers.
    pub broken: u64,
    /// Viewers whose session ended.
    pub sessions: u64,
    /// The machine's part: see `machine::Held`.
    pub late_ms: f64,
    pub stolen_ms: f64,
}

/// A tree on air.
pub struct Scene {
    tree: Tree,
    viewers: Viewers,
    count: usize,
    events: usize,
    /// How often frames came too unevenly for an event.
    pub uneven: usize,
    /// What the viewers had after the last event.
    last: Option<Report>,
    machine: Machine,
    _source: Broadcast,
}

impl Scene {
    /// The tree that an event happens in, with viewers that have a picture.
    ///
    /// # Errors
    /// If it does not get there.
    pub fn start(event: Event, count: usize) -> anyhow::Result<Self> {
        let relays = if event == Event::Subtree { 3 } else { 2 };
        let mut options = Options {
            relays,
            leaves: LEAVES,
            root_children: relays + LEAVES,
            steered: true,
            // The same relays are killed again and again.
            root_extra: "[tree]\navoid_unsteady = false\n".into(),
            ..Options::default()
        };
        if matches!(event, Event::Blackhole | Event::Uplink) {
            options = options.with_holes();
        }
        let mut tree = Tree::start(&options)?;
        let source = tree.go_live(0, &["--bitrate", BITRATE])?;
        if event == Event::Subtree {
            tree.move_node("relay-3", "relay-1", DEADLINE)?;
            for leaf in 1..=LEAVES {
                tree.move_node(&format!("leaf-{leaf}"), "relay-3", DEADLINE)?;
            }
        }
        let viewers = Viewers::start(&tree.whep_url("demo"), count, &viewer::Options::default())?;
        if let Err(report) = viewers.wait(DEADLINE, |r| r.with_picture() == count) {
            bail!("not all viewers have a picture:\n{report}");
        }
        let machine = Machine::start()?;
        Ok(Self {
            tree,
            viewers,
            count,
            events: 0,
            uneven: 0,
            last: None,
            machine,
            _source: source,
        })
    }

    /// Everybody is in the tree, and each leaf has a backup that is ready.
    fn is_settled(&self) -> anyhow::Result<bool> {
        let seen = self.tree.seen()?;
        let present = seen.iter().filter(|n| n.attached).count();
        let warm: f64 =
            self.tree.leaves.iter().map(|n| n.metrics().sum("soleil_backup_warm", &[])).sum();
        Ok(present == self.tree.nodes().count() && warm == LEAVES as f64)
    }

    fn settle(&self) -> anyhow::Result<()> {
        let settled = holds_within(DEADLINE, || self.is_settled().unwrap_or(false));
        ensure!(settled, "the tree does not come to rest: {:#?}", self.tree.seen()?);
        Ok(())
    }

    /// Lets every viewer watch for three seconds.
    fn watch(&self) -> anyhow::Result<Report> {
        match self.viewers.watch(DEADLINE, FRAMES) {
            Ok(report) => Ok(report),
            Err(report) => bail!("a viewer has too few frames:\n{report}"),
        }
    }

    fn sent(&self) -> Vec<f64> {
        let sent = |relay: &Running| {
            relay.metrics().sum("soleil_hop_packets_sent_total", &[("peer", "child")])
        };
        self.tree.relays.iter().map(sent).collect()
    }

    /// One event, and what came of it.
    ///
    /// # Errors
    /// If the tree does not come to rest before it, or the event can't be made.
    pub fn event(&mut self, event: Event) -> anyhow::Result<Row> {
        if event == Event::Root {
            return self.lose_root();
        }
        let mut mending_ms: f64 = 0.0;
        let (before, busiest) = loop {
            self.settle()?;
            mending_ms = mending_ms.max(self.viewers.report().video.gap_ms());
            self.viewers.mark();
            let first = self.sent();
            let report = self.watch()?;
            let rises = self.sent().iter().zip(first).map(|(now, then)| now - then).collect();
            if !self.is_settled()? {
                continue;
            }
            // What frames are late by then has nothing to do with the event, and would excuse it. A
            // plan that moves leaves meanwhile leaves no relay that has carried them all the time.
            if let Some(busiest) = busiest(rises).filter(|_| report.video.gap_ms() <= EVEN_MS) {
                break (report, busiest);
            }
            self.uneven += 1;
            ensure!(self.uneven <= MAX_UNEVEN, "frames come too unevenly, or over no relay");
        };
        self.viewers.mark();
        let (after, held) = self.happen(event, busiest)?;
        // What is mended from now on is the next row's.
        self.viewers.mark();
        self.events += 1;
        let lost = |r: &Report| r.video.lost + r.audio.lost;
        let missed = |r: &Report| lost(r) + r.video.broken_frames;
        let last = self.last.replace(after.clone());
        let (mending_ms, mending_lost) = match &last {
            Some(last) => (mending_ms, missed(&before) - missed(last)),
            // Before the first event the viewers were on their way.
            None => (0.0, 0),
        };
        Ok(Row {
            gap_ms: after.video.gap_ms(),
            stood: stood(&after, &before),
            before_ms: before.video.gap_ms(),
            mending_ms,
            mending_lost,
            lost: lost(&after) - lost(&before),
            broken: after.video.broken_frames - before.video.broken_frames,
            sessions: after.failed as u64 + (self.count - after.connected) as u64,
            late_ms: held.late_ms,
            stolen_ms: held.stolen_ms,
        })
    }

    /// The root dies and comes back on its data. The source goes on sending all the time.
    fn lose_root(&mut self) -> anyhow::Result<Row> {
        self.settle()?;
        self.viewers.mark();
        let before = self.watch()?;
        let keys: Vec<_> = before.each.iter().map(|v| (v.id, v.video.key_frames)).collect();
        self.machine.held();
        self.tree.root.process.kill();
        // The first relay has no backup above it; another may have gone over to it.
        let missed = holds_within(DEADLINE, || !self.tree.relays[0].is_ready());
        ensure!(missed, "nobody misses the root");
        self.tree.start_root_again()?;
        let has_another = |r: &Report, (id, keys): &(usize, u64)| {
            r.each.iter().any(|v| v.id == *id && v.video.key_frames > *keys)
        };
        let back = self.viewers.wait(DEADLINE, |r| keys.iter().all(|k| has_another(r, k)));
        let took = self.tree.root.logged_ago("stream is on air: true");
        let Ok(after) = back else { bail!("not all have a picture again") };
        let took = took.context("the stream is not on air")?;
        let held = self.machine.held();
        self.viewers.mark();
        self.watch()?;
        Ok(Row {
            gap_ms: took.as_secs_f64() * 1_000.0,
            stood: stood(&after, &before),
            before_ms: before.video.gap_ms(),
            mending_ms: 0.0,
            mending_lost: 0,
            lost: after.video.lost + after.audio.lost - before.video.lost - before.audio.lost,
            broken: after.video.broken_frames - before.video.broken_frames,
            sessions: after.failed as u64 + (self.count - after.connected) as u64,
            late_ms: held.late_ms,
            stolen_ms: held.stolen_ms,
        })
    }

    /// Makes the event happen, watches, and mends what was broken.
    fn happen(&mut self, event: Event, relay: usize) -> anyhow::Result<(Report, Held)> {
        self.machine.held();
        match event {
            Event::Nothing => {}
            Event::Kill => self.tree.relays[relay].process.kill(),
            Event::Stop => self.tree.relays[relay].process.freeze(true),
            Event::Blackhole => self.tree.black_hole(relay, true),
            Event::Uplink => self.tree.cut_off(relay, true),
            Event::Drain => self.tree.relays[relay].process.terminate(),
            Event::Move => {
                let leaf = format!("leaf-{}", self.events % LEAVES + 1);
                self.move_on(&leaf)?;
            }
            Event::Subtree => self.move_on("relay-3")?,
            Event::Root => bail!("the root has an event of its own"),
        }
        let after = self.watch()?;
        let held = self.machine.held();
        match event {
            Event::Uplink => {
                self.tree.cut_off(relay, false);
                // Below the first relay, which has no backup of its own.
                for leaf in (1..=LEAVES).map(|n| format!("leaf-{n}")) {
                    self.tree.move_node(&leaf, "relay-1", DEADLINE)?;
                }
            }
            Event::Stop => self.tree.relays[relay].process.freeze(false),
            Event::Blackhole => self.tree.black_hole(relay, false),
            Event::Kill | Event::Drain => {
                let ended = self.tree.relays[relay].process.wait(DEADLINE).is_some();
                ensure!(ended, "relay-{} does not end", relay + 1);
                self.tree.start_relay_again(relay)?;
            }
            Event::Nothing | Event::Move | Event::Subtree | Event::Root => {
                self.are_in_place(event)?;
            }
        }
        Ok((after, held))
    }

    /// Moves a node from one of the first two relays to the other.
    fn move_on(&mut self, node: &str) -> anyhow::Result<()> {
        let parent = self.tree.parent_of(node)?.with_context(|| format!("{node} has no parent"))?;
        let other = if parent == "relay-1" { "relay-2" } else { "relay-1" };
        Ok(self.tree.move_node(node, other, DEADLINE)?)
    }

    /// Everybody whom a move takes along has come along.
    fn are_in_place(&self, event: Event) -> anyhow::Result<()> {
        let there = |n: &Seen| {
            n.attached
                && (event != Event::Subtree
                    || !n.id.starts_with("leaf")
                    || (n.depth, n.parent.as_deref()) == (3, Some("relay-3")))
        };
        let all = holds_within(DEADLINE, || self.tree.seen().is_ok_and(|s| s.iter().all(there)));
        ensure!(all, "the tree is another one: {:#?}", self.tree.seen()?);
        Ok(())
    }
}

/// How many stood for longer than before.
fn stood(after: &Report, before: &Report) -> usize {
    let usual = before.video.gap_ms() + FRAME_MS;
    after.each.iter().filter(|viewer| viewer.video.gap_ms() > usual).count()
}

/// The relay that carries most, if one does.
fn busiest(rises: Vec<f64>) -> Option<usize> {
    let (most, rise) = rises.into_iter().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    (rise > CARRIES).then_some(most)
}

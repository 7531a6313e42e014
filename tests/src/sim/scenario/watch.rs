//! Looks at a simulated tree while things happen to it: whether it is one tree without a loop at
//! every step, how long beliefs are wrong after an event, what control costs each node, and how many
//! moves the root orders.

use super::outcome::{Check, Figure, Happening, Outcome, Quantiles, Sample};
use super::Size;
use crate::sim::{Sim, Traffic};
use soleil_protocol::PipelineId;
use std::time::Duration;

/// Pause between two looks at the tree.
const STEP: Duration = Duration::from_millis(100);

/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(1);

/// What must hold. What a scenario does not promise is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From an event to routing tables, media links and forwarding tables that are the truth.
    pub routing: Option<Duration>,
    /// From an event to statistics at the root that are the truth.
    pub statistics: Option<Duration>,
    /// Moves that the root orders in any minute: 60, and 30 that may have been saved up
    /// (`root_node::core::moves`).
    pub moves_per_minute: Option<u64>,
    /// Bytes of control that 99 of 100 nodes send and get in any second.
    pub bytes: Option<f64>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { routing: None, statistics: None, moves_per_minute: Some(90), bytes: None }
    }
}

/// A simulation that is looked at.
pub struct Watch {
    /// To do things to. [`Watch::run`] lets its time pass, so that nothing goes unseen.
    pub sim: Sim,
    /// What must hold.
    pub bounds: Bounds,
    name: &'static str,
    size: Size,
    pipeline: Option<PipelineId>,
    looks: u64,
    /// The first loop that was seen.
    looped: Option<String>,
    next_sample: Duration,
    /// Traffic at the last sample.
    before: Vec<Traffic>,
    happenings: Vec<Happening>,
    /// Which of them the tree has not got over yet, and what was wrong last.
    pending: Vec<usize>,
    wrong: Option<String>,
    samples: Vec<Sample>,
    checks: Vec<Check>,
    figures: Vec<Figure>,
}

impl Watch {
    /// Begins to look.
    pub fn new(name: &'static str, size: Size, sim: Sim, bounds: Bounds) -> Self {
        Self {
            next_sample: sim.elapsed() + SAMPLE,
            before: sim.nodes.iter().map(|n| n.traffic).collect(),
            sim,
            bounds,
            name,
            size,
            pipeline: None,
            looks: 0,
            looped: None,
            happenings: Vec::new(),
            pending: Vec::new(),
            wrong: None,
            samples: Vec::new(),
            checks: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// The root's statistics of this pipeline are compared with the truth from now on.
    pub fn audience(&mut self, pipeline: PipelineId) {
        self.pipeline = Some(pipeline);
    }

    /// Something has just been done to the tree: how long is it wrong?
    pub fn happens(&mut self, what: impl Into<String>) {
        self.pending.push(self.happenings.len());
        self.happenings.push(Happening {
            at: self.sim.elapsed().as_secs_f64(),
            what: what.into(),
            routing: None,
            statistics: None,
        });
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            let step = STEP.min(end - self.sim.elapsed());
            self.sim.run(step);
            self.look();
        }
    }

    /// Lets time pass until the tree has got over everything that happened; `false` if it has not
    /// within `limit` (then [`Watch::finish`] says so as well).
    pub fn calm(&mut self, limit: Duration) -> bool {
        let end = self.sim.elapsed() + limit;
        while !self.pending.is_empty() && self.sim.elapsed() < end {
            self.run(STEP);
        }
        self.pending.is_empty()
    }

    /// Lets time pass in which nothing happens: nobody may be refused anything, and nobody may be
    /// without a place.
    pub fn peace(&mut self, time: Duration) {
        let errors = |sim: &Sim| sim.kinds.get("error").copied().unwrap_or_default();
        let before = errors(&self.sim);
        self.run(time);
        let refused = errors(&self.sim) - before;
        self.at_most("ERROR messages in peace", refused as f64, 0.0, "messages");
        let running = self.sim.nodes.iter().skip(1).filter(|n| n.runs()).count();
        let lost = running.saturating_sub(self.sim.attached());
        self.at_most("nodes without a place at the end", lost as f64, 0.0, "nodes");
        let wrong = self.sim.disagreement();
        self.nothing("a belief that is wrong at the end", wrong);
    }

    /// One more invariant: at most so much.
    pub fn at_most(&mut self, what: &str, found: f64, bound: f64, unit: &'static str) {
        self.check(what, found, bound, unit, None);
    }

    /// One more invariant: nothing is wrong, or the first thing that is.
    pub fn nothing(&mut self, what: &str, wrong: Option<String>) {
        let found = f64::from(u8::from(wrong.is_some()));
        self.check(what, found, 0.0, "times", wrong);
    }

    /// A figure that is good to know.
    pub fn figure(&mut self, what: &str, value: f64, unit: &'static str) {
        self.figures.push(Figure { what: what.to_owned(), value, unit });
    }

    /// The sample of the last simulated second, if there was one.
    pub fn last(&self) -> Option<&Sample> {
        self.samples.last()
    }

    fn check(
        &mut self,
        what: &str,
        found: f64,
        bound: f64,
        unit: &'static str,
        detail: Option<String>,
    ) {
        let holds = found <= bound;
        self.checks.push(Check { what: what.to_owned(), found, bound, unit, holds, detail });
    }

    fn look(&mut self) {
        self.looks += 1;
        if self.looped.is_none() {
            let at = self.sim.elapsed();
            self.looped = self.sim.circle().map(|circle| format!("after {at:?}: {circle}"));
        }
        if !self.pending.is_empty() {
            self.look_closely();
        }
        while self.sim.elapsed() >= self.next_sample {
            self.next_sample += SAMPLE;
            self.sample();
        }
    }

    /// Compares beliefs with the truth.
    fn look_closely(&mut self) {
        let now = self.sim.elapsed().as_secs_f64();
        let routing = self.sim.disagreement();
        let statistics = match self.pipeline {
            Some(pipeline) if routing.is_none() => self.sim.wrong_statistics(pipeline),
            Some(_) => Some("the tree itself is not known yet".to_owned()),
            None => None,
        };
        for index in &self.pending {
            let happening = &mut self.happenings[*index];
            let since = now - happening.at;
            if routing.is_none() {
                happening.routing.get_or_insert(since);
            }
            if statistics.is_none() {
                happening.statistics.get_or_insert(since);
            }
        }
        let happenings = &self.happenings;
        self.pending.retain(|i| happenings[*i].routing.is_none() || happenings[*i].statistics.is_none());
        self.wrong = routing.or(statistics);
    }

    fn sample(&mut self) {
        let nodes = &self.sim.nodes;
        let live = |i: &usize| *i > 0 && nodes[*i].alive && !nodes[*i].stopped;
        let before = |i: usize| self.before.get(i).copied().unwrap_or_default();
        let share = |pick: fn(&Traffic) -> u64| {
            let each = (0..nodes.len()).filter(live);
            let each = each.map(|i| pick(&nodes[i].traffic).saturating_sub(pick(&before(i))) as f64);
            Quantiles::of(each.collect())
        };
        let (viewers_at_root, viewers) =
            self.pipeline.map_or((0.0, 0.0), |pipeline| self.sim.viewers(pipeline));
        let root = nodes.first().map_or(0, |root| root.traffic.bytes);
        let sample = Sample {
            at: self.sim.elapsed().as_secs_f64(),
            nodes: (0..nodes.len()).filter(live).count(),
            attached: self.sim.attached(),
            believed: self.sim.view.nodes.iter().skip(1).filter(|n| n.attached).count(),
            viewers,
            viewers_at_root,
            messages: share(|t| t.messages),
            bytes: share(|t| t.bytes),
            root_bytes: root.saturating_sub(before(0).bytes) as f64,
            moves: self.sim.moves,
            errors: self.sim.kinds.get("error").copied().unwrap_or_default(),
        };
        self.before = nodes.iter().map(|n| n.traffic).collect();
        self.samples.push(sample);
    }

    /// The longest time that something took, infinite if it never ended.
    fn longest(&self, pick: impl Fn(&Happening) -> Option<f64>) -> (f64, Option<String>) {
        let times = self.happenings.iter().map(|h| (pick(h).unwrap_or(f64::INFINITY), h));
        let worst = times.max_by(|a, b| a.0.total_cmp(&b.0));
        worst.map_or((0.0, None), |(time, h)| (time, Some(format!("{} at {:.1} s", h.what, h.at))))
    }

    /// Most moves in a minute.
    fn moves_in_a_minute(&self) -> u64 {
        let of = |i: usize| self.samples.get(i).map_or(0, |s| s.moves);
        (0..self.samples.len())
            .map(|end| of(end) - end.checked_sub(60).map_or(0, of))
            .max()
            .unwrap_or_default()
    }

    /// Puts everything together.
    pub fn finish(mut self) -> Outcome {
        let mut checks = std::mem::take(&mut self.checks);
        let looped = self.looped.take();
        self.nothing("a loop, at any of the looks", looped);
        let seconds = |d: Duration| d.as_secs_f64();
        if let Some(bound) = self.bounds.routing {
            let (time, worst) = self.longest(|h| h.routing);
            let detail = if time > seconds(bound) { self.wrong.clone().or(worst) } else { worst };
            self.check("longest time until routing is the truth", time, seconds(bound), "s", detail);
        }
        if let Some(bound) = self.bounds.statistics {
            let (time, worst) = self.longest(|h| h.statistics);
            let detail = if time > seconds(bound) { self.wrong.clone().or(worst) } else { worst };
            let what = "longest time until the root's statistics are the truth";
            self.check(what, time, seconds(bound), "s", detail);
        }
        if let Some(bound) = self.bounds.moves_per_minute {
            let moves = self.moves_in_a_minute() as f64;
            self.check("moves in any minute", moves, bound as f64, "moves", None);
        }
        let most = self.samples.iter().map(|s| s.bytes.p99).fold(0.0, f64::max);
        match self.bounds.bytes {
            Some(bound) => {
                let what = "control of a node in any second, p99 of the nodes";
                self.check(what, most, bound, "bytes", None);
            }
            None => self.figure("control of a node in any second, p99 of the nodes", most, "bytes"),
        }
        let of = |pick: fn(&Happening) -> Option<f64>| {
            Quantiles::of(self.happenings.iter().filter_map(pick).collect())
        };
        let (routing, statistics) = (of(|h| h.routing), of(|h| h.statistics));
        let events = self.happenings.len() as f64;
        self.figure("events", events, "");
        self.figure("until routing is the truth, median", routing.median, "s");
        self.figure("until routing is the truth, p99", routing.p99, "s");
        self.figure("until the statistics are the truth, median", statistics.median, "s");
        self.figure("until the statistics are the truth, p99", statistics.p99, "s");
        let (looks, moves) = (self.looks as f64, self.sim.moves as f64);
        self.figure("looks for loops", looks, "");
        self.figure("moves in all", moves, "");
        checks.append(&mut self.checks);
        Outcome {
            name: self.name.to_owned(),
            size: self.size,
            seed: self.sim.seed(),
            simulated: self.sim.elapsed().as_secs_f64(),
            digest: self.sim.digest(),
            samples: self.samples,
            happenings: self.happenings,
            checks,
            figures: self.figures,
        }
    }
}

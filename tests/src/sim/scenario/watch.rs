//! Looks at a simulated tree while things happen to it: whether it is one tree without a loop at
//! every step, how long beliefs are wrong after an event, what control costs each node, and how many
//! moves the root orders.

use super::Size;
use super::outcome::{Check, Figure, Happening, Outcome, Quantiles, Sample};
use crate::sim::{Sim, SimNode, Traffic};
use soleil_protocol::PipelineId;
use std::time::Duration;

/// Pause between two looks at the tree.
const STEP: Duration = Duration::from_millis(100);

/// How long the last move of the planner may keep beliefs wrong.
const SETTLED: Duration = Duration::from_secs(3);

/// How much longer the statistics may take from the event itself, with the planner's moves. (With those
/// alone the clock could be put back for ever.)
const MOVES_TAKE: Duration = Duration::from_secs(12);

/// What the busiest node may have, as a multiple of what 99 of 100 may.
const BUSIEST: f64 = 3.0;

/// Control of the root for each node, in peace and in any second of a tree that is not small: there
/// a join or a REDIRECT with backups for everybody at once, some kilobytes each.
const ROOT_IN_PEACE: f64 = 1_000.0;
const ROOT_IN_STORM: f64 = 8_000.0;
const NOT_SMALL: usize = 20;

/// Time between two samples.
const SAMPLE: Duration = Duration::from_secs(1);

/// What must hold. What a scenario does not promise is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From an event to routing tables, media links and forwarding tables that are the truth. It may
    /// be changed before [`Watch::happens`]: some things take longer to be noticed.
    pub routing: Option<Duration>,
    /// From an event to statistics at the root that are the truth; the same.
    pub statistics: Option<Duration>,
    /// Moves that the root orders in any minute: two at each sweep, of which a minute has up to 31, and
    /// 30 that may have been saved up (`root_node::core::moves`).
    pub moves_per_minute: Option<u64>,
    /// Bytes of control that 99 of 100 nodes send and get in any second, for each node of their
    /// [burden](crate::sim::SimNode::burden).
    pub bytes_each: Option<f64>,
}

impl Default for Bounds {
    fn default() -> Self {
        let Bounds { moves_per_minute, bytes_each, .. } = PROMISED;
        Self { routing: None, statistics: None, moves_per_minute, bytes_each }
    }
}

/// What is promised in calm and storm: a second for what is noticed at once, three for statistics that
/// climb the tree a hop a second, and bytes for STATS, questions for statistics, PINGs and a warm
/// link, with room for a join.
pub const PROMISED: Bounds = Bounds {
    routing: Some(Duration::from_secs(3)),
    statistics: Some(Duration::from_secs(8)),
    moves_per_minute: Some(92),
    bytes_each: Some(20_000.0),
};

/// What takes longer if nobody closes a connection: a parent notices a child that is gone by three
/// PINGs without an answer, two seconds apart.
pub const UNSEEN: Duration = Duration::from_secs(8);

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
    /// The root's moves so far, and when the last of them was seen.
    moved: (u64, f64),
    /// The first loop that was seen.
    looped: Option<String>,
    next_sample: Duration,
    /// Traffic at the last sample.
    before: Vec<Traffic>,
    /// Burdens then.
    burdens: Vec<usize>,
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
            burdens: sim.nodes.iter().map(SimNode::burden).collect(),
            sim,
            bounds,
            name,
            size,
            pipeline: None,
            looks: 0,
            moved: (0, 0.0),
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
            settled: None,
            settled_bound: self.bounds.statistics.map(|d| (d + MOVES_TAKE).as_secs_f64()),
            routing_bound: self.bounds.routing.map(|d| d.as_secs_f64()),
            statistics_bound: self.bounds.statistics.map(|d| d.as_secs_f64()),
        });
    }

    /// Something has been done to the tree without any connection being closed: it takes
    /// [`UNSEEN`] longer until everybody knows. What the tree has not got over yet has to wait for
    /// that, too, and is judged with it.
    pub fn happens_unseen(&mut self, what: impl Into<String>) {
        for index in &self.pending {
            let before = &mut self.happenings[*index];
            before.routing_bound = before.routing_bound.filter(|_| before.routing.is_some());
            before.statistics_bound =
                before.statistics_bound.filter(|_| before.statistics.is_some());
            before.settled_bound = before.settled_bound.filter(|_| before.settled.is_some());
        }
        let bounds = self.bounds;
        self.bounds.routing = bounds.routing.map(|d| d + UNSEEN);
        self.bounds.statistics = bounds.statistics.map(|d| d + UNSEEN);
        self.happens(what);
        self.bounds = bounds;
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            // Virtual time has microseconds.
            let step = STEP.min(end - self.sim.elapsed()).max(Duration::from_micros(1));
            self.sim.run(step);
            self.look();
        }
    }

    /// Time has passed that nobody looked at: it is in no sample.
    pub fn looks_again(&mut self) {
        self.next_sample = self.sim.elapsed() + SAMPLE;
        self.remember();
    }

    fn remember(&mut self) {
        self.before = self.sim.nodes.iter().map(|n| n.traffic).collect();
        self.burdens = self.sim.nodes.iter().map(SimNode::burden).collect();
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
        let moves = self.sim.moves;
        let known = std::mem::take(&mut self.sim.errors);
        self.run(time);
        // A node that moves has answered on its old way, now and then: that is refused.
        let moves = self.sim.moves - moves;
        let refused = (errors(&self.sim) - before).saturating_sub(moves);
        let said = self.sim.errors.iter().cloned().collect::<Vec<_>>().join("; ");
        self.sim.errors.extend(known);
        let said = Some(said).filter(|said| !said.is_empty());
        self.check(
            "ERROR messages in peace, beyond one a move",
            refused as f64,
            0.0,
            "messages",
            said,
        );
        let running = self.sim.nodes.iter().skip(1).filter(|n| n.runs()).count();
        let lost = running.saturating_sub(self.sim.attached());
        self.at_most("nodes without a place at the end", lost as f64, 0.0, "nodes");
        // The planner may have moved somebody just now.
        let end = self.sim.elapsed() + SETTLED;
        while self.sim.disagreement().is_some() && self.sim.elapsed() < end {
            self.run(STEP);
        }
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
        // A node on the move is counted at both parents or at none, until the news have climbed up.
        if self.sim.moves > self.moved.0 {
            self.moved = (self.sim.moves, now);
        }
        for index in &self.pending {
            let happening = &mut self.happenings[*index];
            if routing.is_none() {
                happening.routing.get_or_insert(now - happening.at);
            }
            if statistics.is_none() {
                happening.statistics.get_or_insert(now - happening.at.max(self.moved.1));
                happening.settled.get_or_insert(now - happening.at);
            }
        }
        let happenings = &self.happenings;
        self.pending
            .retain(|i| happenings[*i].routing.is_none() || happenings[*i].statistics.is_none());
        self.wrong = routing.or(statistics);
    }

    fn sample(&mut self) {
        let nodes = &self.sim.nodes;
        let live = |i: &usize| *i > 0 && nodes[*i].alive && !nodes[*i].stopped;
        let before = |i: usize| self.before.get(i).copied().unwrap_or_default();
        let share = |pick: &dyn Fn(usize, Traffic) -> f64| {
            let each = (0..nodes.len()).filter(live);
            Quantiles::of(each.map(|i| pick(i, nodes[i].traffic.since(before(i)))).collect())
        };
        let burden = |i: usize| nodes[i].burden().max(self.burdens.get(i).copied().unwrap_or(1));
        let most = |i: usize| nodes[i].traffic.since(before(i)).bytes as f64 / burden(i) as f64;
        let bytes_most = (0..nodes.len()).filter(live).map(most).fold(0.0, f64::max);
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
            messages: share(&|_, t| t.messages as f64),
            bytes: share(&|_, t| t.bytes as f64),
            bytes_each: share(&|i, t| t.bytes as f64 / nodes[i].burden() as f64),
            bytes_most,
            root_bytes: root.saturating_sub(before(0).bytes) as f64,
            moves: self.sim.moves,
            errors: self.sim.kinds.get("error").copied().unwrap_or_default(),
        };
        self.remember();
        self.samples.push(sample);
    }

    /// For each promise that was made, how long it took at most (infinite: it never ended).
    fn check_times(&mut self, what: &str, pick: impl Fn(&Happening) -> (Option<f64>, Option<f64>)) {
        let mut worst: Vec<(f64, f64, String, usize)> = Vec::new();
        for happening in &self.happenings {
            let (time, Some(bound)) = pick(happening) else { continue };
            let time = time.unwrap_or(f64::INFINITY);
            let name = format!("{} at {:.1} s", happening.what, happening.at);
            match worst.iter_mut().find(|known| known.0 == bound) {
                Some(known) => {
                    known.3 += 1;
                    if time > known.1 {
                        (known.1, known.2) = (time, name);
                    }
                }
                None => worst.push((bound, time, name, 1)),
            }
        }
        for (bound, time, name, count) in worst {
            let mut detail = format!("{count} events, longest: {name}");
            if let (true, Some(wrong)) = (time > bound, &self.wrong) {
                detail += &format!("; {wrong}");
            }
            self.check(what, time, bound, "s", Some(detail));
        }
    }

    /// Most moves in a minute. Where nobody watched for longer, as many less as there were seconds more: so
    /// many are granted in that time.
    fn moves_in_a_minute(&self) -> u64 {
        const MINUTE: f64 = 60.0;
        let mut since = 0;
        let in_a_minute = |(end, sample): (usize, &Sample)| {
            while since < end && self.samples[since + 1].at <= sample.at - MINUTE {
                since += 1;
            }
            let first = &self.samples[since];
            // A cast saturates: what is shorter than a minute grants nothing.
            let granted = (sample.at - first.at - MINUTE).ceil() as u64;
            (sample.moves - first.moves).saturating_sub(granted)
        };
        self.samples.iter().enumerate().map(in_a_minute).max().unwrap_or_default()
    }

    /// Puts everything together.
    pub fn finish(mut self) -> Outcome {
        let mut checks = std::mem::take(&mut self.checks);
        let looped = self.looped.take();
        self.nothing("a loop, at any of the looks", looped);
        self.check_times("until routing is the truth", |h| (h.routing, h.routing_bound));
        self.check_times("until the root's statistics are the truth", |h| {
            (h.statistics, h.statistics_bound)
        });
        let what = "until they are, from the event itself";
        self.check_times(what, |h| (h.settled, h.settled_bound));
        if let Some(bound) = self.bounds.moves_per_minute {
            let moves = self.moves_in_a_minute() as f64;
            self.check("moves in any minute", moves, bound as f64, "moves", None);
        }
        let most = |pick: fn(&Sample) -> f64| self.samples.iter().map(pick).fold(0.0, f64::max);
        let (each, all) = (most(|s| s.bytes_each.p99), most(|s| s.bytes.max));
        let busiest = most(|s| s.bytes_most);
        let (last_median, last_root) =
            self.samples.last().map_or((0.0, 0.0), |s| (s.bytes.median, s.root_bytes));
        if let Some(bound) = self.bounds.bytes_each {
            let what = "control for each node of the burden, any second, p99";
            self.check(what, each, bound, "bytes", None);
            let what = "control for each node of the burden, any second, the busiest";
            self.check(what, busiest, bound * BUSIEST, "bytes", None);
            let grown = self.samples.iter().filter(|s| s.nodes >= NOT_SMALL);
            let for_each = |s: &Sample| s.root_bytes / s.nodes.max(1) as f64;
            let (storm, peace) = (
                grown.map(for_each).fold(0.0, f64::max),
                self.samples.last().map_or(0.0, for_each),
            );
            let what = "control of the root for each node, any second";
            self.check(what, storm, ROOT_IN_STORM, "bytes", None);
            let what = "control of the root for each node, in peace";
            self.check(what, peace, ROOT_IN_PEACE, "bytes", None);
        }
        self.figure("control of a node in the last second, median", last_median, "bytes");
        self.figure("control of a node in any second, largest", all, "bytes");
        self.figure("control of the root in the last second", last_root, "bytes");
        let of = |pick: fn(&Happening) -> Option<f64>| {
            Quantiles::of(self.happenings.iter().filter_map(pick).collect())
        };
        let (routing, statistics) = (of(|h| h.routing), of(|h| h.statistics));
        let (depth, share) = self.sim.shape();
        self.figure("hops to the deepest node at the end", f64::from(depth), "");
        self.figure("nodes behind the root's busiest child at the end", share * 100.0, "%");
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

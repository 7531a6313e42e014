//! When a source's worker is started, asked to end, killed and started again. Pure: time and
//! randomness come in, what is to be done goes out; the process itself is the driver's.
//!
//! A worker that failed is started again after a pause, which doubles with each failure in a row, up to
//! a limit, and is spread by chance so that twenty sources of one dead server do not knock together.
//! A worker that has run well for a while has its failures forgiven; one whose input has come to an
//! end in order has not failed.

use super::job::Report;
use super::status::{Handling, Problem, SourceStatus, State, TrackStatus, Work};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use soleil_protocol::{Mono, Now};
use std::collections::VecDeque;
use std::time::Duration;

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From a worker's start to its first media, or to its saying that it waits for a sender.
    pub start: Duration,
    /// Without packets for so long: stalled.
    pub stall: Duration,
    /// Without packets for so long: started anew.
    pub give_up: Duration,
    /// A worker speaks once a second; one that is silent for so long hangs, and is killed.
    pub silent: Duration,
    /// From the request to end to the kill.
    pub end: Duration,
    /// The first pause after a failure.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// Whoever has run for so long has no failures behind him.
    pub steady: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // An RTSP server that drops what comes to it is noticed by rtspsrc after 20 s.
            start: Duration::from_secs(30),
            // As long as a stream without packets stays on air (ingest's OFF_AIR_AFTER).
            stall: Duration::from_secs(5),
            give_up: Duration::from_secs(15),
            silent: Duration::from_secs(20),
            end: Duration::from_secs(3),
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            steady: Duration::from_secs(30),
        }
    }
}

/// What happens to a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants to send, or a ladder's source does (only what is started on demand is asked).
    Wanted,
    /// A ladder's source has gone: its worker is to end.
    Unwanted,
    /// The worker is to end, and a new one to begin at once: it is to do something else.
    Again,
    /// The worker says something.
    Report(Report),
    /// The worker has ended, and how.
    Exited(String),
    /// It could not be started, and why.
    NotStarted(String),
    /// The root stops the source for good.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a worker that converts these tracks (and says why) even if they could pass through.
    Start(Vec<(String, String)>),
    /// Ask it to end.
    End,
    /// Kill it.
    Kill,
}

/// Where the worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is none; the next one is started then.
    Down(Option<Mono>),
    /// It works.
    Up {
        begun: Mono,
        /// It said something.
        heard: Mono,
        /// Media began, and went on last.
        flowed: Option<(Mono, Mono)>,
    },
    /// It should end; it is killed then, once.
    Ending { kill: Option<Mono>, flowed: Option<(Mono, Mono)> },
}

/// How a worker's life has turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Outcome {
    #[default]
    Unknown,
    Failed,
    End,
    /// It has to be another one.
    Asked,
}

/// One source.
#[derive(Debug)]
pub struct Supervisor {
    limits: Limits,
    on_demand: bool,
    /// A worker shall be there; always, but for a ladder.
    wanted: bool,
    status: SourceStatus,
    phase: Phase,
    outcome: Outcome,
    convert: Vec<(String, String)>,
    failures: u32,
    started: bool,
    stopped: bool,
    random: StdRng,
    actions: VecDeque<Action>,
}

impl Supervisor {
    /// A source of that kind for these tracks; `seed` spreads its pauses. One of kind RTMP is
    /// started when somebody wants to send, the others at once.
    pub fn new(
        now: Now,
        kind: impl Into<Work>,
        tracks: &[String],
        limits: Limits,
        seed: [u8; 32],
    ) -> Self {
        let kind = kind.into();
        let (on_demand, wanted) = (kind == Work::Rtmp, kind != Work::Ladder);
        let at_once = wanted && !on_demand;
        let absent = |name: &String| TrackStatus {
            name: name.clone(),
            input: None,
            handling: Handling::Absent,
        };
        let status = SourceStatus {
            kind,
            state: if at_once { State::Starting } else { State::Waiting },
            since: now.wall.millis().0,
            input: Vec::new(),
            tracks: tracks.iter().map(absent).collect(),
            restarts: 0,
            last_error: None,
        };
        Self {
            limits,
            on_demand,
            wanted,
            status,
            phase: Phase::Down(at_once.then_some(now.mono)),
            outcome: Outcome::Unknown,
            convert: Vec::new(),
            failures: 0,
            started: false,
            stopped: false,
            random: StdRng::from_seed(seed),
            actions: VecDeque::new(),
        }
    }

    /// As it is now.
    pub fn status(&self) -> &SourceStatus {
        &self.status
    }

    /// Whether a worker is there, or is to be.
    pub fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Down(_))
    }

    /// Takes an event.
    pub fn handle(&mut self, now: Now, event: Event) {
        match event {
            Event::Wanted => {
                let asked = self.on_demand || !self.wanted;
                self.wanted = true;
                if asked && !self.stopped && self.phase == Phase::Down(None) {
                    self.start(now);
                }
            }
            Event::Unwanted => {
                self.wanted = false;
                match self.phase {
                    Phase::Down(_) => self.phase = Phase::Down(None),
                    Phase::Up { .. } => self.end_in_order(now),
                    Phase::Ending { .. } => {}
                }
                if !self.stopped {
                    self.set(now, State::Waiting);
                }
            }
            Event::Again => {
                if matches!(self.phase, Phase::Up { .. }) {
                    self.end_in_order(now);
                }
            }
            Event::Report(report) => self.report(now, report),
            Event::Exited(how) => {
                if self.outcome == Outcome::Unknown {
                    self.fail(Problem::new("worker", format!("it ended by itself: {how}")));
                }
                self.exited(now);
            }
            Event::NotStarted(why) => {
                self.fail(Problem::new("worker", format!("it can't be started: {why}")));
                self.exited(now);
            }
            Event::Stop => {
                self.stopped = true;
                match self.phase {
                    Phase::Down(_) => self.phase = Phase::Down(None),
                    Phase::Up { .. } => self.end(now),
                    Phase::Ending { .. } => {}
                }
                self.set(now, State::Stopped);
            }
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        let Some(due) = self.poll_timeout() else { return };
        if due > now.mono {
            return;
        }
        match self.phase {
            Phase::Down(_) => self.start(now),
            Phase::Ending { flowed, .. } => {
                self.actions.push_back(Action::Kill);
                self.phase = Phase::Ending { kill: None, flowed };
            }
            Phase::Up { heard, flowed, .. } => {
                let limits = self.limits;
                if now.mono.since(heard) >= limits.silent {
                    let what = format!("it has said nothing for {}", seconds(limits.silent));
                    self.fail(Problem::new("worker", what));
                    self.phase = Phase::Ending { kill: None, flowed };
                    self.actions.push_back(Action::Kill);
                } else if flowed.is_none() {
                    let what = format!("no media within {}", seconds(limits.start));
                    self.fail(Problem::new("input", what));
                    self.end(now);
                } else if self.status.state == State::Stalled {
                    let what = format!("no packet for {}", seconds(limits.give_up));
                    self.fail(Problem::new("input", what));
                    self.end(now);
                } else {
                    self.set(now, State::Stalled);
                }
            }
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Supervisor::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Mono> {
        match self.phase {
            Phase::Down(start) => start,
            Phase::Ending { kill, .. } => kill,
            Phase::Up { begun, heard, flowed } => {
                let silent = heard.after(self.limits.silent);
                let other = match (flowed, self.status.state) {
                    (Some((_, last)), State::Stalled) => Some(last.after(self.limits.give_up)),
                    (Some((_, last)), _) => Some(last.after(self.limits.stall)),
                    (None, State::Waiting) => None,
                    (None, _) => Some(begun.after(self.limits.start)),
                };
                Some(other.map_or(silent, |other| other.min(silent)))
            }
        }
    }

    fn start(&mut self, now: Now) {
        let again = match self.status.kind {
            // The others come and go with their sources.
            Work::Ladder => self.outcome == Outcome::Failed,
            _ => !self.on_demand,
        };
        if self.started && again {
            self.status.restarts += 1;
        }
        self.started = true;
        self.outcome = Outcome::Unknown;
        self.phase = Phase::Up { begun: now.mono, heard: now.mono, flowed: None };
        self.set(now, State::Starting);
        self.actions.push_back(Action::Start(self.convert.clone()));
    }

    /// Asks the worker to end, which is no failure.
    fn end_in_order(&mut self, now: Now) {
        self.outcome = Outcome::Asked;
        self.end(now);
    }

    /// Asks the worker to end.
    fn end(&mut self, now: Now) {
        self.actions.push_back(Action::End);
        self.ending(now);
    }

    /// The worker is about to end.
    fn ending(&mut self, now: Now) {
        let flowed = match self.phase {
            Phase::Up { flowed, .. } => flowed,
            _ => None,
        };
        self.phase = Phase::Ending { kill: Some(now.mono.after(self.limits.end)), flowed };
    }

    fn fail(&mut self, problem: Problem) {
        self.outcome = Outcome::Failed;
        self.status.last_error = Some(problem);
    }

    fn report(&mut self, now: Now, report: Report) {
        let Phase::Up { begun, flowed, .. } = self.phase else { return };
        let heard = now.mono;
        self.phase = Phase::Up { begun, heard, flowed };
        match report {
            Report::Waiting => {
                if flowed.is_none() {
                    self.set(now, State::Waiting);
                }
            }
            Report::Plan { input, tracks } => {
                self.status.input = input;
                self.status.tracks = tracks;
                self.phase = Phase::Up { begun, heard, flowed: Some((heard, heard)) };
                self.set(now, State::Running);
            }
            Report::Flowing { packets } => {
                if let (Some((first, _)), true) = (flowed, packets > 0) {
                    self.phase = Phase::Up { begun, heard, flowed: Some((first, heard)) };
                    self.set(now, State::Running);
                }
            }
            Report::Remark(_) | Report::Delay(_) | Report::Left { .. } => {}
            Report::Convert { track, reason } => {
                if self.convert.iter().any(|(name, _)| *name == track) {
                    let what = format!("track {track} was to be converted, and was not: {reason}");
                    self.fail(Problem::new("worker", what));
                } else {
                    self.convert.push((track, reason));
                    self.outcome = Outcome::Asked;
                }
                self.ending(now);
            }
            Report::Problem(problem) => {
                self.fail(problem);
                self.ending(now);
            }
            Report::End => {
                self.outcome = Outcome::End;
                self.ending(now);
            }
        }
    }

    /// The worker is gone: what now?
    fn exited(&mut self, now: Now) {
        let flowed = match self.phase {
            Phase::Up { flowed, .. } | Phase::Ending { flowed, .. } => flowed,
            Phase::Down(_) => None,
        };
        if self.stopped {
            self.phase = Phase::Down(None);
            return;
        }
        if !self.wanted {
            self.phase = Phase::Down(None);
            self.set(now, State::Waiting);
            return;
        }
        let ended = self.outcome == Outcome::End;
        if ended && self.status.kind == Work::File {
            self.phase = Phase::Down(None);
            self.set(now, State::Ended);
            return;
        }
        if self.outcome == Outcome::Asked {
            // Nothing has failed: what was learnt is used at once.
            self.phase = Phase::Down((!self.on_demand).then_some(now.mono));
            self.set(now, if self.on_demand { State::Waiting } else { State::Starting });
            return;
        }
        if self.on_demand {
            // The publisher was cut off with the worker, and may come again when he likes.
            self.phase = Phase::Down(None);
            self.set(now, State::Waiting);
            return;
        }
        let steady = flowed.is_some_and(|(first, _)| now.mono.since(first) >= self.limits.steady);
        if steady || (ended && flowed.is_some()) {
            self.failures = 0;
        }
        let pause = self.pause();
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Down(Some(now.mono.after(pause)));
        self.set(now, State::BackingOff);
    }

    /// Doubled for each failure in a row, within the limit, and a quarter more or less by chance.
    fn pause(&mut self) -> Duration {
        let doubled = self.limits.first_pause.saturating_mul(1 << self.failures.min(16));
        doubled.min(self.limits.longest_pause).mul_f64(self.random.random_range(0.75..1.25))
    }

    fn set(&mut self, now: Now, state: State) {
        if self.status.state != state {
            self.status.state = state;
            self.status.since = now.wall.millis().0;
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

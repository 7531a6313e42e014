//! Runs the child process of one ladder: hands it the source's packets, hands its layers' to ingest,
//! hears what it says, asks it to end, kills it. When is decided in `sources::supervise`.

use super::budget::Cores;
use super::child::Worker;
use super::gop::Gop;
use super::job::Job;
use super::metrics::LadderHandle;
use super::plan::{Plan, Source, plan};
use super::rung::Rung;
use super::status::LadderStatus;
use super::wire::{self, Kind};
use crate::ingest::driver::{IngestHandle, Order};
use crate::ingest::feed::FedDatagram;
use crate::ingest::layer::LOCK_TIME;
use crate::ingest::tap::{Ladder, Tapped};
use crate::sources::job::{Make, Report};
use crate::sources::status::{State, Work};
use crate::sources::supervise::{Action, Event, Limits, Supervisor};
use bytes::Bytes;
use relay_node::clock::Clock;
use relay_node::identity;
use soleil_protocol::{Mono, Now};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{Interest, Ready};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A ladder's process speaks twice as fast as a source's: what it lacks, viewers lack at once.
const LIMITS: Limits = Limits {
    // A machine under load takes long to load GStreamer's plugins.
    start: Duration::from_secs(15),
    stall: Duration::from_secs(2),
    give_up: Duration::from_secs(5),
    silent: Duration::from_secs(6),
    end: Duration::from_secs(2),
    first_pause: Duration::from_millis(250),
    longest_pause: Duration::from_secs(30),
    steady: Duration::from_secs(30),
};

/// What a ladder needs.
pub struct Parts {
    /// Its place in the stream's ingest.
    pub place: Ladder,
    /// The rungs, best first.
    pub rungs: Vec<Rung>,
    /// What it may take of the machine.
    pub cores: Cores,
    /// The stream's ingest.
    pub ingest: IngestHandle,
}

/// Starts a ladder on the current runtime; it ends with `stop`.
///
/// # Errors
/// If the system gives no randomness.
pub fn start(parts: Parts, clock: Clock, stop: CancellationToken) -> anyhow::Result<LadderHandle> {
    let now = clock.now();
    let supervisor = Supervisor::new(now, Work::Ladder, &[], LIMITS, identity::random()?);
    let task = Task {
        clock,
        status: watch::Sender::new(Arc::new(LadderStatus::of(
            &parts.rungs,
            &Plan::default(),
            supervisor.status(),
            &[],
            0,
        ))),
        supervisor,
        gop: Gop::default(),
        planned: None,
        plan: Plan::default(),
        left: Vec::new(),
        delay_ms: 0,
        heard: None,
        worker: None,
        parts,
    };
    let handle =
        LadderHandle { stream: task.parts.ingest.name.clone(), status: task.status.subscribe() };
    tokio::spawn(task.run(stop));
    Ok(handle)
}

struct Task {
    parts: Parts,
    clock: Clock,
    supervisor: Supervisor,
    status: watch::Sender<Arc<LadderStatus>>,
    gop: Gop,
    /// The size of the source that the plan is for.
    planned: Option<(u32, u32)>,
    plan: Plan,
    /// Rungs that the child leaves out because it can't keep up, and why.
    left: Vec<(usize, String)>,
    delay_ms: u32,
    /// When the source was last heard, while it is.
    heard: Option<Mono>,
    worker: Option<Worker>,
}

/// What the loop has waited for.
enum Woken {
    Stop,
    Tapped(Tapped),
    Wanted(usize),
    Line(String),
    OutEnded,
    Exited(String),
    Socket(io::Result<Ready>),
    Timer,
}

impl Task {
    async fn run(mut self, stop: CancellationToken) {
        let mut stopping = false;
        loop {
            self.act();
            self.publish();
            if stopping && self.worker.is_none() {
                return;
            }
            let woken = self.wait(&stop, stopping).await;
            let now = self.clock.now();
            match woken {
                Woken::Stop => {
                    stopping = true;
                    self.supervisor.handle(now, Event::Stop);
                }
                Woken::Tapped(tapped) => self.tapped(now, &tapped),
                Woken::Wanted(layer) => self.wanted(layer),
                Woken::Line(line) => self.line(&line),
                Woken::OutEnded => {
                    if let Some(worker) = &mut self.worker {
                        worker.out_ended = true;
                    }
                }
                Woken::Exited(how) => {
                    self.worker = None;
                    self.left.clear();
                    self.supervisor.handle(now, Event::Exited(how));
                }
                Woken::Socket(ready) => self.move_bytes(ready),
                Woken::Timer => self.timeout(now),
            }
        }
    }

    async fn wait(&mut self, stop: &CancellationToken, stopping: bool) -> Woken {
        let off = self.heard.map(|heard| heard.after(LOCK_TIME));
        let deadline = [self.supervisor.poll_timeout(), off].into_iter().flatten().min();
        let clock = self.clock;
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(clock.instant(at).into()).await,
                None => std::future::pending().await,
            }
        };
        let place = &mut self.parts.place;
        let (mut process, mut socket) = (None, None);
        if let Some(worker) = &mut self.worker {
            process = Some((&mut worker.process, worker.out_ended));
            let write = !worker.waiting.is_empty();
            let interest =
                if write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
            socket = worker.socket.as_ref().map(|socket| (socket, interest));
        }
        let child = async {
            let Some((process, out_ended)) = process else { return std::future::pending().await };
            if out_ended {
                return Woken::Exited(process.ended().await);
            }
            match process.out.next().await {
                Ok(Some(line)) => Woken::Line(line),
                Ok(None) | Err(_) => Woken::OutEnded,
            }
        };
        let moved = async {
            match socket {
                Some((socket, interest)) => socket.ready(interest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled(), if !stopping => Woken::Stop,
            woken = child => woken,
            ready = moved => Woken::Socket(ready),
            Some(tapped) = place.tapped.recv() => Woken::Tapped(tapped),
            Some(wanted) = place.wanted.recv() => Woken::Wanted(wanted.layer),
            () = timer => Woken::Timer,
        }
    }

    fn timeout(&mut self, now: Now) {
        if self.heard.is_some_and(|heard| now.mono.since(heard) >= LOCK_TIME) {
            self.heard = None;
            self.gop.clear();
            self.supervisor.handle(now, Event::Unwanted);
        }
        self.supervisor.handle_timeout(now);
    }

    /// A packet of the source.
    fn tapped(&mut self, now: Now, tapped: &Tapped) {
        let fresh = self.heard.replace(now.mono).is_none();
        let packet = &tapped.packet;
        self.gop.push(packet);
        if let Some(size) = tapped.size.filter(|size| self.planned != Some(*size))
            && let Some(rate) = self.gop.rate(self.parts.place.source.clock_rate)
        {
            self.replan(now, size, rate);
        } else if fresh && !self.plan.making.is_empty() {
            self.supervisor.handle(now, Event::Wanted);
        }
        if let Some(worker) = &mut self.worker {
            worker.packet(packet);
        }
    }

    fn replan(&mut self, now: Now, size: (u32, u32), rate: f64) {
        let codec = self.parts.place.source.codec;
        self.planned = Some(size);
        self.plan = plan(Source { codec, size, rate }, &self.parts.rungs, self.parts.cores);
        self.left.clear();
        let stream = &self.parts.ingest.name;
        for (rung, why) in &self.plan.left_out {
            let rung = self.parts.rungs.get(*rung).map(ToString::to_string).unwrap_or_default();
            tracing::info!(%stream, rung, "the ladder's rung is left out: {why}");
        }
        let event = match self.plan.making.is_empty() {
            true => Event::Unwanted,
            false if self.worker.is_some() => Event::Again,
            false => Event::Wanted,
        };
        self.supervisor.handle(now, event);
    }

    /// A key frame of a layer is wanted (numbered through all tracks).
    fn wanted(&mut self, layer: usize) {
        let rung = layer.checked_sub(self.parts.place.layers.start);
        let rung = rung.and_then(|rung| u8::try_from(rung).ok());
        if let (Some(rung), Some(worker)) = (rung, &mut self.worker) {
            wire::write(Kind::Wanted, rung, &[], &mut worker.waiting);
        }
    }

    fn move_bytes(&mut self, ready: io::Result<Ready>) {
        let Some(worker) = &mut self.worker else { return };
        let moved = ready.and_then(|ready| {
            if ready.is_writable() {
                worker.send()?;
            }
            worker.receive()
        });
        if let Err(error) = moved {
            // The child has closed it, and is about to say why on its standard output.
            tracing::debug!(stream = %self.parts.ingest.name, %error, "the ladder's socket");
            worker.socket = None;
        }
        let (at, place) = (self.clock.now(), &self.parts.place);
        loop {
            match worker.splitter.next_frame() {
                Ok(Some(frame)) if frame.kind == Kind::Rtp => {
                    let layer = place.layers.start + usize::from(frame.layer);
                    if place.layers.contains(&layer) {
                        let bytes = Bytes::from(frame.body);
                        // One that does not fit is counted as lost where it is missing.
                        let _ = place.feed.push(FedDatagram { layer, at, bytes });
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(kind) => {
                    tracing::warn!(stream = %self.parts.ingest.name, kind, "the ladder's process says nonsense");
                    worker.socket = None;
                    return;
                }
            }
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Start(_) => match self.spawn() {
                    Ok(worker) => self.worker = Some(worker),
                    Err(error) => {
                        let event = Event::NotStarted(error.to_string());
                        self.supervisor.handle(self.clock.now(), event);
                    }
                },
                Action::End => {
                    if let Some(worker) = &mut self.worker {
                        worker.socket = None;
                    }
                }
                Action::Kill => {
                    let stream = &self.parts.ingest.name;
                    tracing::warn!(%stream, "the ladder's process is killed");
                    if let Some(Err(error)) = self.worker.as_mut().map(|w| w.process.kill()) {
                        tracing::warn!(%stream, %error, "kill");
                    }
                }
            }
        }
    }

    fn spawn(&mut self) -> anyhow::Result<Worker> {
        let source = &self.parts.place.source;
        let rate = self.gop.rate(source.clock_rate).unwrap_or(super::budget::ASSUMED_RATE);
        let codec = Make::new(source.codec);
        let job = Job {
            codec: codec.ok_or_else(|| anyhow::anyhow!("no ladder is made of this codec"))?,
            payload_type: source.payload_type,
            clock_rate: source.clock_rate,
            millirate: (rate * 1000.0) as u32,
            making: self.plan.making.clone(),
        };
        let mut worker = Worker::start(&job, &self.parts.ingest.name)?;
        if self.gop.is_empty() {
            self.parts.ingest.order(Order::KeyFrame(source.ssrc));
        }
        for packet in self.gop.packets() {
            worker.packet(packet);
        }
        Ok(worker)
    }

    fn line(&mut self, line: &str) {
        let stream = &self.parts.ingest.name;
        let report = match serde_json::from_str::<Report>(line) {
            Ok(report) => report,
            Err(error) => {
                tracing::debug!(%stream, %error, line, "the ladder's process says something else");
                return;
            }
        };
        match &report {
            Report::Remark(words) => tracing::info!(%stream, "ladder: {words}"),
            Report::Plan { tracks, .. } => {
                for track in tracks {
                    tracing::info!(%stream, "ladder: {track}");
                }
            }
            Report::Delay(ms) => self.delay_ms = *ms,
            Report::Left { rung, why } => {
                self.left.retain(|(left, _)| left != rung);
                let name = self.parts.rungs.get(*rung).map(ToString::to_string);
                let name = name.unwrap_or_default();
                match why {
                    Some(why) => {
                        tracing::warn!(%stream, rung = name, "the ladder's rung is left out: {why}");
                        self.left.push((*rung, why.clone()));
                    }
                    None => tracing::info!(%stream, rung = name, "the ladder's rung is made again"),
                }
            }
            _ => {}
        }
        self.supervisor.handle(self.clock.now(), Event::Report(report));
    }

    /// Shows what has changed, and logs it once.
    fn publish(&mut self) {
        let (rungs, status) = (&self.parts.rungs, self.supervisor.status());
        let after = LadderStatus::of(rungs, &self.plan, status, &self.left, self.delay_ms);
        let before = self.status.borrow().clone();
        if *before == after {
            return;
        }
        let stream = &self.parts.ingest.name;
        if before.last_error != after.last_error
            && let Some(problem) = &after.last_error
        {
            tracing::warn!(%stream, restarts = after.restarts, "ladder: {problem}");
        }
        if before.state != after.state {
            let state = after.state.name();
            if matches!(after.state, State::Running | State::Stalled) {
                tracing::info!(%stream, state, "the ladder is {state}");
            } else {
                tracing::debug!(%stream, state, "the ladder is {state}");
            }
        }
        self.status.send_replace(Arc::new(after));
    }
}

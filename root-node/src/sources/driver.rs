//! Runs the child process of one source: starts it, tells it its job, hears what it says, asks it to
//! end, kills it. When is decided in [`super::supervise`].

use super::job::{Input, Job, Report, SUBCOMMAND, Target};
use super::process::{self, Process};
use super::status::{SourceStatus, State};
use super::supervise::{Action, Event, Limits, Supervisor};
use crate::config::SourceSection;
use bytes::Bytes;
use relay_node::clock::Clock;
use relay_node::identity;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Pieces of a publisher's media that may wait for the child.
const FEED_QUEUE: usize = 64;

/// A publisher's media on its way to the child: FLV. The publisher may go on sending as long as it is
/// taken.
pub type Feed = mpsc::Receiver<Bytes>;

/// The other end.
pub type Feeder = mpsc::Sender<Bytes>;

/// A way for media into a source that is started on demand.
pub fn feed() -> (Feeder, Feed) {
    mpsc::channel(FEED_QUEUE)
}

/// What a source needs.
#[derive(Debug)]
pub struct Source {
    /// The stream's name.
    pub stream: String,
    /// Its number among the stream's sources, as they are configured.
    pub number: usize,
    /// Where it comes from.
    pub section: SourceSection,
    /// Where it goes.
    pub targets: Vec<Target>,
}

/// The outside of a running source.
#[derive(Debug, Clone)]
pub struct SourceHandle {
    /// The stream's name.
    pub stream: String,
    /// Its number among the stream's sources.
    pub number: usize,
    /// Its state.
    pub status: watch::Receiver<Arc<SourceStatus>>,
    publishers: mpsc::Sender<Feed>,
}

impl SourceHandle {
    /// Hands over a publisher's media (kind RTMP). `false` if another one is on air.
    pub fn publish(&self, feed: Feed) -> bool {
        self.publishers.try_send(feed).is_ok()
    }
}

/// Starts a source on the current runtime; it ends with `stop`.
///
/// # Errors
/// If the system gives no randomness.
pub fn start(
    source: Source,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<SourceHandle> {
    let tracks: Vec<String> = source.targets.iter().map(|t| t.name.clone()).collect();
    let seed = identity::random()?;
    let kind = source.section.kind;
    let supervisor = Supervisor::new(clock.now(), kind, &tracks, Limits::default(), seed);
    let (status, shown) = watch::channel(Arc::new(supervisor.status().clone()));
    let (publishers, wanted) = mpsc::channel(1);
    let (stream, number) = (source.stream.clone(), source.number);
    let handle = SourceHandle { stream, number, status: shown, publishers };
    let task = Task { source, clock, supervisor, status, wanted, feed: None, worker: None };
    tokio::spawn(task.run(stop));
    Ok(handle)
}

/// A child and its pipes.
struct Worker {
    process: Process,
    /// Ends the child when it is dropped: its standard input closes.
    input: Option<CancellationToken>,
    out_ended: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(input) = self.input.take() {
            input.cancel();
        }
    }
}

struct Task {
    source: Source,
    clock: Clock,
    supervisor: Supervisor,
    status: watch::Sender<Arc<SourceStatus>>,
    wanted: mpsc::Receiver<Feed>,
    /// A publisher's media for the next child.
    feed: Option<Feed>,
    worker: Option<Worker>,
}

/// What the loop has waited for.
enum Woken {
    Stop,
    Line(String),
    OutEnded,
    Exited(String),
    Wanted(Feed),
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
                Woken::Line(line) => self.line(&line),
                Woken::OutEnded => {
                    if let Some(worker) = &mut self.worker {
                        worker.out_ended = true;
                    }
                }
                Woken::Exited(how) => {
                    self.worker = None;
                    self.supervisor.handle(now, Event::Exited(how));
                }
                Woken::Wanted(feed) => {
                    if self.supervisor.is_down() {
                        self.feed = Some(feed);
                        self.supervisor.handle(now, Event::Wanted);
                    }
                }
                Woken::Timer => self.supervisor.handle_timeout(now),
            }
        }
    }

    /// Waits for one thing. What a child has said is heard before its end is.
    async fn wait(&mut self, stop: &CancellationToken, stopping: bool) -> Woken {
        let clock = self.clock;
        let deadline = self.supervisor.poll_timeout();
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(clock.instant(at).into()).await,
                None => std::future::pending().await,
            }
        };
        let worker = self.worker.as_mut();
        let child = async {
            let Some(worker) = worker else { return std::future::pending().await };
            if worker.out_ended {
                return Woken::Exited(worker.process.ended().await);
            }
            match worker.process.out.next().await {
                Ok(Some(line)) => Woken::Line(line),
                Ok(None) | Err(_) => Woken::OutEnded,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled(), if !stopping => Woken::Stop,
            woken = child => woken,
            Some(feed) = self.wanted.recv() => Woken::Wanted(feed),
            () = timer => Woken::Timer,
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Start(convert) => match self.start(convert) {
                    Ok(worker) => self.worker = Some(worker),
                    Err(error) => {
                        let now = self.clock.now();
                        self.supervisor.handle(now, Event::NotStarted(error.to_string()));
                    }
                },
                Action::End => {
                    if let Some(input) = self.worker.as_mut().and_then(|w| w.input.take()) {
                        input.cancel();
                    }
                }
                Action::Kill => {
                    if let Some(worker) = &mut self.worker {
                        tracing::warn!(stream = %self.source.stream, "the source's worker is killed");
                        if let Err(error) = worker.process.kill() {
                            tracing::warn!(stream = %self.source.stream, %error, "kill");
                        }
                    }
                }
            }
        }
    }

    fn start(&mut self, convert: Vec<(String, String)>) -> anyhow::Result<Worker> {
        let section = &self.source.section;
        let secret = section.secret().map_err(|(key, what)| anyhow::anyhow!("{key}: {what}"))?;
        let job = Job {
            input: Input::new(section, secret),
            tracks: self.source.targets.clone(),
            convert,
        };
        let mut line = serde_json::to_vec(&job)?;
        line.push(b'\n');
        let (process, stdin) =
            process::spawn(SUBCOMMAND, "source", &self.source.stream, Stdio::piped())?;
        let mut stdin = stdin.ok_or_else(|| anyhow::anyhow!("a child without pipes"))?;
        let input = CancellationToken::new();
        let (end, feed) = (input.clone(), self.feed.take());
        tokio::spawn(async move {
            let write = async {
                stdin.write_all(&line).await?;
                if let Some(mut feed) = feed {
                    while let Some(piece) = feed.recv().await {
                        stdin.write_all(&piece).await?;
                    }
                    return Ok(());
                }
                std::future::pending::<std::io::Result<()>>().await
            };
            // A child that does not read any more is about to end, and says why.
            tokio::select! {
                () = end.cancelled() => {}
                _ = write => {}
            }
        });
        Ok(Worker { process, input: Some(input), out_ended: false })
    }

    fn line(&mut self, line: &str) {
        let (stream, source) = (&self.source.stream, self.source.number);
        let report = match serde_json::from_str::<Report>(line) {
            Ok(report) => report,
            Err(error) => {
                // A library in the child has written there: as good as its log.
                tracing::debug!(%stream, source, %error, line, "the source's worker says something else");
                return;
            }
        };
        match &report {
            Report::Remark(words) => tracing::info!(%stream, source, "source: {words}"),
            Report::Plan { input, tracks } => {
                tracing::info!(%stream, source, input = %input.join(", "), "source is taken in");
                for track in tracks {
                    tracing::info!(%stream, source, "source: {track}");
                }
            }
            Report::Convert { track, reason } => {
                tracing::info!(%stream, source, "source: track {track} has to be converted: {reason}");
            }
            _ => {}
        }
        self.supervisor.handle(self.clock.now(), Event::Report(report));
    }

    /// Shows what has changed, and logs it once.
    fn publish(&mut self) {
        let after = self.supervisor.status();
        let before = self.status.borrow().clone();
        if *before == *after {
            return;
        }
        let (stream, source) = (&self.source.stream, self.source.number);
        if before.last_error != after.last_error
            && let Some(problem) = &after.last_error
        {
            tracing::warn!(%stream, source, restarts = after.restarts, "source: {problem}");
        }
        if before.state != after.state {
            let (state, words) = (after.state.name(), words(after.state));
            // One that fails again and again is told of once: the error is above.
            if matches!(after.state, State::Starting | State::BackingOff) {
                tracing::debug!(%stream, source, state, "source is {words}");
            } else {
                tracing::info!(%stream, source, state, "source is {words}");
            }
        }
        self.status.send_replace(Arc::new(after.clone()));
    }
}

fn words(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Waiting => "waiting for a sender",
        State::Running => "running",
        State::Stalled => "stalled: no packets come",
        State::BackingOff => "down, and is tried again soon",
        State::Ended => "at its end",
        State::Stopped => "stopped",
    }
}

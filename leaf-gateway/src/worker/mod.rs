//! The driver of viewer sessions: a thread with one UDP socket that moves datagrams, packets and
//! time between the world and the sessions ([`crate::session`]), which decide. A worker owns its
//! sessions alone; others talk to it through [`WorkerHandle`].
//!
//! A leaf has one worker at present. The server's ICE user name fragment begins with a letter that
//! names the worker, and everything that a session needs is reached through its worker: more
//! workers (`SO_REUSEPORT`) need a hand-over of datagrams that land elsewhere, nothing else.

mod gather;
mod outbox;
mod pool;
mod queue;
mod run;
mod sessions;
mod stats;
mod tcp;
mod wheel;

#[cfg(test)]
mod tests;

pub use queue::{LeafSink, MAX_BATCHES};
pub use run::MAX_RINGS;
pub use stats::PipelineFigures;
pub use tcp::{MAX_FRESH as MAX_FRESH_TCP, TcpLimits};

use crate::demand::Wanted;
use crate::metrics::Metrics;
use crate::occupancy::Permit;
use crate::session::ice::Credentials;
use crate::session::{Choice, SessionSetup};
use relay_node::clock::Clock;
use relay_node::io::udp::{UdpBatch, UdpOptions, Waker};
use relay_node::media::api::LocalSink;
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{PipelineId, Ssrc};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use tokio::sync::{mpsc, oneshot, watch};

/// A session within a worker; a place that is used again gets another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    slot: u32,
    generation: u32,
}

/// The session's name in its URL: 128 random bits as hex, not to be guessed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(pub String);

/// Which letter names which worker.
pub(crate) const WORKER_LETTERS: &[u8; 62] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A session to be.
#[derive(Debug)]
pub struct NewSession {
    /// Its name.
    pub id: SessionId,
    /// What it begins with.
    pub setup: SessionSetup,
    /// Its place.
    pub permit: Permit,
    /// Its wish for the pipeline.
    pub wanted: Wanted,
    /// Its randomness.
    pub seed: [u8; 32],
}

/// What a worker tells the gateway.
#[derive(Debug)]
pub enum Upcall {
    /// A viewer needs a key frame.
    KeyFrame(PipelineId, Ssrc),
    /// Figures of the last second.
    Figures(Vec<PipelineFigures>),
}

enum Command {
    /// Fails as if the socket had (tests).
    #[cfg(test)]
    Break(Breakage),
    Add(Box<NewSession>),
    Remove(SessionId, oneshot::Sender<bool>),
    Ufrags(SessionId, oneshot::Sender<Option<(String, String)>>),
    Restart(SessionId, Box<Restart>, oneshot::Sender<bool>),
    Choose(SessionId, String, Choice, oneshot::Sender<Option<bool>>),
    Pipelines(Arc<BTreeMap<PipelineId, PipelineDef>>),
    Drain(oneshot::Sender<()>),
    Stop,
}

struct Restart {
    credentials: Credentials,
    len: usize,
}

/// How a test breaks a worker.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) enum Breakage {
    Socket,
    Panic,
}

/// How a worker is set up.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The viewer port.
    pub listen: SocketAddr,
    /// The clock.
    pub clock: Clock,
    /// The certificate.
    pub dtls: crate::session::dtls::DtlsContext,
    /// Threads for handshakes.
    pub handshake_threads: usize,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where upcalls go; those that find it full are dropped (the next second brings others).
    pub upcalls: mpsc::Sender<Upcall>,
}

/// Talks to a worker. Clones talk to the same one.
#[derive(Clone)]
pub struct WorkerHandle {
    commands: Sender<Command>,
    waker: Waker,
    local: SocketAddr,
    letter: char,
    failure: watch::Receiver<Option<String>>,
}

impl std::fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkerHandle({})", self.local)
    }
}

/// Starts a worker without TCP. The sink goes to the media thread.
///
/// # Errors
/// The port is taken, or no thread or descriptor is left.
pub fn start(config: WorkerConfig) -> io::Result<(WorkerHandle, Box<dyn LocalSink>)> {
    start_with_tcp(config, None)
}

/// Starts a worker that, with limits for it, also takes viewers over TCP on the same port.
///
/// # Errors
/// The port is taken, or no thread or descriptor is left.
pub fn start_with_tcp(
    config: WorkerConfig,
    limits: Option<TcpLimits>,
) -> io::Result<(WorkerHandle, Box<dyn LocalSink>)> {
    let (socket, tcp) = bind(config.listen, limits)?;
    let waker = Waker::new()?;
    let (commands, inbox) = channel();
    let (sink, inlet) = queue::queue(waker.clone(), config.metrics.clone());
    let pool = pool::Pool::start(config.handshake_threads, config.clock, &waker)?;
    let local = socket.local_addr();
    let (failed, failure) = watch::channel(None);
    let handle = WorkerHandle {
        commands,
        waker: waker.clone(),
        local,
        letter: char::from(WORKER_LETTERS[0]),
        failure,
    };
    let worker = run::Worker::new(config, socket, waker, inbox, inlet, pool).with_tcp(tcp);
    std::thread::Builder::new().name("leaf-worker-0".to_owned()).spawn(move || {
        // Sessions go with the worker, and their places come back, whatever ends it.
        let run = std::panic::AssertUnwindSafe(|| worker.run());
        let why = match std::panic::catch_unwind(run) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("the viewer socket failed: {error}"),
            Err(_) => "the viewer thread has panicked".to_owned(),
        };
        tracing::error!(%local, why, "no viewer can be served any more");
        failed.send_replace(Some(why));
    })?;
    Ok((handle, Box::new(sink)))
}

/// Ports of any number that are tried until one is free for UDP and TCP.
const BIND_TRIES: usize = 16;

/// UDP and TCP on the same port.
fn bind(listen: SocketAddr, limits: Option<TcpLimits>) -> io::Result<(UdpBatch, Option<tcp::Tcp>)> {
    let mut tries = if listen.port() == 0 { BIND_TRIES } else { 1 };
    loop {
        tries -= 1;
        let socket = UdpBatch::bind(listen, &UdpOptions::default())?;
        let Some(limits) = limits else { return Ok((socket, None)) };
        match tcp::Tcp::bind(socket.local_addr(), limits) {
            Ok(tcp) => return Ok((socket, Some(tcp))),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

impl WorkerHandle {
    /// The viewer port as it is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The letter that user name fragments of this worker begin with.
    pub fn letter(&self) -> char {
        self.letter
    }

    /// Why the worker has failed, once it has: it serves nobody then, and does not come back.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }

    /// Breaks the worker.
    #[cfg(test)]
    pub(crate) fn break_down(&self, how: Breakage) {
        self.send(Command::Break(how));
    }

    /// Adds a session.
    pub fn add(&self, session: NewSession) {
        self.send(Command::Add(Box::new(session)));
    }

    /// Ends a session; `false` if there is none of that name.
    pub async fn remove(&self, id: SessionId) -> bool {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Remove(id, tx));
        rx.await.unwrap_or(false)
    }

    /// Our and the viewer's ICE user name fragment, if there is a session of that name.
    pub async fn ufrags(&self, id: SessionId) -> Option<(String, String)> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Ufrags(id, tx));
        rx.await.ok().flatten()
    }

    /// Restarts a session's ICE with new credentials that came in `len` bytes; `false` if there is
    /// no session of that name.
    pub async fn restart(&self, id: SessionId, credentials: Credentials, len: usize) -> bool {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Restart(id, Box::new(Restart { credentials, len }), tx));
        rx.await.unwrap_or(false)
    }

    /// Lets a choice hold for the track of this name; `false` if there is none at present, `None`
    /// if there is no such session.
    pub async fn choose(&self, id: SessionId, track: String, choice: Choice) -> Option<bool> {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Choose(id, track, choice, tx));
        rx.await.ok().flatten()
    }

    /// The pipelines have changed.
    pub fn pipelines(&self, pipelines: Arc<BTreeMap<PipelineId, PipelineDef>>) {
        self.send(Command::Pipelines(pipelines));
    }

    /// Ends all sessions (each viewer is told) and returns when that has left the socket.
    pub async fn drain(&self) {
        let (tx, rx) = oneshot::channel();
        self.send(Command::Drain(tx));
        let _ = rx.await;
    }

    /// Ends the worker's thread.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    fn send(&self, command: Command) {
        // A worker that is gone answers nothing, and those who wait see that.
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}

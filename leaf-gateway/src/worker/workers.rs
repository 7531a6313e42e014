//! All workers, as the rest of the leaf sees them: started together on one port, spoken to by the
//! names of sessions, stopped together.

#[cfg(test)]
use super::Breakage;
use super::handover::connect;
use super::pool::Handshakes;
use super::queue::queue;
use super::run::Worker;
use super::seats::{Seat, Seats, of_id};
use super::tcp::{Tcp, TcpLimits};
use super::{Command, MAX_WORKERS, NewSession, Restart, SessionId, WorkerConfig};
use crate::metrics::Metrics;
use crate::session::Choice;
use crate::session::ice::Credentials;
use futures_util::future::join_all;
use relay_node::io::udp::{UdpBatch, UdpOptions, Waker};
use relay_node::media::api::LocalSink;
use soleil_protocol::PipelineId;
use soleil_protocol::pipeline::PipelineDef;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use tokio::sync::{oneshot, watch};

/// Ports of any number that are tried until one is free for UDP and TCP.
const BIND_TRIES: usize = 16;

/// Talks to one worker.
#[derive(Clone)]
struct Handle {
    commands: Sender<Command>,
    waker: Waker,
}

/// Talks to the workers. Clones talk to the same ones.
#[derive(Clone)]
pub struct Workers {
    handles: Arc<[Handle]>,
    seats: Arc<Seats>,
    local: SocketAddr,
    failure: watch::Receiver<Option<String>>,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Workers({} at {})", self.handles.len(), self.local)
    }
}

/// Starts workers without TCP. The sink goes to the media thread.
///
/// # Errors
/// The port is taken, or no thread or descriptor is left.
pub fn start(config: WorkerConfig) -> io::Result<(Workers, Box<dyn LocalSink>)> {
    start_with_tcp(config, None)
}

/// Starts workers that, with limits for it, also take viewers over TCP on the same port.
///
/// # Errors
/// The port is taken, or no thread or descriptor is left.
pub fn start_with_tcp(
    config: WorkerConfig,
    limits: Option<TcpLimits>,
) -> io::Result<(Workers, Box<dyn LocalSink>)> {
    let count = config.workers.clamp(1, MAX_WORKERS);
    config.metrics.set_workers(count);
    let (sockets, tcps) = bind(config.listen, count, limits)?;
    let local = sockets.first().map_or(config.listen, UdpBatch::local_addr);
    let wakers = (0..count).map(|_| Waker::new()).collect::<io::Result<Vec<_>>>()?;
    let (sink, inlets) = queue(&wakers, config.metrics.clone());
    let handshakes = Handshakes::start(config.handshake_threads, config.clock)?;
    let (handles, inboxes): (Vec<_>, Vec<_>) = wakers
        .iter()
        .map(|waker| {
            let (commands, inbox) = channel();
            (Handle { commands, waker: waker.clone() }, inbox)
        })
        .unzip();
    let ends: Vec<_> = handles.iter().map(|h| (h.waker.clone(), h.commands.clone())).collect();
    let neighbours = connect(&ends, &config.metrics);
    let (failed, failure) = watch::channel(None);
    let failed = Arc::new(failed);
    let workers = Workers { handles: handles.into(), seats: Seats::new(count), local, failure };
    let parts = sockets.into_iter().zip(tcps).zip(wakers).zip(inboxes).zip(inlets).zip(neighbours);
    for (n, (((((socket, tcp), waker), inbox), inlet), neighbours)) in parts.enumerate() {
        let pool = handshakes.pool(&waker);
        let worker = Worker::new(config.part(), socket, waker, inbox, inlet, pool).with_tcp(tcp);
        // Alone it has nobody to ask whose a datagram is.
        let worker = if count > 1 { worker.with_neighbours(neighbours) } else { worker };
        let (failed, metrics) = (failed.clone(), config.metrics.clone());
        let run = move || watched(worker, n, local, &metrics, &failed);
        let spawned = std::thread::Builder::new().name(format!("leaf-worker-{n}")).spawn(run);
        if let Err(error) = spawned {
            workers.stop();
            return Err(error);
        }
    }
    Ok((workers, Box::new(sink)))
}

/// A worker's thread: says why it ends, unless it was told to.
fn watched(
    worker: Worker,
    n: usize,
    local: SocketAddr,
    metrics: &Metrics,
    failed: &watch::Sender<Option<String>>,
) {
    // Sessions go with the worker, and their places come back, whatever ends it.
    let run = std::panic::AssertUnwindSafe(|| worker.run());
    let ended = std::panic::catch_unwind(run);
    metrics.set_sessions(n, 0, 0);
    metrics.set_estimates(n, std::iter::empty());
    let why = match ended {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("the viewer socket of worker {n} failed: {error}"),
        Err(_) => format!("viewer thread {n} has panicked"),
    };
    metrics.worker_failures.add(1);
    tracing::error!(%local, why, "its viewers can't be served any more");
    failed.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert(why);
        is_first
    });
}

/// UDP sockets and TCP on the same port, one each for every worker. Only the first worker's TCP
/// listens: it hands connections to the worker that their first frame names.
fn bind(
    listen: SocketAddr,
    count: usize,
    limits: Option<TcpLimits>,
) -> io::Result<(Vec<UdpBatch>, Vec<Option<Tcp>>)> {
    let mut tries = if listen.port() == 0 { BIND_TRIES } else { 1 };
    loop {
        tries -= 1;
        // Alone at first, so that a port which another program has (a second leaf, with workers of
        // its own) is found to be taken.
        let first = UdpBatch::bind(listen, &UdpOptions::default())?;
        let local = first.local_addr();
        let tcp = match limits.map(|limits| Tcp::bind(local, limits)).transpose() {
            Ok(tcp) => tcp,
            Err(error) if tries == 0 => return Err(error),
            Err(_) => continue,
        };
        let mut sockets = vec![first];
        if count > 1 {
            sockets[0].share_port()?;
        }
        let options = UdpOptions { reuse_port: true, ..UdpOptions::default() };
        for _ in 1..count {
            sockets.push(UdpBatch::bind(local, &options)?);
        }
        let more = (1..count)
            .map(|_| tcp.as_ref().map(Tcp::beside).transpose())
            .collect::<io::Result<Vec<_>>>()?;
        return Ok((sockets, std::iter::once(tcp).chain(more).collect()));
    }
}

impl WorkerConfig {
    /// One worker's copy.
    fn part(&self) -> Self {
        Self {
            listen: self.listen,
            workers: self.workers,
            clock: self.clock,
            dtls: self.dtls.clone(),
            handshake_threads: self.handshake_threads,
            metrics: self.metrics.clone(),
            upcalls: self.upcalls.clone(),
        }
    }
}

impl Workers {
    /// The viewer port as it is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// A place for a session, at the worker that has the fewest.
    pub fn seat(&self) -> Seat {
        self.seats.take()
    }

    /// Why a worker has failed, once one has: it serves nobody then, and does not come back.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }

    /// Breaks a worker.
    #[cfg(test)]
    pub(crate) fn break_down(&self, worker: usize, how: Breakage) {
        self.send(worker, Command::Break(how));
    }

    /// Adds a session.
    pub fn add(&self, session: NewSession) {
        self.send(session.seat.worker(), Command::Add(Box::new(session)));
    }

    /// Ends a session; `false` if there is none of that name.
    pub async fn remove(&self, id: SessionId) -> bool {
        self.ask(id, Command::Remove).await.unwrap_or(false)
    }

    /// Our and the viewer's ICE user name fragment, if there is a session of that name.
    pub async fn ufrags(&self, id: SessionId) -> Option<(String, String)> {
        self.ask(id, Command::Ufrags).await.flatten()
    }

    /// Restarts a session's ICE with new credentials that came in `len` bytes; `false` if there is
    /// no session of that name.
    pub async fn restart(&self, id: SessionId, credentials: Credentials, len: usize) -> bool {
        let restart = Box::new(Restart { credentials, len });
        self.ask(id, |id, reply| Command::Restart(id, restart, reply)).await.unwrap_or(false)
    }

    /// Lets a choice hold for the track of this name; `false` if there is none at present, `None`
    /// if there is no such session.
    pub async fn choose(&self, id: SessionId, track: String, choice: Choice) -> Option<bool> {
        self.ask(id, |id, reply| Command::Choose(id, track, choice, reply)).await.flatten()
    }

    /// The pipelines have changed.
    pub fn pipelines(&self, pipelines: &Arc<BTreeMap<PipelineId, PipelineDef>>) {
        for worker in 0..self.handles.len() {
            self.send(worker, Command::Pipelines(pipelines.clone()));
        }
    }

    /// Ends all sessions (each viewer is told) and returns when that has left the sockets.
    pub async fn drain(&self) {
        let replies: Vec<_> = (0..self.handles.len())
            .map(|worker| {
                let (tx, rx) = oneshot::channel();
                self.send(worker, Command::Drain(tx));
                rx
            })
            .collect();
        // One that has failed has no sessions.
        join_all(replies).await;
    }

    /// Ends the workers' threads.
    pub fn stop(&self) {
        for worker in 0..self.handles.len() {
            self.send(worker, Command::Stop);
        }
    }

    /// Asks the worker that a session's name names; `None` if there is no such worker any more.
    async fn ask<T>(
        &self,
        id: SessionId,
        command: impl FnOnce(SessionId, oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (tx, rx) = oneshot::channel();
        let worker = of_id(&id)?;
        self.send(worker, command(id, tx));
        rx.await.ok()
    }

    fn send(&self, worker: usize, command: Command) {
        // A worker that is gone, or was never there, answers nothing, and those who wait see that.
        if let Some(handle) = self.handles.get(worker) {
            let _ = handle.commands.send(command);
            handle.waker.wake();
        }
    }
}

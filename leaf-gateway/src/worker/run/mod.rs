//! The worker's loop: waits, takes what came, does what the sessions say, sends.

mod elsewhere;
mod layers;
mod media;
mod moved;
mod settle;
mod start;
mod tcp;
#[cfg(test)]
mod tests;

pub use media::MAX_RINGS;

use media::Fresh;
use moved::Moves;
use start::Starts;

use super::gather::Gather;
use super::handover::Neighbours;
use super::outbox::Outbox;
use super::pool::Pool;
use super::queue::Inlet;
use super::sessions::{Entry, Sessions};
use super::tcp::{Stray, Tcp};
use super::wheel::Wheel;
use super::{Command, Key, NewSession, Upcall, WorkerConfig};
use crate::metrics::Metrics;
use crate::ring::PacketRing;
use crate::session::dtls::DtlsContext;
use crate::session::{Choice, EndCause, Session, SessionStats, stun};
use relay_node::clock::Clock;
use relay_node::io::udp::{RecvBatch, UdpBatch, Waker};
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{Mono, PipelineId, Ssrc};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use tokio::sync::mpsc;

/// Messages of one receive call (each 64 KiB of room, since GRO may merge).
const RECV_MESSAGES: usize = 32;

/// Receive calls in a row before packets for viewers get their turn again.
const RECV_ROUNDS: usize = 8;

/// Receive calls in a row that may fail before the socket counts as broken: a second's worth at
/// the rate of wake-ups of a busy leaf, and a moment when it would only spin.
const MAX_RECV_FAILURES: u32 = 1_000;

/// How often figures are added up.
const FIGURES_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    clock: Clock,
    dtls: DtlsContext,
    metrics: Arc<Metrics>,
    upcalls: mpsc::Sender<Upcall>,
    socket: UdpBatch,
    waker: Waker,
    inbox: Receiver<Command>,
    inlet: Inlet,
    pool: Pool,
    sessions: Sessions,
    wheel: Wheel<Key>,
    rings: HashMap<Ssrc, PacketRing>,
    pipelines: Arc<BTreeMap<PipelineId, PipelineDef>>,
    gone: BTreeMap<PipelineId, Mono>,
    outbox: Outbox,
    gather: Gather<Fresh>,
    starts: Starts,
    due: Vec<Key>,
    targets: Vec<Key>,
    rotation: usize,
    draining: bool,
    recv_failures: u32,
    moves: Moves,
    tcp: Option<Tcp>,
    /// Its number among the workers.
    number: usize,
    /// The others, if it is not alone.
    neighbours: Option<Neighbours>,
    /// Who has handed over what is being taken.
    via: Option<usize>,
    /// Connections that are about to go to another worker.
    strays: Vec<(SocketAddr, usize, Stray)>,
    next_figures: Mono,
}

impl Worker {
    pub(super) fn new(
        config: WorkerConfig,
        socket: UdpBatch,
        waker: Waker,
        inbox: Receiver<Command>,
        inlet: Inlet,
        pool: Pool,
    ) -> Self {
        let now = config.clock.now().mono;
        Self {
            clock: config.clock,
            dtls: config.dtls,
            metrics: config.metrics,
            upcalls: config.upcalls,
            socket,
            waker,
            inbox,
            inlet,
            pool,
            sessions: Sessions::default(),
            wheel: Wheel::new(now),
            rings: HashMap::new(),
            pipelines: Arc::default(),
            gone: BTreeMap::new(),
            outbox: Outbox::new(),
            gather: Gather::default(),
            starts: Starts::default(),
            due: Vec::new(),
            targets: Vec::new(),
            rotation: 0,
            draining: false,
            recv_failures: 0,
            moves: Moves::new(now),
            tcp: None,
            number: 0,
            neighbours: None,
            via: None,
            strays: Vec::new(),
            next_figures: now.after(FIGURES_INTERVAL),
        }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// The socket is of no more use.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut received = RecvBatch::new(RECV_MESSAGES);
        loop {
            let now = self.clock.now().mono;
            let wake = self.wheel.next_expiry().unwrap_or(self.next_figures);
            let due = [self.gather.due(), self.starts.due()].into_iter().flatten().min();
            let timeout = wake.min(due.unwrap_or(wake)).min(self.next_figures).since(now);
            let tcp = self.wait(timeout)?;
            if !self.take_commands()? {
                return Ok(());
            }
            let now = self.clock.now().mono;
            while let Some(batch) = self.inlet.next() {
                self.take_batch(now, &batch);
                self.inlet.recycle(batch);
            }
            self.pass(now);
            self.serve_starts(now);
            while let Some((key, done)) = self.pool.next() {
                self.metrics.handshakes.add(1);
                let now = self.clock.now().mono;
                if let Some(entry) = self.sessions.get_mut(key) {
                    entry.session.handle_dtls(now, done);
                    self.settle(now, key);
                }
            }
            self.receive(&mut received)?;
            if tcp {
                self.take_tcp()?;
            }
            self.tick();
            self.flush();
        }
    }

    /// `false` when the worker is to end.
    fn take_commands(&mut self) -> io::Result<bool> {
        loop {
            let command = match self.inbox.try_recv() {
                Ok(command) => command,
                Err(std::sync::mpsc::TryRecvError::Empty) => return Ok(true),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return Ok(false),
            };
            let now = self.clock.now().mono;
            match command {
                Command::Add(new) => self.add(now, *new),
                Command::Remove(id, reply) => {
                    let key = self.sessions.by_id(&id);
                    if let Some(key) = key {
                        self.close(now, key, EndCause::Deleted);
                    }
                    let _ = reply.send(key.is_some());
                }
                Command::Ufrags(id, reply) => {
                    let key = self.sessions.by_id(&id);
                    let ufrags = key.and_then(|key| self.sessions.get_mut(key)).map(|entry| {
                        let session = &entry.session;
                        (session.local_ufrag().to_owned(), session.remote_ufrag().to_owned())
                    });
                    let _ = reply.send(ufrags);
                }
                Command::Restart(id, restart, reply) => {
                    let key = self.sessions.by_id(&id);
                    if let Some(key) = key {
                        self.sessions.restart(key, restart.credentials, restart.len);
                    }
                    let _ = reply.send(key.is_some());
                }
                Command::Choose(id, track, choice, reply) => {
                    let key = self.sessions.by_id(&id);
                    let chosen = key.map(|key| self.choose(now, key, &track, choice).is_some());
                    let _ = reply.send(chosen);
                }
                Command::Adopt(stray) => self.adopt(now, *stray),
                Command::Pipelines(pipelines) => self.set_pipelines(now, pipelines),
                Command::Drain(reply) => {
                    // An offer that was on its way finds nobody.
                    self.draining = true;
                    for key in self.sessions.keys() {
                        self.close(now, key, EndCause::Drained);
                    }
                    self.flush();
                    let _ = reply.send(());
                }
                Command::Stop => return Ok(false),
                #[cfg(test)]
                Command::Break(super::Breakage::Socket) => {
                    return Err(io::Error::other("broken by a test"));
                }
                #[cfg(test)]
                Command::Break(super::Breakage::Panic) => panic!("broken by a test"),
            }
        }
    }

    fn add(&mut self, now: Mono, new: NewSession) {
        if self.draining {
            self.metrics.end(EndCause::Drained);
            return;
        }
        let NewSession { id, setup, permit, seat, wanted, seed } = new;
        let mut session = Session::new(now, setup, Box::new(self.dtls.server()), seed);
        session.set_client(permit.client());
        self.set_layers(now, &mut session);
        let key = self.sessions.insert(Entry {
            session,
            id,
            permit,
            _seat: seat,
            _wanted: wanted,
            scheduled: Mono(u64::MAX),
            counted: SessionStats::default(),
            addresses: Vec::new(),
            ufrags: Vec::new(),
        });
        self.settle(now, key);
    }

    fn choose(&mut self, now: Mono, key: Key, track: &str, choice: Choice) -> Option<()> {
        let session = &mut self.sessions.get_mut(key)?.session;
        let def = self.pipelines.get(&session.pipeline())?;
        let best = def.tracks.iter().find(|t| t.name == track)?.layers.first()?.ssrc;
        let found = session.sources().find(|(i, _)| session.track_name(*i) == Some(track));
        let (index, _) = found?;
        session.choose(now, index, choice, best);
        self.settle(now, key);
        Some(())
    }

    fn close(&mut self, now: Mono, key: Key, cause: EndCause) {
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.session.close(now, cause);
            self.settle(now, key);
        }
    }

    fn receive(&mut self, received: &mut RecvBatch) -> io::Result<()> {
        for _ in 0..RECV_ROUNDS {
            let there = match self.socket.recv(received) {
                Ok(n) => {
                    self.recv_failures = 0;
                    n > 0
                }
                Err(error) => return self.recv_failed(error),
            };
            let now = self.clock.now().mono;
            // Before what has come here: it tells of addresses that may be among these.
            self.take_handed(now);
            if !there {
                return Ok(());
            }
            let mut count = 0;
            for (from, data) in received.segments() {
                count += 1;
                self.take_arrival(now, from, data);
            }
            self.metrics.received.add(count);
            self.flush_handed();
        }
        Ok(())
    }

    /// One failure may pass (no memory, an ICMP error of a new kind); a row of them does not.
    fn recv_failed(&mut self, error: io::Error) -> io::Result<()> {
        self.recv_failures += 1;
        if self.recv_failures == 1 {
            tracing::warn!(%error, "the viewer socket");
        }
        if self.recv_failures < MAX_RECV_FAILURES { Ok(()) } else { Err(error) }
    }

    /// A binding request names its session; all else is known by its address, and the answer to
    /// a session that wants an address of another's goes to both (it fits one of them only).
    fn take_datagram(&mut self, now: Mono, from: SocketAddr, data: &mut [u8]) {
        if !self.find_and_take(now, from, data) {
            self.metrics.unknown.add(1);
        }
    }

    /// The same; `false` if it is for nobody here.
    fn find_and_take(&mut self, now: Mono, from: SocketAddr, data: &mut [u8]) -> bool {
        let mut rival = None;
        let mut key = self.sessions.by_address(from);
        if stun::is_stun(data) {
            let message = stun::parse(data);
            match message.and_then(|m| m.username).and_then(|u| u.split_once(':')) {
                Some((local, _)) => key = self.sessions.by_ufrag(local),
                None if message.is_some() => rival = self.sessions.rival(from),
                None => key = None,
            }
        }
        if key.is_none() && rival.is_none() {
            return self.take_moved(now, from, data);
        }
        for key in [key, rival].into_iter().flatten() {
            if let Some(entry) = self.sessions.get_mut(key) {
                entry.session.handle_datagram(now, from, data);
                self.settle(now, key);
            }
        }
        true
    }

    fn tick(&mut self) {
        let now = self.clock.now().mono;
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now, &mut due);
        for key in due.drain(..) {
            self.wake(now, key);
        }
        self.due = due;
        if now >= self.next_figures {
            self.next_figures = now.after(FIGURES_INTERVAL);
            self.every_second(now);
        }
    }

    /// The wheel has brought a session up.
    fn wake(&mut self, now: Mono, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if entry.scheduled > now {
            // It was put in again for an earlier time, and has been looked at since: what counts
            // lies elsewhere in the wheel.
            return;
        }
        entry.scheduled = Mono(u64::MAX);
        entry.session.handle_timeout(now);
        self.settle(now, key);
    }
}

//! The worker's loop: waits, takes what came, does what the sessions say, sends.

#[cfg(test)]
mod tests;

use super::outbox::Outbox;
use super::pool::Pool;
use super::queue::{Batch, Inlet};
use super::sessions::{Entry, Sessions};
use super::stats::Figures;
use super::wheel::Wheel;
use super::{Command, Key, NewSession, Upcall, WorkerConfig};
use crate::metrics::Metrics;
use crate::rewriter::Source;
use crate::ring::PacketRing;
use crate::session::dtls::DtlsContext;
use crate::session::{Action, EndCause, Session, SessionStats, stun};
use relay_node::clock::Clock;
use relay_node::io::udp::{RecvBatch, UdpBatch, Waker};
use soleil_protocol::pipeline::PipelineDef;
use soleil_protocol::{Mono, PacketIndex, PipelineId, Ssrc};
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

/// Rings of a worker, one per layer: pipelines times layers of a large installation; the plane
/// delivers only what is routed here.
pub const MAX_RINGS: usize = 256;

/// A pipeline that is gone may come back (the root restarts): its viewers wait so long.
const PIPELINE_GRACE: Duration = Duration::from_secs(10);

/// How often figures are added up.
const FIGURES_INTERVAL: Duration = Duration::from_secs(1);

/// A packet that a batch has brought into a ring.
#[derive(Debug, Clone, Copy)]
struct Fresh {
    pipeline: PipelineId,
    source: Source,
    index: PacketIndex,
}

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
    fresh: Vec<Fresh>,
    due: Vec<Key>,
    targets: Vec<Key>,
    rotation: usize,
    draining: bool,
    recv_failures: u32,
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
            fresh: Vec::new(),
            due: Vec::new(),
            targets: Vec::new(),
            rotation: 0,
            draining: false,
            recv_failures: 0,
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
            let timeout = wake.min(self.next_figures).since(now);
            self.socket.wait(timeout, &self.waker, false)?;
            if !self.take_commands()? {
                return Ok(());
            }
            while let Some(batch) = self.inlet.next() {
                self.take_batch(&batch);
                self.inlet.recycle(batch);
            }
            while let Some((key, done)) = self.pool.next() {
                self.metrics.handshakes.add(1);
                let now = self.clock.now().mono;
                if let Some(entry) = self.sessions.get_mut(key) {
                    entry.session.handle_dtls(now, done);
                    self.settle(now, key);
                }
            }
            self.receive(&mut received)?;
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
        let NewSession { id, setup, permit, wanted, seed } = new;
        let session = Session::new(now, setup, Box::new(self.dtls.server()), seed);
        let key = self.sessions.insert(Entry {
            session,
            id,
            permit,
            _wanted: wanted,
            scheduled: Mono(u64::MAX),
            counted: SessionStats::default(),
            addresses: Vec::new(),
        });
        self.settle(now, key);
    }

    fn close(&mut self, now: Mono, key: Key, cause: EndCause) {
        if let Some(entry) = self.sessions.get_mut(key) {
            entry.session.close(now, cause);
            self.settle(now, key);
        }
    }

    /// Tracks follow their pipeline's layers; sessions of a pipeline that stays away end.
    fn set_pipelines(&mut self, now: Mono, pipelines: Arc<BTreeMap<PipelineId, PipelineDef>>) {
        for key in self.sessions.keys() {
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            let Some(def) = pipelines.get(&entry.session.pipeline()) else { continue };
            let tracks: Vec<(usize, Ssrc)> = entry.session.sources().collect();
            for (track, source) in tracks {
                let named = entry.session.track_name(track).unwrap_or_default();
                let Some(t) = def.tracks.iter().find(|t| t.name == named) else { continue };
                let stays = t.layers.iter().any(|l| l.ssrc == source);
                if let Some(layer) = t.layers.first().filter(|_| !stays) {
                    entry.session.set_source(now, track, layer.ssrc);
                }
            }
            self.settle(now, key);
        }
        for id in self.pipelines.keys().filter(|id| !pipelines.contains_key(id)) {
            self.gone.insert(*id, now.after(PIPELINE_GRACE));
        }
        self.gone.retain(|id, _| !pipelines.contains_key(id));
        self.rings.retain(|ssrc, _| pipelines.values().any(|p| p.ssrcs().any(|s| s == *ssrc)));
        self.pipelines = pipelines;
    }

    /// Brings packets into the rings, then goes over the viewers once.
    fn take_batch(&mut self, batch: &Batch) {
        let now = self.clock.now().mono;
        self.fresh.clear();
        for packet in batch.packets() {
            let ring = match self.rings.get_mut(&packet.ssrc) {
                Some(ring) => ring,
                None => {
                    let def = self.pipelines.get(&packet.pipeline);
                    let known = def.is_some_and(|p| p.ssrcs().any(|s| s == packet.ssrc));
                    if !known || self.rings.len() >= MAX_RINGS {
                        self.metrics.strays.add(1);
                        continue;
                    }
                    self.rings.entry(packet.ssrc).or_insert_with(|| PacketRing::new(packet.ssrc))
                }
            };
            if ring.insert(&packet) {
                self.fresh.push(Fresh {
                    pipeline: packet.pipeline,
                    source: ring.source(),
                    index: packet.index,
                });
            } else {
                self.metrics.late.add(1);
            }
        }
        let mut from = 0;
        while let Some(first) = self.fresh.get(from) {
            // Packets of one pipeline stand together nearly always: the plane receives them so.
            let pipeline = first.pipeline;
            let run = self.fresh[from..].iter().take_while(|f| f.pipeline == pipeline).count();
            self.deliver(now, pipeline, from, from + run);
            from += run;
        }
    }

    fn deliver(&mut self, now: Mono, pipeline: PipelineId, from: usize, to: usize) {
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        targets.extend_from_slice(self.sessions.of_pipeline(pipeline));
        // Nobody is always served first.
        self.rotation = self.rotation.wrapping_add(1);
        let len = targets.len();
        for i in 0..len {
            let key = targets[(i + self.rotation) % len];
            let Some(entry) = self.sessions.get_mut(key) else { continue };
            let outbox = &mut self.outbox;
            for fresh in &self.fresh[from..to] {
                let Some(ring) = self.rings.get(&fresh.source.ssrc) else { continue };
                let track = entry.session.sources().find(|(_, s)| *s == fresh.source.ssrc);
                let Some((track, _)) = track else { continue };
                let Some(packet) = ring.get(fresh.source, fresh.index) else { continue };
                let start = outbox.bytes.len();
                let sent =
                    entry.session.forward(now, track, fresh.source, packet, &mut outbox.bytes);
                let Some((addr, began)) = sent else { continue };
                outbox.commit(addr, start);
                if began {
                    catch_up(now, &mut entry.session, track, ring, fresh, outbox);
                }
            }
            if self.outbox.is_full() {
                self.flush();
            }
            self.reschedule(now, key);
        }
        self.targets = targets;
    }

    fn receive(&mut self, received: &mut RecvBatch) -> io::Result<()> {
        for _ in 0..RECV_ROUNDS {
            match self.socket.recv(received) {
                Ok(n) => {
                    self.recv_failures = 0;
                    if n == 0 {
                        return Ok(());
                    }
                }
                Err(error) => return self.recv_failed(error),
            }
            let now = self.clock.now().mono;
            for (from, data) in received.segments() {
                self.metrics.received.add(1);
                self.take_datagram(now, from, data);
            }
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
            self.metrics.unknown.add(1);
        }
        for key in [key, rival].into_iter().flatten() {
            if let Some(entry) = self.sessions.get_mut(key) {
                entry.session.handle_datagram(now, from, data);
                self.settle(now, key);
            }
        }
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

    fn every_second(&mut self, now: Mono) {
        let ended: Vec<PipelineId> =
            self.gone.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in ended {
            self.gone.remove(&id);
            for key in self.sessions.of_pipeline(id).to_vec() {
                self.close(now, key, EndCause::StreamEnded);
            }
        }
        let mut figures = Figures::default();
        let (mut all, mut connecting) = (0, 0);
        for entry in self.sessions.entries_mut() {
            let stats = entry.session.stats();
            let live = entry.session.is_live();
            all += 1;
            connecting += u64::from(!live);
            count(&self.metrics, &stats, &entry.counted);
            figures.add(entry.session.pipeline(), live, &stats, &entry.counted);
            entry.counted = stats;
        }
        self.metrics.set_sessions(all, connecting);
        let _ = self.upcalls.try_send(Upcall::Figures(figures.take()));
    }

    /// Does what a session wants done, until it wants nothing more.
    fn settle(&mut self, now: Mono, key: Key) {
        loop {
            let Some(entry) = self.sessions.get_mut(key) else { return };
            let Some(action) = entry.session.poll_action() else { break };
            match action {
                Action::Send(to, data) => self.outbox.push(to, &data),
                Action::Dtls(job) => self.pool.submit(key, job),
                Action::Address { addr, validated } => {
                    self.sessions.claim(now, key, addr, validated);
                }
                Action::Live => {
                    entry.permit.connected();
                    self.metrics.live.add(1);
                }
                Action::KeyFrame(ssrc) => {
                    let upcall = Upcall::KeyFrame(entry.session.pipeline(), ssrc);
                    let _ = self.upcalls.try_send(upcall);
                }
                Action::Resend(track, original) => {
                    let ring = self.rings.get(&original.source.ssrc);
                    let packet = ring.and_then(|r| r.get(original.source, original.index));
                    let Some(packet) = packet else {
                        self.metrics.missed.add(1);
                        continue;
                    };
                    let start = self.outbox.bytes.len();
                    let bytes = &mut self.outbox.bytes;
                    if let Some(to) = entry.session.resend(now, track, &original, packet, bytes) {
                        self.outbox.commit(to, start);
                    }
                }
                Action::Ended(cause) => {
                    tracing::debug!(session = entry.id.0, cause = cause.label(), "session over");
                    if let EndCause::Handshake(error) = cause {
                        tracing::info!(session = entry.id.0, %error, "a viewer can't connect");
                    }
                    count(&self.metrics, &entry.session.stats(), &entry.counted);
                    self.metrics.end(cause);
                    self.sessions.remove(key);
                    return;
                }
            }
            if self.outbox.is_full() {
                self.flush();
            }
        }
        self.reschedule(now, key);
    }

    fn reschedule(&mut self, now: Mono, key: Key) {
        let Some(entry) = self.sessions.get_mut(key) else { return };
        if let Some(at) = entry.session.poll_timeout().filter(|at| *at < entry.scheduled) {
            entry.scheduled = self.wheel.insert(at.max(now), key);
        }
    }

    fn flush(&mut self) {
        let flushed = self.outbox.flush(&self.socket, &self.waker, self.clock);
        self.metrics.datagrams.add(flushed.sent);
        self.metrics.refused.add(flushed.refused);
        self.metrics.dropped.add(flushed.dropped);
    }
}

/// A track has begun with a packet that others had overtaken: they follow at once.
fn catch_up(
    now: Mono,
    session: &mut Session,
    track: usize,
    ring: &PacketRing,
    first: &Fresh,
    outbox: &mut Outbox,
) {
    let Some(highest) = ring.highest() else { return };
    for index in first.index.0 + 1..=highest.0 {
        let Some(packet) = ring.get(first.source, PacketIndex(index)) else { continue };
        let start = outbox.bytes.len();
        if let Some((to, _)) = session.forward(now, track, first.source, packet, &mut outbox.bytes)
        {
            outbox.commit(to, start);
        }
    }
}

fn count(metrics: &Metrics, now: &SessionStats, before: &SessionStats) {
    metrics.packets.add(now.packets - before.packets);
    metrics.bytes.add(now.bytes - before.bytes);
    metrics.nacks.add(now.nacks - before.nacks);
    metrics.resends.add(now.resends - before.resends);
    metrics.key_frames.add(now.key_frames - before.key_frames);
    metrics.forged.add(now.forged - before.forged);
}

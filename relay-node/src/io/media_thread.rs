//! The thread that runs the forwarding plane on its socket. It sends on what one receive returned
//! and never waits for a frame to be complete, or each hop would add the source's pacing
//! (DESIGN 4). Orders come through bounded queues, with one wake-up for many.

#[cfg(test)]
mod tests;

use super::udp::{RecvBatch, SendBatch, UdpBatch, UdpOptions, Waker};
use crate::clock::Clock;
use crate::media::api::{LocalSink, PlaneCommand, PlaneEvent};
use crate::media::plane::{Plane, PlaneConfig};
use crate::media::stats::{IoStats, PlaneStats};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Orders that may wait: a tree's worth of routes for a node, twice over.
pub const MAX_COMMANDS: usize = 65_536;

/// Injected packets that may wait: one second of 100 Mbit/s.
pub const MAX_INJECTED: usize = 16_384;

/// Messages (with GRO each one or more datagrams) of one receive.
const RECEIVE_MESSAGES: usize = 16;

/// Receives in a row before timers and orders get their turn.
const RECEIVES_PER_ROUND: usize = 16;

/// How often the counters are published, and how old they may be.
const STATS_INTERVAL: Duration = Duration::from_millis(100);

/// How long a full socket may hold the plane up before datagrams are dropped: UDP does not push
/// back, and what waits here makes everybody late.
const FULL_SOCKET: Duration = Duration::from_millis(2);

/// How a media thread is started.
#[derive(Debug)]
pub struct MediaConfig {
    /// Where to send and receive (port 0: any).
    pub bind: SocketAddr,
    /// The process' clock.
    pub clock: Clock,
    /// Randomness for the plane.
    pub seed: [u8; 32],
    /// Where events go; what does not fit is dropped, so give it some hundreds.
    pub events: mpsc::Sender<PlaneEvent>,
    /// Times and limits of the plane.
    pub plane: PlaneConfig,
    /// Options of the socket.
    pub udp: UdpOptions,
}

impl MediaConfig {
    /// With default times, limits and socket options.
    pub fn new(
        bind: SocketAddr,
        clock: Clock,
        seed: [u8; 32],
        events: mpsc::Sender<PlaneEvent>,
    ) -> Self {
        let (plane, udp) = (PlaneConfig::default(), UdpOptions::default());
        Self { bind, clock, seed, events, plane, udp }
    }
}

/// Starts media threads.
pub struct MediaThread;

#[derive(Default)]
struct Inbox {
    commands: VecDeque<PlaneCommand>,
    packets: VecDeque<Bytes>,
    commands_lost: u64,
    packets_lost: u64,
}

struct Shared {
    inbox: Mutex<Inbox>,
    stats: Mutex<PlaneStats>,
    stop: AtomicBool,
    waker: Waker,
    local: SocketAddr,
}

/// A panic elsewhere leaves a queue or a snapshot whole: they are never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stops the thread when the last handle is gone.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Release);
        self.0.waker.wake();
    }
}

/// The outside of a media thread. Clones drive the same thread; it stops with the last of them.
#[derive(Clone)]
pub struct MediaHandle(Arc<Owner>);

impl std::fmt::Debug for MediaHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MediaHandle({})", self.local_addr())
    }
}

impl MediaThread {
    /// Binds the socket and starts the thread. `sink` lives on it.
    ///
    /// # Errors
    /// If the address can't be bound or the thread can't be started.
    pub fn spawn(config: MediaConfig, sink: Box<dyn LocalSink>) -> io::Result<MediaHandle> {
        let socket = UdpBatch::bind(config.bind, &config.udp)?;
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            stats: Mutex::default(),
            stop: AtomicBool::new(false),
            waker: Waker::new()?,
            local: socket.local_addr(),
        });
        let worker = Worker {
            socket,
            plane: Plane::new(config.plane, config.seed),
            clock: config.clock,
            sink,
            events: config.events,
            shared: shared.clone(),
            io: IoStats::default(),
            commands: VecDeque::new(),
            packets: VecDeque::new(),
            batch: SendBatch::new(),
        };
        std::thread::Builder::new().name("media".into()).spawn(move || worker.run())?;
        Ok(MediaHandle(Arc::new(Owner(shared))))
    }
}

impl MediaHandle {
    fn shared(&self) -> &Shared {
        &self.0.0
    }

    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared().local
    }

    /// Gives the plane an order; `false` if [`MAX_COMMANDS`] wait already (it is lost and counted).
    pub fn command(&self, command: PlaneCommand) -> bool {
        let mut inbox = lock(&self.shared().inbox);
        if inbox.commands.len() >= MAX_COMMANDS {
            inbox.commands_lost += 1;
            return false;
        }
        inbox.commands.push_back(command);
        drop(inbox);
        self.shared().waker.wake();
        true
    }

    /// Gives the plane packets that this node has sealed (at the root), in order; those for which
    /// there is no room (more than [`MAX_INJECTED`] wait) are dropped and counted. One wake-up for
    /// the batch. Returns how many were taken.
    pub fn inject(&self, packets: Vec<Bytes>) -> usize {
        let mut inbox = lock(&self.shared().inbox);
        let taken = packets.len().min(MAX_INJECTED.saturating_sub(inbox.packets.len()));
        inbox.packets_lost += (packets.len() - taken) as u64;
        inbox.packets.extend(packets.into_iter().take(taken));
        drop(inbox);
        self.shared().waker.wake();
        taken
    }

    /// The counters, at most a tenth of a second old while the thread has work.
    pub fn stats(&self) -> PlaneStats {
        lock(&self.shared().stats).clone()
    }

    /// Ends the thread soon.
    pub fn stop(&self) {
        self.shared().stop.store(true, Ordering::Release);
        self.shared().waker.wake();
    }
}

struct Worker {
    socket: UdpBatch,
    plane: Plane,
    clock: Clock,
    sink: Box<dyn LocalSink>,
    events: mpsc::Sender<PlaneEvent>,
    shared: Arc<Shared>,
    io: IoStats,
    commands: VecDeque<PlaneCommand>,
    packets: VecDeque<Bytes>,
    batch: SendBatch<'static>,
}

impl Worker {
    fn run(mut self) {
        let mut received = RecvBatch::new(RECEIVE_MESSAGES);
        let mut stats_at = self.clock.now().mono;
        while !self.shared.stop.load(Ordering::Acquire) {
            self.orders();
            // Before timers: what lies in the socket may be what a timer would miss.
            if let Err(error) = self.receive(&mut received) {
                tracing::error!(%error, "the media socket failed");
                return;
            }
            let now = self.clock.now();
            self.plane.handle_timeout(now);
            self.flush();
            while let Some(event) = self.plane.poll_event() {
                if self.events.try_send(event).is_err() {
                    tracing::warn!("an event of the forwarding plane was dropped");
                }
            }
            if now.mono >= stats_at {
                stats_at = now.mono.after(STATS_INTERVAL);
                self.publish();
            }
            let next = self.plane.poll_timeout().map_or(stats_at, |due| due.min(stats_at));
            let timeout = next.since(self.clock.now().mono);
            if let Err(error) = self.socket.wait(timeout, &self.shared.waker, false) {
                tracing::error!(%error, "waiting for the media socket failed");
                return;
            }
        }
    }

    /// Carries out what has been ordered; the queues are swapped, not emptied under the lock.
    fn orders(&mut self) {
        {
            let mut inbox = lock(&self.shared.inbox);
            std::mem::swap(&mut inbox.commands, &mut self.commands);
            std::mem::swap(&mut inbox.packets, &mut self.packets);
            self.io.commands_lost = inbox.commands_lost;
            self.io.injected_lost = inbox.packets_lost;
        }
        if self.commands.is_empty() && self.packets.is_empty() {
            return;
        }
        let now = self.clock.now();
        for command in self.commands.drain(..) {
            self.plane.handle_command(now, command, &mut *self.sink);
        }
        for packet in self.packets.drain(..) {
            self.plane.inject(now, &packet, &mut *self.sink);
        }
        self.sink.flush();
        self.flush();
    }

    fn receive(&mut self, received: &mut RecvBatch) -> io::Result<()> {
        for _ in 0..RECEIVES_PER_ROUND {
            let messages = self.socket.recv(received)?;
            if messages == 0 {
                break;
            }
            let now = self.clock.now();
            for (from, datagram) in received.segments() {
                self.io.received += 1;
                self.plane.handle_datagram(now, from, datagram, &mut *self.sink);
            }
            self.sink.flush();
            self.flush();
            if messages < RECEIVE_MESSAGES {
                break;
            }
        }
        Ok(())
    }

    /// Sends what the plane has ready.
    fn flush(&mut self) {
        let mut batch = std::mem::take(&mut self.batch).reset();
        for (to, datagram) in self.plane.transmits() {
            batch.push(to, datagram);
        }
        let mut deadline = None;
        while !batch.is_empty() {
            let report = self.socket.send(&mut batch);
            self.io.sent += report.sent as u64;
            self.io.refused += report.refused as u64;
            if report.left == 0 {
                break;
            }
            let now = self.clock.now().mono;
            let left = deadline.get_or_insert(now.after(FULL_SOCKET)).since(now);
            if left.is_zero() || !self.socket.wait_writable(left) {
                self.io.dropped += report.left as u64;
                break;
            }
        }
        self.batch = batch.reset();
        self.plane.clear_transmits();
    }

    fn publish(&self) {
        let stats = PlaneStats { io: self.io, ..self.plane.stats() };
        *lock(&self.shared.stats) = stats;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.publish();
    }
}

//! Moves bytes for the viewers: a few threads, each with the sockets of its share of the viewers,
//! and a few more that post offers. No thread, task or timer per viewer.

use super::Options;
use super::bulk::BulkOptions;
use super::report::ViewerReport;
use super::secure::Identity;
use super::session::Session;
use super::signalling::{self, Description, Hello, Place};
use crate::http;
use crate::load::{MESSAGES, RECEIVE_BUFFER, yield_to_others};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use relay_node::clock::Clock;
use relay_node::io::udp::{RecvBatch, SendBatch, UdpBatch, UdpOptions};
use soleil_protocol::Mono;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Offers that are posted at the same time: enough for joins of hundreds a second on loopback.
const POSTERS: usize = 8;
/// Longest sleep of a thread.
const IDLE: Duration = Duration::from_millis(100);
/// Sessions are asked for their timers this often: fine enough for repair, cheap for hundreds.
const TIMER_EVERY_US: u64 = 5_000;
/// Receive calls for one socket before the others have their turn.
const BURST: usize = 4;
/// Servers that end silent sessions (Janus: after 60 s) hear from ours this often.
const KEEP_EVERY: Duration = Duration::from_secs(20);
/// Token of the waker; sockets have their index.
const WAKE: Token = Token(usize::MAX);

pub(super) enum Command {
    Add(Box<Session>, UdpBatch),
    Described {
        id: usize,
        posted: Mono,
        result: Result<Description, String>,
    },
    Report(Sender<Vec<ViewerReport>>),
    /// Load tests count anew.
    Mark,
    /// Say goodbye (or not) and end.
    Stop {
        close: bool,
    },
}

/// A thread with its share of the viewers.
pub(super) struct Shard {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Shard {
    pub fn start(clock: Clock, bulk: Option<BulkOptions>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (commands, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new().name("viewers".into()).spawn(move || {
            let spin = bulk.is_some_and(|b| b.spin);
            if spin {
                yield_to_others();
            }
            let members = Vec::new();
            let by_id = HashMap::new();
            Work { poll, clock, inbox, members, by_id, spin }.run();
        })?;
        Ok(Self { commands, waker, thread: Some(thread) })
    }

    pub fn send(&self, command: Command) {
        // A shard that has ended needs no commands.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }

    pub fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    poll: Poll,
    clock: Clock,
    inbox: Receiver<Command>,
    members: Vec<(Box<Session>, UdpBatch)>,
    by_id: HashMap<usize, usize>,
    /// Never sleeps.
    spin: bool,
}

impl Work {
    fn run(&mut self) {
        let mut events = Events::with_capacity(1024);
        let mut buffer = RecvBatch::new(MESSAGES);
        let mut again = Vec::new();
        let mut next_timers = 0;
        loop {
            let now = self.clock.now().mono.0;
            let timeout = if self.spin || !again.is_empty() {
                Duration::ZERO
            } else if self.members.is_empty() {
                IDLE
            } else {
                Duration::from_micros(next_timers.max(now) - now).min(IDLE)
            };
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "viewers");
                return;
            }
            let ready: Vec<usize> = std::mem::take(&mut again)
                .into_iter()
                .chain(events.iter().map(|e| e.token()).filter(|t| *t != WAKE).map(|t| t.0))
                .collect();
            for member in ready {
                if self.receive(member, &mut buffer) {
                    again.push(member);
                }
            }
            again.sort_unstable();
            again.dedup();
            loop {
                match self.inbox.try_recv() {
                    Ok(Command::Stop { close }) => return self.close(close),
                    Ok(command) => self.command(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let now = self.clock.now();
            if now.mono.0 >= next_timers {
                next_timers = now.mono.0 + TIMER_EVERY_US;
                for (session, socket) in &mut self.members {
                    if session.poll_timeout().is_some_and(|at| at <= now.mono) {
                        session.handle_timeout(now);
                        flush(session, socket);
                    }
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Add(session, socket) => {
                let token = Token(self.members.len());
                let fd = socket.as_fd().as_raw_fd();
                let registry = self.poll.registry();
                match registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
                    Ok(()) => {
                        self.by_id.insert(session.id, self.members.len());
                        self.members.push((session, socket));
                    }
                    Err(error) => tracing::error!(%error, "viewer socket"),
                }
            }
            Command::Described { id, posted, result } => {
                let member = self.by_id.get(&id).and_then(|m| self.members.get_mut(*m));
                if let Some((session, socket)) = member {
                    match result {
                        Ok(description) => {
                            session.handle_description(self.clock.now(), posted, &description);
                        }
                        Err(error) => session.handle_refusal(&error),
                    }
                    flush(session, socket);
                }
            }
            Command::Report(to) => {
                let now = self.clock.now();
                let _ = to.send(self.members.iter().map(|(s, _)| s.report(now)).collect());
            }
            Command::Mark => self.members.iter_mut().for_each(|(s, _)| s.mark()),
            Command::Stop { .. } => {}
        }
    }

    /// Reads what waits; `true` if there is more.
    fn receive(&mut self, member: usize, buffer: &mut RecvBatch) -> bool {
        let Some((session, socket)) = self.members.get_mut(member) else { return false };
        for _ in 0..BURST {
            match socket.recv(buffer) {
                Ok(0) => return false,
                Ok(_) => {
                    let now = self.clock.now();
                    for (from, data) in buffer.segments() {
                        session.handle_datagram(now, from, data);
                    }
                    flush(session, socket);
                }
                Err(error) => {
                    tracing::error!(%error, "viewer socket");
                    return false;
                }
            }
        }
        true
    }

    fn close(&mut self, close: bool) {
        let now = self.clock.now();
        for (session, socket) in &mut self.members {
            if close {
                session.close(now);
            }
            flush(session, socket);
        }
    }
}

fn flush(session: &mut Session, socket: &UdpBatch) {
    while let Some((to, data)) = session.poll_transmit() {
        let mut batch = SendBatch::new();
        batch.push(to, &data);
        // Lost here is lost on the way: everything that matters is sent again.
        let _ = socket.send(&mut batch);
    }
}

/// A viewer that waits for its turn at the server.
struct Job {
    id: usize,
    shard: usize,
    hello: Hello,
}

/// Sends joins at their rate, talks to the server, remembers what the viewers have there.
pub(super) struct Joiner {
    threads: Vec<JoinHandle<()>>,
    stop: Option<Sender<()>>,
    /// The bridges of viewers over TCP end with these.
    places: Arc<Mutex<Vec<Place>>>,
}

impl Joiner {
    pub fn start(
        url: &str,
        count: usize,
        options: &Arc<Options>,
        clock: Clock,
        shards: &Arc<Vec<Mutex<Shard>>>,
        identity: Identity,
    ) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let places = Arc::new(Mutex::new(Vec::new()));
        let mut threads = Vec::new();
        for _ in 0..POSTERS.min(count.max(1)) {
            let (queue, shards) = (queue.clone(), shards.clone());
            let (url, options, places) = (url.to_owned(), options.clone(), places.clone());
            threads.push(std::thread::Builder::new().name("viewer-post".into()).spawn(
                move || {
                    loop {
                        let job = locked(&queue).recv();
                        let Ok(job) = job else { return };
                        let posted = clock.now().mono;
                        let tell = |result| {
                            let command = Command::Described { id: job.id, posted, result };
                            with(&shards, job.shard, |s| s.send(command));
                        };
                        match signalling::join(&url, &job.hello, &options, |d| tell(Ok(d))) {
                            Ok(place) => locked(&places).push(place),
                            Err(error) => tell(Err(error)),
                        }
                    }
                },
            )?);
        }
        let (stop, stopped) = mpsc::channel();
        let (options, shards, url) = (options.clone(), shards.clone(), url.to_owned());
        let kept = places.clone();
        threads.push(std::thread::Builder::new().name("viewer-join".into()).spawn(move || {
            join_all(&url, count, &options, clock, &shards, &Arc::new(identity), &jobs, &stopped);
            drop(jobs);
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(KEEP_EVERY) {
                locked(&kept).iter().for_each(Place::keep);
            }
        })?);
        Ok(Self { threads, stop: Some(stop), places })
    }

    /// Where the WHEP sessions are.
    pub fn locations(&self) -> Vec<String> {
        locked(&self.places).iter().filter_map(Place::location).map(str::to_owned).collect()
    }

    /// Leaves all places properly; how many of them agree.
    pub fn leave(&self) -> usize {
        locked(&self.places).iter().filter(|place| place.leave()).count()
    }

    /// Joins no more and waits for requests under way.
    pub fn stop(&mut self) {
        self.stop = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Joiner {
    fn drop(&mut self) {
        // A bridge's threads hold no reference to it, the posters' do.
        locked(&self.places).clear();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn with<R>(
    shards: &[Mutex<Shard>],
    index: usize,
    use_it: impl FnOnce(&mut Shard) -> R,
) -> R {
    use_it(&mut locked(&shards[index]))
}

#[allow(clippy::too_many_arguments)] // One thread's whole world, used once.
fn join_all(
    url: &str,
    count: usize,
    options: &Arc<Options>,
    clock: Clock,
    shards: &[Mutex<Shard>],
    identity: &Arc<Identity>,
    jobs: &Sender<Job>,
    stopped: &Receiver<()>,
) {
    let towards = || local_address(url);
    let local = options.local.map_or_else(towards, |ip| SocketAddr::new(ip, 0));
    let begin = clock.now().mono.0;
    for id in 0..count {
        let due = options.joins_per_second.map_or(0, |r| (id as f64 * 1e6 / r) as u64);
        let wait = (begin + due).saturating_sub(clock.now().mono.0);
        match stopped.recv_timeout(Duration::from_micros(wait)) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
        let (socket, address) = match socket(local, options.bulk) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%error, "viewer socket");
                continue;
            }
        };
        let seed = options.seed.wrapping_mul(1_000_003).wrapping_add(id as u64);
        let session = Session::new(id, clock, options.clone(), identity.clone(), address, seed);
        let job = Job { id, shard: id % shards.len(), hello: session.hello() };
        with(shards, job.shard, |s| s.send(Command::Add(Box::new(session), socket)));
        if jobs.send(job).is_err() {
            return;
        }
    }
}

/// The address from which the server is reached.
fn local_address(url: &str) -> SocketAddr {
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let find = || {
        let (authority, _) = http::split(url).ok()?;
        let probe = std::net::UdpSocket::bind(any).ok()?;
        probe.connect(authority).ok()?;
        Some(SocketAddr::new(probe.local_addr().ok()?.ip(), 0))
    };
    find().unwrap_or(any)
}

fn socket(local: SocketAddr, bulk: Option<BulkOptions>) -> io::Result<(UdpBatch, SocketAddr)> {
    let gro = bulk.is_none_or(|b| b.gro);
    let options = UdpOptions { recv_buffer: RECEIVE_BUFFER, gro, ..UdpOptions::default() };
    let socket = UdpBatch::bind(local, &options)?;
    let address = socket.local_addr();
    Ok((socket, address))
}

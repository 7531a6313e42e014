//! The UDP driver of the emulator: a proxy before one address. Every sender gets a socket of its
//! own towards the target, so many flows may pass. One thread.

use super::link::{Link, LinkConfig, LinkStats};
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use relay_node::clock::Clock;
use soleil_protocol::Mono;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dir {
    /// From those who send to the emulator, to the target.
    ToTarget,
    /// Back.
    FromTarget,
}

const LISTEN: Token = Token(0);
const WAKE: Token = Token(1);
/// Tokens of flows begin here.
const FIRST_FLOW: usize = 2;
/// More senders than this are not proxied: a test never needs them.
const MAX_FLOWS: usize = 4096;
/// Recording ends at this size, or a long test fills the memory.
const MAX_RECORD_BYTES: usize = 64 << 20;
/// Longest sleep of the thread: nothing depends on it.
const IDLE: Duration = Duration::from_millis(200);

struct Flow {
    client: SocketAddr,
    socket: UdpSocket,
}

/// Flow and bytes.
type Packet = (usize, Vec<u8>);

struct State {
    links: [Link<Packet>; 2],
    record: bool,
    recorded: Vec<(Dir, Vec<u8>)>,
    recorded_bytes: usize,
    rebind: bool,
    /// Packets of our own that wait to be sent.
    injected: Vec<(Dir, usize, Vec<u8>)>,
    /// Flows there are.
    flows: usize,
    /// Nothing gets through for this flow and those after it.
    cut: Option<usize>,
    /// Nothing gets through for these senders.
    holes: Vec<SocketAddr>,
    stop: bool,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn side(dir: Dir) -> usize {
    match dir {
        Dir::ToTarget => 0,
        Dir::FromTarget => 1,
    }
}

/// A running emulator; it ends when dropped.
pub struct UdpEmulator {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for UdpEmulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UdpEmulator").field("address", &self.address).finish_non_exhaustive()
    }
}

impl UdpEmulator {
    /// Listens on `listen` (port 0 takes a free one) and passes packets to `target` and back.
    ///
    /// # Errors
    /// If the address cannot be bound or the thread not started.
    pub fn start(
        listen: SocketAddr,
        target: SocketAddr,
        config: LinkConfig,
        seed: u64,
    ) -> io::Result<Self> {
        let mut socket = UdpSocket::bind(listen)?;
        let address = socket.local_addr()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut socket, LISTEN, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let state = Arc::new(Mutex::new(State {
            links: [Link::new(config, seed), Link::new(config, seed.wrapping_add(1))],
            record: false,
            recorded: Vec::new(),
            recorded_bytes: 0,
            rebind: false,
            injected: Vec::new(),
            flows: 0,
            cut: None,
            holes: Vec::new(),
            stop: false,
        }));
        let mut driver = Driver {
            poll,
            socket,
            target,
            clock: Clock::start(),
            flows: Vec::new(),
            by_client: HashMap::new(),
            state: state.clone(),
        };
        let thread =
            std::thread::Builder::new().name("emulator".into()).spawn(move || driver.run())?;
        Ok(Self { address, state, waker, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes one direction.
    pub fn set(&self, dir: Dir, config: LinkConfig) {
        locked(&self.state).links[side(dir)].set_config(config);
        let _ = self.waker.wake();
    }

    /// Gives every sender another port towards the target, as a NAT does that has forgotten its
    /// flows. What is on its way to the old ports is lost.
    pub fn rebind(&self) {
        locked(&self.state).rebind = true;
        let _ = self.waker.wake();
    }

    /// Senders so far.
    #[must_use]
    pub fn flows(&self) -> usize {
        locked(&self.state).flows
    }

    /// From now on nothing gets through, either way, for senders that came after the first `kept`;
    /// with `None` for nobody.
    pub fn cut_all_but(&self, kept: Option<usize>) {
        locked(&self.state).cut = kept;
    }

    /// From now on nothing gets through, either way, for these senders, and for nobody else.
    pub fn cut(&self, senders: Vec<SocketAddr>) {
        locked(&self.state).holes = senders;
    }

    /// What one direction did.
    #[must_use]
    pub fn stats(&self, dir: Dir) -> LinkStats {
        locked(&self.state).links[side(dir)].stats()
    }

    /// Sends something of our own, from the same address as what passes here: `flow` is the sender's
    /// number in order of first packets, from 0.
    pub fn inject(&self, dir: Dir, flow: usize, data: Vec<u8>) {
        locked(&self.state).injected.push((dir, flow, data));
        let _ = self.waker.wake();
    }

    /// Keeps a copy of what comes in from now on.
    pub fn record(&self) {
        locked(&self.state).record = true;
    }

    /// What was recorded.
    #[must_use]
    pub fn recorded(&self) -> Vec<(Dir, Vec<u8>)> {
        locked(&self.state).recorded.clone()
    }
}

impl Drop for UdpEmulator {
    fn drop(&mut self) {
        locked(&self.state).stop = true;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Driver {
    poll: Poll,
    socket: UdpSocket,
    target: SocketAddr,
    clock: Clock,
    flows: Vec<Flow>,
    by_client: HashMap<SocketAddr, usize>,
    state: Arc<Mutex<State>>,
}

impl Driver {
    fn run(&mut self) {
        let mut events = Events::with_capacity(256);
        let mut buffer = vec![0; 65_536];
        loop {
            let (timeout, rebind) = {
                let mut state = locked(&self.state);
                if state.stop {
                    return;
                }
                let rebind = std::mem::take(&mut state.rebind);
                let next = state.links.iter().filter_map(Link::poll_timeout).min();
                let timeout = next.map_or(IDLE, |at| {
                    Duration::from_micros(at.0.saturating_sub(self.clock.now().mono.0)).min(IDLE)
                });
                (timeout, rebind)
            };
            if rebind {
                self.rebind();
            }
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "emulator");
                return;
            }
            for token in events.iter().map(mio::event::Event::token) {
                match token {
                    LISTEN => self.receive_from_clients(&mut buffer),
                    WAKE => {}
                    Token(n) => self.receive_from_target(n - FIRST_FLOW, &mut buffer),
                }
            }
            self.deliver(self.clock.now().mono);
        }
    }

    fn receive_from_clients(&mut self, buffer: &mut [u8]) {
        // Until the socket is empty: readiness is reported once (edge-triggered). An error, for
        // instance a late ICMP message, ends nothing.
        loop {
            match self.socket.recv_from(buffer) {
                Ok((size, from)) => {
                    if let Some(flow) = self.flow(from) {
                        self.enter(Dir::ToTarget, flow, &buffer[..size]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    fn receive_from_target(&mut self, flow: usize, buffer: &mut [u8]) {
        loop {
            match self.flows[flow].socket.recv(buffer) {
                Ok(size) => self.enter(Dir::FromTarget, flow, &buffer[..size]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {}
            }
        }
    }

    fn enter(&self, dir: Dir, flow: usize, data: &[u8]) {
        let now = self.clock.now().mono;
        let mut state = locked(&self.state);
        if state.record && state.recorded_bytes < MAX_RECORD_BYTES {
            state.recorded_bytes += data.len();
            state.recorded.push((dir, data.to_vec()));
        }
        let hole = state.holes.contains(&self.flows[flow].client);
        if !hole && state.cut.is_none_or(|kept| flow < kept) {
            state.links[side(dir)].handle(now, data.len(), (flow, data.to_vec()));
        }
    }

    fn flow(&mut self, client: SocketAddr) -> Option<usize> {
        if let Some(flow) = self.by_client.get(&client) {
            return Some(*flow);
        }
        if self.flows.len() >= MAX_FLOWS {
            return None;
        }
        let flow = self.flows.len();
        let socket = self.towards_target(flow).ok()?;
        self.flows.push(Flow { client, socket });
        self.by_client.insert(client, flow);
        locked(&self.state).flows = self.flows.len();
        Some(flow)
    }

    /// A socket of its own for a flow.
    fn towards_target(&self, flow: usize) -> io::Result<UdpSocket> {
        let any: SocketAddr =
            if self.target.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let mut socket = UdpSocket::bind(any)?;
        socket.connect(self.target)?;
        let token = Token(FIRST_FLOW + flow);
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        Ok(socket)
    }

    fn rebind(&mut self) {
        for flow in 0..self.flows.len() {
            match self.towards_target(flow) {
                Ok(socket) => self.flows[flow].socket = socket,
                Err(error) => tracing::error!(%error, "emulator"),
            }
        }
    }

    fn deliver(&self, now: Mono) {
        let mut state = locked(&self.state);
        for (dir, flow, data) in std::mem::take(&mut state.injected) {
            if flow < self.flows.len() {
                state.links[side(dir)].handle(now, data.len(), (flow, data));
            }
        }
        while let Some((flow, data)) = state.links[side(Dir::ToTarget)].poll(now) {
            let _ = self.flows[flow].socket.send(&data);
        }
        while let Some((flow, data)) = state.links[side(Dir::FromTarget)].poll(now) {
            let _ = self.socket.send_to(&data, self.flows[flow].client);
        }
    }
}

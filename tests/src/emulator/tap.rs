//! Stands in TCP connections, passes every byte on and keeps a copy. It can hold connections: then
//! nothing passes, either way, and no end of a connection either, as in a network that has become a
//! black hole. When it lets go again everything goes on, as TCP does after its retransmissions.

use super::owner::owned;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Recording of a direction ends at this size, or a long test fills the memory.
const MAX_RECORD_BYTES: usize = 64 << 20;

/// Whose connections are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Everybody's, and those that come meanwhile.
    All,
    /// Those of this process, by its id.
    Process(u32),
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    connections: AtomicU64,
    /// One for each direction of each connection.
    recorded: Mutex<Vec<Vec<u8>>>,
    open: Mutex<Vec<TcpStream>>,
    holding: Mutex<Holding>,
    let_go: Condvar,
}

#[derive(Default)]
struct Holding {
    hold: Option<Hold>,
    /// Ports of all who are connected.
    ports: Vec<u16>,
    /// Those of them that are held. Asked for once: who is held may close its end.
    held: Vec<u16>,
}

impl Holding {
    fn holds(&self, port: u16) -> bool {
        self.hold == Some(Hold::All) || self.held.contains(&port)
    }
}

fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits while the connection from this port is held; `false` if the tap ends.
    fn pass(&self, port: u16) -> bool {
        let held = |holding: &mut Holding| !self.stopping() && holding.holds(port);
        let holding = locked(&self.holding);
        drop(self.let_go.wait_while(holding, held).unwrap_or_else(PoisonError::into_inner));
        !self.stopping()
    }
}

/// A running tap; it ends, and its connections with it, when dropped.
pub struct TcpTap {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for TcpTap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpTap").field("address", &self.address).finish_non_exhaustive()
    }
}

impl TcpTap {
    /// Listens on `listen` (port 0 takes a free one) and connects every comer to `target`.
    ///
    /// # Errors
    /// If the address cannot be bound or the thread not started.
    pub fn start(listen: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = state.clone();
        let thread = std::thread::Builder::new().name("tcp-tap".into()).spawn(move || {
            for stream in listener.incoming() {
                if shared.stopping() {
                    return;
                }
                if let Ok(stream) = stream
                    && let Err(error) = connect(stream, target, &shared)
                {
                    tracing::warn!(%error, "tap");
                }
            }
        })?;
        Ok(Self { address, state, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that came.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Holds connections from now on, or lets all of them go.
    pub fn hold(&self, hold: Option<Hold>) {
        let ports = {
            let mut holding = locked(&self.state.holding);
            holding.hold = hold;
            holding.held.clear();
            holding.ports.clone()
        };
        if let Some(Hold::Process(pid)) = hold {
            // Without the lock: all others go on meanwhile. Who comes now is looked at on coming.
            let held = owned(pid, &ports, self.address.port());
            locked(&self.state.holding).held.extend(held);
        }
        self.state.let_go.notify_all();
    }

    /// All bytes, each direction of each connection by itself.
    #[must_use]
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        locked(&self.state.recorded).clone()
    }
}

impl Drop for TcpTap {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        self.hold(None);
        // Wakes the thread in accept.
        let _ = TcpStream::connect(self.address);
        for stream in locked(&self.state.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connect(client: TcpStream, target: SocketAddr, state: &Arc<State>) -> io::Result<()> {
    let port = client.peer_addr()?.port();
    let hold = {
        let mut holding = locked(&state.holding);
        holding.ports.push(port);
        holding.hold
    };
    if let Some(Hold::Process(pid)) = hold {
        let held = owned(pid, &[port], client.local_addr()?.port());
        locked(&state.holding).held.extend(held);
    }
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    state.connections.fetch_add(1, Ordering::Relaxed);
    locked(&state.open).extend([client.try_clone()?, server.try_clone()?]);
    for (mut from, mut to) in
        [(client.try_clone()?, server.try_clone()?), (server.try_clone()?, client.try_clone()?)]
    {
        let state = state.clone();
        let mine = {
            let mut kept = locked(&state.recorded);
            kept.push(Vec::new());
            kept.len() - 1
        };
        // Ends with its connection.
        std::thread::Builder::new().name("tcp-tap-copy".into()).spawn(move || {
            let mut buffer = vec![0; 16_384];
            while let Ok(size @ 1..) = from.read(&mut buffer) {
                if let Some(kept) =
                    locked(&state.recorded).get_mut(mine).filter(|k| k.len() < MAX_RECORD_BYTES)
                {
                    kept.extend_from_slice(&buffer[..size]);
                }
                if !state.pass(port) || to.write_all(&buffer[..size]).is_err() {
                    break;
                }
            }
            // An end does not pass either.
            state.pass(port);
            locked(&state.holding).ports.retain(|p| *p != port);
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        })?;
    }
    Ok(())
}

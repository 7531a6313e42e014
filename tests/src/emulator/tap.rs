//! Stands in a TCP connection, passes every byte on and keeps a copy.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Recording of a direction ends at this size, or a long test fills the memory.
const MAX_RECORD_BYTES: usize = 64 << 20;

#[derive(Default)]
struct State {
    stop: AtomicBool,
    connections: AtomicU64,
    /// One for each direction of each connection.
    recorded: Mutex<Vec<Vec<u8>>>,
    open: Mutex<Vec<TcpStream>>,
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
                if shared.stop.load(Ordering::Relaxed) {
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

    /// All bytes, each direction of each connection by itself.
    #[must_use]
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        self.state.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for TcpTap {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        // Wakes the thread in accept.
        let _ = TcpStream::connect(self.address);
        for stream in self.state.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn connect(client: TcpStream, target: SocketAddr, state: &Arc<State>) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    state.connections.fetch_add(1, Ordering::Relaxed);
    state
        .open
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .extend([client.try_clone()?, server.try_clone()?]);
    for (mut from, mut to) in
        [(client.try_clone()?, server.try_clone()?), (server.try_clone()?, client.try_clone()?)]
    {
        let state = state.clone();
        let mine = {
            let mut kept = state.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(Vec::new());
            kept.len() - 1
        };
        // Ends with its connection.
        std::thread::Builder::new().name("tcp-tap-copy".into()).spawn(move || {
            let mut buffer = vec![0; 16_384];
            while let Ok(size @ 1..) = from.read(&mut buffer) {
                {
                    let mut kept = state.recorded.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(kept) = kept.get_mut(mine).filter(|k| k.len() < MAX_RECORD_BYTES) {
                        kept.extend_from_slice(&buffer[..size]);
                    }
                }
                if to.write_all(&buffer[..size]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        })?;
    }
    Ok(())
}

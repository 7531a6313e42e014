//! Sockets that only read, for the limit: as many as viewers, one thread, always polling.

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use relay_node::io::udp::{RecvBatch, UdpBatch, UdpOptions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What one socket may have waiting: a key frame at high bitrate.
pub(crate) const RECEIVE_BUFFER: usize = 1 << 20;
/// Messages of one receive call.
pub(crate) const MESSAGES: usize = 16;

/// The sockets and their thread. Ends when dropped.
#[derive(Debug)]
pub struct Sinks {
    addresses: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
    packets: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Sinks {
    /// Opens `count` sockets on loopback; `gro` lets the kernel hand runs over merged.
    ///
    /// # Errors
    /// If there are no sockets or no thread.
    pub fn start(count: usize, gro: bool) -> io::Result<Self> {
        let options = UdpOptions { recv_buffer: RECEIVE_BUFFER, gro, ..UdpOptions::default() };
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets: Vec<UdpBatch> =
            (0..count).map(|_| UdpBatch::bind(any, &options)).collect::<Result<_, _>>()?;
        let addresses = sockets.iter().map(UdpBatch::local_addr).collect();
        let mut poll = Poll::new()?;
        for (n, socket) in sockets.iter().enumerate() {
            let fd = socket.as_fd().as_raw_fd();
            poll.registry().register(&mut SourceFd(&fd), Token(n), Interest::READABLE)?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let packets = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (stop.clone(), packets.clone());
        let thread = std::thread::Builder::new().name("load-sinks".into()).spawn(move || {
            yield_to_others();
            let mut events = Events::with_capacity(1_024);
            let mut batch = RecvBatch::new(MESSAGES);
            while !stopped.load(Ordering::Relaxed) {
                if poll.poll(&mut events, Some(Duration::ZERO)).is_err() {
                    continue;
                }
                for event in &events {
                    let Some(socket) = sockets.get(event.token().0) else { continue };
                    while socket.recv(&mut batch).is_ok_and(|n| n > 0) {
                        counted.fetch_add(batch.segments().count() as u64, Ordering::Relaxed);
                    }
                }
            }
        })?;
        Ok(Self { addresses, stop, packets, thread: Some(thread) })
    }

    /// Where they listen.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Datagrams received so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A thread that always polls gives way to everything else on its core.
pub(crate) fn yield_to_others() {
    // On Linux niceness is the thread's own.
    let _ = rustix::process::nice(19);
}

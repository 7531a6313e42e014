//! ICE-TCP (RFC 6544, passive side) for viewers whose network blocks UDP: connections on the viewer
//! port's number, polled by the worker's own thread. A connection's packets look to the sessions
//! like datagrams from an address of its own ([`flow`]). Strangers are held to a few connections and
//! a few seconds, and each connection to a bounded backlog.

mod accept;
mod backlog;
mod flow;
mod frame;
mod places;
#[cfg(test)]
mod tests;
mod travel;

use backlog::{Backlog, Pushed};
use flow::number;
use frame::{Deframer, Frames};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use places::{Place, Places};
use socket2::{Domain, Protocol, Socket, Type};
use soleil_protocol::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// A connection whose first valid check has not come after this is closed.
pub(super) const AUTHENTICATE_WITHIN: Duration = Duration::from_secs(10);

/// Connections without a valid check: the oldest makes room for a new one, so that those who only
/// connect keep nobody out for long.
pub const MAX_FRESH: usize = 256;

/// A connection that has taken no media for so long is closed: as long as consent lasts.
const MAX_STALL: Duration = Duration::from_secs(30);

/// A goodbye has so long to be written.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The kernel's buffer of a connection: 0.8 s of 2.5 Mbit/s. Left to itself it grows to megabytes,
/// that is, to many seconds of old pictures.
const SEND_BUFFER: usize = 256 * 1024;

/// Viewers send checks and reports.
const RECEIVE_BUFFER: usize = 32 * 1024;

/// Bytes that are read from one connection before the others have their turn.
const READ_AT_ONCE: usize = 8 * 1024;

/// Connections that are looked at in one turn, and accepted in one turn.
const AT_ONCE: usize = 64;

/// Connections that wait in the kernel: a storm of joins.
const LISTEN_BACKLOG: i32 = 1_024;

const LISTENER: Token = Token(0);

pub(super) use flow::is_flow;
pub(super) use travel::Stray;

/// How many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpLimits {
    /// In all.
    pub total: usize,
    /// From one address (IPv6: one /64).
    pub per_address: usize,
}

/// Something that sessions have to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TcpEvent {
    /// It does not drain: no media for it.
    Stalled(SocketAddr),
    /// It has drained.
    Drained(SocketAddr),
    /// It has ended.
    Closed(SocketAddr),
}

/// What has been counted since it was last asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TcpCounts {
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) sent: u64,
    pub(super) dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No valid check yet.
    Fresh,
    /// A session's.
    Admitted,
    /// Only writes what is left.
    Closing,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    flow: SocketAddr,
    place: Place,
    state: State,
    /// When it is closed, unless something changes.
    until: Option<Mono>,
    input: Deframer,
    output: Backlog,
    dirty: bool,
}

/// Connections of one worker, and the listener if it is this one that has it.
#[derive(Debug)]
pub(super) struct Tcp {
    poll: Poll,
    events: Events,
    listener: Option<TcpListener>,
    places: Arc<Places>,
    /// By number; numbers rise, so the oldest stand first.
    connections: BTreeMap<u32, Connection>,
    fresh: BTreeSet<u32>,
    last: u32,
    chunk: Vec<u8>,
    frames: Frames,
    /// Not read to the end.
    unread: Vec<u32>,
    accept: bool,
    dirty: Vec<u32>,
    news: Vec<TcpEvent>,
    counts: TcpCounts,
}

impl Tcp {
    /// Listens on `addr`. An IPv6 wildcard takes IPv4 as well.
    pub(super) fn bind(addr: SocketAddr, limits: TcpLimits) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        // Connections of the process before this one may still be closing.
        socket.set_reuse_address(true)?;
        // Connections get these from their listener.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(&addr.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        let mut tcp = Self::new(Places::new(limits))?;
        tcp.poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        tcp.listener = Some(listener);
        Ok(tcp)
    }

    /// Without a listener: for the connections that another worker hands over, within the same
    /// limits.
    pub(super) fn beside(&self) -> io::Result<Self> {
        Self::new(self.places.clone())
    }

    fn new(places: Arc<Places>) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(AT_ONCE),
            listener: None,
            places,
            connections: BTreeMap::new(),
            fresh: BTreeSet::new(),
            last: 0,
            chunk: vec![0; READ_AT_ONCE],
            frames: Frames::default(),
            unread: Vec::new(),
            accept: false,
            dirty: Vec::new(),
            news: Vec::new(),
            counts: TcpCounts::default(),
        })
    }

    /// Readable when there is something to do.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }

    /// Whether there is something to do already.
    pub(super) fn is_pending(&self) -> bool {
        self.accept || !self.unread.is_empty() || !self.news.is_empty()
    }

    /// Whether there are connections.
    pub(super) fn is_used(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Accepts, reads and writes as far as that goes without waiting.
    pub(super) fn turn(&mut self, now: Mono) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut readable = std::mem::take(&mut self.unread);
        let mut writable = Vec::new();
        for event in &self.events {
            if event.token() == LISTENER {
                self.accept = true;
                continue;
            }
            let number = event.token().0 as u32;
            // An error or an end shows when it is read.
            readable.push(number);
            if event.is_writable() {
                writable.push(number);
            }
        }
        if self.accept {
            self.accept(now);
        }
        for number in writable {
            self.write(number);
        }
        readable.sort_unstable();
        readable.dedup();
        for number in readable {
            self.read(number);
        }
        Ok(())
    }

    fn read(&mut self, number: u32) {
        let Some(c) = self.connections.get_mut(&number) else { return };
        let keep = loop {
            match c.stream.read(&mut self.chunk) {
                Ok(0) => break false,
                Ok(n) => {
                    let Frames { bytes, spans } = &mut self.frames;
                    let taken = c.input.push(self.chunk.get(..n).unwrap_or_default(), |frame| {
                        let start = bytes.len();
                        bytes.extend_from_slice(frame);
                        spans.push((c.flow, start, bytes.len()));
                    });
                    if taken.is_ok() && n == READ_AT_ONCE {
                        // More may be there: others first.
                        self.unread.push(number);
                    }
                    break taken.is_ok();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        if !keep {
            self.remove(number);
        }
    }

    /// Frames that have come; give the buffer back with [`recycle`](Self::recycle).
    pub(super) fn take_frames(&mut self) -> Frames {
        std::mem::take(&mut self.frames)
    }

    pub(super) fn recycle(&mut self, mut frames: Frames) {
        frames.clear();
        self.frames = frames;
    }

    /// What has happened.
    pub(super) fn next_event(&mut self) -> Option<TcpEvent> {
        if self.news.is_empty() { None } else { Some(self.news.remove(0)) }
    }

    /// What has been counted since the last call.
    pub(super) fn take_counts(&mut self) -> TcpCounts {
        std::mem::take(&mut self.counts)
    }

    /// Whether the connection is there.
    pub(super) fn is_open(&self, address: SocketAddr) -> bool {
        self.find(address).is_some_and(|c| c.state != State::Closing)
    }

    /// Whether the connection has shown no valid check.
    pub(super) fn is_fresh(&self, address: SocketAddr) -> bool {
        self.find(address).is_some_and(|c| c.state == State::Fresh)
    }

    fn find(&self, address: SocketAddr) -> Option<&Connection> {
        number(&address).and_then(|n| self.connections.get(&n)).filter(|c| c.flow == address)
    }

    /// The connection has shown a valid check.
    pub(super) fn admit(&mut self, address: SocketAddr) {
        let Some(number) = number(&address) else { return };
        if let Some(c) = self.connections.get_mut(&number).filter(|c| c.state == State::Fresh) {
            c.state = State::Admitted;
            c.until = None;
            self.fresh.remove(&number);
        }
    }

    /// The connection is a stranger's: it ends.
    pub(super) fn refuse(&mut self, address: SocketAddr) {
        if self.find(address).is_some() {
            self.counts.refused += 1;
            number(&address).into_iter().for_each(|number| self.remove(number));
        }
    }

    /// The connection's session is over: it ends when all is written.
    pub(super) fn finish(&mut self, now: Mono, address: SocketAddr) {
        let Some(number) = number(&address) else { return };
        if let Some(c) = self.connections.get_mut(&number) {
            c.state = State::Closing;
            c.until = Some(now.after(CLOSE_WITHIN));
            self.fresh.remove(&number);
            // Looked at by the next flush, when the goodbye is in it.
            c.dirty = true;
            self.dirty.push(number);
        }
    }

    /// Adds a packet to what is written by the next [`flush`](Self::flush).
    pub(super) fn send(&mut self, now: Mono, to: SocketAddr, data: &[u8]) {
        let Some(number) = number(&to) else { return };
        let Some(c) = self.connections.get_mut(&number).filter(|c| c.flow == to) else { return };
        let choked = c.output.is_choked();
        match c.output.push(data) {
            Pushed::Queued => self.counts.sent += 1,
            Pushed::Dropped => self.counts.dropped += 1,
        }
        if c.output.is_choked() && !choked && c.state != State::Closing {
            c.until = c.until.or(Some(now.after(MAX_STALL)));
            self.news.push(TcpEvent::Stalled(to));
        }
        if !std::mem::replace(&mut c.dirty, true) {
            self.dirty.push(number);
        }
    }

    /// Writes what was added.
    pub(super) fn flush(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            if let Some(c) = self.connections.get_mut(&number) {
                c.dirty = false;
            }
            self.write(number);
        }
    }

    fn write(&mut self, number: u32) {
        let Some(c) = self.connections.get_mut(&number) else { return };
        while c.output.len() > 0 {
            match c.stream.write(c.output.pending()) {
                Ok(n) if n > 0 => c.output.advance(n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return self.remove(number),
            }
        }
        if c.output.recover() && c.state == State::Admitted {
            c.until = None;
            self.news.push(TcpEvent::Drained(c.flow));
        }
        if c.state == State::Closing {
            self.remove(number);
        }
    }

    /// Ends what has taken too long or is no longer a session's, and looks for connections that
    /// could not be accepted.
    pub(super) fn expire(&mut self, now: Mono, known: impl Fn(SocketAddr) -> bool) {
        let late = |c: &Connection| {
            c.until.is_some_and(|until| until <= now)
                || c.state == State::Admitted && !known(c.flow)
        };
        let over: Vec<u32> =
            self.connections.iter().filter(|(_, c)| late(c)).map(|(number, _)| *number).collect();
        for number in over {
            self.counts.refused += u64::from(self.fresh.contains(&number));
            self.remove(number);
        }
        self.accept = self.listener.is_some();
    }

    fn remove(&mut self, number: u32) {
        let Some(mut c) = self.connections.remove(&number) else { return };
        let _ = self.poll.registry().deregister(&mut c.stream);
        self.fresh.remove(&number);
        if c.state != State::Closing {
            self.news.push(TcpEvent::Closed(c.flow));
        }
    }
}

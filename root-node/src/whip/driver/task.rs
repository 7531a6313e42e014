//! The task of all sessions: it moves datagrams between the socket, the sessions and the feeds of the
//! ingest, and looks at the clock for them.

use super::{NewSession, Order, Restarted, SessionId};
use crate::ingest::feed::{FedDatagram, Feed, KeyFrameWanted};
use crate::whip::metrics::Counters;
use crate::whip::offer::Credentials;
use crate::whip::route::Routes;
use crate::whip::session::{End, Session};
use relay_node::clock::Clock;
use soleil_protocol::Now;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The largest datagram that is taken: a jumbo frame's.
const MAX_DATAGRAM: usize = 9_216;
/// What the kernel may hold while the task is busy: key frames of several broadcasters.
const SOCKET_BUFFER: usize = 2 << 20;
/// Datagrams taken before timers and orders have their turn.
const BATCH: usize = 64;
/// The least time between two looks at the timers: `rtc` may call a timer due again at once.
const TICK: Duration = Duration::from_millis(1);

/// Sessions are numbered within the task.
type Key = u64;

struct Entry {
    id: SessionId,
    stream: String,
    session: Session,
    feed: Feed,
    lost: u64,
    /// When time has something to do for it.
    due: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl Entry {
    /// Sends and hands on what the session has.
    fn flush(
        &mut self,
        at: Now,
        socket: &UdpSocket,
        counters: &Counters,
        mut sent: impl FnMut(SocketAddr, &[u8]),
    ) {
        while let Some((to, datagram)) = self.session.poll_send() {
            sent(to, &datagram);
            // What does not fit into the socket is lost like on any other part of the way.
            let _ = socket.try_send_to(&datagram, outward(to, socket.local_addr().ok()));
        }
        while let Some(media) = self.session.poll_media() {
            let datagram = FedDatagram { layer: media.layer, at, bytes: media.bytes };
            if !self.feed.push(datagram) {
                counters.overflow.add(1);
            }
        }
        let lost = self.session.overflow();
        counters.overflow.add(lost - self.lost);
        self.lost = lost;
    }
}

/// All sessions, ready to run.
pub struct WhipTask {
    clock: Clock,
    socket: UdpSocket,
    sessions: BTreeMap<Key, Entry>,
    next_key: Key,
    routes: Routes<Key>,
    orders: mpsc::Receiver<Order>,
    wishes: mpsc::Receiver<KeyFrameWanted>,
    /// One for each session: ends with its hold on the stream.
    holds: JoinSet<Key>,
    counters: Arc<Counters>,
}

impl WhipTask {
    pub(super) fn new(
        clock: Clock,
        socket: UdpSocket,
        orders: mpsc::Receiver<Order>,
        wishes: mpsc::Receiver<KeyFrameWanted>,
        counters: Arc<Counters>,
    ) -> Self {
        let (sessions, routes) = (BTreeMap::new(), Routes::default());
        let holds = JoinSet::new();
        Self { clock, socket, sessions, next_key: 0, routes, orders, wishes, holds, counters }
    }

    /// Runs until cancelled; then says so to all broadcasters.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut deadline = None;
        loop {
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                Some(wish) = self.wishes.recv() => self.wish(wish),
                Some(Ok(key)) = self.holds.join_next() => self.drive(key, |_, _| {}),
                ready = self.socket.readable() => {
                    if let Err(error) = ready {
                        tracing::error!(%error, "the WHIP socket");
                        break;
                    }
                    self.receive(&mut buffer);
                }
                () = timer => self.tick(),
            }
            let soonest = self.sessions.values().filter_map(|entry| entry.due).min();
            let earliest = self.clock.deadline(TICK);
            deadline = soonest.map(|at| at.max(earliest).into());
        }
        for key in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.drive(key, Session::close);
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.instant(self.clock.now().mono)
    }

    fn obey(&mut self, order: Order) {
        // Who asked may have gone; then nobody waits for an answer.
        match order {
            Order::Begin(new) => self.begin(*new),
            Order::Look(id, reply) => {
                let entry = self.find(&id).and_then(|key| self.sessions.get(&key));
                let both = entry.map(|e| (e.session.local().clone(), e.session.remote().clone()));
                let _ = reply.send(both);
            }
            Order::Restart(id, current, remote, reply) => {
                let _ = reply.send(self.restart(&id, current, remote));
            }
            Order::End(id, reply) => {
                let found = self.find(&id);
                if let Some(key) = found {
                    self.drive(key, Session::close);
                }
                let _ = reply.send(found.is_some());
            }
        }
    }

    pub(super) fn begin(&mut self, new: NewSession) {
        let NewSession { id, stream, session, feed, place } = new;
        let key = self.next_key;
        self.next_key += 1;
        self.routes.add_ufrag(key, &session.local().ufrag);
        tracing::info!(%stream, "a broadcaster has come (WHIP)");
        let over = feed.over();
        self.holds.spawn(async move {
            over.await;
            key
        });
        let entry = Entry { id, stream, session, feed, lost: 0, due: None, _place: place };
        self.sessions.insert(key, entry);
        self.counters.begun.add(1);
        self.counters.sessions.set(self.sessions.len() as u64);
        self.drive(key, |_, _| {});
    }

    fn restart(
        &mut self,
        id: &SessionId,
        current: Option<String>,
        remote: Credentials,
    ) -> Restarted {
        let Some(key) = self.find(id) else { return Restarted::Gone };
        let mut became = Restarted::Gone;
        self.drive(key, |session, now| {
            if current.is_some_and(|ufrag| ufrag != session.local().ufrag) {
                became = Restarted::Changed;
                return;
            }
            became = match session.restart(now, remote) {
                Ok(local) => Restarted::Done(local),
                Err(error) => Restarted::Failed(error),
            };
        });
        if let Restarted::Done(local) = &became {
            self.routes.add_ufrag(key, &local.ufrag);
        }
        became
    }

    fn wish(&mut self, wish: KeyFrameWanted) {
        let found = self.sessions.iter().find(|(_, e)| e.feed.id() == wish.feed);
        if let Some(key) = found.map(|(key, _)| *key) {
            self.drive(key, |session, now| session.request_key_frame(now, wish.layer));
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let (length, from) = match self.socket.try_recv_from(buffer) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // An ICMP error of what we sent: somebody has gone.
                    tracing::trace!(%error, "the WHIP socket");
                    continue;
                }
            };
            let from = SocketAddr::new(from.ip().to_canonical(), from.port());
            let datagram = &buffer[..length];
            let Some(key) = self.routes.find(from, datagram) else {
                self.counters.strangers.add(1);
                continue;
            };
            self.drive(key, |session, now| session.handle_datagram(now, from, datagram));
        }
    }

    fn tick(&mut self) {
        let now = self.now();
        let due = self.sessions.iter().filter(|(_, entry)| entry.due.is_some_and(|at| at <= now));
        let keys: Vec<Key> = due.map(|(key, _)| *key).collect();
        for key in keys {
            self.drive(key, Session::handle_timeout);
        }
    }

    /// Does something with a session, sends and hands on what it then has, and lets it go if it has
    /// ended, or if its stream is no longer its: then the broadcaster is told, for whatever reason it is.
    /// Nothing of the library is called elsewhere in this task: a panic within it ends that session alone.
    /// Before SRTP has proved who sent a packet, its parsers have read it.
    pub(super) fn drive(&mut self, key: Key, act: impl FnOnce(&mut Session, Instant)) {
        let now = self.now();
        let Some(entry) = self.sessions.get_mut(&key) else { return };
        let (socket, routes, counters) = (&self.socket, &mut self.routes, &self.counters);
        let at = self.clock.now();
        let done = catch_unwind(AssertUnwindSafe(|| {
            act(&mut entry.session, now);
            let withdrawn = entry.feed.is_over().then_some(End::Withdrawn);
            let end = entry.session.ended().or(withdrawn);
            if end.is_some() {
                entry.session.close(now);
            }
            entry.flush(at, socket, counters, |to, sent| routes.sent(key, to, sent));
            entry.due = entry.session.poll_timeout();
            end.or(entry.session.ended())
        }));
        let end = done.unwrap_or_else(|_| {
            tracing::error!(stream = %entry.stream, "a session has failed within the library");
            Some(End::Failed)
        });
        if let Some(end) = end {
            tracing::info!(stream = %entry.stream, reason = end.label(), "a broadcaster has gone");
            self.counters.ended(end).add(1);
            let entry = self.sessions.remove(&key);
            // The library has the last word here as well.
            if catch_unwind(AssertUnwindSafe(|| drop(entry))).is_err() {
                tracing::error!("a session could not be put away");
            }
            self.routes.remove(key);
            self.counters.sessions.set(self.sessions.len() as u64);
        }
    }

    pub(super) fn find(&self, id: &SessionId) -> Option<Key> {
        self.sessions.iter().find(|(_, e)| e.id == *id).map(|(key, _)| *key)
    }
}

/// An address as the socket wants it: one of IPv6 has IPv4 within (RFC 4291 section 2.5.5.2).
fn outward(to: SocketAddr, own: Option<SocketAddr>) -> SocketAddr {
    match (to.ip(), own) {
        (IpAddr::V4(ip), Some(SocketAddr::V6(_))) => {
            SocketAddr::new(ip.to_ipv6_mapped().into(), to.port())
        }
        _ => to,
    }
}

pub(super) fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if let Err(error) = socket.set_recv_buffer_size(SOCKET_BUFFER) {
        tracing::debug!(%error, "receive buffer stays as it is");
    }
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

//! The thin driver of WHIP: one UDP socket, one task with all sessions, and the outside of both for the
//! handlers. It moves datagrams between the socket, the sessions and the feeds of the ingest.

use super::metrics::Counters;
use super::offer::Credentials;
use super::route::Routes;
use super::session::{Certificate, End, Session, SessionError};
use crate::ingest::feed::{FedDatagram, Feed, KeyFrameWanted};
use relay_node::clock::Clock;
use soleil_protocol::Now;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// The largest datagram that is taken: a jumbo frame's.
const MAX_DATAGRAM: usize = 9_216;
/// What the kernel may hold while the task is busy: key frames of several broadcasters.
const SOCKET_BUFFER: usize = 2 << 20;
/// Datagrams taken before timers and orders have their turn.
const BATCH: usize = 64;
/// Orders of handlers that may wait.
const MAX_ORDERS: usize = 64;
/// Key-frame wishes that may wait: one of each layer of each session.
const MAX_WISHES: usize = 512;
/// The least time between two looks at the timers: `rtc` may call a timer due again at once.
const TICK: Duration = Duration::from_millis(1);

/// The name of a session in its URL: 128 random bits in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub String);

/// Sessions are numbered within the task.
type Key = u64;

/// A session that is agreed on.
#[derive(Debug)]
pub struct NewSession {
    /// Its name.
    pub id: SessionId,
    /// The stream's name, for the log.
    pub stream: String,
    /// The broadcaster.
    pub session: Session,
    /// Its hold on the stream.
    pub feed: Feed,
    /// Its place.
    pub place: OwnedSemaphorePermit,
}

/// What a handler wants.
#[derive(Debug)]
enum Order {
    Begin(Box<NewSession>),
    /// ICE credentials of both sides: ours first.
    Look(SessionId, oneshot::Sender<Option<(Credentials, Credentials)>>),
    /// The name fragment of ours that the restart is for, if for one.
    Restart(SessionId, Option<String>, Credentials, oneshot::Sender<Restarted>),
    End(SessionId, oneshot::Sender<bool>),
}

/// What became of a restart.
#[derive(Debug)]
pub enum Restarted {
    /// Our new credentials.
    Done(Credentials),
    /// There is no such session.
    Gone,
    /// Somebody else restarted in between.
    Changed,
    /// It can't be done.
    Failed(SessionError),
}

/// The outside of WHIP.
#[derive(Debug, Clone)]
pub struct Whip {
    orders: mpsc::Sender<Order>,
    wishes: mpsc::Sender<KeyFrameWanted>,
    places: Arc<Semaphore>,
    /// Of our DTLS certificate.
    pub certificate: Certificate,
    /// Where the socket is bound.
    pub bound: SocketAddr,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Whip {
    /// Binds the socket; `places` is how many sessions there may be.
    ///
    /// # Errors
    /// If the socket can't be bound, or there is no certificate to be made.
    pub fn bind(listen: SocketAddr, places: usize, clock: Clock) -> io::Result<(Whip, WhipTask)> {
        let certificate = Certificate::generate().map_err(io::Error::other)?;
        let socket = bind(listen)?;
        let bound = socket.local_addr()?;
        let (orders, orders_rx) = mpsc::channel(MAX_ORDERS);
        let (wishes, wishes_rx) = mpsc::channel(MAX_WISHES);
        let counters = Arc::new(Counters::default());
        let whip = Whip {
            orders,
            wishes,
            places: Arc::new(Semaphore::new(places)),
            certificate,
            bound,
            counters: counters.clone(),
        };
        let task = WhipTask {
            clock,
            socket,
            sessions: BTreeMap::new(),
            next_key: 0,
            routes: Routes::default(),
            orders: orders_rx,
            wishes: wishes_rx,
            counters,
        };
        Ok((whip, task))
    }

    /// A place for a session, if there is one.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().try_acquire_owned().ok()
    }

    /// Where feeds say that they need a key frame.
    pub fn wishes(&self) -> mpsc::Sender<KeyFrameWanted> {
        self.wishes.clone()
    }

    /// Begins a session; `false` if WHIP has ended.
    pub async fn begin(&self, session: NewSession) -> bool {
        self.orders.send(Order::Begin(Box::new(session))).await.is_ok()
    }

    /// The ICE credentials of a session, ours first; `None` if it is not there.
    pub async fn look(&self, id: SessionId) -> Option<(Credentials, Credentials)> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::Look(id, reply)).await.ok()?;
        answer.await.ok()?
    }

    /// Restarts ICE if the session is still the one of our name fragment (`None`: whichever it is).
    pub async fn restart(
        &self,
        id: SessionId,
        current: Option<String>,
        remote: Credentials,
    ) -> Restarted {
        let (reply, answer) = oneshot::channel();
        let order = Order::Restart(id, current, remote, reply);
        match self.orders.send(order).await {
            Ok(()) => answer.await.unwrap_or(Restarted::Gone),
            Err(_) => Restarted::Gone,
        }
    }

    /// Ends a session; `false` if it is not there.
    pub async fn end(&self, id: SessionId) -> bool {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order::End(id, reply)).await.is_ok() && answer.await.unwrap_or(false)
    }
}

struct Entry {
    id: SessionId,
    stream: String,
    session: Session,
    feed: Feed,
    lost: u64,
    _place: OwnedSemaphorePermit,
}

impl Entry {
    /// Sends and hands on what the session has.
    fn flush(
        &mut self,
        at: Now,
        socket: &UdpSocket,
        counters: &Counters,
        mut answered: impl FnMut(SocketAddr),
    ) {
        while let Some((to, datagram)) = self.session.poll_send() {
            answered(to);
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
    counters: Arc<Counters>,
}

impl WhipTask {
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
                ready = self.socket.readable() => {
                    if let Err(error) = ready {
                        tracing::error!(%error, "the WHIP socket");
                        break;
                    }
                    self.receive(&mut buffer);
                }
                () = timer => self.tick(),
            }
            let soonest = self.sessions.values_mut().filter_map(|e| e.session.poll_timeout()).min();
            let earliest = self.clock.deadline(TICK);
            deadline = soonest.map(|at| at.max(earliest).into());
        }
        for key in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.drive(key, Session::close);
        }
    }

    fn now(&self) -> Instant {
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

    fn begin(&mut self, new: NewSession) {
        let NewSession { id, stream, session, feed, place } = new;
        let key = self.next_key;
        self.next_key += 1;
        self.routes.add_ufrag(key, &session.local().ufrag);
        tracing::info!(%stream, "a broadcaster has come (WHIP)");
        let entry = Entry { id, stream, session, feed, lost: 0, _place: place };
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
        let due = |entry: &mut Entry| entry.session.poll_timeout().is_some_and(|at| at <= now);
        let keys: Vec<Key> =
            self.sessions.iter_mut().filter_map(|(k, e)| due(e).then_some(*k)).collect();
        for key in keys {
            self.drive(key, Session::handle_timeout);
        }
    }

    /// Does something with a session, sends and hands on what it then has, and lets it go if it has
    /// ended. A panic of the library within ends that session alone: before SRTP has proved who
    /// sent a packet, its parsers have read it.
    fn drive(&mut self, key: Key, act: impl FnOnce(&mut Session, Instant)) {
        let now = self.now();
        let Some(entry) = self.sessions.get_mut(&key) else { return };
        let (socket, routes, counters) = (&self.socket, &mut self.routes, &self.counters);
        let at = self.clock.now();
        let done = catch_unwind(AssertUnwindSafe(|| {
            act(&mut entry.session, now);
            entry.flush(at, socket, counters, |to| routes.add_address(key, to));
            entry.session.ended()
        }));
        let end = done.unwrap_or_else(|_| {
            tracing::error!(stream = %entry.stream, "a session has failed within the library");
            Some(End::Failed)
        });
        let end = if entry.feed.is_closed() { end.or(Some(End::Closed)) } else { end };
        if let Some(end) = end {
            tracing::info!(stream = %entry.stream, reason = end.label(), "a broadcaster has gone");
            self.counters.ended(end).add(1);
            self.sessions.remove(&key);
            self.routes.remove(key);
            self.counters.sessions.set(self.sessions.len() as u64);
        }
    }

    fn find(&self, id: &SessionId) -> Option<Key> {
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

fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
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

#[cfg(test)]
mod tests {
    use super::super::offer::Offer;
    use super::super::plan::Plan;
    use super::*;
    use crate::ingest::FeedId;

    #[tokio::test]
    async fn a_panic_within_ends_one_session_alone() {
        let clock = Clock::start();
        let (whip, mut task) = Whip::bind(([127, 0, 0, 1], 0).into(), 4, clock).unwrap();
        let text = super::super::tests::offer(&[]);
        let offer = Offer::parse(&text).unwrap();
        let plan = Plan::new(&offer, &super::super::tests::tracks()).unwrap();
        let mut kept = Vec::new();
        for n in 0..2 {
            let now = task.now();
            let session =
                Session::new(now, &plan, &offer.ice, &offer.fingerprint, &whip.certificate)
                    .unwrap();
            let (sender, datagrams) = mpsc::channel(1);
            kept.push(datagrams);
            task.begin(NewSession {
                id: SessionId(n.to_string()),
                stream: n.to_string(),
                session,
                feed: Feed::new(FeedId(n), sender),
                place: whip.place().unwrap(),
            });
        }
        task.drive(0, |_, _| panic!("as a library might"));
        assert_eq!((task.find(&SessionId("0".into())), whip.counters.sessions.get()), (None, 1));
        task.drive(1, |_, _| {});
        assert_eq!(task.find(&SessionId("1".into())), Some(1));
        let gone = kept[0].try_recv();
        assert_eq!(gone.err(), Some(mpsc::error::TryRecvError::Disconnected));
    }
}

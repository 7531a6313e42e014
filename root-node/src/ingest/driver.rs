//! The thin driver of one stream's ingest: its UDP sockets and its timer. It moves datagrams into
//! the core, seals what comes out and hands it on.

use super::choice::Via;
use super::feed::{Claim, FedDatagram, Feed, KeyFrameWanted, MAX_FED, Refused};
use super::layer::{Packet, Port};
use super::reason::{Counters, DropReason};
use super::source::{FeedId, Source};
use super::stream::{StreamEvent, StreamIngest};
use super::tap::{Gate, Ladder, MAX_TAPPED, Tapped};
use bytes::Bytes;
use relay_node::clock::Clock;
use relay_node::media::api::{FrameMarks, PipelineKey};
use relay_node::media::packet::{HopHeader, Sealer};
use relay_node::media::sizes::MAX_HOP_PACKET;
use soleil_protocol::{Epoch, PipelineId, Ssrc};
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The largest datagram that is taken: a jumbo frame's.
pub const MAX_DATAGRAM: usize = 9_216;
/// What the kernel may hold for one port while the task is busy: a large key frame, and 100 ms of
/// 40 Mbit/s.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Datagrams taken from one socket before the next one has its turn.
const BATCH: usize = 64;
/// How often the counters are published.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);
/// Orders that may wait: keys are rare, key-frame requests merged.
const MAX_ORDERS: usize = 64;

/// What the root tells a running ingest.
#[derive(Debug)]
pub enum Order {
    /// Seal with this key from now on.
    Key(Epoch, PipelineKey),
    /// Viewers of a layer need a key frame.
    KeyFrame(Ssrc),
    /// A source within this process wants to send.
    Claim(Claim),
    /// One of the stream's sources sends no more.
    Gone(Via),
}

/// Where sealed packets and events go.
pub trait Outlet: Send + 'static {
    /// Sealed packets, in order.
    fn packets(&self, packets: Vec<Bytes>);
    /// Something that the root has to know.
    fn event(&self, pipeline: PipelineId, event: StreamEvent);
}

/// Counters of one layer: track, number of the layer in it, SSRC, counters.
pub type LayerCounters = (String, usize, Ssrc, Counters);

/// The outside of a running ingest.
#[derive(Debug, Clone)]
pub struct IngestHandle {
    /// The stream's name.
    pub name: String,
    /// Its number.
    pub id: PipelineId,
    /// Where it listens: the RTP port of each layer.
    pub ports: Vec<SocketAddr>,
    /// Where it listens for each of its sources: the port of each layer that is sent in.
    pub source_ports: Vec<Vec<SocketAddr>>,
    /// Who is on air, of a stream that comes in by several ways.
    pub on_air: watch::Receiver<Option<Via>>,
    orders: mpsc::Sender<Order>,
    pub(crate) counters: watch::Receiver<Arc<Vec<LayerCounters>>>,
}

impl IngestHandle {
    /// Gives an order; `false` if the ingest has ended or is swamped.
    pub fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }

    /// Takes the stream for a source within this process. Key frames that are wanted of it go to
    /// `wanted`. The stream is free again when the [`Feed`] is dropped.
    ///
    /// # Errors
    /// If somebody sends already, or the ingest has ended or is swamped.
    pub async fn feed(&self, wanted: mpsc::Sender<KeyFrameWanted>) -> Result<Feed, Refused> {
        let (reply, answer) = oneshot::channel();
        let claim = Claim { id: Feed::next_id(), wanted, reply };
        self.orders.send(Order::Claim(claim)).await.map_err(|_| Refused::Ended)?;
        answer.await.map_err(|_| Refused::Ended)?
    }

    /// What has been counted, as of the last half second.
    pub fn counters(&self) -> Arc<Vec<LayerCounters>> {
        self.counters.borrow().clone()
    }
}

/// One bound socket.
struct Socket {
    layer: usize,
    via: Via,
    port: Port,
    udp: UdpSocket,
}

/// One stream's ingest, ready to run.
pub struct IngestTask {
    core: StreamIngest,
    clock: Clock,
    sockets: Vec<Socket>,
    sealer: Option<Sealer>,
    orders: mpsc::Receiver<Order>,
    counters: watch::Sender<Arc<Vec<LayerCounters>>>,
    on_air: watch::Sender<Option<Via>>,
    fed: Option<Fed>,
    ladder: Option<Tap>,
}

/// Whoever makes layers out of another one.
struct Tap {
    of: Ssrc,
    gate: Gate,
    packets: mpsc::Sender<Tapped>,
    fed: Option<Fed>,
}

/// The source within this process that feeds the stream.
struct Fed {
    id: FeedId,
    datagrams: mpsc::Receiver<FedDatagram>,
    wanted: mpsc::Sender<KeyFrameWanted>,
    /// Whatever ends the hold, the source hears of it.
    _over: DropGuard,
}

impl IngestTask {
    /// Binds the sockets: `ports` has the RTP address of each layer that is sent in; the next port is for RTCP
    /// unless it is another layer's. Port 0 takes a free one, and RTCP comes there, too (RFC 5761).
    ///
    /// # Errors
    /// If an RTP port can't be bound; the text names it.
    pub fn bind(
        name: &str,
        core: StreamIngest,
        ports: &[SocketAddr],
        taken: &[SocketAddr],
        clock: Clock,
    ) -> io::Result<(IngestHandle, IngestTask)> {
        let mut sockets = Vec::new();
        let mut bound = Vec::new();
        let via = Via::Broadcaster;
        let sent_in = (0..).filter(|layer| !core.is_made(*layer));
        for (layer, addr) in sent_in.zip(ports) {
            let udp = bind(*addr)
                .map_err(|e| io::Error::new(e.kind(), format!("UDP port {addr}: {e}")))?;
            let local = udp.local_addr()?;
            bound.push(local);
            sockets.push(Socket { layer, via, port: Port::Rtp, udp });
            if addr.port() == 0 {
                continue;
            }
            let Some(next) = local.port().checked_add(1) else { continue };
            let rtcp = SocketAddr::new(local.ip(), next);
            if taken.contains(&rtcp) {
                continue;
            }
            match bind(rtcp) {
                Ok(udp) => sockets.push(Socket { layer, via, port: Port::Rtcp, udp }),
                // RTCP on the RTP port still works.
                Err(error) => tracing::warn!(%rtcp, %error, "no separate port for RTCP"),
            }
        }
        let (orders, orders_rx) = mpsc::channel(MAX_ORDERS);
        let (counters, counters_rx) = watch::channel(Arc::new(core.counters()));
        let (on_air, shown) = watch::channel(None);
        let handle = IngestHandle {
            name: name.to_owned(),
            id: core.id(),
            ports: bound,
            source_ports: Vec::new(),
            on_air: shown,
            orders,
            counters: counters_rx,
        };
        let task = IngestTask {
            core,
            clock,
            sockets,
            sealer: None,
            orders: orders_rx,
            counters,
            on_air,
            fed: None,
            ladder: None,
        };
        Ok((handle, task))
    }

    /// Listens for so many sources of its own, each with a free port of this machine for each layer that
    /// is sent in: RTP, and RTCP by RFC 5761.
    ///
    /// # Errors
    /// If there are no free ports.
    pub fn listen_to_sources(&mut self, handle: &mut IngestHandle, count: usize) -> io::Result<()> {
        let rtp = self.sockets.iter().filter(|s| s.port == Port::Rtp);
        let layers: Vec<usize> = rtp.map(|s| s.layer).collect();
        for source in 0..count {
            let mut ports = Vec::new();
            for layer in layers.iter().copied() {
                let udp = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
                ports.push(udp.local_addr()?);
                let via = Via::Source(source);
                self.sockets.push(Socket { layer, via, port: Port::Rtp, udp });
            }
            handle.source_ports.push(ports);
        }
        Ok(())
    }

    /// A way for whoever makes the layers that are not sent in; `None` if there are none.
    pub fn tap(&mut self) -> Option<Ladder> {
        let made = self.core.made().first()?.clone();
        let source = *self.core.spec(made.of)?;
        let id = Feed::next_id();
        let (packets, tapped) = mpsc::channel(MAX_TAPPED);
        let (sender, datagrams) = mpsc::channel(MAX_FED);
        let (wanted, wishes) = mpsc::channel(MAX_ORDERS);
        let over = CancellationToken::new();
        self.core.set_maker(id);
        let fed = Some(Fed { id, datagrams, wanted, _over: over.clone().drop_guard() });
        self.ladder = Some(Tap { of: source.ssrc, gate: Gate::default(), packets, fed });
        let feed = Feed::new(id, sender, over);
        Some(Ladder { source, layers: made.layers, tapped, wanted: wishes, feed })
    }

    /// Runs until cancelled.
    pub async fn run(mut self, outlet: impl Outlet, stop: CancellationToken) {
        let mut buffer = vec![0; MAX_DATAGRAM];
        let mut publish = tokio::time::interval(PUBLISH_INTERVAL);
        publish.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let deadline = self.core.poll_timeout();
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(self.clock.instant(at).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => break,
                },
                () = readable(&self.sockets) => self.receive(&mut buffer),
                datagram = fed(&mut self.fed) => self.take(datagram),
                datagram = made(&mut self.ladder) => self.take_made(datagram),
                () = timer => self.core.handle_timeout(self.clock.now()),
                _ = publish.tick() => {
                    let _ = self.counters.send_replace(Arc::new(self.core.counters()));
                }
            }
            self.send(&outlet);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Key(epoch, key) => self.sealer = Some(Sealer::new(&key, epoch)),
            Order::KeyFrame(ssrc) => self.core.request_key_frame(self.clock.now(), ssrc),
            Order::Claim(claim) => self.claim(claim),
            Order::Gone(via) => self.core.gone(self.clock.now().mono, via),
        }
    }

    fn claim(&mut self, claim: Claim) {
        let Claim { id, wanted, reply } = claim;
        if !self.core.claim(self.clock.now().mono, id) {
            // Who asked may have gone: then nobody waits for the answer.
            let _ = reply.send(Err(Refused::Busy));
            return;
        }
        let (sender, datagrams) = mpsc::channel(MAX_FED);
        let over = CancellationToken::new();
        self.fed = Some(Fed { id, datagrams, wanted, _over: over.clone().drop_guard() });
        // If who asked has gone, the feed is dropped with the answer, and the stream is free again.
        let _ = reply.send(Ok(Feed::new(id, sender, over)));
    }

    /// A datagram of the source within this process; `None`: it has gone.
    fn take(&mut self, first: Option<FedDatagram>) {
        let Some(id) = self.fed.as_ref().map(|fed| fed.id) else { return };
        let Some(first) = first else {
            self.fed = None;
            return self.core.leave(self.clock.now().mono, id);
        };
        take_all(&mut self.core, id, first, || {
            self.fed.as_mut().and_then(|fed| fed.datagrams.try_recv().ok())
        });
    }

    /// A datagram of a layer that is made; `None`: nobody makes it any more.
    fn take_made(&mut self, first: Option<FedDatagram>) {
        let Some(tap) = &mut self.ladder else { return };
        let (Some(id), Some(first)) = (tap.fed.as_ref().map(|fed| fed.id), first) else {
            tap.fed = None;
            return;
        };
        take_all(&mut self.core, id, first, || {
            tap.fed.as_mut().and_then(|fed| fed.datagrams.try_recv().ok())
        });
    }

    /// A packet that leaves goes to the ladder, too, if it is for it.
    fn offer(&mut self, packet: &Packet) {
        let Some(tap) = self.ladder.as_mut().filter(|tap| tap.of == packet.ssrc) else { return };
        let key = packet.marks.0 & FrameMarks::KEY_START != 0;
        if tap.gate.passes(key, tap.packets.capacity() > 0) {
            let size = self.core.size(packet.ssrc);
            // There is room, or nobody is there any more.
            let _ = tap.packets.try_send(Tapped { packet: packet.clone(), size });
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        for socket in &self.sockets {
            for _ in 0..BATCH {
                let (length, from) = match socket.udp.try_recv_from(buffer) {
                    Ok(got) => got,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        // An ICMP error of our own RTCP: the sender has gone.
                        tracing::trace!(%error, "ingest socket");
                        continue;
                    }
                };
                let (layer, via, port) = (socket.layer, socket.via, socket.port);
                let (now, datagram) = (self.clock.now(), &buffer[..length]);
                let taken = self.core.handle_via(now, via, layer, port, from, datagram);
                if let Err(reason) = taken {
                    tracing::trace!(%from, reason = reason.label(), "dropped");
                }
            }
        }
    }

    fn send(&mut self, outlet: &impl Outlet) {
        let on_air = self.core.on_air();
        self.on_air.send_if_modified(|shown| std::mem::replace(shown, on_air) != on_air);
        while let Some(event) = self.core.poll_event() {
            outlet.event(self.core.id(), event);
        }
        let mut sealed = Vec::new();
        while let Some(packet) = self.core.poll_packet() {
            self.offer(&packet);
            let Some(sealer) = &self.sealer else {
                self.core.count_drop(packet.ssrc, DropReason::NoKey);
                continue;
            };
            let header = HopHeader {
                ssrc: packet.ssrc,
                payload_type: packet.payload_type,
                marker: packet.marker,
                index: packet.index,
                timestamp: packet.timestamp,
                capture: packet.capture,
                marks: packet.marks,
            };
            let mut bytes = Vec::with_capacity(MAX_HOP_PACKET);
            match sealer.seal(&header, &packet.payload, &mut bytes) {
                Ok(()) => sealed.push(Bytes::from(bytes)),
                Err(error) => {
                    tracing::error!(%error, "a packet can't be sealed");
                    self.core.count_drop(packet.ssrc, DropReason::Oversized);
                }
            }
        }
        if !sealed.is_empty() {
            outlet.packets(sealed);
        }
        while let Some((layer, packet)) = self.core.poll_send() {
            match packet.to {
                Source::Socket(to) => {
                    let (port, bytes) = (packet.port, &packet.bytes);
                    let way = (layer, self.core.way_back(), port);
                    let socket = self.sockets.iter().find(|s| (s.layer, s.via, s.port) == way);
                    if let Some(socket) = socket {
                        // RTCP that does not fit into the socket is worth nothing later.
                        let _ = socket.udp.try_send_to(bytes, to);
                    }
                }
                // Reports are made by whoever speaks with the sender; only the wish goes there.
                Source::Fed(id) => {
                    let made = self.ladder.as_ref().and_then(|tap| tap.fed.as_ref());
                    let all = self.fed.iter().chain(made);
                    for fed in all.filter(|f| f.id == id && packet.key_frame) {
                        // A wish that does not fit is merged with those that wait.
                        let _ = fed.wanted.try_send(KeyFrameWanted { feed: id, layer });
                    }
                }
            }
        }
    }
}

fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%error, "receive buffer stays as it is");
    }
    socket.bind(&addr.into())?;
    UdpSocket::from_std(socket.into())
}

/// The next datagram of the source within this process; waits for ever if there is none.
async fn fed(fed: &mut Option<Fed>) -> Option<FedDatagram> {
    match fed {
        Some(fed) => fed.datagrams.recv().await,
        None => std::future::pending().await,
    }
}

/// The next datagram of a layer that is made; waits for ever if nobody makes one.
async fn made(ladder: &mut Option<Tap>) -> Option<FedDatagram> {
    match ladder.as_mut().and_then(|tap| tap.fed.as_mut()) {
        Some(fed) => fed.datagrams.recv().await,
        None => std::future::pending().await,
    }
}

/// Takes one datagram and those that wait behind it, as many as have their turn.
fn take_all(
    core: &mut StreamIngest,
    id: FeedId,
    first: FedDatagram,
    mut more: impl FnMut() -> Option<FedDatagram>,
) {
    let mut next = Some(first);
    for _ in 0..BATCH {
        let Some(FedDatagram { layer, at, bytes }) = next else { break };
        if let Err(reason) = core.handle_datagram(at, layer, Port::Rtp, id, &bytes) {
            tracing::trace!(?id, layer, reason = reason.label(), "dropped");
        }
        next = more();
    }
}

/// Any of the sockets has something.
async fn readable(sockets: &[Socket]) {
    poll_fn(|context| {
        // All of them must know whom to wake, so no short cut.
        let mut ready = false;
        for socket in sockets {
            ready |= socket.udp.poll_recv_ready(context).is_ready();
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

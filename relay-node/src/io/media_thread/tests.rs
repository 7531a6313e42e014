//! Media threads on real sockets: a path opens, packets pass, orders and counters work.

use super::*;
use crate::media::api::{
    FrameMarks, HopCredential, HopLink, LayerSpec, LocalPacket, NextHop, NoSink, PeerSide,
    PipelineKey,
};
use crate::media::packet::{HopHeader, HopPacket, Sealer};
use soleil_protocol::pipeline::MediaKind;
use soleil_protocol::{Epoch, LinkId, NodeId, PacketIndex, PipelineId, Ssrc};
use std::collections::HashSet;
use std::sync::mpsc as std_mpsc;

const PIPE: PipelineId = PipelineId(1);
const SSRC: Ssrc = Ssrc(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// Passes the indexes of what it is given on to the test.
struct Channel(std_mpsc::Sender<(u64, Vec<u8>)>);

impl LocalSink for Channel {
    fn deliver(&mut self, packet: LocalPacket<'_>) {
        let _ = self.0.send((packet.index.0, packet.payload.to_vec()));
    }
    fn flush(&mut self) {}
}

struct Running {
    handle: MediaHandle,
    events: mpsc::Receiver<PlaneEvent>,
}

fn start(sink: Box<dyn LocalSink>) -> Running {
    let (sender, events) = mpsc::channel(64);
    let bind = "127.0.0.1:0".parse().unwrap();
    let config = MediaConfig::new(bind, Clock::start(), [1; 32], sender);
    let handle = MediaThread::spawn(config, sink).unwrap();
    handle.command(PlaneCommand::DefinePipeline(
        PIPE,
        vec![LayerSpec { ssrc: SSRC, clock_rate: 90_000, kind: MediaKind::Video }],
    ));
    handle.command(PlaneCommand::AddKey(PIPE, Epoch(1), key()));
    Running { handle, events }
}

fn key() -> PipelineKey {
    PipelineKey { key: [1; 16], salt: [2; 12] }
}

fn link(id: u64, parent: &Running, child: &Running) {
    link_at(id, parent, parent.handle.local_addr(), child);
}

/// The child reaches the parent at an address that may be another's.
fn link_at(id: u64, parent: &Running, at: SocketAddr, child: &Running) {
    let hop = |peer, addresses| HopLink {
        id: LinkId(id),
        peer,
        child: NodeId::new("child").unwrap(),
        addresses,
        credential: HopCredential([id as u8; 32]),
        child_nonce: [3; 16],
        parent_nonce: [4; 16],
        standby: false,
    };
    parent.handle.command(PlaneCommand::AddLink(hop(PeerSide::Child, vec![])));
    child.handle.command(PlaneCommand::AddLink(hop(PeerSide::Parent, vec![at])));
    let next = NextHop::Link(LinkId(id));
    parent.handle.command(PlaneCommand::AddRoute { pipeline: PIPE, ssrc: SSRC, next, from: None });
}

fn seal(indexes: std::ops::Range<u64>) -> Vec<Bytes> {
    let sealer = Sealer::new(&key(), Epoch(1));
    indexes
        .map(|i| {
            let header = HopHeader {
                ssrc: SSRC,
                payload_type: 96,
                index: PacketIndex(i),
                marks: FrameMarks(0),
                ..HopHeader::default()
            };
            let mut packet = Vec::new();
            sealer.seal(&header, &[i as u8; 1000], &mut packet).unwrap();
            packet.into()
        })
        .collect()
}

fn event(running: &mut Running) -> PlaneEvent {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, running.events.recv()).await.unwrap().unwrap()
    })
}

/// Waits for an event. What comes before it may be a neighbour that got no processor for a while and
/// counts as silent, and is heard again.
fn until_event(running: &mut Running, wanted: &PlaneEvent) {
    while event(running) != *wanted {}
}

#[test]
fn packets_pass_from_the_root_over_a_relay_to_a_leaf() {
    let (sender, received) = std_mpsc::channel();
    let (mut root, mut relay) = (start(Box::new(NoSink)), start(Box::new(NoSink)));
    let mut leaf = start(Box::new(Channel(sender)));
    link(1, &root, &relay);
    link(2, &relay, &leaf);
    let next = NextHop::Local;
    leaf.handle.command(PlaneCommand::AddRoute { pipeline: PIPE, ssrc: SSRC, next, from: None });
    let leaf_address = leaf.handle.local_addr();
    let relay_address = relay.handle.local_addr();
    assert_eq!(event(&mut root), PlaneEvent::LinkOpen(LinkId(1), relay_address));
    // The relay's two links open in either order.
    let mut opened = [event(&mut relay), event(&mut relay)];
    opened.sort_by_key(|e| format!("{e:?}"));
    assert_eq!(
        opened,
        [
            PlaneEvent::LinkOpen(LinkId(1), root.handle.local_addr()),
            PlaneEvent::LinkOpen(LinkId(2), leaf_address)
        ]
    );
    assert_eq!(event(&mut leaf), PlaneEvent::LinkOpen(LinkId(2), relay_address));

    for batch in 0..20 {
        assert_eq!(root.handle.inject(seal(batch * 50..(batch + 1) * 50)), 50);
    }
    let mut got: Vec<u64> = (0..1000)
        .map(|_| {
            let (index, payload) = received.recv_timeout(PATIENCE).unwrap();
            assert_eq!(payload, [index as u8; 1000]);
            index
        })
        .collect();
    got.sort_unstable();
    assert_eq!(got, (0..1000).collect::<Vec<_>>());

    relay.handle.command(PlaneCommand::RequestKeyFrame(PIPE, SSRC));
    until_event(&mut root, &PlaneEvent::KeyFrameWanted(PIPE, SSRC));

    // Counters appear within their interval; ask until they do.
    let clock = Clock::start();
    let deadline = clock.now().mono.after(PATIENCE);
    while leaf.handle.stats().layers[0].packets < 1000 {
        assert!(clock.now().mono < deadline, "{:?}", leaf.handle.stats());
        std::thread::yield_now();
    }
    assert!(leaf.handle.stats().io.received >= 1000);

    root.handle.stop();
    until_event(&mut relay, &PlaneEvent::LinkSilent(LinkId(1)));
}

/// Stands between a child and `parent` and drops each media packet of these indexes once on its way
/// down. Ends when the sender is dropped.
fn lossy(parent: SocketAddr, mut lost: HashSet<u64>) -> (SocketAddr, std_mpsc::Sender<()>) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let at = socket.local_addr().unwrap();
    let (alive, ended) = std_mpsc::channel();
    std::thread::spawn(move || {
        let mut child = None;
        let mut buffer = [0; 2048];
        while ended.try_recv() != Err(std_mpsc::TryRecvError::Disconnected) {
            let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
            let datagram = &buffer[..len];
            if from != parent {
                child = Some(from);
                let _ = socket.send_to(datagram, parent);
            } else if let Some(child) = child {
                let media = HopPacket::parse(datagram).ok().filter(|p| p.header.ssrc == SSRC);
                if media.is_none_or(|p| !lost.remove(&p.header.index.0)) {
                    let _ = socket.send_to(datagram, child);
                }
            }
        }
    });
    (at, alive)
}

#[test]
fn what_all_children_lack_is_asked_for_once() {
    const CHILDREN: u64 = 6;
    const PACKETS: u64 = 300;
    let lost: HashSet<u64> = (5..PACKETS).step_by(10).collect();
    let count = lost.len() as u64;
    let (mut root, mut relay) = (start(Box::new(NoSink)), start(Box::new(NoSink)));
    let (at, _alive) = lossy(root.handle.local_addr(), lost);
    link_at(1, &root, at, &relay);
    assert!(matches!(event(&mut root), PlaneEvent::LinkOpen(..)));
    assert!(matches!(event(&mut relay), PlaneEvent::LinkOpen(..)));
    let mut leaves = Vec::new();
    for id in 2..2 + CHILDREN {
        let (sender, received) = std_mpsc::channel();
        let mut leaf = start(Box::new(Channel(sender)));
        link(id, &relay, &leaf);
        let next = NextHop::Local;
        leaf.handle.command(PlaneCommand::AddRoute {
            pipeline: PIPE,
            ssrc: SSRC,
            next,
            from: None,
        });
        assert!(matches!(event(&mut relay), PlaneEvent::LinkOpen(..)));
        assert!(matches!(event(&mut leaf), PlaneEvent::LinkOpen(..)));
        leaves.push((leaf, received));
    }
    for i in 0..PACKETS / 5 {
        root.handle.inject(seal(5 * i..5 * i + 5));
        // The next when these have arrived: a burst of all would overflow the socket between.
        for (_, received) in &leaves {
            (0..5).for_each(|_| drop(received.recv_timeout(PATIENCE).unwrap()));
        }
    }
    assert!(leaves.iter().all(|(_, r)| r.try_recv().is_err()), "nothing comes twice");
    let clock = Clock::start();
    let deadline = clock.now().mono.after(PATIENCE);
    let repaired = || relay.handle.stats().layers[0].repaired;
    while repaired() < count {
        assert!(clock.now().mono < deadline, "{:?}", relay.handle.stats());
        std::thread::yield_now();
    }
    let stats = relay.handle.stats();
    assert!(stats.layers[0].missed >= count && stats.layers[0].lost == 0, "{stats:?}");
    // An answer that a busy machine delays is asked for again; six children that ask through would
    // make six requests of each.
    let asked = stats.layers[0].nacks;
    assert!((count..2 * count).contains(&asked), "{asked} requests for {count} packets");
}

#[test]
fn the_last_handle_stops_the_thread() {
    struct Gone(std_mpsc::Sender<()>);
    impl LocalSink for Gone {
        fn deliver(&mut self, _packet: LocalPacket<'_>) {}
        fn flush(&mut self) {}
    }
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (sender, gone) = std_mpsc::channel();
    let running = start(Box::new(Gone(sender)));
    let clone = running.handle.clone();
    drop(running);
    assert!(gone.try_recv().is_err());
    drop(clone);
    gone.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn queues_are_bounded() {
    let running = start(Box::new(NoSink));
    running.handle.stop();
    let deadline = Clock::start();
    // Once the thread has stopped nobody empties the queues.
    let mut refused = false;
    for _ in 0..MAX_COMMANDS + 10 {
        refused |= !running.handle.command(PlaneCommand::RemoveKey(PIPE, Epoch(9)));
    }
    assert!(refused);
    let packets = vec![Bytes::from_static(b"x"); MAX_INJECTED + 5];
    assert!(running.handle.inject(packets) <= MAX_INJECTED);
    assert!(deadline.now().mono.0 < PATIENCE.as_micros() as u64);
}

#[test]
fn random_bytes_are_ignored() {
    let running = start(Box::new(NoSink));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for first in 0..=255u8 {
        let data: Vec<u8> = (0..200).map(|i| first.wrapping_mul(i).wrapping_add(first)).collect();
        socket.send_to(&data, running.handle.local_addr()).unwrap();
    }
    let clock = Clock::start();
    let deadline = clock.now().mono.after(PATIENCE);
    while running.handle.stats().io.received < 256 {
        assert!(clock.now().mono < deadline);
        std::thread::yield_now();
    }
    let stats = running.handle.stats();
    assert_eq!(stats.io.sent, 0);
    let s = stats.strays;
    assert_eq!(s.unknown + s.stun_refused + s.rtcp_refused + s.not_validated, 256);
}

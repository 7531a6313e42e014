//! Planes on a virtual network: time, loss, reordering and duplication come from a seed.

mod abuse;
mod catchup;
mod keyframes;
mod lossy;
mod opening;
mod repair;
mod replay;
mod restart;
mod routing;
mod standby;

use super::*;
use crate::media::api::{
    FrameMarks, HopCredential, HopLink, LayerSpec, LocalPacket, NextHop, PeerSide, PipelineKey,
    PlaneCommand,
};
use crate::media::packet::{HopHeader, HopPacket, Sealer};
use crate::media::stats::{LayerStats, LinkStats};
use rand::Rng;
use soleil_protocol::pipeline::MediaKind;
use soleil_protocol::{Epoch, NodeId, PacketIndex, Ssrc, Wall};
use std::collections::BTreeMap;

const MS: u64 = 1000;
const PIPE: PipelineId = PipelineId(1);
const VIDEO: Ssrc = Ssrc(700);
const AUDIO: Ssrc = Ssrc(800);

/// What a sink was given.
#[derive(Debug, Default)]
struct Collected {
    packets: Vec<(Ssrc, u64, Vec<u8>)>,
}

impl LocalSink for Collected {
    fn deliver(&mut self, p: LocalPacket<'_>) {
        assert_eq!(p.pipeline, PIPE);
        self.packets.push((p.ssrc, p.index.0, p.payload.to_vec()));
    }
    fn flush(&mut self) {}
}

/// What a datagram is, for step tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stun,
    Rtcp,
    Media(Ssrc, u64),
}

fn kind(datagram: &[u8]) -> Kind {
    if stun::is_stun(datagram) {
        Kind::Stun
    } else if rtcp::is_rtcp(datagram) {
        Kind::Rtcp
    } else {
        let header = HopPacket::parse(datagram).unwrap().header;
        Kind::Media(header.ssrc, header.index.0)
    }
}

struct Node {
    plane: Plane,
    address: SocketAddr,
    sink: Collected,
    events: Vec<PlaneEvent>,
}

/// What the network does to a direction.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    loss: f64,
    duplicate: f64,
    delay: u64,
    jitter: u64,
}

struct Flight {
    from: SocketAddr,
    to: SocketAddr,
    data: Vec<u8>,
}

type Filter = Box<dyn FnMut(usize, usize, Kind) -> bool>;

struct Net {
    now: u64,
    nodes: Vec<Node>,
    flights: BTreeMap<(u64, u64), Flight>,
    count: u64,
    rng: StdRng,
    weather: Weather,
    /// Ways from one node to another that take longer, and by how much.
    longer: Vec<(usize, usize, u64)>,
    /// Passes (true) or drops a datagram from one node to another.
    filter: Filter,
    /// Everything that was sent: from, to, what, bytes.
    log: Vec<(SocketAddr, SocketAddr, Kind, Vec<u8>)>,
    sealer: Sealer,
    timestamp: u32,
    /// When a packet came to a node's own use.
    arrivals: BTreeMap<(usize, Ssrc, u64), u64>,
}

fn key() -> PipelineKey {
    PipelineKey { key: [1; 16], salt: [2; 12] }
}

fn layers() -> Vec<LayerSpec> {
    vec![
        LayerSpec { ssrc: VIDEO, clock_rate: 90_000, kind: MediaKind::Video },
        LayerSpec { ssrc: AUDIO, clock_rate: 48_000, kind: MediaKind::Audio },
    ]
}

fn address(i: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, i as u8], 7000))
}

fn hop(id: u64, peer: PeerSide, parent: usize) -> HopLink {
    HopLink {
        id: LinkId(id),
        peer,
        child: NodeId::new(&format!("child-{id}")).unwrap(),
        addresses: if peer == PeerSide::Parent { vec![address(parent)] } else { vec![] },
        credential: HopCredential(std::array::from_fn(|i| id.to_be_bytes()[i % 8])),
        child_nonce: [3; 16],
        parent_nonce: [4; 16],
        standby: false,
    }
}

impl Net {
    fn new(nodes: usize, seed: u64) -> Self {
        let node = |i: usize| Node {
            plane: Plane::new(
                PlaneConfig { ring_bytes: 2 << 20, ..PlaneConfig::default() },
                [i as u8; 32],
            ),
            address: address(i),
            sink: Collected::default(),
            events: Vec::new(),
        };
        let mut net = Self {
            now: 1_000_000,
            nodes: (0..nodes).map(node).collect(),
            flights: BTreeMap::new(),
            count: 0,
            rng: StdRng::seed_from_u64(seed),
            weather: Weather { delay: 5 * MS, ..Weather::default() },
            longer: Vec::new(),
            filter: Box::new(|_, _, _| true),
            log: Vec::new(),
            sealer: Sealer::new(&key(), Epoch(1)),
            timestamp: 0,
            arrivals: BTreeMap::new(),
        };
        for i in 0..nodes {
            net.command(i, PlaneCommand::DefinePipeline(PIPE, layers()));
            net.command(i, PlaneCommand::AddKey(PIPE, Epoch(1), key()));
        }
        net
    }

    /// Root 0, then each the parent of the next; the last uses both layers itself. Opened.
    fn chain(nodes: usize, seed: u64) -> Self {
        let mut net = Self::new(nodes, seed);
        for child in 1..nodes {
            net.link(child as u64, child - 1, child);
        }
        for ssrc in [VIDEO, AUDIO] {
            for child in 1..nodes {
                net.route(child - 1, ssrc, NextHop::Link(LinkId(child as u64)), None);
            }
            net.route(nodes - 1, ssrc, NextHop::Local, None);
        }
        net.run(200);
        for i in 0..nodes {
            net.nodes[i].events.clear();
        }
        net.log.clear();
        net
    }

    fn at(&self) -> Now {
        Now { mono: Mono(self.now), wall: Wall(1_700_000_000_000_000 + self.now) }
    }

    fn link(&mut self, id: u64, parent: usize, child: usize) {
        self.command(parent, PlaneCommand::AddLink(hop(id, PeerSide::Child, parent)));
        self.command(child, PlaneCommand::AddLink(hop(id, PeerSide::Parent, parent)));
    }

    fn route(&mut self, node: usize, ssrc: Ssrc, next: NextHop, from: Option<u64>) {
        let from = from.map(PacketIndex);
        self.command(node, PlaneCommand::AddRoute { pipeline: PIPE, ssrc, next, from });
    }

    fn command(&mut self, node: usize, command: PlaneCommand) {
        let now = self.at();
        let n = &mut self.nodes[node];
        n.plane.handle_command(now, command, &mut n.sink);
        self.collect(node);
    }

    fn index_of(&self, address: SocketAddr) -> Option<usize> {
        self.nodes.iter().position(|n| n.address == address)
    }

    /// Puts what a node has to send on the wire.
    fn collect(&mut self, node: usize) {
        let from = self.nodes[node].address;
        let out: Vec<(SocketAddr, Vec<u8>)> =
            self.nodes[node].plane.transmits().map(|(to, d)| (to, d.to_vec())).collect();
        self.nodes[node].plane.clear_transmits();
        assert_eq!(self.nodes[node].plane.transmits().count(), 0);
        for (to, data) in out {
            let what = kind(&data);
            self.log.push((from, to, what, data.clone()));
            let passes = match self.index_of(to) {
                Some(to) => (self.filter)(node, to, what),
                None => false,
            };
            if passes && !self.rng.random_bool(self.weather.loss) {
                let twice = self.rng.random_bool(self.weather.duplicate);
                for _ in 0..=usize::from(twice) {
                    let jitter = match self.weather.jitter {
                        0 => 0,
                        jitter => self.rng.random_range(0..jitter),
                    };
                    let way = (Some(node), self.index_of(to));
                    let longer = self.longer.iter().find(|l| (Some(l.0), Some(l.1)) == way);
                    let longer = longer.map_or(0, |l| l.2);
                    let at = self.now + self.weather.delay + jitter + longer;
                    self.count += 1;
                    self.flights.insert((at, self.count), Flight { from, to, data: data.clone() });
                }
            }
        }
        while let Some(event) = self.nodes[node].plane.poll_event() {
            self.nodes[node].events.push(event);
        }
    }

    /// Lets `ms` milliseconds pass.
    fn run(&mut self, ms: u64) {
        let end = self.now + ms * MS;
        loop {
            let timer = self.nodes.iter().filter_map(|n| n.plane.poll_timeout()).map(|m| m.0).min();
            let flight = self.flights.keys().next().map(|(at, _)| *at);
            let next = timer.into_iter().chain(flight).min().unwrap_or(u64::MAX);
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            while let Some(entry) = self.flights.first_entry()
                && entry.key().0 <= self.now
            {
                let Flight { from, to, data } = entry.remove();
                if let Some(node) = self.index_of(to) {
                    self.deliver(node, from, data);
                }
            }
            let now = self.at();
            for i in 0..self.nodes.len() {
                if self.nodes[i].plane.poll_timeout().is_some_and(|at| at <= now.mono) {
                    self.nodes[i].plane.handle_timeout(now);
                    let next = self.nodes[i].plane.poll_timeout();
                    assert!(next.is_none_or(|at| at > now.mono), "node {i} spins");
                    self.collect(i);
                }
            }
        }
    }

    fn deliver(&mut self, node: usize, from: SocketAddr, mut data: Vec<u8>) {
        let now = self.at();
        let n = &mut self.nodes[node];
        let before = n.sink.packets.len();
        n.plane.handle_datagram(now, from, &mut data, &mut n.sink);
        for (ssrc, index, _) in &n.sink.packets[before..] {
            self.arrivals.entry((node, *ssrc, *index)).or_insert(self.now);
        }
        self.collect(node);
    }

    fn seal(&self, ssrc: Ssrc, index: u64, key_start: bool) -> Vec<u8> {
        let header = HopHeader {
            ssrc,
            payload_type: 96,
            marker: false,
            index: PacketIndex(index),
            timestamp: self.timestamp,
            capture: index << 8,
            marks: FrameMarks(if key_start { FrameMarks::KEY_START } else { 0 }),
        };
        let mut packet = Vec::new();
        let payload = vec![index as u8; 100 + (index % 3) as usize];
        self.sealer.seal(&header, &payload, &mut packet).unwrap();
        packet
    }

    /// The root sends a packet.
    fn send(&mut self, ssrc: Ssrc, index: u64) {
        self.send_marked(ssrc, index, false);
    }

    fn send_marked(&mut self, ssrc: Ssrc, index: u64, key_start: bool) {
        let packet = self.seal(ssrc, index, key_start);
        let now = self.at();
        let n = &mut self.nodes[0];
        n.plane.inject(now, &packet, &mut n.sink);
        self.collect(0);
    }

    /// The indexes that a node's own use was given, in order.
    fn got(&self, node: usize, ssrc: Ssrc) -> Vec<u64> {
        self.nodes[node].sink.packets.iter().filter(|p| p.0 == ssrc).map(|p| p.1).collect()
    }

    fn layer(&self, node: usize) -> LayerStats {
        self.nodes[node].plane.stats().layers[0]
    }

    fn link_stats(&self, node: usize, id: u64) -> LinkStats {
        let stats = self.nodes[node].plane.stats();
        stats.links.into_iter().find(|l| l.id == LinkId(id)).unwrap()
    }

    /// Media packets of a layer that went from one node to another.
    fn sent(&self, from: usize, to: usize) -> Vec<u64> {
        let (from, to) = (self.nodes[from].address, self.nodes[to].address);
        self.log
            .iter()
            .filter(|(f, t, ..)| *f == from && *t == to)
            .filter_map(|(_, _, what, _)| match what {
                Kind::Media(VIDEO, index) => Some(*index),
                _ => None,
            })
            .collect()
    }
}

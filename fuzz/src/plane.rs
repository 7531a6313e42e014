//! The forwarding plane between its neighbours: a parent, itself, a child, as three planes, and a
//! stranger. Real paths are opened first; then an input says what happens.

use crate::{byte, piece};
use relay_node::media::api::{
    FrameMarks, HopCredential, HopLink, LayerSpec, LocalPacket, LocalSink, NextHop, PeerSide,
    PipelineKey, PlaneCommand,
};
use relay_node::media::packet::{HopHeader, Sealer};
use relay_node::media::plane::{Plane, PlaneConfig};
use relay_node::media::stun;
use soleil_protocol::pipeline::MediaKind;
use soleil_protocol::{Epoch, LinkId, Mono, NodeId, Now, PacketIndex, PipelineId, Ssrc, Wall};
use std::net::SocketAddr;

const PIPE: PipelineId = PipelineId(1);
const SSRCS: [u32; 2] = [700, 800];
const EPOCH: u64 = 1_704_067_200_000_000;

#[derive(Default)]
struct Count(u64);

impl LocalSink for Count {
    fn deliver(&mut self, _packet: LocalPacket<'_>) {
        self.0 += 1;
    }
    fn flush(&mut self) {}
}

fn address(i: u8) -> SocketAddr {
    ([10, 0, 0, i], 7000).into()
}

fn key() -> PipelineKey {
    PipelineKey { key: [1; 16], salt: [2; 12] }
}

fn hop(id: u64, peer: PeerSide, parent: u8, nonce: u8) -> HopLink {
    HopLink {
        id: LinkId(id),
        peer,
        child: NodeId::new(&format!("child-{id}")).expect("a node id"),
        addresses: if peer == PeerSide::Parent { vec![address(parent)] } else { vec![] },
        credential: HopCredential([id as u8; 32]),
        child_nonce: [nonce; 16],
        parent_nonce: [4; 16],
        standby: false,
    }
}

/// Parent 0, the plane under test 1, child 2. Links 1 (to the parent) and 2 (to the child).
pub struct World {
    planes: Vec<Plane>,
    sink: Count,
    micros: u64,
    sealer: Sealer,
    next: u64,
    /// Everything that was sent, with sender and receiver.
    pub sent: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// With open paths and media flowing through.
    pub fn new() -> Self {
        let config = || PlaneConfig { ring_bytes: 1 << 16, ..PlaneConfig::default() };
        let mut world = Self {
            planes: (0..3).map(|i| Plane::new(config(), [i; 32])).collect(),
            sink: Count::default(),
            micros: 1_000_000,
            sealer: Sealer::new(&key(), Epoch(1)),
            next: 0,
            sent: Vec::new(),
        };
        for i in 0..3 {
            world.command(i, PlaneCommand::DefinePipeline(PIPE, layers()));
            world.command(i, PlaneCommand::AddKey(PIPE, Epoch(1), key()));
        }
        world.command(0, PlaneCommand::AddLink(hop(1, PeerSide::Child, 0, 3)));
        world.command(1, PlaneCommand::AddLink(hop(1, PeerSide::Parent, 0, 3)));
        world.command(1, PlaneCommand::AddLink(hop(2, PeerSide::Child, 1, 3)));
        world.command(2, PlaneCommand::AddLink(hop(2, PeerSide::Parent, 1, 3)));
        for ssrc in SSRCS {
            world.route(0, ssrc, NextHop::Link(LinkId(1)), None);
            world.route(1, ssrc, NextHop::Link(LinkId(2)), None);
            world.route(1, ssrc, NextHop::Local, None);
            world.route(2, ssrc, NextHop::Local, None);
        }
        for _ in 0..10 {
            world.pass(5, &mut |_, _, _| true);
        }
        (0..5).for_each(|_| world.inject(0));
        world.pass(5, &mut |_, _, _| true);
        world
    }

    fn now(&self) -> Now {
        Now { mono: Mono(self.micros), wall: Wall(EPOCH + self.micros) }
    }

    fn command(&mut self, node: usize, command: PlaneCommand) {
        let now = self.now();
        self.planes[node].handle_command(now, command, &mut self.sink);
    }

    fn route(&mut self, node: usize, ssrc: u32, next: NextHop, from: Option<u64>) {
        let (ssrc, from) = (Ssrc(ssrc), from.map(PacketIndex));
        self.command(node, PlaneCommand::AddRoute { pipeline: PIPE, ssrc, next, from });
    }

    fn sealed(&self, ssrc: u32, index: u64) -> Vec<u8> {
        let header = HopHeader {
            ssrc: Ssrc(ssrc),
            payload_type: 96,
            index: PacketIndex(index),
            marks: FrameMarks(if index % 9 == 0 { FrameMarks::KEY_START } else { 0 }),
            ..HopHeader::default()
        };
        let mut packet = Vec::new();
        let payload = vec![7; 50 + (index % 60) as usize];
        self.sealer.seal(&header, &payload, &mut packet).expect("it fits");
        packet
    }

    fn inject(&mut self, gap: u64) {
        self.next += 1 + gap;
        let packet = self.sealed(SSRCS[(self.next % 2) as usize], self.next);
        let now = self.now();
        self.planes[0].inject(now, &packet, &mut self.sink);
    }

    /// Lets milliseconds pass and carries what is sent; `carry` may drop or change a datagram.
    fn pass(&mut self, ms: u64, carry: &mut dyn FnMut(usize, usize, &mut Vec<u8>) -> bool) {
        for step in 0..=ms.min(1) {
            self.micros += step * ms * 1000;
            let now = self.now();
            for plane in &mut self.planes {
                plane.handle_timeout(now);
                assert!(plane.poll_timeout().is_none_or(|at| at > now.mono), "it spins");
            }
            // Answers to answers: a few rounds bring everything to rest.
            for _ in 0..4 {
                self.carry(carry);
            }
        }
    }

    fn carry(&mut self, carry: &mut dyn FnMut(usize, usize, &mut Vec<u8>) -> bool) {
        let mut flights = Vec::new();
        for (i, plane) in self.planes.iter_mut().enumerate() {
            flights.extend(plane.transmits().map(|(to, data)| (i, to, data.to_vec())));
            plane.clear_transmits();
            while plane.poll_event().is_some() {}
        }
        let now = self.now();
        for (i, to, mut data) in flights {
            let known = (0..3).find(|n| address(*n) == to);
            // Nobody who has not proved his address gets more than a question.
            assert!(known.is_some() || stun::is_stun(&data), "media to a stranger");
            self.sent.push((address(i as u8), to, data.clone()));
            if let Some(n) = known
                && carry(i, usize::from(n), &mut data)
            {
                let n = usize::from(n);
                self.planes[n].handle_datagram(now, address(i as u8), &mut data, &mut self.sink);
            }
        }
    }
}

fn layers() -> Vec<LayerSpec> {
    let kinds = [MediaKind::Video, MediaKind::Audio];
    let layer = |(ssrc, kind)| LayerSpec { ssrc: Ssrc(ssrc), clock_rate: 90_000, kind };
    SSRCS.into_iter().zip(kinds).map(layer).collect()
}

/// Operations, each a byte with what it needs behind it: see the arms. Nothing panics or spins, a
/// stranger gets nothing but STUN, and every buffer stays within its bound.
pub fn hop_plane(mut data: &[u8]) {
    let mut world = World::new();
    let mut steps = 0;
    while !data.is_empty() && steps < 200 {
        steps += 1;
        let op = byte(&mut data);
        let (low, from) = (op & 0x0f, address(op >> 4 & 3));
        match low {
            // Bytes as they are, from the parent, the node itself, the child or a stranger (3).
            0 | 1 => {
                let mut bytes = piece(&mut data).to_vec();
                let now = world.now();
                world.planes[1].handle_datagram(now, from, &mut bytes, &mut world.sink);
            }
            // A packet of the root's with any index.
            2 => {
                let jump = u64::from(byte(&mut data)) << (byte(&mut data) % 40);
                let mut packet = world.sealed(SSRCS[usize::from(op >> 6 & 1)], jump);
                let now = world.now();
                world.planes[1].handle_datagram(now, from, &mut packet, &mut world.sink);
            }
            // The root sends on, perhaps with a gap.
            3 | 4 => world.inject(u64::from(op >> 4)),
            // Time, with datagrams lost or damaged by the bits of two bytes.
            5..=8 => {
                let (mut lost, damage) = (byte(&mut data), byte(&mut data));
                let ms = u64::from(op >> 4) * if low == 8 { 100 } else { 5 };
                world.pass(ms, &mut |_, _, datagram| {
                    lost = lost.rotate_left(1);
                    if damage != 0 && lost & 4 != 0 {
                        let at = usize::from(damage) % datagram.len().max(1);
                        if let Some(b) = datagram.get_mut(at) {
                            *b ^= damage;
                        }
                    }
                    lost & 1 == 0
                });
            }
            // Something sent before, once more: a replay, from where it came or from elsewhere.
            9 => {
                let at = usize::from(byte(&mut data));
                let Some((sender, _, mut old)) = world.sent.get(at).cloned() else { continue };
                let from = if op & 0x80 != 0 { from } else { sender };
                let now = world.now();
                world.planes[1].handle_datagram(now, from, &mut old, &mut world.sink);
            }
            10 => world.command(1, PlaneCommand::RemoveLink(LinkId(u64::from(op >> 4)))),
            11 => {
                let (id, nonce) = (u64::from(op >> 4 & 3), byte(&mut data));
                let side = if op & 0x40 == 0 { PeerSide::Parent } else { PeerSide::Child };
                world.command(1, PlaneCommand::AddLink(hop(id, side, 0, nonce)));
            }
            12 => {
                let count = usize::from(op >> 4 & 3).min(2);
                world.command(1, PlaneCommand::DefinePipeline(PIPE, layers()[..count].to_vec()));
            }
            13 => match op >> 4 & 3 {
                0 => world.command(1, PlaneCommand::RemovePipeline(PIPE)),
                1 => world.command(1, PlaneCommand::RemoveKey(PIPE, Epoch(1))),
                _ => world.command(1, PlaneCommand::AddKey(PIPE, Epoch(1), key())),
            },
            14 => {
                let ssrc = Ssrc(SSRCS[usize::from(op >> 6 & 1)]);
                let id = u64::from(op >> 4 & 3);
                let next = if id == 0 { NextHop::Local } else { NextHop::Link(LinkId(id)) };
                let command = match byte(&mut data) {
                    0 => PlaneCommand::RemoveRoute { pipeline: PIPE, ssrc, next },
                    1 => PlaneCommand::RequestKeyFrame(PIPE, ssrc),
                    from => {
                        let from = (from > 2).then(|| PacketIndex(u64::from(from)));
                        PlaneCommand::AddRoute { pipeline: PIPE, ssrc, next, from }
                    }
                };
                world.command(1, command);
            }
            _ => world.pass(0, &mut |_, _, _| true),
        }
    }
    world.pass(50, &mut |_, _, _| true);
    let stats = world.planes[1].stats();
    assert!(stats.layers.len() <= 2 && stats.links.len() <= 16);
}

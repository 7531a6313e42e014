//! Tests of ingest: `steps` drains the core after each event and names everything that comes out;
//! `feeds` has sources within the process; `choice` and `standby` several of which one is on air; `made`
//! has layers made of others; `layers` looks at layers within one encoding; `properties` feeds random sizes
//! and random bytes.

mod choice;
mod codecs;
mod feeds;
mod layers;
mod made;
mod properties;
mod sockets;
mod standby;
mod steps;

use super::clock::ClockShift;
use super::layer::{LayerIngest, LayerSeed, LayerSpec, Packet, Port};
use super::reason::DropReason;
use relay_node::media::sizes::MAX_PAYLOAD;
use soleil_protocol::pipeline::Codec;
use soleil_protocol::{Mono, Now, PacketIndex, Ssrc, Wall};
use std::net::SocketAddr;

/// 2024-01-01, so that capture times are those of a plausible clock.
const EPOCH: u64 = 1_704_067_200_000_000;

fn at(millis: u64) -> Now {
    Now { mono: Mono(millis * 1000), wall: Wall(EPOCH + millis * 1000) }
}

fn sender() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000))
}

fn other() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 2], 40_000))
}

/// An RTP packet of payload type 96.
fn packet(ssrc: u32, seq: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80, 96 | if marker { 0x80 } else { 0 }];
    out.extend(seq.to_be_bytes());
    out.extend(timestamp.to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend(payload);
    out
}

fn sender_report(ssrc: u32, ntp: u64, timestamp: u32) -> Vec<u8> {
    let mut out = vec![0x80, 200, 0, 6];
    out.extend(ssrc.to_be_bytes());
    out.extend(ntp.to_be_bytes());
    out.extend(timestamp.to_be_bytes());
    out.extend([0; 8]);
    out
}

/// A layer and the shift that its stream would hold.
struct Bench {
    layer: LayerIngest,
    shift: ClockShift,
}

impl Bench {
    fn new(codec: Codec) -> Self {
        let spec = LayerSpec {
            ssrc: Ssrc(7),
            codec,
            payload_type: 96,
            clock_rate: if codec == Codec::Opus { 48_000 } else { 90_000 },
            limit: MAX_PAYLOAD,
        };
        let reserved = PacketIndex(1 << 40);
        let seed = LayerSeed { index: PacketIndex(100), reserved, timestamp: 5000, reporter: 99 };
        Self { layer: LayerIngest::new(spec, seed), shift: ClockShift::default() }
    }

    fn rtp(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) -> Result<(), DropReason> {
        self.layer.handle_datagram(now, Port::Rtp, from, datagram, &mut self.shift)
    }

    fn timeout(&mut self, now: Now) {
        self.layer.handle_timeout(now, &mut self.shift);
    }

    fn drain(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.layer.poll_packet()).collect()
    }

    /// Everything that came out, as index and payload; nothing may be left.
    fn out(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.drain().into_iter().map(|p| (p.index.0, p.payload.to_vec())).collect()
    }
}

//! An ingest port of the root.

use crate::{byte, piece};
use root_node::ingest::clock::ClockShift;
use root_node::ingest::{LayerIngest, LayerSeed, LayerSpec, Port};
use soleil_protocol::pipeline::Codec;
use soleil_protocol::{Mono, Now, PacketIndex, Ssrc, Wall};
use std::net::SocketAddr;

/// The codecs by the first byte of an input.
pub const CODECS: [Codec; 5] = [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::Opus];

/// 2024-01-01 in microseconds.
const EPOCH: u64 = 1_704_067_200_000_000;

/// The first byte names the codec; then come pieces: a byte (bits 0-1: RTP, RTCP port, RTP behind
/// a valid header, another sender; bits 2-7: milliseconds before it), a length of two bytes, the
/// datagram. What comes out fits, and its indexes rise.
pub fn root_ingest(mut data: &[u8]) {
    let codec = CODECS[usize::from(byte(&mut data)) % CODECS.len()];
    let limit = 300;
    let spec = LayerSpec {
        ssrc: Ssrc(7),
        codec,
        payload_type: 96,
        clock_rate: if codec == Codec::Opus { 48_000 } else { 90_000 },
        limit,
    };
    let reserved = PacketIndex(1 << 40);
    let seed = LayerSeed { index: PacketIndex(100), reserved, timestamp: 5000, reporter: 99 };
    let (mut layer, mut shift) = (LayerIngest::new(spec, seed), ClockShift::default());
    let (mut micros, mut seq, mut last) = (0, 0u16, None);
    while !data.is_empty() {
        let how = byte(&mut data);
        micros += u64::from(how >> 2) * 1000;
        let now = Now { mono: Mono(micros), wall: Wall(EPOCH + micros) };
        let body = piece(&mut data);
        let mut datagram = Vec::new();
        if how & 3 == 2 {
            datagram.extend([0x80, 96]);
            datagram.extend(seq.to_be_bytes());
            datagram.extend(((micros * 90 / 1000) as u32).to_be_bytes());
            datagram.extend([0, 0, 0, 1]);
            seq = seq.wrapping_add(1);
        }
        datagram.extend_from_slice(body);
        let from: SocketAddr = ([192, 0, 2, if how & 3 == 3 { 2 } else { 1 }], 40_000).into();
        let port = if how & 3 == 1 { Port::Rtcp } else { Port::Rtp };
        let _ = layer.handle_datagram(now, port, from, &datagram, &mut shift);
        while let Some(packet) = layer.poll_packet() {
            assert!(packet.payload.len() <= limit && !packet.payload.is_empty());
            assert!(last < Some(packet.index));
            last = Some(packet.index);
        }
        while layer.poll_send().is_some() {}
        assert!(layer.poll_timeout().is_none_or(|at| at > now.mono), "it spins");
    }
}

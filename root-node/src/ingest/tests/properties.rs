//! Whatever the sizes: every byte comes out once and in order, nothing is over the limit, indexes
//! rise. Whatever the bytes: nothing panics and everything is bounded.

use super::super::codec::{Cut, cut, inspect};
use super::super::source::Patience;
use super::super::{rtcp, rtp};
use super::*;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

/// Puts the NAL units of H.264 payloads together again, as a decoder would (RFC 6184).
fn reassemble(payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut units = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    for p in payloads {
        match p[0] & 0x1f {
            24 => {
                let mut rest = &p[1..];
                while !rest.is_empty() {
                    let len = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                    units.push(rest[2..2 + len].to_vec());
                    rest = &rest[2 + len..];
                }
            }
            28 => {
                assert_ne!(p[1] & 0xc0, 0xc0, "one fragment is no fragmentation");
                if p[1] & 0x80 != 0 {
                    assert!(open.is_none(), "a unit began inside another");
                    open = Some(vec![(p[0] & 0xe0) | (p[1] & 0x1f)]);
                }
                let unit = open.as_mut().expect("a fragment without its start");
                unit.extend(&p[2..]);
                if p[1] & 0x40 != 0 {
                    units.extend(open.take());
                }
            }
            _ => units.push(p.clone()),
        }
    }
    assert!(open.is_none(), "a unit without its end");
    units
}

/// How a sender packs one frame.
#[derive(Debug, Clone)]
struct Frame {
    units: Vec<Vec<u8>>,
    mtu: usize,
    aggregate: bool,
}

fn frame() -> impl Strategy<Value = Frame> {
    let unit = (0u8..4, 1u8..=12, vec(any::<u8>(), 1..5000))
        .prop_map(|(nri, kind, body)| [&[(nri << 5) | kind][..], &body].concat());
    (vec(unit, 1..5), 100usize..9000, any::<bool>()).prop_map(|(units, mtu, aggregate)| Frame {
        units,
        mtu,
        aggregate,
    })
}

fn payloads(frame: &Frame) -> Vec<Vec<u8>> {
    let total: usize = frame.units.iter().map(|u| u.len() + 2).sum();
    if frame.aggregate && total < frame.mtu && frame.units.len() > 1 {
        let mut stap = vec![0x78];
        for unit in &frame.units {
            stap.extend((unit.len() as u16).to_be_bytes());
            stap.extend(unit);
        }
        return vec![stap];
    }
    let mut out = Vec::new();
    for unit in &frame.units {
        if unit.len() <= frame.mtu {
            out.push(unit.clone());
            continue;
        }
        let chunks: Vec<&[u8]> = unit[1..].chunks(frame.mtu - 2).collect();
        for (i, chunk) in chunks.iter().enumerate() {
            let start = if i == 0 { 0x80 } else { 0 };
            let end = if i + 1 == chunks.len() { 0x40 } else { 0 };
            let head = [(unit[0] & 0xe0) | 28, start | end | (unit[0] & 0x1f)];
            out.push([&head[..], chunk].concat());
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn h264_units_come_out_as_they_went_in(frames in vec(frame(), 1..6)) {
        let mut bench = Bench::new(Codec::H264);
        let mut seq = 65_500u16;
        let mut all = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            let parts = payloads(frame);
            let last = parts.len() - 1;
            for (n, part) in parts.iter().enumerate() {
                let datagram = packet(1, seq, i as u32 * 3000, n == last, part);
                bench.rtp(at(i as u64 * 33), sender(), &datagram).unwrap();
                seq = seq.wrapping_add(1);
            }
            let out = bench.drain();
            prop_assert_eq!(out.iter().filter(|p| p.marker).count(), 1);
            prop_assert!(out.last().unwrap().marker);
            prop_assert!(out.iter().all(|p| p.timestamp == out[0].timestamp));
            prop_assert!(out.iter().filter(|p| p.marks.key_start()).count() <= 1);
            all.extend(out);
        }
        for (i, p) in all.iter().enumerate() {
            prop_assert_eq!(p.index.0, 100 + i as u64);
            prop_assert!(p.payload.len() <= MAX_PAYLOAD);
        }
        let out: Vec<Vec<u8>> = all.iter().map(|p| p.payload.to_vec()).collect();
        let sent: Vec<Vec<u8>> = frames.iter().flat_map(|f| f.units.clone()).collect();
        prop_assert_eq!(reassemble(&out), sent);
    }

    #[test]
    fn vp8_frames_come_out_as_they_went_in(
        frames in vec((vec(any::<u8>(), 1..9000), 200usize..3000), 1..5)
    ) {
        let mut bench = Bench::new(Codec::Vp8);
        let mut seq = 0u16;
        for (i, (frame, mtu)) in frames.iter().enumerate() {
            let chunks: Vec<&[u8]> = frame.chunks(*mtu).collect();
            for (n, chunk) in chunks.iter().enumerate() {
                let head = [0x80 | if n == 0 { 0x10 } else { 0 }, 0x80, 0x80 | 1, n as u8];
                // The picture id is the frame's, not the packet's.
                let head = [head[0], head[1], head[2], i as u8];
                let body = [&head[..], chunk].concat();
                let last = n + 1 == chunks.len();
                bench.rtp(at(0), sender(), &packet(1, seq, i as u32, last, &body)).unwrap();
                seq += 1;
            }
            let out = bench.drain();
            let mut bytes: Vec<u8> = Vec::new();
            for (n, p) in out.iter().enumerate() {
                prop_assert!(p.payload.len() <= MAX_PAYLOAD);
                prop_assert_eq!(p.payload[0] & 0x10 != 0, n == 0);
                prop_assert_eq!(p.payload[3], i as u8);
                prop_assert_eq!(p.marker, n + 1 == out.len());
                bytes.extend(&p.payload[4..]);
            }
            prop_assert_eq!(&bytes, frame);
        }
    }

    #[test]
    fn reordering_loss_and_duplicates_keep_indexes_rising(
        shuffle in vec((0u16..400, 0u64..30), 1..300)
    ) {
        let mut bench = Bench::new(Codec::H264);
        let mut now = 0;
        let mut indexes = Vec::new();
        let mut content = Vec::new();
        for (seq, wait) in shuffle {
            now += wait;
            let body = [&[0x41][..], &seq.to_be_bytes()].concat();
            let _ = bench.rtp(at(now), sender(), &packet(1, seq, 0, false, &body));
            let out = bench.drain();
            indexes.extend(out.iter().map(|p| p.index));
            content.extend(out.iter().map(|p| u16::from_be_bytes([p.payload[1], p.payload[2]])));
        }
        prop_assert!(indexes.windows(2).all(|w| w[0] < w[1] && w[1].0 - w[0].0 <= 2));
        // A jump back by more than the window is a restart; otherwise the order is the sender's.
        prop_assert!(bench.layer.counters().sources > 1 || content.windows(2).all(|w| w[0] < w[1]));
    }

    #[test]
    fn random_bytes_are_dropped_or_taken_and_never_panic(
        datagrams in vec(vec(any::<u8>(), 0..1600), 1..40),
        video in 0usize..4,
    ) {
        let codec = [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1][video];
        let mut bench = Bench::new(codec);
        for (i, bytes) in datagrams.iter().enumerate() {
            let now = at(i as u64);
            let _ = bench.rtp(now, sender(), bytes);
            // The same behind a header that is valid.
            let _ = bench.rtp(now, sender(), &packet(1, i as u16, 0, false, bytes));
            let Bench { layer, shift } = &mut bench;
            let _ = layer.handle_datagram(now, Port::Rtcp, sender(), bytes, shift);
            prop_assert!(bench.drain().iter().all(|p| p.payload.len() <= MAX_PAYLOAD));
        }
    }

    #[test]
    fn parsers_take_any_bytes(bytes in vec(any::<u8>(), 0..3000)) {
        let _ = rtp::parse(&bytes);
        let _ = rtcp::parse(&bytes);
        for codec in [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1] {
            let payload = Bytes::from(bytes.clone());
            if inspect(codec, &payload).is_ok()
                && let Ok(Cut::Done(pieces)) = cut(codec, &payload, 500)
            {
                prop_assert!(pieces.iter().all(|p| p.len() <= 500));
            }
        }
    }
}

// The step tests hold back more packets than fit.
const _: () = assert!(Patience::PLAIN.packets < 200);

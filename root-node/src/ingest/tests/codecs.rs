//! What payloads mean, and what comes out of those that are cut.

use super::super::codec::{self, Cut, inspect};
use super::*;
use bytes::Bytes;

fn marks(codec: Codec, payloads: &[&[u8]]) -> Vec<u8> {
    let mut bench = Bench::new(codec);
    for (seq, payload) in payloads.iter().enumerate() {
        bench.rtp(at(0), sender(), &packet(1, seq as u16, 0, false, payload)).unwrap();
    }
    bench.drain().into_iter().map(|p| p.marks.0).collect()
}

#[test]
fn h264_key_frames_are_marked_once_where_they_begin() {
    let sps: &[u8] = &[0x67, 0x42, 0, 0x1f];
    let idr: &[u8] = &[0x65, 1];
    assert_eq!(marks(Codec::H264, &[&[0x09, 0x10], sps, &[0x68, 1], idr, idr]), [0, 0x80, 0, 0, 0]);
    assert_eq!(marks(Codec::H264, &[idr, idr]), [0x80, 0]);
    let stap = [&[0x78, 0, 4][..], sps, &[0, 2, 0x65, 1]].concat();
    assert_eq!(marks(Codec::H264, &[&stap]), [0x80]);
    assert_eq!(marks(Codec::H264, &[&[0x7c, 0x85, 1], &[0x7c, 0x05, 1]]), [0x80, 0]);
    // nal_ref_idc 0: a slice that nothing refers to; on SEI it says nothing.
    assert_eq!(marks(Codec::H264, &[&[0x01, 1], &[0x1c, 0x81, 1], &[0x06, 1]]), [0x40, 0x40, 0]);
}

#[test]
fn vp8_descriptor_tells_key_frame_layer_and_what_may_be_dropped() {
    let key = [0x10, 0x50, 0x0d, 0x01, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41];
    let info = inspect(Codec::Vp8, &key).unwrap();
    assert_eq!((info.key, info.size), (true, Some((640, 360))));
    // X with picture id of 15 bits, TL0PICIDX and TID 2; non-reference.
    let delta = [0xb0, 0xe0, 0x80, 0x01, 0x05, 0x80, 0x01, 0xff];
    let info = inspect(Codec::Vp8, &delta).unwrap();
    assert_eq!((info.key, info.discardable, info.temporal), (false, true, 2));
    for short in 1..6 {
        assert_eq!(inspect(Codec::Vp8, &delta[..short]), Err(DropReason::Payload));
    }
}

#[test]
fn vp9_descriptor_tells_key_frame_and_layer() {
    let key = [0x8a, 0x05, 0x18, 0x05, 0x00, 0x02, 0xd0, 0x01, 0x00, 0xaa];
    let info = inspect(Codec::Vp9, &key).unwrap();
    assert_eq!((info.key, info.size), (true, Some((1280, 720))));
    // I, P, L, B: picture id, layers (TID 1), TL0PICIDX.
    let delta = [0xe8, 0x05, 0x20, 0x09, 0xaa];
    let info = inspect(Codec::Vp9, &delta).unwrap();
    assert_eq!((info.key, info.temporal), (false, 1));
    assert_eq!(inspect(Codec::Vp9, &delta[..4]), Err(DropReason::Payload));
}

#[test]
fn av1_sequence_header_is_a_key_frame() {
    let key = [0x18, 0x0a, 1, 2, 3];
    assert!(inspect(Codec::Av1, &key).unwrap().key);
    assert!(!inspect(Codec::Av1, &[0x10, 0x32, 1, 2, 3]).unwrap().key);
    assert_eq!(inspect(Codec::Av1, &[0x00, 5, 1]), Err(DropReason::Payload));
}

#[test]
fn a_large_stap_a_becomes_its_nal_units() {
    let sps = [0x67, 0x42, 0, 0x1f];
    let slice = vec![0x65; MAX_PAYLOAD];
    let mut stap = vec![0x78, 0, sps.len() as u8];
    stap.extend(sps);
    stap.extend((slice.len() as u16).to_be_bytes());
    stap.extend(&slice);
    let mut bench = Bench::new(Codec::H264);
    bench.rtp(at(0), sender(), &packet(1, 0, 0, true, &stap)).unwrap();
    let out = bench.drain();
    assert_eq!(
        out.iter().map(|p| (p.payload.to_vec(), p.marker, p.marks.key_start())).collect::<Vec<_>>(),
        [(sps.to_vec(), false, true), (slice, true, false)]
    );
}

#[test]
fn fragments_of_a_unit_are_of_one_size() {
    // As GStreamer's payloader makes them with its default MTU of 1,400.
    let mut bench = Bench::new(Codec::H264);
    let total = 20_000;
    let nal = vec![7u8; total];
    let chunks: Vec<&[u8]> = nal.chunks(1386).collect();
    for (i, chunk) in chunks.iter().enumerate() {
        let start = if i == 0 { 0x80 } else { 0 };
        let end = if i + 1 == chunks.len() { 0x40 } else { 0 };
        let fu = [&[0x7c, start | end | 5][..], chunk].concat();
        bench.rtp(at(0), sender(), &packet(1, i as u16, 0, end != 0, &fu)).unwrap();
    }
    let sizes: Vec<usize> = bench.drain().iter().map(|p| p.payload.len()).collect();
    assert_eq!(sizes.len(), total.div_ceil(MAX_PAYLOAD - 2));
    assert!(sizes[..sizes.len() - 1].iter().all(|s| *s == MAX_PAYLOAD), "{sizes:?}");
    // A unit that comes whole is cut into equal parts.
    let whole = [&[0x65][..], &[1; 1500]].concat();
    bench.rtp(at(0), sender(), &packet(1, chunks.len() as u16, 3000, true, &whole)).unwrap();
    let sizes: Vec<usize> = bench.drain().iter().map(|p| p.payload.len()).collect();
    assert_eq!(sizes, [752, 752]);
}

#[test]
fn a_loss_inside_a_unit_leaves_a_gap_and_no_stale_bytes() {
    let mut bench = Bench::new(Codec::H264);
    let fu = |flags: u8, fill: u8| [&[0x7c, flags | 5][..], &[fill; 1400]].concat();
    bench.rtp(at(0), sender(), &packet(1, 0, 0, false, &fu(0x80, 1))).unwrap();
    bench.rtp(at(0), sender(), &packet(1, 2, 0, true, &fu(0x40, 3))).unwrap();
    bench.timeout(at(100));
    let out = bench.drain();
    assert_eq!(out.iter().map(|p| p.index.0).collect::<Vec<_>>(), [100, 102, 103]);
    assert!(out[1].payload[2..].iter().chain(&out[2].payload[2..]).all(|b| *b == 3));
    assert_eq!((out[1].payload[1], out[2].payload[1]), (5, 0x45));
}

#[test]
fn vp9_structure_stays_in_the_first_fragment() {
    let mut key = vec![0x8e, 0x05, 0x18, 0x05, 0x00, 0x02, 0xd0, 0x01, 0x00];
    key.extend([0xaa; 2000]);
    let mut bench = Bench::new(Codec::Vp9);
    bench.rtp(at(0), sender(), &packet(1, 0, 0, true, &key)).unwrap();
    let out = bench.drain();
    assert_eq!(out.iter().map(|p| p.payload[0]).collect::<Vec<_>>(), [0x8a, 0x84]);
    assert_eq!(out[0].payload.len() - 9 + out[1].payload.len() - 2, 2000);
    assert!(out[0].payload.len().abs_diff(out[1].payload.len()) <= 1);
    assert_eq!(out.iter().map(|p| p.marker).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn av1_elements_go_on_in_the_next_packet() {
    // One element of 3,000 bytes that goes on behind this packet (Y), with N.
    let payload: Bytes = [&[0x58][..], &[0x32; 3000]].concat().into();
    let Ok(Cut::Done(out)) = codec::cut(Codec::Av1, &payload, MAX_PAYLOAD) else { panic!() };
    assert_eq!(out.iter().map(|p| p[0] & 0xc8).collect::<Vec<_>>(), [0x48, 0xc0, 0xc0]);
    let bytes: usize = out.iter().map(|p| p.len() - 3).sum();
    assert_eq!(bytes, 3000);
}

/// Found by fuzzing: a VP9 descriptor whose scalability structure is longer than the limit.
#[test]
fn a_header_that_leaves_no_room_is_refused_and_not_sent_over_the_limit() {
    // I, L, F, B, E, Z, V of the descriptor: 0x8a has a picture id and a scalability structure.
    let mut payload = vec![0x8a, 0x81, 1, 0x18, 5, 0, 0x02, 0xd0, 100];
    payload.extend([0x0c, 1, 2, 3].repeat(100));
    payload.extend([7; 600]);
    let payload = bytes::Bytes::from(payload);
    for limit in [100, 300, 1142] {
        match super::super::codec::cut(Codec::Vp9, &payload, limit) {
            Ok(super::super::codec::Cut::Parts(parts)) => {
                assert!(parts.iter().all(|p| p.prefix.first.len() < limit));
            }
            refused => assert_eq!(refused, Err(DropReason::Oversized), "{limit}"),
        }
    }
    assert_eq!(super::super::codec::cut(Codec::Vp9, &payload, 100), Err(DropReason::Oversized));
}

//! What a child begins with.

use crate::ingest::layer::Packet;
use crate::ladder::gop::Gop;
use bytes::Bytes;
use relay_node::media::api::FrameMarks;
use soleil_protocol::{PacketIndex, Ssrc};

fn packet(index: u64, frame: u32, key: bool) -> Packet {
    Packet {
        ssrc: Ssrc(1),
        index: PacketIndex(index),
        timestamp: 7_u32.wrapping_add(frame.wrapping_mul(3_000)),
        capture: 0,
        marker: true,
        payload_type: 96,
        marks: FrameMarks(if key { FrameMarks::KEY_START } else { 0 }),
        payload: Bytes::from(vec![0; 1000]),
    }
}

fn indexes(gop: &Gop) -> Vec<u64> {
    gop.packets().map(|p| p.index.0).collect()
}

#[test]
fn it_has_everything_since_the_last_key_frame_or_nothing() {
    let mut gop = Gop::default();
    gop.push(&packet(1, 1, false));
    assert!(gop.is_empty(), "it begins with a key frame");
    for index in 2..5 {
        gop.push(&packet(index, index as u32, index == 2));
    }
    assert_eq!(indexes(&gop), [2, 3, 4]);
    // A hole: what follows can't be decoded.
    gop.push(&packet(6, 6, false));
    gop.push(&packet(7, 7, false));
    assert!(gop.is_empty());
    gop.push(&packet(8, 8, true));
    gop.push(&packet(9, 9, false));
    assert_eq!(indexes(&gop), [8, 9]);
    gop.push(&packet(20, 10, true));
    assert_eq!(indexes(&gop), [20], "a key frame needs nothing before it");
    gop.clear();
    gop.push(&packet(21, 11, false));
    assert!(gop.is_empty());
}

#[test]
fn it_does_not_grow_without_a_bound() {
    let mut gop = Gop::default();
    let mut most = 0;
    for index in 0..20_000 {
        gop.push(&packet(index, index as u32, index == 0));
        most = most.max(indexes(&gop).len());
    }
    assert!(gop.is_empty() && (5_000..6_000).contains(&most), "{most}");
}

#[test]
fn it_tells_how_many_frames_a_second_there_are() {
    let mut gop = Gop::default();
    let mut index = 0;
    for frame in 0..40_u32 {
        // Some frames are missing, and the timestamps run over.
        if frame % 7 == 3 {
            continue;
        }
        for _ in 0..3 {
            index += 1;
            let mut packet = packet(index, frame, false);
            packet.timestamp = packet.timestamp.wrapping_sub(30_000);
            gop.push(&packet);
        }
        if frame < 4 {
            assert_eq!(gop.rate(90_000), None);
        }
    }
    assert_eq!(gop.rate(90_000), Some(30.0));
}

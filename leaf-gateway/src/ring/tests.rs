//! What the ring keeps, forgets and refuses.

use super::*;
use soleil_protocol::PipelineId;

fn packet(index: u64, payload: &[u8]) -> LocalPacket<'_> {
    LocalPacket {
        pipeline: PipelineId(1),
        ssrc: Ssrc(9),
        index: PacketIndex(index),
        timestamp: index as u32,
        marker: false,
        payload_type: 96,
        capture: index,
        marks: FrameMarks(0),
        payload,
    }
}

#[test]
fn keeps_what_it_gets_until_it_is_overwritten() {
    let mut ring = PacketRing::new(Ssrc(9), true);
    assert!(ring.insert(Mono(0), &packet(5, b"five")));
    assert!(ring.insert(Mono(0), &packet(3, b"three")), "late is fine");
    assert_eq!(ring.get(ring.source(), PacketIndex(5)).unwrap().payload, b"five");
    assert_eq!(ring.get(ring.source(), PacketIndex(3)).unwrap().payload, b"three");
    assert!(ring.get(ring.source(), PacketIndex(4)).is_none());
    assert!(ring.insert(Mono(0), &packet(5 + RING_PACKETS as u64, b"new")));
    assert!(ring.get(ring.source(), PacketIndex(5)).is_none());
    assert_eq!(ring.highest(), Some(PacketIndex(5 + RING_PACKETS as u64)));
}

#[test]
fn never_replaces_a_packet_by_another_of_the_same_index() {
    let mut ring = PacketRing::new(Ssrc(9), true);
    assert!(ring.insert(Mono(0), &packet(5, b"first")));
    assert!(!ring.insert(Mono(0), &packet(5, b"other")));
    assert_eq!(ring.get(ring.source(), PacketIndex(5)).unwrap().payload, b"first");
}

#[test]
fn one_packet_that_is_too_old_is_refused() {
    let mut ring = PacketRing::new(Ssrc(9), true);
    ring.insert(Mono(0), &packet(10_000, b"x"));
    assert!(!ring.insert(Mono(0), &packet(10_000 - RING_PACKETS as u64, b"old")));
    assert_eq!(ring.source().generation, 0);
}

#[test]
fn an_index_that_begins_anew_is_a_new_generation() {
    let mut ring = PacketRing::new(Ssrc(9), true);
    ring.insert(Mono(0), &packet(10_000, b"x"));
    let old = ring.source();
    let accepted: Vec<bool> = (0..20).map(|i| ring.insert(Mono(0), &packet(i, b"y"))).collect();
    assert!(accepted[..15].iter().all(|a| !a) && accepted[15..].iter().all(|a| *a));
    assert_eq!(ring.source().generation, 1);
    assert!(ring.get(old, PacketIndex(10_000)).is_none());
    assert!(ring.get(ring.source(), PacketIndex(10_000)).is_none());
    assert!(ring.get(ring.source(), PacketIndex(19)).is_some());
}

#[test]
fn old_packets_between_new_ones_are_no_restart() {
    let mut ring = PacketRing::new(Ssrc(9), true);
    for i in 0..200 {
        ring.insert(Mono(0), &packet(10_000 + i, b"x"));
        assert!(!ring.insert(Mono(0), &packet(i, b"late")));
    }
    assert_eq!(ring.source().generation, 0);
}

/// A ring with a key frame at 100 and `behind` packets behind it, 3,000 ticks apart.
fn with_key(behind: u64, payload: &[u8]) -> PacketRing {
    let mut ring = PacketRing::new(Ssrc(9), true);
    for index in 90..=100 + behind {
        let mut packet = packet(index, payload);
        packet.timestamp = (index as u32).wrapping_mul(3_000);
        packet.marks = FrameMarks(if index == 100 { FrameMarks::KEY_START } else { 0 });
        assert!(ring.insert(Mono(index), &packet));
    }
    ring
}

#[test]
fn the_last_key_frame_is_a_start() {
    let ring = with_key(60, b"x");
    let (first, last) = ring.start(Mono(200), 90_000).unwrap();
    assert_eq!((first.index, last.index), (PacketIndex(100), PacketIndex(160)));
    assert!(PacketRing::new(Ssrc(9), true).start(Mono(0), 90_000).is_none());
}

#[test]
fn a_start_is_bounded_in_bytes_age_and_silence() {
    let within = MAX_START_AGE as u64 * 30;
    assert!(with_key(within, b"x").start(Mono(200), 90_000).is_some());
    assert!(with_key(within + 1, b"x").start(Mono(200), 90_000).is_none(), "too old");
    let large = vec![0; MAX_START_BYTES / 100];
    assert!(with_key(98, &large).start(Mono(200), 90_000).is_some());
    assert!(with_key(100, &large).start(Mono(200), 90_000).is_none(), "too large");
    let ring = with_key(10, b"x");
    assert!(ring.start(Mono(110 + 1_000_000), 90_000).is_some());
    assert!(ring.start(Mono(111 + 1_000_000), 90_000).is_none(), "the stream stands");
}

#[test]
fn an_index_that_leaps_begins_another_life() {
    let mut ring = with_key(10, b"x");
    let old = ring.source();
    let far = 110 + INDEX_LEAP;
    assert!(ring.insert(Mono(200), &packet(far - 1, b"y")));
    assert_eq!(ring.source(), old, "a great gap");
    let mut ring = with_key(10, b"x");
    assert!(ring.insert(Mono(200), &packet(far, b"y")));
    assert_eq!(ring.source().generation, old.generation + 1);
    assert!(ring.start(Mono(201), 90_000).is_none(), "no key frame of before leads up to this");
    assert!(ring.get(old, PacketIndex(100)).is_none());
    assert!(!ring.insert(Mono(202), &packet(110, b"late")), "what is late belongs nowhere");
    assert_eq!(ring.highest(), Some(PacketIndex(far)));
}

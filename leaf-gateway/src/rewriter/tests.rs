//! The rewriter's rules, one test each, then random walks against them.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const A: Source = Source { ssrc: Ssrc(1), generation: 0 };
const B: Source = Source { ssrc: Ssrc(2), generation: 0 };
const A2: Source = Source { ssrc: Ssrc(1), generation: 1 };
const SECOND: u64 = 1 << 32;

/// A packet of a 90 kHz source that sends one frame (one packet) in 1/30 s.
fn packet(source: Source, index: u64) -> Input {
    Input {
        source,
        index: PacketIndex(index),
        timestamp: (index as u32).wrapping_mul(3000),
        capture: 1_000 * SECOND + index * SECOND / 30,
    }
}

fn rewriter() -> Rewriter {
    Rewriter::new(100, 5_000, 90_000)
}

fn begin(r: &mut Rewriter, input: Input) -> Option<Output> {
    r.begin(input, None);
    r.rewrite(input)
}

fn out(index: u64, timestamp: u32) -> Option<Output> {
    Some(Output {
        index: PacketIndex(index),
        timestamp,
        natural: timestamp,
        skipped: Skipped::default(),
    })
}

#[test]
fn nothing_leaves_before_the_first_range_begins() {
    let mut r = rewriter();
    assert!(!r.started());
    assert!(!r.continues(A, PacketIndex(7)));
    assert_eq!(r.rewrite(packet(A, 7)), None);
    assert_eq!(r.original(100), None);
}

#[test]
fn the_first_packet_gets_the_random_start_in_the_lower_half() {
    let mut r = Rewriter::new(0xffff, 77, 90_000);
    assert_eq!(begin(&mut r, packet(A, 1_000_000)), out(0x7fff, 77));
    assert!(r.started());
}

#[test]
fn packets_in_order_stay_in_order() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 500));
    for i in 1..100 {
        assert!(r.continues(A, PacketIndex(500 + i)));
        assert_eq!(r.rewrite(packet(A, 500 + i)), out(100 + i, 5_000 + 3_000 * i as u32));
    }
}

#[test]
fn a_late_packet_gets_the_place_that_was_left_for_it() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 500));
    assert_eq!(r.rewrite(packet(A, 503)), out(103, 5_000 + 9_000));
    assert_eq!(r.rewrite(packet(A, 501)), out(101, 5_000 + 3_000));
    assert_eq!(r.rewrite(packet(A, 504)), out(104, 5_000 + 12_000));
    assert_eq!(r.rewrite(packet(A, 502)), out(102, 5_000 + 6_000));
}

#[test]
fn no_place_is_given_twice() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 500));
    assert_eq!(r.rewrite(packet(A, 500)), None);
    r.rewrite(packet(A, 502));
    assert_eq!(r.rewrite(packet(A, 502)), None);
    assert!(r.rewrite(packet(A, 501)).is_some());
    assert_eq!(r.rewrite(packet(A, 501)), None);
}

#[test]
fn what_came_before_the_join_never_leaves() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 500));
    assert_eq!(r.rewrite(packet(A, 499)), None);
    assert_eq!(r.rewrite(packet(A, 0)), None);
}

#[test]
fn a_late_packet_is_too_late_after_the_window() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 0));
    // 1 and 2 are missing; walk on until 1 is just outside and 2 just inside the window.
    for i in 3..=LATE_WINDOW + 1 {
        r.rewrite(packet(A, i));
    }
    assert_eq!(r.rewrite(packet(A, 1)), None);
    assert!(r.rewrite(packet(A, 2)).is_some());
}

#[test]
fn the_sequence_number_wraps_and_the_index_goes_on() {
    let mut r = Rewriter::new(0x7ffe, 0, 90_000);
    begin(&mut r, packet(A, 0));
    for i in 1..70_000 {
        let o = r.rewrite(packet(A, i)).unwrap();
        assert_eq!(o.index, PacketIndex(0x7ffe + i));
    }
    // Late across the wrap.
    let mut r = Rewriter::new(0x7fff, 0, 90_000);
    begin(&mut r, packet(A, 0));
    for i in 1..0x8000 {
        if i != 0x7ff0 {
            r.rewrite(packet(A, i));
        }
    }
    r.rewrite(packet(A, 0x8005));
    assert_eq!(r.rewrite(packet(A, 0x7ff0)).unwrap().index, PacketIndex(0x7fff + 0x7ff0));
    assert_eq!(r.original(0xffef).unwrap().index, PacketIndex(0x7ff0));
    assert_eq!(r.original(4).unwrap().index, PacketIndex(0x8005));
}

#[test]
fn a_hole_stays_a_hole_up_to_the_limit() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 0));
    assert!(r.continues(A, PacketIndex(MAX_HOLE)));
    assert_eq!(r.rewrite(packet(A, MAX_HOLE)).unwrap().index, PacketIndex(100 + MAX_HOLE));
}

#[test]
fn a_great_gap_needs_a_new_beginning_and_leaves_no_hole() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 0));
    let far = MAX_HOLE + 1;
    assert!(!r.continues(A, PacketIndex(far)));
    assert_eq!(r.rewrite(packet(A, far)), None, "not before it is begun");
    // The sequence goes on without a hole, the clock with one: time did pass.
    assert_eq!(begin(&mut r, packet(A, far)), out(101, 5_000 + 3_000 * far as u32));
}

#[test]
fn another_source_continues_sequence_and_time() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 0));
    r.rewrite(packet(A, 1));
    assert!(!r.continues(B, PacketIndex(900_000)));
    let mut first = packet(B, 900_000);
    first.capture = packet(A, 1).capture + SECOND / 2;
    let o = begin(&mut r, first).unwrap();
    assert_eq!(o.index, PacketIndex(102));
    assert_eq!(o.timestamp, 5_000 + 3_000 + 45_000);
    let next = r.rewrite(packet(B, 900_001)).unwrap();
    assert_eq!((next.index, next.timestamp), (PacketIndex(103), o.timestamp + 3_000));
}

#[test]
fn an_old_source_may_still_fill_its_own_holes() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 0));
    r.rewrite(packet(A, 2));
    begin(&mut r, packet(B, 50));
    assert_eq!(r.rewrite(packet(A, 1)).unwrap().index, PacketIndex(101));
    // But nothing that would lie in the new source's place.
    assert_eq!(r.rewrite(packet(A, 3)), None);
}

#[test]
fn a_source_that_begins_anew_is_another_source() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 1_000));
    assert!(!r.continues(A2, PacketIndex(3)));
    assert_eq!(r.rewrite(packet(A2, 1_000)), None);
    assert_eq!(begin(&mut r, packet(A2, 3)).unwrap().index, PacketIndex(101));
}

#[test]
fn clocks_that_disagree_still_let_time_rise() {
    for capture in [0, 5, u64::MAX] {
        let mut r = rewriter();
        begin(&mut r, packet(A, 0));
        let mut first = packet(B, 10);
        first.capture = capture;
        assert_eq!(begin(&mut r, first).unwrap().timestamp, 5_000 + 1_800);
    }
    // Two sources captured at the very same moment: one tick.
    let mut r = rewriter();
    begin(&mut r, packet(A, 0));
    let mut first = packet(B, 10);
    first.capture = packet(A, 0).capture;
    assert_eq!(begin(&mut r, first).unwrap().timestamp, 5_001);
}

#[test]
fn timestamps_wrap() {
    let mut r = Rewriter::new(0, u32::MAX - 10, 90_000);
    begin(&mut r, packet(A, 0));
    assert_eq!(r.rewrite(packet(A, 1)).unwrap().timestamp, 2_989);
    // The newest is the wrapped one: the next source goes on from there.
    let mut first = packet(B, 7);
    first.capture = packet(A, 1).capture + SECOND;
    assert_eq!(begin(&mut r, first).unwrap().timestamp, 2_989 + 90_000);
}

#[test]
fn reordered_timestamps_do_not_pull_the_next_source_back() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 0));
    r.rewrite(packet(A, 5));
    r.rewrite(packet(A, 3));
    let mut first = packet(B, 7);
    first.capture = packet(A, 5).capture + SECOND;
    assert_eq!(begin(&mut r, first).unwrap().timestamp, 5_000 + 15_000 + 90_000);
}

#[test]
fn a_nack_finds_the_original_in_every_range() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 1_000));
    r.rewrite(packet(A, 1_001));
    begin(&mut r, packet(B, 5));
    r.rewrite(packet(B, 9));
    let a = r.original(101).unwrap();
    assert_eq!((a.source, a.index, a.output), (A, PacketIndex(1_001), PacketIndex(101)));
    let b = r.original(104).unwrap();
    assert_eq!((b.source, b.index), (B, PacketIndex(7)), "a hole: to be asked of the ring");
    assert_eq!(b.timestamp_offset, r.original(106).unwrap().timestamp_offset);
    assert_eq!(r.original(107), None, "not sent yet");
    assert_eq!(r.original(99), None, "before the beginning");
}

#[test]
fn a_nack_for_a_range_that_is_forgotten_finds_nothing() {
    let mut r = rewriter();
    for i in 0..=MAX_RANGES as u64 {
        begin(&mut r, packet(if i % 2 == 0 { A } else { B }, i * 10_000));
    }
    assert_eq!(r.original(100), None);
    assert_eq!(r.original(101).unwrap().index, PacketIndex(10_000));
}

#[test]
fn an_index_beyond_48_bits_is_refused() {
    let mut r = rewriter();
    r.next_out = PacketIndex::MAX.0;
    assert!(begin(&mut r, packet(A, 0)).is_some());
    assert_eq!(r.rewrite(packet(A, 1)), None);
}

#[test]
fn what_is_left_out_leaves_no_hole() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 500));
    // Two frames of two packets, then one that is sent.
    for i in 501..505 {
        assert!(r.is_next(A, PacketIndex(i)));
        assert!(r.leave_out(A, PacketIndex(i)));
        assert_eq!(r.rewrite(packet(A, i)), None, "it has no place any more");
    }
    assert!(r.continues(A, PacketIndex(505)) && r.is_next(A, PacketIndex(505)));
    assert_eq!(r.rewrite(packet(A, 505)), out(101, 5_000 + 15_000));
    assert_eq!(r.original(101).unwrap().index, PacketIndex(505));
    assert_eq!(r.original(100).unwrap().index, PacketIndex(500));
    assert_eq!(r.original(102), None);
    assert!(!r.leave_out(A, PacketIndex(505)) && !r.leave_out(A, PacketIndex(503)), "behind");
    assert!(!r.leave_out(B, PacketIndex(506)), "of another source");
    assert!(!r.leave_out(A, PacketIndex(506 + MAX_HOLE)), "too far");
}

#[test]
fn a_hole_within_what_is_left_out_goes_with_it_and_one_before_stays() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 500));
    assert!(r.leave_out(A, PacketIndex(501)));
    // 502 is missing, and of the same frame.
    assert!(!r.is_next(A, PacketIndex(503)));
    assert!(r.leave_out(A, PacketIndex(503)));
    assert_eq!(r.rewrite(packet(A, 504)), out(101, 5_000 + 12_000));
    assert_eq!(r.rewrite(packet(A, 502)), None);
    // 505 is missing before a frame that would be left out: it keeps its place.
    assert_eq!(r.rewrite(packet(A, 506)), out(103, 5_000 + 18_000));
    assert!(r.leave_out(A, PacketIndex(507)));
    assert_eq!(r.rewrite(packet(A, 508)), out(104, 5_000 + 24_000));
    assert_eq!(r.rewrite(packet(A, 505)), out(102, 5_000 + 15_000));
}

#[test]
fn resends_reach_back_over_many_frames_that_were_left_out() {
    let mut r = rewriter();
    begin(&mut r, packet(A, 500));
    for i in (502..700).step_by(2) {
        assert!(r.leave_out(A, PacketIndex(i - 1)));
        r.rewrite(packet(A, i)).unwrap();
    }
    for back in 0..MAX_RANGES as u64 {
        let newest = 698 - 2 * back;
        let out = 100 + (newest - 500) / 2;
        assert_eq!(r.original(out as u16).unwrap().index, PacketIndex(newest));
    }
    assert_eq!(r.ranges.len(), MAX_RANGES);
}

proptest! {
    /// Whatever order packets come in and whatever sources they come from: no output index
    /// twice, a source's order is kept, and each output leads back to its original.
    #[test]
    fn random_walks_keep_the_rules(
        seq: u16,
        stamp: u32,
        steps in proptest::collection::vec((0u8..3, -40i64..60, 0u8..20, 0u8..4), 1..400),
    ) {
        let sources = [A, B, A2];
        let mut r = Rewriter::new(seq, stamp, 90_000);
        let mut position = [10_000u64, 500, 1 << 30];
        let mut seen = BTreeSet::new();
        let mut by_source: BTreeMap<(u32, u32, u64), u64> = BTreeMap::new();
        let mut left_out = BTreeSet::new();
        for (s, step, jump, fate) in steps {
            let s = usize::from(s);
            let step = if jump == 0 { step * 1_000 } else { step };
            let index = position[s].saturating_add_signed(step);
            position[s] = position[s].max(index);
            let input = packet(sources[s], index);
            if !r.continues(input.source, input.index) {
                r.begin(input, None);
            }
            let name = (input.source.ssrc.0, input.source.generation, index);
            if fate == 0 && r.leave_out(input.source, input.index) {
                left_out.insert(name);
                continue;
            }
            if let Some(o) = r.rewrite(input) {
                prop_assert!(!left_out.contains(&name) || r.ranges.len() > 1);
                prop_assert!(seen.insert(o.index), "output twice");
                prop_assert!(o.index.0 >= u64::from(seq & 0x7fff));
                let back = r.original(o.index.seq()).unwrap();
                prop_assert_eq!(back.output, o.index);
                prop_assert_eq!(back.index, input.index);
                prop_assert_eq!(back.source, input.source);
                prop_assert_eq!(
                    input.timestamp.wrapping_add(back.timestamp_offset), o.timestamp);
                by_source.insert((input.source.ssrc.0, input.source.generation, index), o.index.0);
            }
        }
        prop_assert!(r.ranges.len() <= MAX_RANGES);
    }

    /// Random sequence numbers never panic.
    #[test]
    fn any_nack_is_harmless(seq: u16, first: u16, n in 0u64..2_000) {
        let mut r = Rewriter::new(first, 0, 48_000);
        if n > 0 {
            r.begin(packet(A, 1), None);
            for i in 1..n { r.rewrite(packet(A, i)); }
        }
        if let Some(o) = r.original(seq) {
            prop_assert_eq!(o.output.seq(), seq);
            prop_assert!(o.index.0 < n.max(2));
        }
    }
}

#[test]
fn a_squeezed_beginning_rises_and_ends_at_the_natural_time() {
    let mut r = rewriter();
    let (from, until) = (1_000, 1_060);
    let squeeze = Squeeze { until: until * 3_000, factor: 5 };
    r.begin(packet(A, u64::from(from)), Some(squeeze));
    let outputs: Vec<Output> =
        (from..1_100).map(|i| r.rewrite(packet(A, u64::from(i))).unwrap()).collect();
    for (o, i) in outputs.iter().zip(from..) {
        let step = if i < until { 600 } else { 3_000 };
        if let Some(next) = outputs.get((i - from + 1) as usize) {
            assert_eq!(next.timestamp.wrapping_sub(o.timestamp), step);
            assert_eq!(next.natural.wrapping_sub(o.natural), 3_000);
        }
        assert_eq!(o.timestamp == o.natural, i >= until);
        let original = r.original(o.index.seq()).unwrap();
        assert_eq!(original.timestamp(i * 3_000), o.timestamp);
    }
    assert_eq!(outputs[0].timestamp, 5_000);
}

//! Beginning with the last key frame out of the ring: everything comes, in order, faster than it
//! was made, and no delay stays behind.

use super::bench::*;
use super::client::{self, nack};
use crate::ring::PacketRing;
use std::time::Duration;

/// Packets, each a frame, in the time of one cursor step.
const PER_STEP: u64 = 3;
const STEP: Duration = Duration::from_millis(10);

/// A viewer joins `frames` frames (300 a second) after the last key frame.
fn joined(frames: u64) -> Bench {
    let mut b = Bench::with(setup(true), &[client::GCM], 1);
    b.cached = true;
    b.video(1, true);
    b.video(frames - 1, false);
    b.connect();
    assert!(b.live);
    b
}

/// The stream goes on for one step, and so does the cursor.
fn step(b: &mut Bench) {
    b.serve_start();
    b.video(PER_STEP, false);
    b.step(STEP);
}

#[test]
fn the_key_frame_comes_at_once_and_nobody_is_asked_for_one() {
    let mut b = joined(300);
    b.serve_start();
    b.exchange();
    let first = b.viewer.seen.first().expect("the key frame");
    assert_eq!(first.payload[..8], (b.next_video - 299).to_be_bytes());
    assert_eq!(b.key_frames, []);
}

#[test]
fn a_start_catches_up_with_the_present_and_leaves_no_delay() {
    let mut b = joined(600);
    let began = b.now;
    let (edge, key) = (b.next_video, b.next_video - 599);
    let mut steps = 0;
    while steps == 0 || b.session.delivery(b.now).unwrap().is_starting() {
        step(&mut b);
        steps += 1;
        assert!(steps < 100, "it never catches up");
    }
    // Two seconds of the past at five times the speed, while the present goes on: half a second,
    // of which connecting took a part.
    assert!((35..=50).contains(&steps), "{steps} steps");
    for _ in 0..20 {
        step(&mut b);
    }
    let seen = &b.viewer.seen;
    let numbers: Vec<u64> =
        seen.iter().map(|s| u64::from_be_bytes(s.payload[..8].try_into().unwrap())).collect();
    assert!(numbers.iter().copied().eq(key..=b.next_video), "all, once, in order");
    assert!(seen.windows(2).all(|w| w[1].seq.wrapping_sub(w[0].seq) == 1));
    let ticks = |a: usize, b: usize| seen[b].timestamp.wrapping_sub(seen[a].timestamp) as i32;
    assert!((1..seen.len()).all(|i| ticks(i - 1, i) > 0), "time never stands still");
    // At first a frame takes a fifth of its time, in the end all of it.
    assert_eq!((ticks(0, 1), ticks(seen.len() - 2, seen.len() - 1)), (60, 300));
    // The first frame was shown at the time of the edge, so the present is shown on time.
    let ahead = (b.next_video - edge) as i32 * 300 - ticks(0, seen.len() - 1);
    assert!(ahead.abs() <= 300, "{ahead} ticks stay behind after {:?}", b.now.since(began));
}

#[test]
fn what_is_lost_of_a_start_comes_again_with_the_same_time() {
    let mut b = joined(300);
    for _ in 0..10 {
        step(&mut b);
    }
    let lost = b.viewer.seen[5].clone();
    b.rtcp(&nack(VIDEO_OUT, &[(lost.seq, 0)]));
    b.exchange();
    let again = b.viewer.seen.last().unwrap();
    assert_eq!((again.ssrc, again.timestamp), (RTX_OUT, lost.timestamp));
    assert_eq!(again.payload[2..], lost.payload[..]);
}

#[test]
fn a_hole_is_left_for_the_packet_that_was_missing() {
    let mut b = Bench::with(setup(true), &[client::GCM], 1);
    b.cached = true;
    b.video(1, true);
    b.video(40, false);
    let missing = b.next_video + 1;
    b.next_video += 1;
    b.video(20, false);
    b.connect();
    for _ in 0..3 {
        step(&mut b);
    }
    assert!(!b.session.delivery(b.now).unwrap().is_starting());
    let first = b.viewer.seen[0].clone();
    let after = |b: &Bench, n: usize| b.viewer.seen[n].seq.wrapping_sub(first.seq);
    assert_eq!((after(&b, 40), after(&b, 41)), (40, 42));
    b.packet(VIDEO, missing, false);
    b.exchange();
    assert_eq!(b.viewer.seen.last().unwrap().seq.wrapping_sub(first.seq), 41);
}

#[test]
fn a_layer_that_goes_away_ends_the_start() {
    let mut b = joined(600);
    b.serve_start();
    b.exchange();
    let before = b.viewer.seen.len();
    b.cached = false;
    b.video = PacketRing::new(AUDIO, true);
    b.serve_start();
    assert!(!b.session.delivery(b.now).unwrap().is_starting());
    b.step(Duration::from_millis(20));
    assert_eq!(b.viewer.seen.len(), before);
    assert_eq!(b.key_frames.len(), 1, "another beginning is wanted");
}

//! What a viewer gets: numbers, times, resends within bounds, key frames, reports.

use super::bench::*;
use super::client::{nack, pli, report};
use crate::session::{RESEND_BURST, RESENDS_PER_SECOND};
use soleil_protocol::{Mono, Ssrc};
use std::time::Duration;

#[test]
fn the_picture_waits_for_a_key_frame_and_the_sound_does_not() {
    let mut b = Bench::connected(true);
    b.audio(1);
    b.video(5, false);
    assert_eq!(b.viewer.seen.len(), 1);
    b.video(5, true);
    assert_eq!(b.viewer.seen.len(), 6);
}

#[test]
fn numbers_are_contiguous_over_gaps_and_times_never_go_back() {
    let mut b = Bench::connected(true);
    b.video(10, true);
    // Longer than any hole that a browser bears: a new range, at a key frame.
    b.next_video += 3_000;
    b.video(10, false);
    b.video(10, true);
    let seqs = b.seqs(VIDEO_OUT);
    assert_eq!(seqs.len(), 20);
    assert!(seqs.windows(2).all(|w| w[1].wrapping_sub(w[0]) == 1), "{seqs:?}");
    let times: Vec<u32> = b.viewer.seen.iter().map(|s| s.timestamp).collect();
    assert!(times.windows(2).all(|w| (w[1].wrapping_sub(w[0]) as i32) >= 0));
}

#[test]
fn a_late_packet_gets_the_place_that_was_left_for_it() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    let missing = b.next_video + 1;
    b.next_video += 1;
    b.video(2, false);
    b.packet(VIDEO, missing, false);
    b.packet(VIDEO, missing, false);
    b.exchange();
    let seqs = b.seqs(VIDEO_OUT);
    let relative: Vec<u16> = seqs.iter().map(|s| s.wrapping_sub(seqs[0])).collect();
    assert_eq!(relative, [0, 2, 3, 1]);
}

#[test]
fn another_layer_takes_over_at_its_key_frame_without_a_seam() {
    let mut b = Bench::connected(true);
    b.video(5, true);
    let keys = b.key_frames.len();
    b.session.set_source(b.now, 0, Ssrc(11));
    let asked = std::iter::from_fn(|| b.session.poll_action())
        .filter(|a| matches!(a, crate::session::Action::Start(0, Ssrc(11))))
        .count();
    assert_eq!((asked, b.key_frames.len()), (1, keys));
    b.session.set_source(b.now, 0, VIDEO);
    b.settle();
    b.video(1, false);
    let seqs = b.seqs(VIDEO_OUT);
    assert!(seqs.windows(2).all(|w| w[1].wrapping_sub(w[0]) == 1), "{seqs:?}");
}

#[test]
fn a_lost_packet_comes_again_as_rtx() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    b.deaf = true;
    b.video(1, false);
    b.deaf = false;
    b.video(1, false);
    let lost = b.seqs(VIDEO_OUT)[0].wrapping_add(1);
    b.rtcp(&nack(VIDEO_OUT, &[(lost, 0)]));
    b.exchange();
    let again = b.viewer.seen.last().unwrap();
    assert_eq!((again.ssrc, again.payload_type), (RTX_OUT, 97));
    assert_eq!(again.payload[..2], lost.to_be_bytes(), "RFC 4588: the number it had");
    assert_eq!(again.payload[2..10], 102u64.to_be_bytes());
    assert_eq!((b.session.stats().nacks, b.session.stats().resends), (1, 1));
}

#[test]
fn without_rtx_it_is_the_very_same_datagram() {
    let mut b = Bench::connected(false);
    b.video(1, true);
    b.deaf = true;
    b.video(1, false);
    b.deaf = false;
    b.video(1, false);
    let lost = b.seqs(VIDEO_OUT)[0].wrapping_add(1);
    // The bench compares what has the same number, byte by byte.
    b.rtcp(&nack(VIDEO_OUT, &[(lost, 0)]));
    b.exchange();
    assert_eq!(*b.seqs(VIDEO_OUT).last().unwrap(), lost);
    assert_eq!(b.viewer.unopened, 0);
}

#[test]
fn only_what_was_sent_and_negotiated_is_sent_again() {
    let mut b = Bench::connected(true);
    b.video(3, true);
    b.audio(3);
    let (video, audio) = (b.seqs(VIDEO_OUT)[0], b.seqs(AUDIO_OUT)[0]);
    b.rtcp(&nack(VIDEO_OUT, &[(video.wrapping_add(3), 0xffff), (video.wrapping_sub(17), 0x7fff)]));
    b.rtcp(&nack(AUDIO_OUT, &[(audio, 3)]));
    b.rtcp(&nack(RTX_OUT, &[(0, 0xffff)]));
    b.rtcp(&nack(99, &[(video, 0xffff)]));
    assert_eq!(b.resends, 0);
}

#[test]
fn a_flood_of_nacks_is_bounded_by_burst_and_rate() {
    let mut b = Bench::connected(true);
    b.video(200, true);
    let first = b.seqs(VIDEO_OUT)[0];
    let all: Vec<(u16, u16)> = (0..11).map(|i| (first.wrapping_add(i * 17), 0xffff)).collect();
    let flood = nack(VIDEO_OUT, &all);
    let media = b.media_to[&b.at];
    let mut bytes = 0;
    for i in 0..1_000u64 {
        b.step(Duration::from_millis(2));
        bytes += flood.len() + 40;
        b.rtcp(&flood);
        let most = RESEND_BURST + (i + 1) * 2 * RESENDS_PER_SECOND / 1_000;
        assert!(b.resends as u64 <= most, "{} after {i}", b.resends);
    }
    b.exchange();
    let resent = b.media_to[&b.at] - media;
    assert!(b.resends as u64 >= RESENDS_PER_SECOND, "but it does help");
    let out = resent * 260;
    assert!(out < 4 * bytes, "{out} bytes out for {bytes} in");
    assert_eq!(b.session.stats().nacks, 1_000 * 11 * 17, "all are counted");
}

#[test]
fn a_flood_of_key_frame_requests_is_merged() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    let before = b.key_frames.len();
    for _ in 0..1_000 {
        b.rtcp(&pli(VIDEO_OUT));
        b.step(Duration::from_millis(1));
    }
    let asked = b.key_frames.len() - before;
    assert!((4..=6).contains(&asked), "{asked} in a second");
    assert_eq!(b.session.stats().key_frames, 1_000);
    b.rtcp(&pli(77));
    assert_eq!(b.session.stats().key_frames, 1_000, "not one of ours");
}

#[test]
fn a_picture_that_does_not_begin_is_asked_for_again() {
    let mut b = Bench::connected(true);
    b.step(Duration::from_secs(5));
    let asked = b.key_frames.len();
    assert!((9..=11).contains(&asked), "twice a second: {asked}");
    b.video(1, true);
    let asked = b.key_frames.len();
    b.step(Duration::from_secs(5));
    assert!(b.key_frames.len() <= asked + 1, "and no more once it runs");
}

#[test]
fn falling_out_of_step_asks_at_once() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    b.step(Duration::from_secs(2));
    let asked = b.key_frames.len();
    b.next_video += 2_000;
    b.video(1, false);
    b.step(Duration::from_millis(10));
    assert_eq!(b.key_frames.len(), asked + 1);
}

#[test]
fn reports_give_loss_and_round_trip_time() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    b.step(Duration::from_millis(1_200));
    let sr = b.viewer.rtcp.iter().rev().find(|p| p[4..8] == VIDEO_OUT.to_be_bytes()).unwrap();
    let id = u32::from_be_bytes(sr[10..14].try_into().unwrap());
    b.step(Duration::from_millis(100));
    b.rtcp(&report(VIDEO_OUT, 64, id, 0));
    let stats = b.session.stats();
    assert!(stats.reported);
    assert!((stats.fraction_lost - 0.25).abs() < 1e-9);
    assert_eq!(stats.lost, 9);
    assert!((stats.jitter - 0.001).abs() < 1e-9);
    let rtt = stats.rtt.unwrap();
    assert!((0.09..0.4).contains(&rtt), "{rtt}");
    // A report that answers none of ours says nothing of the time.
    b.rtcp(&report(VIDEO_OUT, 0, 0xdead_beef, 0));
    assert_eq!(b.session.stats().rtt, Some(rtt));
}

#[test]
fn sound_and_picture_are_on_one_clock() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    b.audio(1);
    let (video, audio) = (b.viewer.seen[0].timestamp, b.viewer.seen[1].timestamp);
    b.step(Duration::from_millis(1_500));
    let word = |p: &[u8], at: usize| u32::from_be_bytes(p[at..at + 4].try_into().unwrap());
    // Where each report puts the packet that was captured now, in NTP seconds.
    let place = |ssrc: u32, timestamp: u32, rate: f64| {
        let sr = b.viewer.rtcp.iter().find(|p| word(p, 4) == ssrc).unwrap();
        let ntp = f64::from(word(sr, 8)) + f64::from(word(sr, 12)) / 2f64.powi(32);
        ntp - f64::from(word(sr, 16).wrapping_sub(timestamp)) / rate
    };
    let apart = place(VIDEO_OUT, video, 90_000.0) - place(AUDIO_OUT, audio, 48_000.0);
    assert!(apart.abs() < 0.001, "{apart} s");
}

#[test]
fn rtcp_that_is_forged_or_replayed_is_counted_and_ignored() {
    let mut b = Bench::connected(true);
    b.video(1, true);
    let asked = b.key_frames.len();
    let sealed = b.viewer.seal(&pli(VIDEO_OUT)).unwrap();
    let mut forged = sealed.clone();
    forged[9] ^= 1;
    b.input(b.at, forged);
    assert_eq!((b.session.stats().forged, b.key_frames.len()), (1, asked));
    b.now = Mono(b.now.0 + 1_000_000);
    b.input(b.at, sealed.clone());
    assert_eq!(b.key_frames.len(), asked + 1);
    b.now = Mono(b.now.0 + 1_000_000);
    b.input(b.at, sealed);
    assert_eq!((b.session.stats().forged, b.key_frames.len()), (2, asked + 1));
}

//! A viewer that reports on what arrives: numbers, layers, probes, floods.

use super::bench::*;
use super::client::{GCM, TWCC_EXT, nack};
use crate::bandwidth::twcc::tests::encode;
use crate::session::Action;
use soleil_protocol::Ssrc;
use std::time::Duration;

/// Connected, with numbers on all tracks and two layers of the picture.
fn reporting() -> Bench {
    let mut setup = setup(true);
    setup.tracks.iter_mut().for_each(|t| t.twcc_ext = Some(TWCC_EXT));
    let mut b = Bench::with(setup, &[GCM], 1);
    b.connect();
    assert!(b.live, "{:?}", b.ended);
    b.session.set_layers(0, &[(VIDEO, 500_000), (LOW, 60_000)]);
    b.session.set_layers(1, &[(AUDIO, 10_000)]);
    b
}

impl Bench {
    /// A tenth of a second of the stream, thirty packets, and a report that they took so long
    /// beyond the usual: ticks of 250 µs.
    fn tenth(&mut self, serial: u8, late: impl Fn(i64) -> i64) {
        let from = self.viewer.seen.len();
        let start = self.now;
        let mut arrivals = Vec::new();
        for i in 0..10 {
            self.step(Duration::from_millis(10));
            self.video(3, i == 0);
            let ticks = self.now.since(start).as_micros() as i64 / 250;
            arrivals.resize(self.viewer.seen.len() - from, Some(ticks + late(ticks)));
        }
        let base = self.viewer.seen[from].number.unwrap();
        let reference = (start.0 / 64_000) as u32;
        let offset = (start.0 % 64_000) as i64 / 250;
        arrivals.iter_mut().flatten().for_each(|at| *at += offset);
        let report = encode(base, reference, serial, &arrivals);
        self.rtcp_without_settling(&report);
    }
}

#[test]
fn every_packet_has_the_next_number_whatever_it_is() {
    let mut b = reporting();
    b.video(2, true);
    b.audio(2);
    b.deaf = true;
    b.video(1, false);
    b.deaf = false;
    b.audio(1);
    let lost = b.seqs(VIDEO_OUT)[1].wrapping_add(1);
    b.rtcp(&nack(VIDEO_OUT, &[(lost, 0)]));
    b.exchange();
    let numbers: Vec<u16> = b.viewer.seen.iter().map(|s| s.number.unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 5, 6]);
    assert_eq!(b.viewer.seen.last().unwrap().ssrc, RTX_OUT);
}

#[test]
fn a_queue_that_grows_brings_the_lower_layer() {
    let mut b = reporting();
    b.video(1, true);
    for i in 0..10 {
        b.tenth(i, |_| 0);
        assert!(b.layers().is_empty());
    }
    let full = b.session.pilot().unwrap().estimate(b.now).unwrap();
    assert!(full > 510_000, "{full}");
    // Each packet takes half as long again as the one before.
    let mut asked = Vec::new();
    for i in 10..30i64 {
        b.tenth(i as u8, |ticks| (i - 10) * 200 + ticks / 2);
        asked.extend(b.layers());
        if !asked.is_empty() {
            break;
        }
    }
    assert_eq!(asked, [LOW], "{:?}", b.session.pilot().unwrap().state());
    assert!(b.session.sources().any(|(track, source)| (track, source) == (0, LOW)));
}

/// Nothing of a layer that does not get through any more is sent, or sent again, until the lower one begins.
#[test]
fn a_link_that_is_suddenly_narrow_is_cleared() {
    let mut b = reporting();
    b.video(1, true);
    for i in 0..10 {
        b.tenth(i, |_| 0);
        b.settle();
    }
    let mut asked = Vec::new();
    for i in 10..30i64 {
        b.tenth(i as u8, |ticks| (i - 10) * 1_600 + ticks * 4);
        asked.extend(b.layers());
        if !asked.is_empty() {
            break;
        }
    }
    assert_eq!(asked, [LOW], "{:?}", b.session.pilot().unwrap().state());
    let (sent, last) = (b.session.stats(), *b.seqs(VIDEO_OUT).last().unwrap());
    b.video(30, false);
    b.rtcp(&nack(VIDEO_OUT, &[(last, 0)]));
    b.audio(1);
    let now = b.session.stats();
    assert_eq!((now.packets - sent.packets, now.resends - sent.resends), (1, 0), "the sound");
    // Nor by a key frame of the old one.
    b.video(3, true);
    assert_eq!(b.session.stats().packets, now.packets);
    b.packet(LOW, 1, true);
    b.packet(LOW, 2, false);
    b.exchange();
    let seqs = b.seqs(VIDEO_OUT);
    assert_eq!(seqs[seqs.len() - 2..], [last.wrapping_add(1), last.wrapping_add(2)], "no hole");
    b.rtcp(&nack(VIDEO_OUT, &[(last.wrapping_add(1), 0)]));
    assert_eq!(b.session.stats().resends - now.resends, 1);
}

#[test]
fn a_short_link_goes_without_the_frames_that_no_other_needs() {
    let mut b = reporting();
    b.spare = true;
    b.session.set_layers(0, &[(VIDEO, 500_000)]);
    b.video(1, true);
    for i in 0..10 {
        b.tenth(i, |_| 0);
        b.settle();
    }
    let mut sent = Vec::new();
    for i in 10..25i64 {
        let before = b.session.stats().packets;
        b.tenth(i as u8, |ticks| (i - 10) * 200 + ticks / 2);
        b.settle();
        sent.push(b.session.stats().packets - before);
    }
    assert_eq!((sent[0], *sent.last().unwrap()), (30, 15), "{sent:?}");
    assert_eq!(b.session.stats().adaptation.thinned, 1);
    // Nothing is missing for the viewer.
    assert!(b.seqs(VIDEO_OUT).windows(2).all(|w| w[1] == w[0].wrapping_add(1)));
}

#[test]
fn a_better_layer_is_probed_for_with_packets_that_were_sent() {
    let mut b = reporting();
    b.video(1, true);
    b.tenth(0, |_| 0);
    // What the better one takes is far beyond what was ever sent.
    b.session.set_layers(0, &[(Ssrc(12), 40_000_000), (VIDEO, 500_000)]);
    let before = b.viewer.seen.len();
    for i in 1..12 {
        b.tenth(i, |_| 0);
        b.settle();
        b.exchange();
    }
    assert!(b.probed >= 6, "{} packets of probes", b.probed);
    let seen = &b.viewer.seen[before..];
    let redundant: Vec<_> = seen.iter().filter(|s| s.ssrc == RTX_OUT).collect();
    assert_eq!(redundant.len(), b.probed);
    let sent = b.seqs(VIDEO_OUT);
    assert!(
        redundant
            .iter()
            .all(|s| { sent.contains(&u16::from_be_bytes([s.payload[0], s.payload[1]])) })
    );
    assert!(seen.windows(2).all(|w| w[1].number.unwrap() == w[0].number.unwrap().wrapping_add(1)));
}

#[test]
fn feedback_without_an_agreement_is_passed_over() {
    let mut b = Bench::connected(true);
    b.video(2, true);
    assert!(b.session.pilot().is_none());
    b.rtcp(&encode(0, 1, 0, &[Some(1), Some(2)]));
    assert!(b.ended.is_none() && b.viewer.seen[0].number.is_none());
}

/// A viewer of a picture without sound, after ten seconds in which nothing reached it, and the
/// packets that it was sent by then: the picture rests.
fn cut_off(checks: bool) -> (Bench, u64) {
    let mut b = reporting();
    b.session.set_layers(0, &[(VIDEO, 500_000)]);
    b.video(1, true);
    for i in 0..10 {
        b.tenth(i, |_| 0);
        b.settle();
    }
    (b.deaf, b.checks) = (true, checks);
    for _ in 0..100 {
        b.step(Duration::from_millis(100));
        b.video(30, false);
    }
    let sent = b.session.stats().packets;
    b.step(Duration::from_millis(100));
    b.video(30, true);
    assert_eq!(b.session.stats().packets, sent);
    (b, sent)
}

#[test]
fn a_viewer_without_sound_that_was_cut_off_gets_its_picture_at_its_first_sign() {
    let (mut b, sent) = cut_off(false);
    (b.deaf, b.checks) = (false, true);
    let asked = b.key_frames.len();
    b.check();
    assert_eq!(b.key_frames.len(), asked + 1);
    b.video(3, true);
    assert_eq!(b.session.stats().packets, sent + 3);
}

#[test]
fn a_viewer_that_gives_signs_but_gets_nothing_is_hardly_sent_a_picture() {
    let (mut b, sent) = cut_off(true);
    for _ in 0..600 {
        b.step(Duration::from_millis(100));
        b.video(30, true);
    }
    // Nothing to probe with is left after so long: it is tried for two or three seconds of eighteen.
    let tried = b.session.stats().packets - sent;
    assert!(tried > 0 && tried < 600 * 30 / 4, "{tried}");
    assert!(b.session.stats().adaptation.pauses >= 3);
}

/// Packets missed behind a queue: the viewer asks for each of them a hundred times a second.
#[test]
fn resends_leave_room_for_what_comes() {
    let mut b = reporting();
    b.session.set_layers(0, &[(VIDEO, 500_000)]);
    b.video(1, true);
    for i in 0..10 {
        b.tenth(i, |_| 0);
    }
    b.deaf = true;
    b.video(20, false);
    b.deaf = false;
    let last = *b.seqs(VIDEO_OUT).last().unwrap();
    let ask = nack(VIDEO_OUT, &[(last.wrapping_add(1), 0xffff)]);
    let carries = b.session.pilot().unwrap().estimate(b.now).unwrap();
    assert!(carries <= 1_000_000, "{carries}");
    for _ in 0..1_000 {
        b.step(Duration::from_millis(2));
        b.rtcp(&ask);
    }
    // What half the link carries within two seconds, and one saved up.
    let bits = b.resends as u64 * 9_600;
    assert!(b.resends >= 17 && bits <= carries * 3 / 2, "{bits} at {carries} and less");
}

impl Bench {
    fn rtcp_without_settling(&mut self, plain: &[u8]) {
        let mut sealed = self.viewer.seal(plain).unwrap();
        self.session.handle_datagram(self.now, self.at, &mut sealed);
    }

    /// Layers that the session asks for; does the rest of what it wants.
    fn layers(&mut self) -> Vec<Ssrc> {
        let mut layers = Vec::new();
        while let Some(action) = self.session.poll_action() {
            if let Action::Start(0, ssrc) = action {
                layers.push(ssrc);
            }
        }
        layers
    }
}

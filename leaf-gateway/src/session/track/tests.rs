//! What is written for one track, byte for byte where it matters.

use super::*;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use relay_node::media::api::FrameMarks;
use relay_node::media::sizes::MAX_PAYLOAD;
use relay_node::media::srtp::{SrtpKeys, SrtpOpener};

const SOURCE: Source = Source { ssrc: Ssrc(10), generation: 0 };

fn keys() -> SrtpKeys {
    SrtpKeys::new([7; 16], [8; 12])
}

/// A transport-wide number.
const NUMBER: u16 = 0xabcd;

fn setup(kind: MediaKind, rtx: bool, capture_ext: Option<u8>) -> TrackSetup {
    TrackSetup {
        name: "video".into(),
        kind,
        codec: if kind == MediaKind::Video { Codec::Vp8 } else { Codec::Opus },
        clock_rate: 90_000,
        source: SOURCE.ssrc,
        ssrc: 77,
        payload_type: 96,
        rtx: rtx.then_some(RtxSetup { ssrc: 78, payload_type: 97 }),
        nack: true,
        capture_ext,
        twcc_ext: None,
    }
}

fn track(kind: MediaKind, rtx: bool, capture_ext: Option<u8>) -> OutTrack {
    OutTrack::new(setup(kind, rtx, capture_ext), &mut StdRng::seed_from_u64(4))
}

fn stored(index: u64, key: bool, payload: &[u8]) -> Stored {
    Stored {
        index: PacketIndex(index),
        timestamp: (index * 3_000) as u32,
        marker: index.is_multiple_of(2),
        capture: index << 32,
        marks: FrameMarks(if key { FrameMarks::KEY_START } else { 0 }),
        payload: payload.to_vec(),
    }
}

fn forward(t: &mut OutTrack, packet: &Stored, out: &mut Vec<u8>) -> Forwarded {
    t.forward(Mono(0), &SrtpSealer::new(&keys()), SOURCE, packet, NUMBER, out)
}

fn open(data: &[u8]) -> (usize, Vec<u8>) {
    let mut data = data.to_vec();
    let header = relay_node::media::srtp::header_len(&data).unwrap();
    let opener = SrtpOpener::new(&keys());
    (header, opener.open_at(&mut data, header, 0).unwrap().to_vec())
}

#[test]
fn a_packet_has_the_viewers_numbers_and_the_capture_time() {
    let mut t = track(MediaKind::Video, true, Some(3));
    let mut out = b"before".to_vec();
    assert_eq!(forward(&mut t, &stored(4, true, b"payload"), &mut out), Forwarded::Began);
    let data = &out[6..];
    assert_eq!(&out[..6], b"before");
    assert_eq!(data[0], 0x90);
    assert_eq!(data[1], 0x80 | 96);
    assert_eq!(data[8..12], 77u32.to_be_bytes());
    assert_eq!(data[12..17], [0xbe, 0xde, 0, 3, (3 << 4) | 7]);
    assert_eq!(data[17..25], (4u64 << 32).to_be_bytes());
    assert_eq!(open(data), (28, b"payload".to_vec()));
}

#[test]
fn without_the_extension_the_header_is_short() {
    let mut t = track(MediaKind::Video, true, None);
    let mut out = Vec::new();
    forward(&mut t, &stored(3, true, b"payload"), &mut out);
    assert_eq!((out[0], out[1]), (0x80, 96));
    assert_eq!(open(&out), (12, b"payload".to_vec()));
}

#[test]
fn the_largest_payload_fits_into_a_viewers_datagram() {
    let mut t = track(MediaKind::Video, true, Some(14));
    let packet = stored(3, true, &[1; MAX_PAYLOAD]);
    let mut out = Vec::new();
    forward(&mut t, &packet, &mut out);
    assert!(out.len() <= 1_200, "{}", out.len());
    let original = t.original(u16::from_be_bytes([out[2], out[3]])).unwrap();
    out.clear();
    assert!(t.resend(&SrtpSealer::new(&keys()), &original, &packet, NUMBER, &mut out));
    assert!(out.len() <= 1_200, "{} as RTX", out.len());
}

#[test]
fn a_picture_begins_with_a_key_frame_and_sound_with_anything() {
    let mut out = Vec::new();
    let mut video = track(MediaKind::Video, true, None);
    assert_eq!(forward(&mut video, &stored(1, false, b"x"), &mut out), Forwarded::Nothing);
    assert!(video.waiting && out.is_empty());
    let mut audio = track(MediaKind::Audio, false, None);
    assert_eq!(forward(&mut audio, &stored(1, false, b"x"), &mut out), Forwarded::Began);
    assert!(!audio.waiting);
    assert_eq!(forward(&mut audio, &stored(2, false, b"x"), &mut out), Forwarded::Sent);
}

/// A packet of a frame of two, every second frame of which no other needs.
fn half(index: u64) -> Stored {
    let frame = index / 2;
    let marks = if frame % 2 == 1 { FrameMarks::DISCARDABLE } else { 0 };
    let marks = FrameMarks(if index == 0 { FrameMarks::KEY_START } else { marks });
    Stored { timestamp: (frame * 3_000) as u32, marks, ..stored(index, false, b"x") }
}

/// Sequence numbers of these packets for the viewer, in order, without the first one's offset.
fn numbers(t: &mut OutTrack, packets: impl IntoIterator<Item = u64>) -> Vec<Option<u16>> {
    let mut first = None;
    let number = |index| {
        let mut out = Vec::new();
        let sent = forward(t, &half(index), &mut out) != Forwarded::Nothing;
        sent.then(|| {
            let seq = u16::from_be_bytes([out[2], out[3]]);
            seq - *first.get_or_insert(seq)
        })
    };
    packets.into_iter().map(number).collect()
}

#[test]
fn frames_that_no_other_needs_are_left_out_whole_and_without_a_hole() {
    let mut t = track(MediaKind::Video, true, None);
    t.set_lean(true);
    let sent = numbers(&mut t, 0..10);
    let expected = [0, 1, 9, 9, 2, 3, 9, 9, 4, 5].map(|n| (n != 9).then_some(n));
    assert_eq!(sent, expected);
    // Not in the middle of a frame, neither on nor off.
    let mut t = track(MediaKind::Video, true, None);
    numbers(&mut t, 0..3);
    t.set_lean(true);
    assert_eq!(numbers(&mut t, [3]), [Some(0)], "its first packet was sent");
    assert_eq!(numbers(&mut t, 4..7), [Some(0), Some(1), None]);
    t.set_lean(false);
    assert_eq!(numbers(&mut t, 7..9), [None, Some(0)], "its first packet was left out");
    assert_eq!(numbers(&mut t, 9..12), [Some(0), Some(1), Some(2)]);
}

#[test]
fn a_packet_that_is_missing_before_a_frame_keeps_its_place() {
    let mut t = track(MediaKind::Video, true, None);
    t.set_lean(true);
    // 1 is missing: the frame behind it is sent, as nobody knows what 1 is.
    assert_eq!(numbers(&mut t, [0, 2, 3, 1]), [Some(0), Some(2), Some(3), Some(1)]);
    // 6 is missing at the beginning and 11 at the end of such a frame.
    let sent = numbers(&mut t, [4, 5, 7, 6, 8, 9, 10, 12, 13, 11]);
    let expected = [0, 1, 3, 2, 4, 5, 99, 7, 8, 6].map(|n| (n != 99).then_some(n));
    assert_eq!(sent, expected);
}

#[test]
fn what_was_sent_before_and_behind_a_frame_left_out_is_sent_again() {
    let mut t = track(MediaKind::Video, true, None);
    t.set_lean(true);
    let mut seqs = Vec::new();
    for index in 0..8 {
        let mut out = Vec::new();
        if forward(&mut t, &half(index), &mut out) != Forwarded::Nothing {
            seqs.push((u16::from_be_bytes([out[2], out[3]]), index));
        }
    }
    assert_eq!(seqs.iter().map(|(_, i)| *i).collect::<Vec<_>>(), [0, 1, 4, 5]);
    for (seq, index) in seqs {
        assert_eq!(t.original(seq).unwrap().index, PacketIndex(index));
    }
}

#[test]
fn a_packet_is_never_forwarded_twice() {
    let mut t = track(MediaKind::Video, true, None);
    let mut out = Vec::new();
    forward(&mut t, &stored(1, true, b"x"), &mut out);
    let len = out.len();
    assert_eq!(forward(&mut t, &stored(1, true, b"other"), &mut out), Forwarded::Nothing);
    assert_eq!(out.len(), len);
}

#[test]
fn each_resend_has_an_rtx_number_of_its_own() {
    let sealer = SrtpSealer::new(&keys());
    let mut t = track(MediaKind::Video, true, None);
    let packet = stored(1, true, b"payload");
    let mut out = Vec::new();
    forward(&mut t, &packet, &mut out);
    let seq = u16::from_be_bytes([out[2], out[3]]);
    let original = t.original(seq).unwrap();
    let mut numbers = Vec::new();
    for _ in 0..3 {
        out.clear();
        assert!(t.resend(&sealer, &original, &packet, NUMBER, &mut out));
        assert_eq!(out[8..12], 78u32.to_be_bytes());
        let (_, body) = open(&out);
        assert_eq!(body[..2], seq.to_be_bytes());
        numbers.push(u16::from_be_bytes([out[2], out[3]]));
    }
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
}

#[test]
fn reports_map_the_last_packet_and_are_silent_with_it() {
    let mut t = track(MediaKind::Video, true, None);
    assert_eq!(t.sender_report(Mono(0)), None, "nothing sent yet");
    let mut out = Vec::new();
    forward(&mut t, &stored(5, true, b"12345"), &mut out);
    let timestamp = u32::from_be_bytes(out[4..8].try_into().unwrap());
    let report = t.sender_report(Mono(500_000)).unwrap();
    assert_eq!(report.ntp, (5 << 32) + (1 << 31));
    assert_eq!(report.rtp, timestamp.wrapping_add(45_000));
    assert_eq!((report.ssrc, report.packets, report.octets), (77, 1, 5));
    assert!(t.sender_report(Mono(5_000_000)).is_some());
    assert_eq!(t.sender_report(Mono(5_000_001)), None);
}

#[test]
fn the_round_trip_time_is_that_of_a_report_it_remembers() {
    let mut t = track(MediaKind::Video, true, None);
    forward(&mut t, &stored(5, true, b"x"), &mut Vec::new());
    let ids: Vec<u32> =
        (0..5u64).map(|i| (t.sender_report(Mono(i * 100_000)).unwrap().ntp >> 16) as u32).collect();
    let block = |last_sr, delay| ReportBlock {
        ssrc: 77,
        fraction_lost: 0,
        lost: -3,
        jitter: 0,
        last_sr,
        delay,
    };
    let now = Mono(500_000);
    t.take_report(now, &block(ids[0], 0));
    assert_eq!(t.report.unwrap().rtt, None, "the oldest of five is forgotten");
    assert_eq!(t.report.unwrap().lost, -3);
    // Held for 50 ms there: 3277 of 1/65536 s.
    t.take_report(now, &block(ids[4], 3_277));
    let rtt = t.report.unwrap().rtt.unwrap();
    assert!((0.049..0.051).contains(&rtt), "{rtt}");
    t.take_report(now, &block(0, 0));
    assert_eq!(t.report.unwrap().rtt, Some(rtt), "kept");
    t.take_report(now, &block(ids[4], u32::MAX));
    assert_eq!(t.report.unwrap().rtt, Some(0.0), "nonsense is no panic");
}

proptest! {
    #[test]
    fn numbers_follow_the_source(steps in prop::collection::vec(1u64..500, 1..200)) {
        let mut t = track(MediaKind::Video, true, None);
        let (mut index, mut last) = (1_000u64, None);
        for step in steps {
            index += step;
            let mut out = Vec::new();
            forward(&mut t, &stored(index, last.is_none(), b"x"), &mut out);
            let seq = u16::from_be_bytes([out[2], out[3]]);
            let timestamp = u32::from_be_bytes(out[4..8].try_into().unwrap());
            if let Some((before, time)) = last {
                prop_assert_eq!(u64::from(seq.wrapping_sub(before)), step);
                prop_assert!((timestamp.wrapping_sub(time) as i32) >= 0);
            }
            prop_assert_eq!(t.original(seq).unwrap().index, PacketIndex(index));
            last = Some((seq, timestamp));
        }
    }
}

fn numbered(rtx: bool, capture_ext: Option<u8>) -> OutTrack {
    let setup = TrackSetup { twcc_ext: Some(5), ..setup(MediaKind::Video, rtx, capture_ext) };
    OutTrack::new(setup, &mut StdRng::seed_from_u64(4))
}

#[test]
fn a_capture_time_and_a_number_fill_the_block() {
    let mut t = numbered(true, Some(3));
    let mut out = Vec::new();
    forward(&mut t, &stored(4, true, b"payload"), &mut out);
    assert_eq!(out[12..17], [0xbe, 0xde, 0, 3, (3 << 4) | 7]);
    assert_eq!(out[25..28], [(5 << 4) | 1, 0xab, 0xcd]);
    assert_eq!(open(&out), (28, b"payload".to_vec()));
    let mut t = numbered(true, None);
    out.clear();
    forward(&mut t, &stored(4, true, b"payload"), &mut out);
    assert_eq!(out[12..20], [0xbe, 0xde, 0, 1, (5 << 4) | 1, 0xab, 0xcd, 0]);
    assert_eq!(open(&out), (20, b"payload".to_vec()));
}

#[test]
fn a_numbered_packet_is_never_sealed_twice() {
    let packet = stored(1, true, b"payload");
    for (rtx, again) in [(true, true), (false, false)] {
        let (mut t, mut out) = (numbered(rtx, Some(3)), Vec::new());
        forward(&mut t, &packet, &mut out);
        let original = t.original(u16::from_be_bytes([out[2], out[3]])).unwrap();
        out.clear();
        let sealer = SrtpSealer::new(&keys());
        assert_eq!(t.resend(&sealer, &original, &packet, NUMBER + 1, &mut out), again);
        assert_eq!(out.is_empty(), !again);
        if again {
            assert_eq!(out[25..28], [(5 << 4) | 1, 0xab, 0xce]);
        }
    }
}

#[test]
fn a_pause_ends_with_a_key_frame() {
    let mut t = numbered(true, None);
    let mut out = Vec::new();
    forward(&mut t, &stored(1, true, b"x"), &mut out);
    t.pause();
    assert!(!t.wants_start());
    assert_eq!(forward(&mut t, &stored(2, true, b"x"), &mut out), Forwarded::Nothing);
    t.resume();
    assert!(t.wants_start());
    assert_eq!(forward(&mut t, &stored(3, false, b"x"), &mut out), Forwarded::Nothing);
    let len = out.len();
    assert_eq!(forward(&mut t, &stored(4, true, b"x"), &mut out), Forwarded::Began);
    let seq = |at: usize| u16::from_be_bytes([out[at + 2], out[at + 3]]);
    assert_eq!(seq(len), seq(0).wrapping_add(1));
    assert_eq!(t.recent().take(2).collect::<Vec<_>>(), [seq(len), seq(0)]);
}

/// A packet of the `frame`th picture of three temporal layers: each second picture is of the upmost
/// one, which no other needs. Two packets a picture.
fn layered(index: u64) -> Stored {
    let frame = index / 2;
    let layer = [0, 2, 1, 2][frame as usize % 4];
    let marks = match (index, layer) {
        (0, _) => FrameMarks::KEY_START,
        (_, 2) => FrameMarks::DISCARDABLE | 2,
        (_, layer) => layer,
    };
    let payload = vp8::tests::descriptor(frame as u16, (frame / 4) as u8, layer);
    Stored {
        timestamp: (frame * 3_000) as u32,
        marks: FrameMarks(marks),
        ..stored(index, false, &payload)
    }
}

/// Number of the picture that a packet tells.
fn picture(data: &[u8]) -> u16 {
    let (_, payload) = open(data);
    u16::from_be_bytes([payload[2], payload[3]]) & 0x7fff
}

proptest! {
    #[test]
    fn pictures_that_are_left_out_leave_no_hole_in_their_numbers(
        lean in proptest::collection::vec((1u64..40, any::<bool>()), 1..12),
    ) {
        let mut t = track(MediaKind::Video, true, None);
        let (mut index, mut last, mut sent) = (0, None, Vec::new());
        for (packets, lean) in lean {
            t.set_lean(lean);
            for index in index..index + packets {
                let (packet, mut data) = (layered(index), Vec::new());
                if forward(&mut t, &packet, &mut data) == Forwarded::Nothing {
                    continue;
                }
                let number = picture(&data);
                if let Some((frame, number_before)) = last.replace((index / 2, number)) {
                    let step = u16::from(frame != index / 2);
                    prop_assert_eq!(number, number_before + step, "packet {}", index);
                }
                sent.push((u16::from_be_bytes([data[2], data[3]]), packet, number));
            }
            index += packets;
        }
        prop_assert!(sent.windows(2).all(|w| w[1].0 == w[0].0.wrapping_add(1)));
        // What is sent again has the number that it had.
        for (seq, packet, number) in sent {
            let Some(original) = t.original(seq) else { continue };
            prop_assert_eq!(original.index, packet.index);
            let mut data = Vec::new();
            t.resend(&SrtpSealer::new(&keys()), &original, &packet, NUMBER, &mut data);
            let (_, payload) = open(&data);
            prop_assert_eq!(u16::from_be_bytes([payload[4], payload[5]]) & 0x7fff, number);
        }
    }
}

//! One event, then everything that comes out of it.

use super::super::clock::{CaptureClock, ClockShift, Timeline};
use super::super::layer::LayerStart;
use super::super::stream::{StreamEvent, StreamIngest, TrackSpec};
use super::*;
use soleil_protocol::PipelineId;

/// One small non-IDR slice.
pub(super) const SLICE: &[u8] = &[0x41, 1, 2, 3];
pub(super) const IDR: &[u8] = &[0x65, 1, 2, 3];

#[test]
fn each_malformed_packet_is_dropped_for_its_reason() {
    let good = packet(1, 10, 0, false, SLICE);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut p = good.clone();
        change(&mut p);
        p
    };
    let table: Vec<(Vec<u8>, DropReason)> = vec![
        (vec![], DropReason::Truncated),
        (good[..11].to_vec(), DropReason::Truncated),
        (with(&|p| p[0] = 0x40), DropReason::Version),
        (with(&|p| p[0] = 0x8f), DropReason::Csrc),
        (with(&|p| p[0] = 0x90), DropReason::Extension),
        (
            with(&|p| {
                p[0] = 0x90;
                p.truncate(14);
            }),
            DropReason::Extension,
        ),
        (
            with(&|p| {
                p[0] = 0xa0;
                p.push(0);
            }),
            DropReason::Padding,
        ),
        (
            with(&|p| {
                p[0] = 0xa0;
                p.push(200);
            }),
            DropReason::Padding,
        ),
        (with(&|p| p[1] = 97), DropReason::PayloadType),
        (packet(1, 10, 0, false, &[0x60 | 30, 0]), DropReason::Payload),
        (packet(1, 10, 0, false, &[0x60 | 25, 0, 0]), DropReason::Unsupported),
        (vec![0x80, 200, 0, 9, 0, 0, 0, 1], DropReason::Rtcp),
    ];
    let mut bench = Bench::new(Codec::H264);
    for (datagram, reason) in &table {
        let before = bench.layer.counters().dropped(*reason);
        assert_eq!(bench.rtp(at(0), sender(), datagram), Err(*reason), "{datagram:02x?}");
        assert_eq!(bench.layer.counters().dropped(*reason), before + 1);
        assert_eq!(bench.out(), []);
        assert_eq!(bench.layer.poll_timeout(), None);
    }
    assert_eq!(bench.layer.heard(), None, "garbage must not take the port");
    assert_eq!(bench.rtp(at(1), other(), &good), Ok(()));
    assert_eq!(bench.out(), [(100, SLICE.to_vec())]);
}

#[test]
fn header_parts_that_are_legal_are_stepped_over() {
    let mut datagram = packet(1, 10, 0, false, &[]);
    datagram[0] = 0x80 | 0x20 | 0x10 | 1;
    datagram.extend([0; 4]);
    datagram.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]);
    datagram.extend(SLICE);
    datagram.extend([0, 0, 3]);
    let mut bench = Bench::new(Codec::H264);
    assert_eq!(bench.rtp(at(0), sender(), &datagram), Ok(()));
    assert_eq!(bench.out(), [(100, SLICE.to_vec())]);
}

#[test]
fn padding_alone_takes_no_index() {
    let mut padding = packet(1, 11, 0, false, &[0, 0, 3]);
    padding[0] |= 0x20;
    let mut bench = Bench::new(Codec::H264);
    bench.rtp(at(0), sender(), &packet(1, 10, 0, false, SLICE)).unwrap();
    bench.rtp(at(0), sender(), &padding).unwrap();
    bench.rtp(at(0), sender(), &packet(1, 12, 0, true, SLICE)).unwrap();
    assert_eq!(bench.out(), [(100, SLICE.to_vec()), (101, SLICE.to_vec())]);
}

#[test]
fn a_second_sender_is_refused_until_the_first_is_silent() {
    let mut bench = Bench::new(Codec::H264);
    bench.rtp(at(0), sender(), &packet(1, 10, 0, true, IDR)).unwrap();
    let second = packet(2, 900, 77, true, IDR);
    assert_eq!(bench.rtp(at(1999), other(), &second), Err(DropReason::SecondSender));
    assert_eq!(bench.layer.counters().dropped(DropReason::SecondSender), 1);
    assert_eq!(bench.drain().len(), 1);
    // Refused packets do not keep the port for the first one.
    assert_eq!(bench.rtp(at(2000), other(), &second), Ok(()));
    let out = bench.drain();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].index, PacketIndex(102), "one index is left out");
    assert_eq!(out[0].timestamp, 5000 + 180_000, "two seconds have passed");
    assert_eq!(bench.layer.counters().sources, 2);
}

#[test]
fn a_new_ssrc_from_the_same_address_continues_the_pipeline() {
    let mut bench = Bench::new(Codec::H264);
    bench.rtp(at(0), sender(), &packet(1, 65_535, 1000, true, IDR)).unwrap();
    bench.rtp(at(400), sender(), &packet(1, 0, 37_000, true, SLICE)).unwrap();
    bench.rtp(at(500), sender(), &packet(2, 4242, 0xffff_0000, true, IDR)).unwrap();
    bench.rtp(at(540), sender(), &packet(2, 4243, 0xffff_0000 + 3600, true, SLICE)).unwrap();
    let out = bench.drain();
    let seen: Vec<_> = out.iter().map(|p| (p.index.0, p.timestamp, p.marks.key_start())).collect();
    assert_eq!(
        seen,
        [
            (100, 5000, true),
            (101, 41_000, false),
            (103, 41_000 + 9000, true),
            (104, 41_000 + 9000 + 3600, false)
        ]
    );
    // Two sources that alternate do not restart the pipeline with every packet.
    let back = packet(1, 1, 40_000, true, SLICE);
    assert_eq!(bench.rtp(at(560), sender(), &back), Err(DropReason::SecondSender));
}

#[test]
fn reordering_is_undone_and_a_loss_leaves_one_gap() {
    let mut bench = Bench::new(Codec::H264);
    let p = |seq: u16| packet(1, seq, 0, false, &[0x41, seq as u8, 9]);
    for seq in [10, 12, 13] {
        bench.rtp(at(0), sender(), &p(seq)).unwrap();
    }
    assert_eq!(bench.out().len(), 1);
    assert_eq!(bench.rtp(at(1), sender(), &p(12)), Err(DropReason::Duplicate));
    bench.rtp(at(5), sender(), &p(11)).unwrap();
    assert_eq!(bench.out().iter().map(|o| o.0).collect::<Vec<_>>(), [101, 102, 103]);
    assert_eq!(bench.rtp(at(6), sender(), &p(11)), Err(DropReason::Late));
    // Three are lost: their place is given up after the reorder time, one index is left out.
    bench.rtp(at(10), sender(), &p(17)).unwrap();
    assert_eq!(bench.layer.poll_timeout(), Some(Mono(50_000)));
    bench.timeout(at(49));
    assert_eq!(bench.out(), []);
    bench.timeout(at(50));
    assert_eq!(bench.out(), [(105, vec![0x41, 17, 9])]);
    assert_eq!((bench.layer.counters().lost, bench.layer.counters().gaps), (3, 1));
    assert_eq!(bench.layer.poll_timeout(), None);
}

#[test]
fn the_reorder_buffer_is_bounded_in_packets() {
    let mut bench = Bench::new(Codec::H264);
    bench.rtp(at(0), sender(), &packet(1, 0, 0, false, SLICE)).unwrap();
    for seq in 2..=200 {
        bench.rtp(at(0), sender(), &packet(1, seq, 0, false, SLICE)).unwrap();
    }
    assert_eq!(bench.drain().len(), 200);
    assert_eq!(bench.layer.counters().lost, 1);
}

#[test]
fn a_far_jump_needs_two_packets_to_be_believed() {
    let mut bench = Bench::new(Codec::H264);
    bench.rtp(at(0), sender(), &packet(1, 10, 0, true, SLICE)).unwrap();
    let jump = bench.rtp(at(10), sender(), &packet(1, 30_000, 900, true, SLICE));
    assert_eq!(jump, Err(DropReason::Sequence));
    bench.rtp(at(20), sender(), &packet(1, 11, 1800, true, SLICE)).unwrap();
    assert_eq!(bench.drain().len(), 2);
    let _ = bench.rtp(at(30), sender(), &packet(1, 40_000, 0, true, SLICE));
    bench.rtp(at(40), sender(), &packet(1, 40_001, 900, true, SLICE)).unwrap();
    let out = bench.drain();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].index, PacketIndex(103));
    assert_eq!(out[0].timestamp, 5000 + 1800 + 1800);
}

#[test]
fn key_frames_are_asked_of_a_sender_that_shows_rtcp_and_merged() {
    let mut bench = Bench::new(Codec::H264);
    bench.rtp(at(0), sender(), &packet(1, 10, 0, true, SLICE)).unwrap();
    bench.layer.request_key_frame();
    bench.timeout(at(1));
    assert_eq!(bench.layer.poll_send(), None, "no RTCP, no PLI");
    let peer = SocketAddr::from(([192, 0, 2, 1], 40_001));
    let report = sender_report(1, at(0).wall.ntp(), 0);
    let rtcp = |bench: &mut Bench, now, from| {
        let Bench { layer, shift } = bench;
        layer.handle_datagram(now, Port::Rtcp, from, &report, shift)
    };
    assert_eq!(rtcp(&mut bench, at(2), other()), Err(DropReason::Rtcp), "not the sender");
    rtcp(&mut bench, at(2), peer).unwrap();
    let sent = bench.layer.poll_send().unwrap();
    assert_eq!((sent.port, sent.to, sent.key_frame), (Port::Rtcp, peer.into(), true));
    assert!(is_pli(&sent.bytes, 1));
    for now in [100, 200, 300, 501] {
        bench.layer.request_key_frame();
        bench.timeout(at(now));
        assert_eq!(bench.layer.poll_send(), None);
    }
    bench.timeout(at(502));
    assert!(is_pli(&bench.layer.poll_send().unwrap().bytes, 1));
    // A key frame answers whoever waited.
    bench.layer.request_key_frame();
    bench.rtp(at(600), sender(), &packet(1, 11, 3000, true, IDR)).unwrap();
    bench.timeout(at(1100));
    assert_eq!(bench.layer.poll_send(), None);
    // A second after the last one there is a Receiver Report.
    bench.timeout(at(1502));
    let bytes = bench.layer.poll_send().unwrap().bytes;
    assert!(!is_pli(&bytes, 1));
    assert_eq!(bytes[..2], [0x81, 201]);
    assert_eq!(bytes[24..28], ((at(0).wall.ntp() >> 16) as u32).to_be_bytes());
    assert_eq!(bytes[28..32], (65_536u32 * 3 / 2).to_be_bytes());
    assert_eq!(bench.layer.counters().plis, 2);
    // A loss that can't be repaired asks by itself.
    bench.rtp(at(1510), sender(), &packet(1, 13, 6000, true, SLICE)).unwrap();
    bench.timeout(at(1550));
    assert!(is_pli(&bench.layer.poll_send().unwrap().bytes, 1));
}

fn is_pli(compound: &[u8], ssrc: u32) -> bool {
    // It must parse as a compound packet as a sender would read it.
    assert_eq!(super::super::rtcp::parse(compound).unwrap().ssrc, 99);
    let mut pli = vec![0x81, 206, 0, 2, 0, 0, 0, 99];
    pli.extend(ssrc.to_be_bytes());
    compound.ends_with(&pli)
}

#[test]
fn a_goodbye_frees_the_port() {
    let mut bench = Bench::new(Codec::Opus);
    bench.rtp(at(0), sender(), &packet(1, 10, 0, true, &[1])).unwrap();
    bench
        .rtp(at(1), sender(), &[0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 203, 0, 1, 0, 0, 0, 1])
        .unwrap();
    bench.rtp(at(2), other(), &packet(2, 10, 0, true, &[2])).unwrap();
    assert_eq!(bench.drain().len(), 2);
}

#[test]
fn opus_is_never_cut() {
    let mut bench = Bench::new(Codec::Opus);
    bench.rtp(at(0), sender(), &packet(1, 10, 0, true, &[1])).unwrap();
    bench.rtp(at(0), sender(), &packet(1, 11, 960, true, &[1; MAX_PAYLOAD + 1])).unwrap();
    assert_eq!(bench.layer.counters().dropped(DropReason::Oversized), 1);
    bench.rtp(at(0), sender(), &packet(1, 12, 1920, true, &[1; MAX_PAYLOAD])).unwrap();
    assert_eq!(bench.drain().iter().map(|p| p.index.0).collect::<Vec<_>>(), [100, 102]);
}

#[test]
fn capture_time_is_the_senders_or_that_of_the_least_delayed_packet() {
    let mut clock = CaptureClock::new(90_000);
    let mut shift = ClockShift::default();
    let wall = |ms: u64| at(ms).wall.0 as i64;
    // Without reports: 40 ms late, then on time, then late again.
    assert_eq!(clock.capture(at(40), 0, &mut shift), wall(40));
    assert_eq!(clock.capture(at(33), 3000, &mut shift), wall(33));
    assert_eq!(clock.capture(at(100), 6000, &mut shift), wall(33) + 33_333);
    // With one: exactly what the sender says, 120 ms before arrival.
    clock.sender_report(at(0).wall.ntp(), 6000);
    let captured = clock.capture(at(153), 9000, &mut shift);
    assert!((captured - wall(33)).abs() < 1000, "{captured}");
}

#[test]
fn a_senders_wrong_clock_is_shifted_alike_for_all_tracks() {
    let mut shift = ClockShift::default();
    let arrival = at(1000).wall.0 as i64;
    // The sender counts from its own start, as some do.
    assert_eq!(shift.apply(1_000_000, arrival), arrival);
    // The other track's packet was captured 20 ms earlier: it stays so.
    assert_eq!(shift.apply(980_000, arrival + 5000), arrival - 20_000);
    // A clock within the limit is believed.
    let mut shift = ClockShift::default();
    assert_eq!(shift.apply(arrival - 4_000_000, arrival), arrival - 4_000_000);
    // A clock that is set right later loses its shift.
    assert_eq!(shift.apply(5, arrival), arrival);
    assert_eq!(shift.apply(arrival - 1000, arrival), arrival - 1000);
}

#[test]
fn timestamps_go_on_over_jumps_and_wraps() {
    let mut line = Timeline::new(48_000, u32::MAX - 100);
    assert_eq!(line.map(Mono(0), 50), (u32::MAX - 100, false));
    assert_eq!(line.map(Mono(20_000), 1010), ((u32::MAX - 100).wrapping_add(960), false));
    // The sender starts its timestamps anew without a new SSRC: time goes on.
    let (out, jumped) = line.map(Mono(40_000), 3_000_000_000);
    assert_eq!((out, jumped), ((u32::MAX - 100).wrapping_add(1920), true));
    // A pause with timestamps that say so is no jump.
    let (out, jumped) = line.map(Mono(10_040_000), 3_000_480_000);
    assert_eq!((out, jumped), ((u32::MAX - 100).wrapping_add(481_920), false));
}

pub(super) fn demo() -> StreamIngest {
    demo_of(Codec::H264)
}

/// With another picture.
pub(super) fn demo_of(codec: Codec) -> StreamIngest {
    let track = |name: &str, codec, payload_type, clock_rate, channels| TrackSpec {
        name: name.to_owned(),
        codec,
        payload_type,
        clock_rate,
        channels,
        fmtp: String::new(),
        layers: 1,
        made: 0,
    };
    let tracks =
        vec![track("video", codec, 96, 90_000, 0), track("audio", Codec::Opus, 111, 48_000, 2)];
    let mut next = 10;
    let mut random = || {
        next += 1;
        next
    };
    let mut ssrc = 8;
    let mut start = |_: &TrackSpec, _| {
        ssrc += 4;
        let (index, reserved) = (PacketIndex(100), PacketIndex(1 << 40));
        Ok::<_, std::convert::Infallible>(LayerStart { ssrc: Ssrc(ssrc), index, reserved })
    };
    StreamIngest::new(PipelineId(1), "demo", tracks, MAX_PAYLOAD, &mut start, &mut random).unwrap()
}

#[test]
fn a_stream_is_live_while_any_track_flows() {
    let mut stream = demo();
    assert_eq!(stream.definition().ssrcs().collect::<Vec<_>>(), [Ssrc(12), Ssrc(16)]);
    let events = |s: &mut StreamIngest| std::iter::from_fn(|| s.poll_event()).collect::<Vec<_>>();
    let noise = stream.handle_datagram(at(0), 0, Port::Rtp, sender(), &[1, 2, 3]);
    assert_eq!(noise, Err(DropReason::Truncated));
    assert_eq!((events(&mut stream), stream.poll_timeout()), (vec![], None));
    // x264's SPS for 1280x720, baseline 3.1.
    let sps = [0x67, 0x42, 0xc0, 0x1f, 0xd9, 0x00, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03];
    stream.handle_datagram(at(0), 0, Port::Rtp, sender(), &packet(1, 1, 0, false, &sps)).unwrap();
    let found = events(&mut stream);
    let [StreamEvent::Defined(def), StreamEvent::Live(true)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(
        def.tracks[0].fmtp,
        "packetization-mode=1;level-asymmetry-allowed=1;profile-level-id=42c01f"
    );
    assert_eq!(
        (def.tracks[0].layers[0].width, def.tracks[0].layers[0].height),
        (Some(1280), Some(720))
    );
    // The picture stops, the sound goes on.
    let mut sound = packet(2, 1, 0, false, &[1]);
    sound[1] = 111;
    stream.handle_datagram(at(4000), 1, Port::Rtp, sender(), &sound).unwrap();
    stream.handle_timeout(at(8999));
    assert_eq!(events(&mut stream), []);
    assert_eq!(stream.poll_timeout(), Some(Mono(9_000_000)));
    stream.handle_timeout(at(9000));
    assert_eq!(events(&mut stream), [StreamEvent::Live(false)]);
    assert_eq!(stream.poll_timeout(), None);
}

#[test]
fn a_sender_that_showed_rtcp_and_went_away_leaves_nothing_due() {
    let mut stream = demo();
    stream.handle_datagram(at(0), 0, Port::Rtp, sender(), &packet(1, 1, 0, true, SLICE)).unwrap();
    let peer = SocketAddr::from(([192, 0, 2, 1], 40_001));
    let report = sender_report(1, at(0).wall.ntp(), 0);
    stream.handle_datagram(at(1), 0, Port::Rtcp, peer, &report).unwrap();
    stream.request_key_frame(at(2), Ssrc(12));
    // Each deadline lies after the one before: a driver that waits for them does not spin.
    let mut last = Mono(0);
    let mut steps = 0;
    while let Some(due) = stream.poll_timeout() {
        assert!(due > last, "due at {due:?} again");
        assert!(steps < 100, "still busy at {due:?}");
        stream.handle_timeout(at(due.0 / 1_000 + 1));
        while stream.poll_send().is_some() {}
        (last, steps) = (due, steps + 1);
    }
    assert!(last >= Mono(5_000_000), "off the air at last: {last:?}");
    // Back again, it is asked again.
    stream
        .handle_datagram(at(9_000), 0, Port::Rtp, sender(), &packet(1, 2, 0, true, SLICE))
        .unwrap();
    assert!(stream.poll_timeout().is_some());
}

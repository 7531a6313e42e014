//! Sources within this process: whose the stream is, and for how long.

use super::super::layer::LayerStart;
use super::super::source::{FeedId, Source};
use super::super::stream::{OFF_AIR_AFTER, REPLACED_AFTER, StreamIngest, TrackSpec};
use super::steps::{SLICE, demo};
use super::*;
use soleil_protocol::PipelineId;

#[test]
fn a_source_in_the_process_has_the_stream_for_itself() {
    let mut stream = demo();
    let (feed, next) = (FeedId(1), FeedId(2));
    assert!(stream.claim(at(0).mono, feed));
    assert!(!stream.claim(at(0).mono, next), "a second one");
    let first = packet(1, 1, 0, true, SLICE);
    let refused = stream.handle_datagram(at(0), 0, Port::Rtp, sender(), &first);
    assert_eq!(refused, Err(DropReason::SecondSender), "before it has sent anything, too");
    stream.handle_datagram(at(1), 0, Port::Rtp, feed, &first).unwrap();
    // It is asked for a key frame although it has shown no RTCP here.
    let (layer, asked) = stream.poll_send().unwrap();
    assert_eq!((layer, asked.to, asked.key_frame), (0, Source::Fed(feed), true));
    stream.leave(at(1).mono, next);
    assert_eq!(stream.sender(at(2).mono), Some(Source::Fed(feed)), "only its own hold");
    stream.leave(at(2).mono, feed);
    assert_eq!(stream.sender(at(2).mono), None);
    // The port is free at once, for whoever comes; then the source waits.
    stream.handle_datagram(at(3), 0, Port::Rtp, sender(), &packet(9, 1, 0, true, SLICE)).unwrap();
    assert!(!stream.claim(at(4).mono, next));
    assert!(stream.claim(at(2_003).mono, next), "when the lock has run out");
}

#[test]
fn a_source_that_repairs_is_waited_for() {
    let mut bench = Bench::new(Codec::H264);
    let feed = FeedId(1);
    let give = |bench: &mut Bench, now, seq: u16| {
        let Bench { layer, shift } = bench;
        let datagram = packet(1, seq, u32::from(seq) * 3000, true, SLICE);
        layer.handle_datagram(at(now), Port::Rtp, feed, &datagram, shift)
    };
    give(&mut bench, 0, 10).unwrap();
    for seq in 12..=160 {
        give(&mut bench, u64::from(seq), seq).unwrap();
    }
    assert_eq!(bench.drain().len(), 1, "149 packets wait for number 11");
    // Far behind as it is, it is no restart.
    give(&mut bench, 170, 11).unwrap();
    assert_eq!(bench.drain().len(), 150);
    give(&mut bench, 180, 162).unwrap();
    bench.timeout(at(379));
    assert_eq!(bench.drain().len(), 0);
    bench.timeout(at(380));
    assert_eq!(bench.drain().len(), 1);
    assert_eq!((bench.layer.counters().lost, bench.layer.counters().sources), (1, 1));
}

#[test]
fn a_source_that_has_gone_without_a_word_is_replaced_and_one_on_air_is_not() {
    let mut stream = demo();
    let (first, second, third) = (FeedId(1), FeedId(2), FeedId(3));
    assert!(stream.claim(at(1_000).mono, first));
    // It had time to begin, and sends from the last moment on.
    assert!(!stream.claim(at(5_999).mono, second));
    let mut seq = 0;
    let mut send = |stream: &mut StreamIngest, now, from| {
        seq += 1;
        let datagram = packet(1, seq, u32::from(seq) * 3000, true, SLICE);
        stream.handle_datagram(at(now), 0, Port::Rtp, from, &datagram)
    };
    for now in [5_999, 9_000, 13_999, 15_000] {
        assert!(!stream.claim(at(now).mono, second), "at {now}");
        send(&mut stream, now, first).unwrap();
    }
    stream.handle_timeout(at(19_999));
    assert!(stream.live() && !stream.claim(at(19_999).mono, second), "viewers see it");
    stream.handle_timeout(at(20_000));
    assert!(!stream.live());
    assert!(stream.claim(at(20_000).mono, second));
    assert_eq!(stream.sender(at(20_000).mono), Some(Source::Fed(second)));
    // What is still on its way from the first one is too late, and its end is nothing to the second.
    assert_eq!(send(&mut stream, 20_001, first), Err(DropReason::SecondSender));
    stream.leave(at(20_001).mono, first);
    assert_eq!(stream.sender(at(20_002).mono), Some(Source::Fed(second)));
    send(&mut stream, 20_003, second).unwrap();
    // One that has never sent does not keep it for ever, either.
    stream.leave(at(20_003).mono, second);
    assert!(stream.claim(at(30_000).mono, second));
    assert!(!stream.claim(at(34_999).mono, third));
    assert!(stream.claim(at(35_000).mono, third));
    assert_eq!(REPLACED_AFTER, OFF_AIR_AFTER);
}

/// A picture in three layers, all from one source; when each layer was asked for key frames, in
/// milliseconds.
fn asked_over(seconds: u64, mut wanted: impl FnMut(u64) -> Option<u32>) -> Vec<(u64, usize)> {
    let track = TrackSpec {
        name: "video".into(),
        codec: Codec::H264,
        payload_type: 96,
        clock_rate: 90_000,
        channels: 0,
        fmtp: String::new(),
        layers: 3,
        made: 0,
    };
    let mut start = |_: &TrackSpec, layer: usize| {
        let (index, reserved) = (PacketIndex(100), PacketIndex(1 << 40));
        Ok::<_, std::convert::Infallible>(LayerStart { ssrc: Ssrc(layer as u32), index, reserved })
    };
    let mut stream =
        StreamIngest::new(PipelineId(1), "a", vec![track], MAX_PAYLOAD, &mut start, &mut || 5)
            .unwrap();
    assert!(stream.claim(at(0).mono, FeedId(1)));
    let mut asked = Vec::new();
    for now in (0..seconds * 1_000).step_by(10) {
        for layer in 0..3_u64 {
            // The layers begin one after the other, each with a wish for a key frame.
            if now < layer * 130 {
                continue;
            }
            let seq = (now / 10) as u16;
            let datagram = packet(layer as u32, seq, u32::from(seq) * 900, true, SLICE);
            let layer = layer as usize;
            stream.handle_datagram(at(now), layer, Port::Rtp, FeedId(1), &datagram).unwrap();
        }
        if let Some(layer) = wanted(now) {
            stream.request_key_frame(at(now), Ssrc(layer));
        }
        while let Some((layer, packet)) = stream.poll_send() {
            if packet.key_frame {
                asked.push((now, layer));
            }
        }
    }
    asked
}

#[test]
fn an_encoder_of_several_layers_is_asked_twice_a_second_at_most() {
    // Viewers of all layers want key frames all the time.
    let asked = asked_over(10, |now| (now % 70 == 0).then_some((now / 70 % 3) as u32));
    let mut moments: Vec<u64> = asked.iter().map(|(now, _)| *now).collect();
    moments.dedup();
    assert!(moments.windows(2).all(|pair| pair[1] - pair[0] >= 500), "{asked:?}");
    // Nobody waits longer than that, and all are asked together.
    assert!(moments.len() >= 18, "{asked:?}");
    let later = asked.iter().filter(|(now, _)| *now > 500).count();
    assert_eq!(later, 3 * (moments.iter().filter(|now| **now > 500).count()), "{asked:?}");
}

#[test]
fn layers_that_are_wanted_one_after_the_other_are_asked_for_together() {
    let wanted = |now| match now % 1_000 {
        0 => Some(0),
        200 => Some(1),
        400 => Some(2),
        _ => None,
    };
    let asked: Vec<_> =
        asked_over(5, wanted).into_iter().filter(|(now, _)| *now >= 1_000).collect();
    let second = |n: u64| [(n, 0), (n + 500, 1), (n + 500, 2)];
    assert_eq!(asked, [1_000, 2_000, 3_000, 4_000].map(second).concat());
}

#[test]
fn a_layer_that_nobody_else_wants_is_asked_for_alone_and_at_once() {
    let asked = asked_over(4, |now| (now == 3_000).then_some(2));
    assert_eq!(asked.last(), Some(&(3_000, 2)), "{asked:?}");
    assert_eq!(asked.iter().filter(|(now, _)| *now > 1_000).count(), 1, "{asked:?}");
}

//! Sources within this process: whose the stream is, and for how long.

use super::super::source::{FeedId, Source};
use super::super::stream::{OFF_AIR_AFTER, REPLACED_AFTER, StreamIngest};
use super::steps::{SLICE, demo};
use super::*;

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
    stream.leave(next);
    assert_eq!(stream.sender(at(2).mono), Some(Source::Fed(feed)), "only its own hold");
    stream.leave(feed);
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
    stream.leave(first);
    assert_eq!(stream.sender(at(20_002).mono), Some(Source::Fed(second)));
    send(&mut stream, 20_003, second).unwrap();
    // One that has never sent does not keep it for ever, either.
    stream.leave(second);
    assert!(stream.claim(at(30_000).mono, second));
    assert!(!stream.claim(at(34_999).mono, third));
    assert!(stream.claim(at(35_000).mono, third));
    assert_eq!(REPLACED_AFTER, OFF_AIR_AFTER);
}

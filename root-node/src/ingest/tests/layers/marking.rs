//! What leaves the ingest: marks, and the definition of the stream.

use super::super::super::redefine::MAX_AT_ONCE;
use super::super::super::source::FeedId;
use super::super::super::stream::{StreamEvent, StreamIngest};
use super::super::*;
use super::payloads::{GROUP_OF_FOUR, Vp9};
use super::{L1T3, L2T2, L2T2_KEY, Sketch, sketch};
use crate::ingest::rtp::DEPENDENCY_DESCRIPTOR;
use relay_node::media::api::FrameMarks;

const FEED: FeedId = FeedId(1);
const PAYLOAD: &[u8] = &[0x10, 0x32, 1, 2, 3];

/// A packet as a source within this process hands it on.
fn described(seq: u16, timestamp: u32, descriptor: &[u8]) -> Vec<u8> {
    let mut out = packet(1, seq, timestamp, true, &[]);
    out[0] |= 0x10;
    let words = (2 + descriptor.len()).div_ceil(4);
    out.extend([0x10, 0, 0, words as u8, DEPENDENCY_DESCRIPTOR, descriptor.len() as u8]);
    out.extend(descriptor);
    out.resize(16 + 4 * words, 0);
    out.extend(PAYLOAD);
    out
}

impl Bench {
    fn fed(&mut self, datagram: &[u8]) {
        self.layer.handle_datagram(at(0), Port::Rtp, FEED, datagram, &mut self.shift).unwrap();
    }

    /// Temporal layers and whether they can be left out.
    fn marks(&mut self) -> Vec<(u8, bool)> {
        self.drain().iter().map(|p| (p.marks.temporal_layer(), p.marks.discardable())).collect()
    }

    fn named(&self) -> Option<String> {
        self.layer.scalability().map(|mode| mode.to_string())
    }
}

#[test]
fn a_described_encoding_is_marked_and_named() {
    let sketch = Sketch { sizes: &[(640, 360)], ..sketch(L1T3) };
    let mut bench = Bench::new(Codec::Av1);
    bench.fed(&described(0, 0, &sketch.key(0)));
    for (n, kind) in [3, 2, 4, 1, 3].into_iter().enumerate() {
        let seq = n as u16 + 1;
        bench.fed(&described(seq, u32::from(seq) * 3_000, &sketch.frame(kind, seq)));
    }
    // One that nobody described, one that does not say what it is, one that is cut off.
    bench.fed(&described(6, 18_000, &sketch.frame(9, 6)));
    bench.fed(&packet(1, 7, 21_000, true, PAYLOAD));
    bench.fed(&described(8, 24_000, &[1, 2]));
    let base = (0, false);
    let marks = [base, (2, true), (1, false), (2, true), base, (2, true), base, base, base];
    assert_eq!(bench.marks(), marks);
    assert_eq!(bench.named().as_deref(), Some("L1T3"));
    assert_eq!(bench.layer.size(), Some((640, 360)));
}

#[test]
fn what_comes_from_the_network_describes_nothing() {
    let sketch = sketch(L1T3);
    let mut bench = Bench::new(Codec::Av1);
    bench.rtp(at(0), sender(), &described(0, 0, &sketch.key(0))).unwrap();
    bench.rtp(at(0), sender(), &described(1, 3_000, &sketch.frame(3, 1))).unwrap();
    assert_eq!(bench.marks(), [(0, false), (0, false)]);
    assert_eq!(bench.named(), None);
}

#[test]
fn a_structure_ends_with_its_source() {
    let sketch = sketch(L1T3);
    let mut bench = Bench::new(Codec::Av1);
    bench.fed(&described(0, 0, &sketch.key(0)));
    assert_eq!(bench.named().as_deref(), Some("L1T3"));
    bench.layer.leave(FEED.into());
    bench.rtp(at(1), other(), &packet(9, 5, 0, true, PAYLOAD)).unwrap();
    assert_eq!(bench.named(), None);
}

#[test]
fn spatial_layers_of_one_time_are_left_out_together() {
    // The lower spatial layer of the highest temporal one is needed by the upper one alone.
    let mut bench = Bench::new(Codec::Vp9);
    let payload = Vp9::default().payload();
    let give = |bench: &mut Bench, seq: u16, time: u32, descriptor: &[u8]| {
        let mut datagram = described(seq, time, descriptor);
        datagram.truncate(datagram.len() - PAYLOAD.len());
        datagram.extend(&payload);
        bench.fed(&datagram);
    };
    let sketch = sketch(L2T2);
    give(&mut bench, 0, 0, &sketch.key(0));
    for (n, kind) in [3, 2, 5, 1, 4].into_iter().enumerate() {
        let seq = n as u16 + 1;
        give(&mut bench, seq, u32::from(seq / 2) * 3_000, &sketch.frame(kind, seq));
    }
    let base = (0, false);
    assert_eq!(bench.marks(), [base, base, (1, true), (1, true), base, base]);
    assert_eq!(bench.named().as_deref(), Some("L2T2"));
}

#[test]
fn nothing_is_left_out_of_pictures_that_mix_temporal_layers() {
    // The upper spatial layer's temporal layers come when the lower one's do not.
    let sketch = sketch(L2T2_KEY);
    let mut bench = Bench::new(Codec::Av1);
    bench.fed(&described(0, 0, &sketch.key(0)));
    bench.fed(&described(1, 0, &sketch.frame(3, 1)));
    assert_eq!(bench.named().as_deref(), Some("L2T2_KEY"));
    bench.marks();
    for (n, kind) in [2, 4, 1, 5, 2, 4, 1, 5].into_iter().enumerate() {
        let seq = n as u16 + 2;
        bench.fed(&described(seq, u32::from(seq / 2) * 3_000, &sketch.frame(kind, seq)));
    }
    assert_eq!(bench.named().as_deref(), Some("L2T2_KEY_SHIFT"));
    let spared: Vec<bool> = bench.marks().into_iter().map(|(_, spared)| spared).collect();
    // The first one showed it.
    assert_eq!(spared, [true, false, false, false, false, false, false, false]);
}

#[test]
fn a_source_that_shows_something_else_each_time_is_told_of_now_and_then() {
    let mut stream = super::super::steps::demo_of(Codec::Vp9);
    let mut told = Vec::new();
    let mut drain = |stream: &mut StreamIngest, millis: u64| {
        while let Some(event) = stream.poll_event() {
            if let StreamEvent::Defined(def) = event {
                told.push((millis, def.tracks[0].layers[0].width));
            }
        }
        told.clone()
    };
    let small: &[u8] = &[0x10, 1, 0x40, 0, 180];
    // Ten seconds of key frames; the last one is small.
    for n in 0..1_000u16 {
        let millis = u64::from(n) * 10;
        let structure = Some(if n % 2 == 0 { GROUP_OF_FOUR } else { small });
        let picture = Vp9 { id: n, structure, ..Vp9::default() };
        let datagram = packet(1, n, u32::from(n) * 900, true, &picture.payload());
        stream.handle_datagram(at(millis), 0, Port::Rtp, sender(), &datagram).unwrap();
        drain(&mut stream, millis);
    }
    let few = MAX_AT_ONCE as usize + 10;
    assert!((few - 1..=few).contains(&drain(&mut stream, 9_990).len()));
    let mut millis = 10_000;
    while millis < 13_000 {
        stream.handle_timeout(at(millis));
        assert!(stream.poll_timeout().is_none_or(|next| next > at(millis).mono), "it spins");
        drain(&mut stream, millis);
        millis += 100;
    }
    let told = drain(&mut stream, millis);
    assert_eq!(told.last().unwrap().1, Some(320), "what is true at last is told: {told:?}");
    assert!(told.windows(2).all(|pair| pair[0].1 != pair[1].1), "{told:?}");
}

#[test]
fn the_stream_is_defined_anew_when_layers_show() {
    let mut stream = super::super::steps::demo_of(Codec::Vp9);
    let mut give = |seq: u16| {
        let temporal = [0, 2, 1, 2][usize::from(seq % 4)];
        let structure = (seq == 0).then_some(GROUP_OF_FOUR);
        let picture = Vp9 { id: seq, delta: seq > 0, temporal, structure, ..Vp9::default() };
        let datagram = packet(1, seq, u32::from(seq) * 3_000, true, &picture.payload());
        stream.handle_datagram(at(u64::from(seq)), 0, Port::Rtp, sender(), &datagram).unwrap();
        let events = std::iter::from_fn(|| stream.poll_event());
        let definitions = events.filter_map(|event| match event {
            StreamEvent::Defined(def) => Some(def.tracks[0].layers[0].clone()),
            _ => None,
        });
        definitions.collect::<Vec<_>>()
    };
    let [layer] = &give(0)[..] else { panic!("not one definition") };
    assert_eq!((layer.width, layer.height), (Some(640), Some(360)));
    assert_eq!(layer.scalability.unwrap().to_string(), "L1T3");
    for seq in 1..20 {
        assert_eq!(give(seq), [], "packet {seq}");
    }
    let first = stream.poll_packet().unwrap();
    assert_eq!(first.marks, FrameMarks(FrameMarks::KEY_START));
    let second = stream.poll_packet().unwrap();
    assert_eq!(second.marks, FrameMarks(FrameMarks::DISCARDABLE | 2));
}

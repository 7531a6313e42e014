//! A stream with several sources: what viewers get of it is one.

use super::super::choice::{SILENCE, STEADY, Via, Way};
use super::super::source::{FeedId, Source};
use super::super::stream::StreamIngest;
use super::steps::{IDR, SLICE, demo};
use super::*;

const FIRST: Via = Via::Source(0);
const STANDBY: Via = Via::Source(1);

fn stream() -> StreamIngest {
    let way = |via| Way { via, slate: false };
    demo().with_ways([FIRST, Via::Broadcaster, STANDBY].map(way).to_vec())
}

/// A sender of pictures, one each 100 ms.
struct Encoder {
    via: Via,
    from: Source,
    ssrc: u32,
    seq: u16,
}

impl Encoder {
    fn new(via: Via, from: impl Into<Source>, ssrc: u32) -> Self {
        Self { via, from: from.into(), ssrc, seq: ssrc as u16 * 1_000 }
    }

    fn send(
        &mut self,
        stream: &mut StreamIngest,
        now: u64,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        self.seq += 1;
        // Each has a clock of its own.
        let timestamp = (now as u32 * 90).wrapping_add(self.ssrc * 1_000_000_007);
        let datagram = packet(self.ssrc, self.seq, timestamp, true, payload);
        stream.handle_via(at(now), self.via, 0, Port::Rtp, self.from, &datagram)
    }
}

fn out(stream: &mut StreamIngest) -> Vec<Packet> {
    std::iter::from_fn(|| stream.poll_packet()).collect()
}

#[test]
fn the_next_source_goes_on_where_the_last_one_was() {
    let mut stream = stream();
    let mut first = Encoder::new(FIRST, sender(), 1);
    let mut standby = Encoder::new(STANDBY, other(), 2);
    let (silence, steady) = (SILENCE.as_millis() as u64, STEADY.as_millis() as u64);
    let mut packets = Vec::new();
    for now in (0..1_000).step_by(100) {
        first.send(&mut stream, now, IDR).unwrap();
        assert_eq!(standby.send(&mut stream, now, SLICE), Err(DropReason::OffAir));
        packets.extend(out(&mut stream));
    }
    assert_eq!((stream.on_air(), packets.len()), (Some(FIRST), 10));
    // The first one falls silent; nothing of the other one is taken before it is its turn.
    let last = 900;
    for now in (1_000..last + silence).step_by(100) {
        assert_eq!(standby.send(&mut stream, now, SLICE), Err(DropReason::OffAir), "at {now}");
    }
    assert_eq!(stream.poll_timeout().map(|due| due <= at(last + silence).mono), Some(true));
    stream.handle_timeout(at(last + silence));
    assert_eq!((stream.on_air(), stream.way_back()), (Some(STANDBY), STANDBY));
    let mut back = 0;
    for now in (last + silence..20_000).step_by(100) {
        let taken = standby.send(&mut stream, now, SLICE);
        if now >= 4_000 {
            // With key frames each second.
            let key = now % 1_000 == 0;
            let first = first.send(&mut stream, now, if key { IDR } else { SLICE });
            if first.is_ok() && back == 0 {
                assert!(key);
                back = now;
            }
            assert_eq!(first.is_ok(), back > 0, "at {now}");
        }
        assert_eq!(taken.is_ok(), back == 0 || back == now, "at {now}");
        packets.extend(out(&mut stream));
    }
    assert_eq!(back, 4_000 + steady);
    assert!(stream.live());
    // One stream to viewers: one SSRC, numbers that rise, times that go on with the clock.
    let begun = packets[0].clone();
    assert!(packets.iter().all(|p| p.ssrc == begun.ssrc));
    assert!(packets.windows(2).all(|w| w[0].index < w[1].index));
    let passed = |p: &Packet| f64::from(p.timestamp.wrapping_sub(begun.timestamp)) / 90.0;
    let last = passed(packets.last().unwrap());
    assert!((19_700.0..=20_000.0).contains(&last), "{last} ms have passed");
    assert!(packets.windows(2).all(|w| passed(&w[0]) < passed(&w[1])));
    let counters = &stream.counters()[0].3;
    assert_eq!(counters.sources, 3, "{counters:?}");
    assert_eq!(counters.dropped_total(), counters.dropped(DropReason::OffAir), "{counters:?}");
}

#[test]
fn a_source_may_stand_by_for_a_broadcaster() {
    let mut stream = stream();
    let feed = FeedId(1);
    let mut standby = Encoder::new(STANDBY, other(), 2);
    let mut browser = Encoder::new(Via::Broadcaster, feed, 3);
    standby.send(&mut stream, 0, IDR).unwrap();
    assert_eq!(stream.sender(at(1).mono), Some(Source::Socket(other())));
    // It does not keep him away.
    assert!(stream.claim(at(10).mono, feed));
    assert!(!stream.claim(at(10).mono, FeedId(2)), "one at a time");
    let mut asked = Vec::new();
    let mut on_air = 0;
    for now in (100..12_000).step_by(100) {
        // Browsers make a key frame when they are asked.
        let key = asked.last() == Some(&(now - 100));
        if browser.send(&mut stream, now, if key { IDR } else { SLICE }).is_ok() && on_air == 0 {
            on_air = now;
        }
        assert_eq!(standby.send(&mut stream, now, SLICE).is_ok(), on_air == 0, "at {now}");
        while let Some((layer, wish)) = stream.poll_send() {
            if on_air == 0 && wish.to == Source::Fed(feed) {
                assert!(wish.key_frame && layer == 0);
                asked.push(now);
            }
        }
        // Long enough off air: he is heard all the same.
        assert!(!stream.claim(at(now).mono, FeedId(2)), "at {now}");
    }
    assert_eq!((asked, on_air), (vec![5_100], 5_200));
    out(&mut stream);
    // He says goodbye: nobody waits for his silence.
    stream.leave(at(12_000).mono, feed);
    standby.send(&mut stream, 12_001, SLICE).unwrap();
    assert_eq!(out(&mut stream).len(), 1);
    // Who is behind another one that is on air is sent away.
    let mut first = Encoder::new(FIRST, sender(), 1);
    stream.gone(at(12_050).mono, STANDBY);
    first.send(&mut stream, 12_100, IDR).unwrap();
    assert!(!stream.claim(at(12_200).mono, feed));
    assert!(stream.claim(at(12_100).mono.after(SILENCE), feed));
}

#[test]
fn what_is_not_the_codec_gets_nobody_on_air() {
    let mut stream = stream();
    let mut standby = Encoder::new(STANDBY, other(), 2);
    let mut stranger = Encoder::new(Via::Broadcaster, sender(), 3);
    // RFC 6184's interleaved packets, which browsers do not play.
    let odd = &[0x60 | 25, 0, 0];
    for now in (0..20_000).step_by(100) {
        assert_eq!(stranger.send(&mut stream, now, odd), Err(DropReason::OffAir));
        standby.send(&mut stream, now, SLICE).unwrap();
    }
    // A worker that is started anew has its ports at once.
    stream.gone(at(20_000).mono, STANDBY);
    let mut again = Encoder::new(STANDBY, sender(), 4);
    again.send(&mut stream, 20_100, IDR).unwrap();
}

//! Layers that are made out of another one: who may send them, and whose times they bear.

use crate::ingest::layer::{LayerStart, Port};
use crate::ingest::reason::DropReason;
use crate::ingest::source::{FeedId, Source};
use crate::ingest::{StreamIngest, TrackSpec};
use soleil_protocol::pipeline::Codec;
use soleil_protocol::{Mono, Now, PacketIndex, PipelineId, Ssrc, Wall};
use std::net::SocketAddr;

const MAKER: FeedId = FeedId(7);

fn at(ms: u64) -> Now {
    Now { mono: Mono(ms * 1000), wall: Wall(1_700_000_000_000_000 + ms * 1000) }
}

fn broadcaster() -> Source {
    Source::Socket(SocketAddr::from(([127, 0, 0, 1], 9000)))
}

/// A VP8 key frame in one packet (RFC 7741, RFC 6386 section 9.1).
fn rtp(seq: u16, timestamp: u32, (width, height): (u16, u16)) -> Vec<u8> {
    let mut packet = vec![0x80, 0x80 | 96];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 9, 0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a]);
    packet.extend_from_slice(&width.to_le_bytes());
    packet.extend_from_slice(&height.to_le_bytes());
    packet
}

/// A picture with two layers below it, and a sound.
fn stream() -> StreamIngest {
    let track = |name: &str, codec, payload_type, clock_rate, made| TrackSpec {
        name: name.into(),
        codec,
        payload_type,
        clock_rate,
        channels: 0,
        fmtp: String::new(),
        layers: 1,
        made,
    };
    let tracks = vec![
        track("video", Codec::Vp8, 96, 90_000, 2),
        track("audio", Codec::Opus, 111, 48_000, 0),
    ];
    let mut next = 0;
    let mut start = |_: &TrackSpec, _: usize| {
        next += 1;
        let (index, reserved) = (PacketIndex(100), PacketIndex(1_000_000));
        Ok::<_, ()>(LayerStart { ssrc: Ssrc(next), index, reserved })
    };
    let mut stream =
        StreamIngest::new(PipelineId(1), "a", tracks, 1100, &mut start, &mut || 5_000).unwrap();
    stream.set_maker(MAKER);
    stream
}

#[test]
fn they_bear_the_times_of_the_frames_that_they_are_made_of() {
    let mut stream = stream();
    assert!(!stream.is_made(0) && stream.is_made(1) && stream.is_made(2) && !stream.is_made(3));
    let sent = (77, (1280, 720));
    stream.handle_datagram(at(0), 0, Port::Rtp, broadcaster(), &rtp(1, sent.0, sent.1)).unwrap();
    let source = stream.poll_packet().unwrap();
    assert_eq!((source.ssrc, stream.size(source.ssrc)), (Ssrc(1), Some((1280, 720))));
    // It takes its time, and bears the source's all the same.
    let made = rtp(900, source.timestamp, (640, 360));
    stream.handle_datagram(at(80), 2, Port::Rtp, MAKER, &made).unwrap();
    let packet = stream.poll_packet().unwrap();
    assert_eq!(packet.ssrc, Ssrc(3));
    assert_eq!((packet.timestamp, packet.capture), (source.timestamp, source.capture));
    assert_eq!(stream.definition().tracks[0].layers[2].width, Some(640));
    // One that the source never had.
    let never = rtp(901, source.timestamp + 1, (640, 360));
    stream.handle_datagram(at(81), 2, Port::Rtp, MAKER, &never).unwrap();
    assert_eq!(stream.poll_packet(), None);
}

#[test]
fn nobody_else_sends_them_and_who_makes_them_is_no_broadcaster() {
    let mut stream = stream();
    let packet = rtp(1, 77, (640, 360));
    let mut send =
        |layer, from: Source| stream.handle_datagram(at(0), layer, Port::Rtp, from, &packet).err();
    assert_eq!(send(1, broadcaster()), Some(DropReason::SecondSender));
    assert_eq!(send(1, Source::Fed(FeedId(8))), Some(DropReason::SecondSender));
    assert_eq!(send(1, Source::Fed(MAKER)), None);
    // The stream is not on air for that, and free for whoever broadcasts.
    assert!(!stream.live() && stream.sender(at(0).mono).is_none());
    assert!(stream.claim(at(0).mono, FeedId(8)));
    // Whoever has it whole has not the layers that are made.
    let from = FeedId(8);
    let refused = stream.handle_datagram(at(1), 2, Port::Rtp, from, &packet).err();
    assert_eq!(refused, Some(DropReason::SecondSender));
    assert_eq!(stream.handle_datagram(at(1), 2, Port::Rtp, MAKER, &packet).err(), None);
    assert_eq!(stream.handle_datagram(at(1), 0, Port::Rtp, from, &packet).err(), None);
    assert!(stream.live());
    // A viewer's wish for a key frame goes to who makes the layer.
    while stream.poll_send().is_some() {}
    stream.request_key_frame(at(2_000), Ssrc(3));
    stream.handle_datagram(at(2_001), 2, Port::Rtp, MAKER, &rtp(2, 77, (640, 360))).unwrap();
    stream.request_key_frame(at(2_002), Ssrc(3));
    let wishes: Vec<_> = std::iter::from_fn(|| stream.poll_send())
        .filter(|(_, sent)| sent.key_frame)
        .map(|(layer, sent)| (layer, sent.to))
        .collect();
    assert!(wishes.contains(&(2, Source::Fed(MAKER))), "{wishes:?}");
}

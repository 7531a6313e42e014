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

/// A picture with two layers below it, a sound, and a picture that comes in two layers.
fn stream() -> StreamIngest {
    let track = |name: &str, codec, payload_type, clock_rate, (layers, made)| TrackSpec {
        name: name.into(),
        codec,
        payload_type,
        clock_rate,
        channels: 0,
        fmtp: String::new(),
        layers,
        made,
    };
    let tracks = vec![
        track("video", Codec::Vp8, 96, 90_000, (1, 2)),
        track("audio", Codec::Opus, 111, 48_000, (1, 0)),
        track("camera", Codec::Vp8, 96, 90_000, (2, 0)),
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

#[test]
fn layers_that_are_made_do_not_keep_the_stream_for_a_source_that_is_silent() {
    let mut stream = stream();
    assert!(stream.claim(at(0).mono, FeedId(8)));
    let packet = |seq: u64| rtp(seq as u16, 77, (640, 360));
    stream.handle_datagram(at(0), 0, Port::Rtp, FeedId(8), &packet(0)).unwrap();
    for now in (0..5_000).step_by(100) {
        stream.handle_datagram(at(now), 1, Port::Rtp, MAKER, &packet(now / 100)).unwrap();
    }
    assert!(stream.live() && !stream.claim(at(4_999).mono, FeedId(9)));
    stream.handle_datagram(at(5_000), 1, Port::Rtp, MAKER, &packet(50)).unwrap();
    assert!(!stream.live() && stream.claim(at(5_000).mono, FeedId(9)));
    // Whoever comes next finds the maker at its place.
    assert_eq!(stream.handle_datagram(at(5_001), 1, Port::Rtp, MAKER, &packet(51)), Ok(()));
}

#[test]
fn each_layer_that_is_made_is_asked_for_key_frames_by_itself() {
    let mut stream = stream();
    let (mut asked, mut timestamp) = (Vec::new(), 0);
    let places = [(0, FeedId(8)), (1, MAKER), (2, MAKER), (4, FeedId(8)), (5, FeedId(8))];
    for now in (0..3_000_u64).step_by(10) {
        for (layer, from) in places {
            let of = if from == MAKER { timestamp } else { now as u32 * 90 };
            let mut packet = rtp((now / 10) as u16, of, (640, 360));
            // Key frames come first, and no more of them (RFC 6386 section 9.1).
            packet[13] |= u8::from(now > 0);
            stream.handle_datagram(at(now), layer, Port::Rtp, from, &packet).unwrap();
            while let Some(packet) = stream.poll_packet() {
                timestamp = packet.timestamp;
            }
        }
        let wanted = [(2_000, 2), (2_100, 5), (2_200, 3), (2_300, 6)];
        for (_, ssrc) in wanted.iter().filter(|(at, _)| *at == now) {
            stream.request_key_frame(at(now), Ssrc(*ssrc));
        }
        while let Some((layer, sent)) = stream.poll_send() {
            if sent.key_frame {
                asked.push((now, layer));
            }
        }
    }
    asked.retain(|(now, _)| (2_000..2_500).contains(now) || *now == 2_600);
    // Those that come in from one encoder wait for each other; these don't, and the source isn't asked.
    assert_eq!(asked, [(2_000, 1), (2_100, 4), (2_200, 2), (2_600, 5)]);
}

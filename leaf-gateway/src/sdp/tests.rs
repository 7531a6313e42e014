//! Real and realistic offers, refusals, and noise.

use super::*;
use crate::reach::{Candidate, Transport};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use soleil_protocol::pipeline::{Codec, Layer, MediaKind, PipelineDef, Track};
use soleil_protocol::{PipelineId, Ssrc};

const CHROMIUM: &str = include_str!("../../tests/data/chromium_offer.sdp");
const FIREFOX: &str = include_str!("../../tests/data/firefox_like_offer.sdp");

fn track(codec: Codec, fmtp: &str, channels: u8) -> Track {
    let clock_rate = if codec == Codec::Opus { 48_000 } else { 90_000 };
    Track {
        name: if codec == Codec::Opus { "audio" } else { "video" }.into(),
        codec,
        clock_rate,
        channels,
        fmtp: fmtp.into(),
        layers: vec![Layer {
            ssrc: Ssrc(if codec == Codec::Opus { 20 } else { 10 }),
            payload_type: 96,
            width: None,
            height: None,
            bitrate: None,
            scalability: None,
        }],
    }
}

fn pipeline(tracks: Vec<Track>) -> PipelineDef {
    PipelineDef { id: PipelineId(1), name: "demo".into(), live: true, tracks }
}

fn h264_and_opus() -> PipelineDef {
    pipeline(vec![
        track(Codec::H264, "packetization-mode=1;profile-level-id=42e01f", 0),
        track(Codec::Opus, "", 2),
    ])
}

fn answer_to(text: &str, pipeline: &PipelineDef) -> Result<Answer, SdpError> {
    let offer = Offer::parse(text)?;
    let udp = ["192.0.2.1:8190", "[2001:db8::1]:8190"];
    let mut addresses = udp.map(|a| Candidate::udp(a.parse().unwrap())).to_vec();
    let tcp = addresses.iter().map(|c| Candidate { transport: Transport::Tcp, ..*c });
    addresses.extend(tcp.collect::<Vec<_>>());
    let options = AnswerOptions {
        ice_ufrag: "0abcdefg",
        ice_pwd: "0123456789abcdefghijklmn",
        fingerprint: [0xab; 32],
        addresses: &addresses,
        cname: "name",
    };
    answer(&offer, pipeline, &options, &mut StdRng::seed_from_u64(3))
}

fn has(answer: &Answer, line: &str) -> bool {
    answer.sdp.split("\r\n").any(|l| l == line)
}

#[test]
fn reads_chromium() {
    let offer = Offer::parse(CHROMIUM).unwrap();
    assert_eq!((offer.ice_ufrag.as_str(), offer.ice_pwd.len()), ("lW2S", 24));
    assert_eq!(offer.fingerprint[..2], [0xdb, 0x95]);
    let kinds: Vec<_> = offer.media.iter().map(|m| m.kind).collect();
    assert_eq!(kinds, vec![Some(MediaKind::Video), Some(MediaKind::Audio)]);
    let vp8 = &offer.media[0].codecs[0];
    assert!(vp8.name == "VP8" && vp8.nack && vp8.pli && vp8.fir);
    assert!(!offer.media[1].codecs[0].nack);
}

#[test]
fn answers_chromium_with_h264_and_stereo_opus() {
    let a = answer_to(CHROMIUM, &h264_and_opus()).unwrap();
    let video = &a.tracks[0];
    assert_eq!((video.payload_type, video.source, video.nack), (108, Ssrc(10), true));
    assert_eq!(video.rtx.unwrap().payload_type, 109);
    assert_ne!(video.rtx.unwrap().ssrc, video.ssrc);
    let audio = &a.tracks[1];
    assert_eq!((audio.payload_type, audio.rtx, audio.nack), (111, None, false));
    for line in [
        "a=ice-lite",
        "a=group:BUNDLE 0 1",
        "m=video 8190 UDP/TLS/RTP/SAVPF 108 109",
        "m=audio 8190 UDP/TLS/RTP/SAVPF 111",
        "a=setup:passive",
        "a=sendonly",
        "a=rtcp-mux",
        "a=rtpmap:108 H264/90000",
        "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "a=rtcp-fb:108 nack",
        "a=rtcp-fb:108 nack pli",
        "a=rtcp-fb:108 ccm fir",
        "a=rtcp-fb:108 transport-cc",
        "a=rtcp-fb:111 transport-cc",
        "a=fmtp:109 apt=108",
        "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 8190 typ host",
        "a=candidate:2 1 udp 2130706175 2001:db8::1 8190 typ host",
        // RFC 6544 section 4.5; below every UDP candidate.
        "a=candidate:3 1 tcp 1520434687 192.0.2.1 8190 typ host tcptype passive",
        "a=candidate:4 1 tcp 1520434431 2001:db8::1 8190 typ host tcptype passive",
    ] {
        assert!(has(&a, line), "{line} is not in\n{}", a.sdp);
    }
    // Of the extensions that it offers we take one.
    assert_eq!(a.sdp.matches("a=extmap:").count(), 2);
    assert_eq!(a.sdp.matches(&format!("a=extmap:4 {TRANSPORT_CC}\r\n")).count(), 2);
    // Another parser takes it.
    rtc_sdp::SessionDescription::try_from(a.sdp).unwrap();
}

#[test]
fn answers_firefox_in_its_order_and_numbers() {
    let a = answer_to(FIREFOX, &h264_and_opus()).unwrap();
    assert_eq!(a.tracks[0].kind, MediaKind::Audio);
    assert_eq!((a.tracks[0].payload_type, a.tracks[1].payload_type), (109, 126));
    assert!(has(&a, "a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1;sprop-stereo=1"));
    let vp8 = pipeline(vec![track(Codec::Vp8, "", 0)]);
    let a = answer_to(FIREFOX, &vp8).unwrap();
    assert_eq!(a.tracks[0].payload_type, 120);
    assert!(has(&a, "m=audio 0 UDP/TLS/RTP/SAVPF 109 9 0 8 101"), "{}", a.sdp);
    assert!(has(&a, "a=group:BUNDLE 1"));
}

#[test]
fn mono_stays_mono() {
    let mono = pipeline(vec![track(Codec::Opus, "", 1)]);
    let a = answer_to(CHROMIUM, &mono).unwrap();
    assert!(!a.sdp.contains("stereo"));
}

#[test]
fn every_codec_finds_its_number() {
    for (codec, fmtp, pt) in [
        (Codec::Vp8, "", 96),
        (Codec::Vp9, "", 98),
        (Codec::Vp9, "profile-id=2", 100),
        (Codec::Av1, "", 45),
        (Codec::Av1, "profile=1", 47),
        (Codec::H264, "", 108),
        (Codec::H264, "profile-level-id=42c028", 108),
        (Codec::H264, "profile-level-id=42001f", 102),
        (Codec::H264, "profile-level-id=4d4033;packetization-mode=1", 116),
        (Codec::H264, "profile-level-id=42e01f;packetization-mode=0", 114),
        // No High here: a 4:4:4 decoder decodes it.
        (Codec::H264, "profile-level-id=640028", 41),
    ] {
        let a = answer_to(CHROMIUM, &pipeline(vec![track(codec, fmtp, 0)])).unwrap();
        assert_eq!(a.tracks[0].payload_type, pt, "{codec:?} {fmtp}");
    }
}

#[test]
fn no_codec_in_common_names_what_the_stream_has() {
    let without = CHROMIUM.replace("H264", "H265");
    let error = answer_to(&without, &h264_and_opus()).unwrap_err();
    let SdpError::NoCommonCodec(text) = error else { panic!("{error:?}") };
    assert!(text.contains("H264 (packetization-mode=1") && text.contains("opus"), "{text}");
    let profile = pipeline(vec![track(Codec::Vp9, "profile-id=7", 0)]);
    assert!(matches!(answer_to(CHROMIUM, &profile), Err(SdpError::NoCommonCodec(_))));
    assert!(matches!(answer_to(CHROMIUM, &pipeline(vec![])), Err(SdpError::NoCommonCodec(_))));
}

#[test]
fn a_viewer_with_ears_only_gets_sound() {
    let video = CHROMIUM.find("m=video").unwrap();
    let audio = CHROMIUM.find("m=audio").unwrap();
    let only = format!("{}{}", &CHROMIUM[..video], &CHROMIUM[audio..]);
    let a = answer_to(&only, &h264_and_opus()).unwrap();
    assert_eq!(a.tracks.len(), 1);
}

#[test]
fn sections_that_we_do_not_serve_are_rejected() {
    let extra = format!(
        "{CHROMIUM}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:3\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n"
    );
    let a = answer_to(&extra, &h264_and_opus()).unwrap();
    assert!(has(&a, "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"));
    assert!(has(&a, "m=video 0 UDP/TLS/RTP/SAVPF 96"));
    assert_eq!(a.sdp.matches("m=").count(), 4);
    assert_eq!(a.tracks.len(), 2);
}

#[test]
fn capture_time_is_taken_when_it_is_offered() {
    let with = CHROMIUM.replace(
        "a=extmap:3 urn:3gpp:video-orientation",
        "a=extmap:12 http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    );
    let a = answer_to(&with, &h264_and_opus()).unwrap();
    assert_eq!(a.tracks[0].capture_ext, Some(12));
    assert_eq!(a.tracks[1].capture_ext, None);
    assert!(has(&a, &format!("a=extmap:12 {ABS_CAPTURE_TIME}")));
    // Ids that one-byte headers can't carry are left alone.
    let with = with.replace("extmap:12", "extmap:15");
    assert_eq!(answer_to(&with, &h264_and_opus()).unwrap().tracks[0].capture_ext, None);
}

#[test]
fn transport_wide_numbers_are_taken_where_resends_can_carry_them() {
    let numbers = |offer: &str| {
        let tracks = answer_to(offer, &h264_and_opus()).unwrap().tracks;
        [tracks[0].twcc_ext, tracks[1].twcc_ext]
    };
    assert_eq!(numbers(CHROMIUM), [Some(4), Some(4)]);
    // Without RTX a resend is the same packet; without NACK there is none.
    let without_rtx = CHROMIUM.replace(" rtx/90000", " other/90000");
    assert_eq!(numbers(&without_rtx), [None, Some(4)]);
    assert_eq!(numbers(&without_rtx.replace("a=rtcp-fb:108 nack\r\n", "")), [Some(4); 2]);
    // An extension without feedback, or feedback without the extension.
    assert_eq!(numbers(&CHROMIUM.replace(" transport-cc", " other")), [None; 2]);
    assert_eq!(numbers(&CHROMIUM.replace(TRANSPORT_CC, "urn:other")), [None; 2]);
    assert_eq!(numbers(&CHROMIUM.replace("a=extmap:4 ", "a=extmap:15 ")), [None; 2]);
}

#[test]
fn what_an_offer_must_have() {
    for (from, to, says) in [
        ("a=ice-ufrag:lW2S\r\n", "", "ice-ufrag"),
        ("a=ice-pwd:f99w2gj93Vtc5PoH8jcxg0mN\r\n", "", "ice-pwd"),
        ("lW2S", "abc", "wrong length"),
        ("a=fingerprint:sha-256", "a=fingerprint:sha-1", "fingerprint"),
        ("DB:95", "DB", "fingerprint"),
        ("a=setup:actpass", "a=setup:passive", "passive"),
        ("a=rtcp-mux\r\n", "", "rtcp-mux"),
        ("a=group:BUNDLE 0 1\r\n", "", "BUNDLE"),
        ("a=group:BUNDLE 0 1", "a=group:BUNDLE 0", "BUNDLE"),
        ("a=recvonly", "a=sendonly", "receives"),
        ("RTP/SAVPF", "RTP/AVP", "receives"),
        ("v=0", "x=0", "not an SDP"),
    ] {
        let text = CHROMIUM.replace(from, to);
        let error = Offer::parse(&text).unwrap_err().to_string();
        assert!(error.contains(says), "{from} -> {to}: {error}");
    }
    for text in ["", "garbage", "v=0\r\n", "\u{1f600}", "{\"sdp\":1}"] {
        assert!(Offer::parse(text).is_err());
    }
}

#[test]
fn bombs_are_refused_quickly() {
    assert!(Offer::parse(&"a".repeat(MAX_OFFER_LEN + 1)).is_err());
    let lines =
        format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{}", "a=x\r\n".repeat(MAX_LINES));
    assert!(Offer::parse(&lines).is_err());
    let head = &CHROMIUM[..CHROMIUM.find("m=audio").unwrap()];
    let many = format!("{head}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(MAX_MEDIA));
    assert!(Offer::parse(&many).is_err());
}

#[test]
fn nothing_can_be_smuggled_into_the_answer() {
    let text = CHROMIUM.replace("a=mid:0", "a=mid:0 a=evil");
    assert!(Offer::parse(&text).is_err(), "not a token: not in the BUNDLE group");
    let text = CHROMIUM.replace("minptime=10", "min\u{7f}ptime");
    let a = answer_to(&text, &h264_and_opus()).unwrap();
    assert!(!a.sdp.contains('\u{7f}'));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_is_harmless(text in "\\PC{0,400}") {
        let _ = Offer::parse(&text);
    }

    #[test]
    fn damaged_offers_are_harmless(
        cuts in proptest::collection::vec((0usize..6_000, 0usize..40, "[ -~\\r\\n]{0,12}"), 1..8),
    ) {
        let mut text = CHROMIUM.to_owned();
        for (at, len, with) in cuts {
            let at = at.min(text.len());
            let end = (at + len).min(text.len());
            text.replace_range(at..end, &with);
        }
        if let Ok(a) = answer_to(&text, &h264_and_opus()) {
            prop_assert!(a.sdp.lines().all(|l| l.len() >= 2 && &l[1..2] == "="));
        }
    }
}

fn counter(pipeline: &PipelineDef) -> Result<Answer, SdpError> {
    let addresses = [Candidate::udp("192.0.2.1:8190".parse().unwrap())];
    let options = AnswerOptions {
        ice_ufrag: "0abcdefg",
        ice_pwd: "0123456789abcdefghijklmn",
        fingerprint: [0xab; 32],
        addresses: &addresses,
        cname: "name",
    };
    counter_offer(pipeline, &options, "so\r\nit is", &mut StdRng::seed_from_u64(3))
}

#[test]
fn a_counter_offer_has_what_a_browser_has_to_know() {
    let pipeline = pipeline(vec![track(Codec::Opus, "", 2), track(Codec::H264, "", 0)]);
    let c = counter(&pipeline).unwrap();
    assert_eq!(c.lines, [0, 1]);
    for line in [
        "i=soit is",
        "a=group:BUNDLE 0 1",
        "m=video 8190 UDP/TLS/RTP/SAVPF 96 97",
        "a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
        "a=rtcp-fb:96 nack pli",
        "a=fmtp:97 apt=96",
        "m=audio 0 UDP/TLS/RTP/SAVPF 111",
        "a=rtpmap:111 opus/48000/2",
        "a=setup:actpass",
    ] {
        assert!(has(&c, line), "{line} is not in\n{}", c.sdp);
    }
    // Another parser takes it, and ours, as an offer of somebody else's.
    rtc_sdp::SessionDescription::try_from(c.sdp.clone()).unwrap();
    let nothing = Offer::parse(&c.sdp).unwrap_err();
    assert_eq!(
        nothing,
        SdpError::Bad("the offer has no section that receives audio or video".into())
    );
    let empty = super::tests::pipeline(vec![]);
    assert!(counter(&empty).is_err());
}

#[test]
fn an_answer_takes_what_it_names_of_a_counter_offer() {
    let c = counter(&h264_and_opus()).unwrap();
    let text = CHROMIUM
        .replace("a=setup:actpass", "a=setup:active")
        .replace("a=rtpmap:96 VP8", "a=rtpmap:96 H264");
    let answer = Offer::parse_answer(&text).unwrap();
    let (tracks, lines) = accept(&answer, &c.tracks).unwrap();
    assert_eq!(lines, [0, 1]);
    assert_eq!((tracks[0].payload_type, tracks[0].rtx), (96, c.tracks[0].rtx));
    assert_eq!((tracks[1].payload_type, tracks[1].nack), (111, false));
    assert_eq!(tracks[0].ssrc, c.tracks[0].ssrc, "as it was offered");
    // Sound alone: the picture is rejected, or in another type.
    for (from, to) in [("m=video 9", "m=video 0"), ("SAVPF 96", "SAVPF 95")] {
        let answer = Offer::parse_answer(&text.replacen(from, to, 1)).unwrap();
        let (tracks, lines) = accept(&answer, &c.tracks).unwrap();
        assert_eq!((tracks.len(), lines.as_slice()), (1, &[1][..]), "{to}");
    }
    assert!(matches!(accept(&answer, &c.tracks[..1]), Err(SdpError::Bad(_))));
    let swapped = [c.tracks[1].clone(), c.tracks[0].clone()];
    assert!(matches!(accept(&answer, &swapped), Err(SdpError::Bad(_))));
    assert!(Offer::parse_answer(CHROMIUM).is_err(), "an answer has a role");
}

//! What strangers can send, against every parser of the leaf, through the public interface (that
//! of the fuzz targets): nothing panics, nothing grows without bound, nothing is let through that
//! the answer could not say.

use leaf_gateway::reach::Candidate;
use leaf_gateway::sdp::{
    self, AnswerOptions, Fragment, MAX_LINES, MAX_MEDIA, MAX_OFFER_LEN, Offer, SdpError,
};
use leaf_gateway::session::{dtls, rtcp, stun};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rtc_dtls::crypto_provider::default_provider;
use rtc_stun::attributes::AttrType;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter};
use soleil_protocol::pipeline::{Codec, Layer, PipelineDef, Track};
use soleil_protocol::{PipelineId, Ssrc};

const CHROMIUM: &str = include_str!("data/chromium_offer.sdp");
const FIREFOX: &str = include_str!("data/firefox_like_offer.sdp");
const PASSWORD: &str = "a password of some length";

fn pipeline() -> PipelineDef {
    let track = |name: &str, codec, clock_rate, ssrc| Track {
        name: name.into(),
        codec,
        clock_rate,
        channels: 2,
        fmtp: String::new(),
        layers: vec![Layer {
            ssrc: Ssrc(ssrc),
            payload_type: 96,
            width: None,
            height: None,
            bitrate: None,
            scalability: None,
        }],
    };
    let tracks =
        vec![track("video", Codec::Vp8, 90_000, 1), track("audio", Codec::Opus, 48_000, 2)];
    PipelineDef { id: PipelineId(1), name: "demo".into(), live: true, tracks }
}

/// Reads an offer and, if it is one, answers it; checks what must hold of both.
fn offer(text: &str) -> Result<(), TestCaseError> {
    let offer = match Offer::parse(text) {
        Ok(offer) => offer,
        Err(SdpError::Bad(why) | SdpError::NoCommonCodec(why)) => {
            prop_assert!(why.len() < 300 && !why.contains(['\r', '\n']));
            return Ok(());
        }
    };
    prop_assert!(offer.media.len() <= MAX_MEDIA && offer.len == text.len());
    let addresses = [Candidate::udp(([192, 0, 2, 1], 8190).into())];
    let options = AnswerOptions {
        ice_ufrag: "0abcdefg",
        ice_pwd: "0123456789abcdefghijklmn",
        fingerprint: [0xab; 32],
        addresses: &addresses,
        cname: "name",
    };
    let Ok(answer) = sdp::answer(&offer, &pipeline(), &options, &mut StdRng::seed_from_u64(1))
    else {
        return Ok(());
    };
    // Sections answer sections, in order; lines are lines.
    let lines: Vec<&str> = answer.sdp.split("\r\n").collect();
    prop_assert_eq!(lines.last(), Some(&""));
    for line in &lines[..lines.len() - 1] {
        let kind = line.split_once('=').map(|(kind, _)| kind);
        prop_assert!(matches!(kind, Some("v" | "o" | "s" | "t" | "a" | "m" | "c")), "{line:?}");
        prop_assert!(line.bytes().all(|b| (0x20..0x7f).contains(&b)), "{line:?}");
    }
    let sections = lines.iter().filter(|l| l.starts_with("m=")).count();
    prop_assert_eq!(sections, offer.media.len());
    prop_assert!(answer.sdp.len() < 4 * MAX_OFFER_LEN);
    prop_assert!(!answer.tracks.is_empty() && answer.tracks.len() <= 2);
    Ok(())
}

/// What may happen to a line of an offer.
#[derive(Debug, Clone)]
enum Change {
    Drop,
    Double(usize),
    Swap(usize),
    Value(String),
    Insert(String),
    Cut(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let known = prop_oneof![
        Just("m=video 9 UDP/TLS/RTP/SAVPF 96".to_owned()),
        Just("m=audio 0 UDP/TLS/RTP/SAVPF 111 111".to_owned()),
        Just("m=application 9 UDP/DTLS/SCTP webrtc-datachannel".to_owned()),
        Just("a=group:BUNDLE".to_owned()),
        Just("a=mid:\u{e9}".to_owned()),
        Just("a=fingerprint:sha-256 AA".to_owned()),
        Just(
            "a=extmap:15 http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time".to_owned()
        ),
        Just("a=rtpmap:96 VP8/0".to_owned()),
        Just("a=fmtp:111 ;;=;stereo=1;=".to_owned()),
        Just("a=inactive".to_owned()),
        Just("a=ice-pwd:".to_owned()),
        "[a-z]=[ -~]{0,60}",
    ];
    prop_oneof![
        Just(Change::Drop),
        (1usize..300).prop_map(Change::Double),
        any::<usize>().prop_map(Change::Swap),
        "\\PC{0,80}".prop_map(Change::Value),
        known.prop_map(Change::Insert),
        any::<usize>().prop_map(Change::Cut),
    ]
}

fn changed(text: &str, changes: &[(usize, Change)], end: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (at, change) in changes {
        let at = at % lines.len();
        match change {
            Change::Drop if lines.len() > 1 => drop(lines.remove(at)),
            Change::Drop => {}
            Change::Double(n) => {
                let line = lines[at].clone();
                lines.splice(at..at, std::iter::repeat_n(line, *n));
            }
            Change::Swap(other) => {
                let other = other % lines.len();
                lines.swap(at, other);
            }
            Change::Value(value) => {
                let key: String = lines[at].split_inclusive([':', '=']).take(2).collect();
                lines[at] = key + value;
            }
            Change::Insert(line) => lines.insert(at, line.clone()),
            Change::Cut(n) => {
                let chars = lines[at].chars().count().max(1);
                lines[at] = lines[at].chars().take(n % chars).collect();
            }
        }
    }
    lines.into_iter().map(|l| l + end).collect()
}

#[test]
fn real_offers_are_answered() {
    for text in [CHROMIUM, FIREFOX] {
        Offer::parse(text).unwrap();
        offer(text).unwrap();
    }
}

#[test]
fn the_largest_offers_are_read_in_no_time_or_refused() {
    let line = "a=rtpmap:96 VP8/90000\r\n";
    let many = |n: usize| format!("{CHROMIUM}{}", line.repeat(n));
    assert!(Offer::parse(&many(MAX_LINES)).is_err());
    assert!(Offer::parse(&format!("{CHROMIUM}a={}\r\n", "x".repeat(MAX_OFFER_LEN))).is_err());
    offer(&many((MAX_OFFER_LEN - CHROMIUM.len()) / line.len() - 1)).unwrap();
    // Every payload type, each with everything, in as many sections as there may be.
    let formats: Vec<String> = (0..128).map(|n| n.to_string()).collect();
    let section = format!("m=video 9 UDP/TLS/RTP/SAVPF {}\r\na=rtcp-mux\r\n", formats.join(" "));
    offer(&format!("{CHROMIUM}{}", section.repeat(MAX_MEDIA - 2))).unwrap();
    offer(&format!("{CHROMIUM}{}", section.repeat(MAX_MEDIA + 1))).unwrap();
}

proptest! {
    #[test]
    fn any_text_is_an_offer_or_refused(text in "\\PC{0,400}") {
        offer(&text)?;
    }

    #[test]
    fn any_bytes_are_an_offer_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        offer(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn any_lines_are_an_offer_or_refused(
        lines in prop::collection::vec("(v|o|s|t|a|m|c|b|i|u|e|p|z|k|r)=[ -~]{0,40}", 0..40),
    ) {
        offer(&lines.join("\r\n"))?;
    }

    #[test]
    fn damaged_offers_are_answered_or_refused(
        chromium in any::<bool>(), dos in any::<bool>(),
        changes in prop::collection::vec((any::<usize>(), change()), 1..12),
    ) {
        let text = if chromium { CHROMIUM } else { FIREFOX };
        offer(&changed(text, &changes, if dos { "\r\n" } else { "\n" }))?;
    }

    #[test]
    fn stun_with_any_attributes_is_read_or_refused(
        attributes in prop::collection::vec(
            (prop_oneof![
                Just(0x06u16), Just(0x08), Just(0x09), Just(0x20), Just(0x24), Just(0x25),
                Just(0x8028), Just(0x8029), Just(0x802a), any::<u16>(),
            ], prop::collection::vec(any::<u8>(), 0..24)), 0..8),
        integrity in any::<bool>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut m = Message::new();
        m.set_type(BINDING_REQUEST);
        m.write_header();
        for (kind, value) in &attributes {
            m.add(AttrType(*kind), value);
        }
        if integrity {
            let provider = default_provider().unwrap();
            MessageIntegrity::new_short_term_integrity_with_provider(
                PASSWORD.to_owned(), provider.crypto(),
            ).add_to(&mut m).ok();
        }
        FINGERPRINT.add_to(&mut m).unwrap();
        if let Some(read) = stun::parse(&m.raw) {
            prop_assert!(!read.verify("another password"));
            prop_assert!(integrity || !read.verify(PASSWORD));
        }
        let cut = cut.index(m.raw.len());
        prop_assert!(stun::parse(&m.raw[..cut]).is_none());
        let mut longer = m.raw.clone();
        longer.push(0);
        prop_assert!(stun::parse(&longer).is_none());
    }

    #[test]
    fn what_we_write_in_stun_we_read(
        id in any::<[u8; 12]>(), user in "[a-zA-Z0-9+/]{4,60}:[a-zA-Z0-9+/]{4,60}",
        tie in any::<u64>(), password in "[ -~]{22,256}", v6 in any::<bool>(), port in any::<u16>(),
    ) {
        let mut out = vec![1, 2, 3];
        stun::request(&mut out, &id, &user, tie, &password);
        let m = stun::parse(&out).unwrap();
        prop_assert_eq!((m.kind, m.transaction, m.username), (stun::Kind::Request, id, Some(&*user)));
        prop_assert!(m.controlled && m.verify(&password) && !m.verify(&password[1..]));
        let ip: std::net::IpAddr = if v6 { "2001:db8::1" } else { "192.0.2.1" }.parse().unwrap();
        stun::success(&mut out, &id, (ip, port).into(), &password);
        let m = stun::parse(&out).unwrap();
        prop_assert_eq!((m.kind, m.transaction), (stun::Kind::Success, id));
        prop_assert!(m.verify(&password));
    }

    #[test]
    fn any_rtcp_is_read_within_its_length(
        packets in prop::collection::vec(
            (0u8..32, 198u8..210, 0u16..40, prop::collection::vec(any::<u8>(), 0..160)), 0..8),
    ) {
        let mut data = Vec::new();
        for (count, kind, words, body) in packets {
            data.extend_from_slice(&[0x80 | count, kind]);
            data.extend_from_slice(&words.to_be_bytes());
            data.extend_from_slice(&body);
        }
        let mut items = 0;
        rtcp::read(&data, |item| {
            items += 1;
            if let rtcp::Feedback::Nack { seq, mask, .. } = item {
                assert_eq!(rtcp::nacked(seq, mask).count(), 1 + mask.count_ones() as usize);
            }
        });
        prop_assert!(items <= data.len() / 4);
    }

    #[test]
    fn any_bytes_pass_every_parser(data in prop::collection::vec(any::<u8>(), 0..1_500)) {
        let stun = stun::is_stun(&data);
        prop_assert!(!(stun && dtls::is_dtls(&data)), "one thing at a time (RFC 7983)");
        prop_assert!(stun || stun::parse(&data).is_none());
        rtcp::read(&data, |_| {});
    }
}

proptest! {
    #[test]
    fn fragments_never_panic_and_answers_are_fragments(
        lines in proptest::collection::vec("(a=|m=|v=|)(ice-ufrag|ice-pwd|mid|candidate|x)?:?[ -~]{0,30}", 0..12),
    ) {
        let text = lines.join("\r\n");
        if let Ok(fragment) = Fragment::parse(&text) {
            let addresses = [Candidate::udp(([192, 0, 2, 1], 8190).into())];
            let answer = fragment.answer("0abcdefg", PASSWORD, &addresses).unwrap();
            let again = Fragment::parse(&answer).unwrap();
            prop_assert_eq!((again.ice_ufrag, again.ice_pwd), (Some("0abcdefg"), Some(PASSWORD)));
            prop_assert!(answer.len() < text.len() + 300);
        }
    }
}

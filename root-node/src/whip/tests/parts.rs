//! Descriptions, times and streams one by one, without a network.

use super::super::answer::{Ours, answer};
use super::super::offer::{Credentials, Extension, Offer, OfferError};
use super::super::plan::Plan;
use super::super::session::{CONNECT_TIME, Certificate, End, SILENCE_TIME, Session};
use super::super::tap::{Found, Media, Tap};
use super::*;
use crate::ingest;
use crate::ingest::rtp::{DEPENDENCY_DESCRIPTOR, TWO_BYTE_PROFILE};
use ring::hmac;
use rtc::interceptor::{AttributedPacket, Packet, TaggedPacket};
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::rtp;
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use std::sync::Mutex;
use std::time::Instant;

const MID: u8 = 4;
const RID: u8 = 10;
const REPAIRED_RID: u8 = 11;
const DESCRIPTOR: u8 = 8;

fn planned(offer: &str) -> Result<Plan, OfferError> {
    Plan::new(&Offer::parse(offer)?, &tracks())
}

/// Any instant: only distances count.
fn instant() -> Instant {
    let clock = Clock::start();
    clock.instant(clock.now().mono)
}

struct Rig {
    tap: Tap,
    found: Arc<Mutex<Found>>,
    now: Instant,
}

impl Rig {
    fn new(layers: &[&str]) -> Self {
        let found = Arc::new(Mutex::new(Found::default()));
        let tap = Tap::new(&planned(&offer(layers)).unwrap(), found.clone());
        Self { tap, found, now: instant() }
    }

    fn give(&mut self, packet: Packet) {
        let message = AttributedPacket::new(packet);
        let transport = TransportContext::default();
        self.tap.handle_read(TaggedPacket { now: self.now, transport, message }).unwrap();
        assert!(self.tap.poll_read().is_none());
    }

    fn rtp(&mut self, ssrc: u32, kind: u8, seq: u16, payload: &[u8], ext: &[(u8, &str)]) {
        let mut header = rtp::Header {
            version: 2,
            payload_type: kind,
            sequence_number: seq,
            timestamp: 1000,
            ssrc,
            ..Default::default()
        };
        for (id, value) in ext {
            header.set_extension(*id, Bytes::copy_from_slice(value.as_bytes())).unwrap();
        }
        self.give(Packet::Rtp(rtp::Packet { header, payload: Bytes::copy_from_slice(payload) }));
    }

    /// Layer, SSRC, payload type, number and payload of what came out.
    fn out(&mut self) -> Vec<(usize, u32, u8, u16, Vec<u8>)> {
        let mut found = self.found.lock().unwrap();
        let all = found.queue.drain(..).map(|Media { layer, bytes }| {
            let view = crate::ingest::rtp::parse(&bytes).unwrap();
            (layer, view.ssrc, view.payload_type, view.seq, view.payload.to_vec())
        });
        all.collect()
    }

    /// Which packets are asked for anew, by SSRC, after so many milliseconds.
    fn asked(&mut self, millis: u64) -> Vec<(u32, u16)> {
        self.now += Duration::from_millis(millis);
        self.tap.handle_timeout(self.now).unwrap();
        let mut asked = Vec::new();
        while let Some(packet) = self.tap.poll_write() {
            let Packet::Rtcp(packets) = packet.message.packet else { continue };
            for packet in &packets {
                if let Some(nack) = packet.as_any().downcast_ref::<TransportLayerNack>() {
                    let numbers = nack.nacks.iter().flat_map(|pair| pair.packet_list());
                    asked.extend(numbers.map(|n| (nack.media_ssrc, n)));
                }
            }
        }
        asked
    }
}

#[test]
fn layers_are_told_apart_by_rid_and_keep_their_ssrc() {
    let mut rig = Rig::new(&["h", "m", "l"]);
    rig.rtp(1, 96, 10, &[1], &[(MID, "1"), (RID, "h")]);
    rig.rtp(2, 96, 20, &[2], &[(MID, "1"), (RID, "l")]);
    // Senders stop writing the rid when it was understood.
    rig.rtp(2, 96, 21, &[3], &[]);
    rig.rtp(9, 111, 1, &[4], &[]);
    // Another codec of the same section, an unknown rid, a rid of another section, no rid.
    rig.rtp(2, 102, 22, &[5], &[]);
    rig.rtp(3, 96, 1, &[5], &[(MID, "1"), (RID, "x")]);
    rig.rtp(4, 96, 1, &[5], &[(MID, "0"), (RID, "h")]);
    rig.rtp(5, 96, 1, &[5], &[(MID, "1")]);
    assert_eq!(
        rig.out(),
        [
            (0, 1, 100, 10, vec![1]),
            (2, 2, 100, 20, vec![2]),
            (2, 2, 100, 21, vec![3]),
            (3, 9, 101, 1, vec![4])
        ]
    );
    // A layer that begins anew under another SSRC.
    rig.rtp(6, 96, 50, &[6], &[(MID, "1"), (RID, "h")]);
    rig.rtp(1, 96, 11, &[7], &[]);
    assert_eq!(rig.out(), [(0, 6, 100, 50, vec![6])]);
    assert_eq!(rig.found.lock().unwrap().ssrcs.get(&0), Some(&6));
}

/// A packet of layer `h` with this dependency descriptor, in an extension block of this profile.
fn described(profile: u16, descriptor: &[u8]) -> rtp::Packet {
    let mut header = rtp::Header {
        version: 2,
        payload_type: 96,
        ssrc: 1,
        extension: true,
        extension_profile: profile,
        ..Default::default()
    };
    for (id, value) in [(MID, &b"1"[..]), (RID, b"h"), (DESCRIPTOR, descriptor)] {
        header.set_extension(id, Bytes::copy_from_slice(value)).unwrap();
    }
    rtp::Packet { header, payload: Bytes::from_static(&[0x55]) }
}

#[test]
fn the_dependency_descriptor_reaches_the_ingest() {
    const ONE_BYTE_PROFILE: u16 = 0xbede;
    let mut rig = Rig::new(&["h", "m", "l"]);
    let long: Vec<u8> = (1..=255).collect();
    let all = [
        (ONE_BYTE_PROFILE, &long[..3]),
        (TWO_BYTE_PROFILE, &long[..17]),
        (TWO_BYTE_PROFILE, &long),
    ];
    for (profile, descriptor) in all {
        rig.give(Packet::Rtp(described(profile, descriptor)));
        let media = rig.found.lock().unwrap().queue.pop_front().unwrap();
        let view = ingest::rtp::parse(&media.bytes).unwrap();
        assert_eq!(view.element(DEPENDENCY_DESCRIPTOR), Some(descriptor));
        // Nothing else of the header goes on, and the payload is whole.
        assert_eq!((view.element(MID), view.element(RID)), (None, None));
        assert_eq!(
            (view.payload, media.bytes.len()),
            (&[0x55][..], 17 + (2 + descriptor.len()).next_multiple_of(4))
        );
    }
    rig.rtp(1, 96, 10, &[1], &[(DESCRIPTOR, "")]);
    let media = rig.found.lock().unwrap().queue.pop_front().unwrap();
    assert_eq!(media.bytes.len(), 13, "an empty one is none");
}

#[test]
fn descriptors_need_what_is_agreed_on() {
    let ours = |offer: &str| {
        let plan = planned(offer).unwrap();
        let ice = Credentials::new("abcd", "0123456789012345678901").unwrap();
        let ours = Ours { ice: &ice, fingerprint: "sha-256 00", addresses: &[], session: 1 };
        answer(&plan, &ours).unwrap()
    };
    let uri = Extension::DependencyDescriptor.uri();
    let offered = offer(&[]);
    let answer = ours(&offered);
    assert_eq!(answer.matches(&format!("a=extmap:8 {uri}\r\n")).count(), 1, "{answer}");
    // Once for each section, for the whole session offers it.
    assert_eq!(answer.matches("a=extmap-allow-mixed\r\n").count(), 2, "{answer}");
    let without = offered.replace("a=extmap-allow-mixed\r\n", "").replace(uri, "urn:other");
    let answer = ours(&without);
    assert!(!answer.contains("extmap-allow-mixed") && !answer.contains(uri), "{answer}");
}

#[test]
fn what_is_lost_is_asked_for_and_what_is_resent_is_put_back() {
    let mut rig = Rig::new(&["h", "m", "l"]);
    rig.rtp(1, 96, 10, &[1], &[(MID, "1"), (RID, "h")]);
    rig.rtp(1, 96, 13, &[4], &[]);
    assert_eq!(rig.asked(30), [(1, 11), (1, 12)]);
    rig.out();
    // The number that it had comes first in a resent packet; padding alone is none.
    rig.rtp(71, 97, 500, &[0, 11, 2, 2], &[(MID, "1"), (REPAIRED_RID, "h")]);
    rig.rtp(71, 97, 501, &[0], &[]);
    rig.rtp(71, 97, 502, &[0, 12, 3], &[]);
    assert_eq!(rig.out(), [(0, 1, 100, 11, vec![2, 2]), (0, 1, 100, 12, vec![3])]);
    assert_eq!(rig.asked(30), []);
    // Not for a layer that has not begun.
    rig.rtp(72, 97, 1, &[0, 1, 9], &[(MID, "1"), (REPAIRED_RID, "l")]);
    assert_eq!(rig.out(), []);
    // A packet that does not come is not asked for for ever.
    rig.rtp(1, 96, 15, &[6], &[]);
    let times = (0..100).filter(|_| !rig.asked(30).is_empty()).count();
    assert_eq!(times, 10);
}

#[test]
fn without_simulcast_a_repair_stream_is_known_by_its_payload_type() {
    let mut rig = Rig::new(&[]);
    rig.rtp(1, 96, 10, &[1], &[]);
    rig.rtp(8, 97, 1, &[0, 9, 7], &[]);
    assert_eq!(rig.out(), [(0, 1, 100, 10, vec![1]), (0, 1, 100, 9, vec![7])]);
}

#[test]
fn sender_reports_go_to_the_clock_of_their_layer() {
    let mut rig = Rig::new(&[]);
    let report = |ssrc| SenderReport {
        ssrc,
        ntp_time: 0x1122_3344_5566_7788,
        rtp_time: 0x0102_0304,
        packet_count: 7,
        octet_count: 8,
        ..Default::default()
    };
    rig.give(Packet::Rtcp(vec![Box::new(report(9))]));
    assert!(rig.found.lock().unwrap().queue.is_empty(), "of nobody that sends");
    rig.rtp(9, 111, 1, &[4], &[]);
    rig.out();
    rig.give(Packet::Rtcp(vec![Box::new(report(9))]));
    let Media { layer, bytes } = rig.found.lock().unwrap().queue.pop_front().unwrap();
    let said = crate::ingest::rtcp::parse(&bytes).unwrap();
    assert_eq!((layer, said.ssrc), (3, 9));
    assert_eq!(said.report, Some((0x1122_3344_5566_7788, 0x0102_0304)));
}

#[test]
fn a_flood_of_ssrcs_and_packets_is_bounded() {
    let mut rig = Rig::new(&["h"]);
    for n in 0..5_000 {
        rig.rtp(1_000 + n, 96, 1, &[1], &[(MID, "1"), (RID, "h")]);
        rig.rtp(100_000 + n, 97, 1, &[0, 1, 1], &[(MID, "1"), (REPAIRED_RID, "h")]);
    }
    let found = rig.found.lock().unwrap();
    assert_eq!(found.queue.len(), 1_024);
    assert_eq!(found.overflow, 10_000 - 1_024);
    assert_eq!(found.ssrcs.len(), 1);
}

#[test]
fn h264_is_taken_in_the_profile_that_most_decode() {
    let mut all = tracks();
    all[0].codec = Codec::H264;
    let text = |lines: &[(u8, &str)]| {
        let mut out = offer(&[]);
        let types: Vec<String> = lines.iter().map(|(pt, _)| pt.to_string()).collect();
        out = out.replace("SAVPF 96 97 102 103", &format!("SAVPF {}", types.join(" ")));
        out = out.replace("a=rtpmap:102 H264/90000\r\n", "");
        for (pt, fmtp) in lines {
            out.push_str(&format!("a=rtpmap:{pt} H264/90000\r\na=fmtp:{pt} {fmtp}\r\n"));
        }
        out
    };
    let high = (120, "packetization-mode=1;profile-level-id=640c1f");
    let plain = (121, "packetization-mode=1;profile-level-id=42001f");
    let constrained = (122, "packetization-mode=1;profile-level-id=42e01f");
    let whole = (123, "packetization-mode=0;profile-level-id=42e01f");
    let pick = |lines: &[(u8, &str)], tracks: &[TrackSpec]| {
        let plan = Plan::new(&Offer::parse(&text(lines)).unwrap(), tracks)?;
        Ok::<_, OfferError>(plan.lines[1].codec.payload_type)
    };
    assert_eq!(pick(&[whole, high, plain, constrained], &all).unwrap(), 122);
    assert_eq!(pick(&[high, plain], &all).unwrap(), 121);
    assert_eq!(pick(&[high], &all).unwrap(), 120);
    let error = pick(&[whole], &all).unwrap_err();
    assert!(matches!(&error, OfferError::Unacceptable(text) if text.contains("mode=1")), "{error}");
    // What the stream is defined for goes first.
    all[0].fmtp = "profile-level-id=640c28".into();
    assert_eq!(pick(&[constrained, high], &all).unwrap(), 120);
    assert!(pick(&[constrained], &all).is_err());
}

#[test]
fn what_is_agreed_on_is_what_both_sides_have() {
    let text = offer(&["a", "b", "c"]).replace("simulcast:send a;b;c", "simulcast:send c;~a,b;zz");
    let plan = planned(&text).unwrap();
    assert_eq!(plan.lines[1].rids, ["c", "a"]);
    assert_eq!((plan.lines[1].layer("c"), plan.lines[1].layer("b")), (Some(0), None));
    // rids alone are no simulcast.
    let alone = offer(&["a"]).replace("a=simulcast:send a\r\n", "");
    assert_eq!(planned(&alone).unwrap().lines[1].rids, [""; 0]);
    // Feedback on numbers that nobody sends is not agreed on.
    let unnumbered = offer(&[]).replace("transport-wide-cc", "something-else");
    assert_eq!(planned(&unnumbered).unwrap().lines[1].feedback, ["nack", "nack pli", "ccm fir"]);
    assert!(planned(&offer(&[])).unwrap().lines[1].feedback.contains(&"transport-cc"));
    let deaf = offer(&["a"]).replace("sdes:rtp-stream-id", "sdes:other");
    assert!(planned(&deaf).is_err());
}

#[test]
fn sessions_without_media_end_in_time() {
    let now = instant();
    let certificate = Certificate::generate().unwrap();
    let ice = Credentials::new("EsAw", "bP+XJMM09aR8AiX1jdukzR6Y").unwrap();
    let plan = planned(&offer(&[])).unwrap();
    let fingerprint = certificate.fingerprint().to_owned();
    let mut session = Session::new(now, &plan, &ice, &fingerprint, &certificate).unwrap();
    let almost = now + CONNECT_TIME - Duration::from_millis(1);
    session.handle_timeout(almost);
    assert_eq!(session.ended(), None);
    assert!(session.poll_timeout().unwrap() <= now + CONNECT_TIME);
    session.handle_timeout(now + CONNECT_TIME);
    assert_eq!(session.ended(), Some(End::NeverSent));
    assert!(SILENCE_TIME < CONNECT_TIME);
    // Our name and password are its own, and long enough (RFC 8445 section 5.3).
    let other = Session::new(now, &plan, &ice, &fingerprint, &certificate).unwrap();
    assert_ne!(other.local().ufrag, session.local().ufrag);
    assert!(other.local().ufrag.len() >= 4 && other.local().pwd.len() >= 22);
    assert!(!format!("{other:?}").contains(&other.local().pwd));
}

pub(super) fn session(now: Instant) -> Session {
    let certificate = Certificate::generate().unwrap();
    let ice = Credentials::new("EsAw", "bP+XJMM09aR8AiX1jdukzR6Y").unwrap();
    let plan = planned(&offer(&[])).unwrap();
    let fingerprint = certificate.fingerprint().to_owned();
    Session::new(now, &plan, &ice, &fingerprint, &certificate).unwrap()
}

/// A Binding request to our fragment with this attribute, and a proof by this password.
pub(super) fn check(ufrag: &str, pwd: &str, attribute: &[u8]) -> Vec<u8> {
    let name = format!("{ufrag}:EsAw");
    let mut out = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    out.extend([0, 6]);
    out.extend((name.len() as u16).to_be_bytes());
    out.extend(name.bytes());
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend(attribute);
    // RFC 8489 section 14.5: the length counts the proof, which is of everything before it.
    let length = (out.len() - 20 + 24) as u16;
    out[2..4].copy_from_slice(&length.to_be_bytes());
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, pwd.as_bytes());
    let proof = hmac::sign(&key, &out);
    out.extend([0, 8, 0, 20]);
    out.extend(proof.as_ref());
    out
}

#[test]
fn nobody_turns_our_role_in_ice() {
    let now = instant();
    let from = SocketAddr::from(([192, 0, 2, 1], 1));
    let mut session = session(now);
    let Credentials { ufrag, pwd } = session.local().clone();
    // ICE-CONTROLLED with the least tie-breaker, of who does not know the password.
    let controlled = [0x80, 0x29, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    session.handle_datagram(now, from, &check(&ufrag, "another", &controlled));
    assert!(session.poll_send().is_none());
    // The broadcaster nominates, which it may while it controls.
    session.handle_datagram(now, from, &check(&ufrag, &pwd, &[0, 0x25, 0, 0]));
    assert_eq!(session.poll_send().map(|(to, _)| to), Some(from));
}

#[test]
fn strangers_bytes_do_no_harm() {
    let now = instant();
    let mut session = session(now);
    let mut state = 1u64;
    for n in 0..2_000u64 {
        let bytes: Vec<u8> = (0..n % 200)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as u8
            })
            .collect();
        session.handle_datagram(now, SocketAddr::from(([192, 0, 2, 1], 1)), &bytes);
        assert!(session.poll_send().is_none(), "nobody is answered who does not know the secret");
    }
    assert_eq!((session.poll_media(), session.ended()), (None, None));
}

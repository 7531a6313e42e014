//! The parsers of what viewers send to a leaf.

use crate::{byte, piece};
use leaf_gateway::bandwidth::gcc::Config;
use leaf_gateway::bandwidth::pilot::{Change, Pilot};
use leaf_gateway::bandwidth::probe::MAX_PACKETS as MAX_PROBE;
use leaf_gateway::bandwidth::twcc::{Feedback, MAX_PACKETS};
use leaf_gateway::reach::Candidate;
use leaf_gateway::sdp::{AnswerOptions, Offer, answer};
use leaf_gateway::session::{rtcp, stun};
use rand::SeedableRng;
use rand::rngs::StdRng;
use soleil_protocol::pipeline::{Codec, Layer, MediaKind, PipelineDef, Track};
use soleil_protocol::{Mono, PipelineId, Ssrc};

fn track(codec: Codec, clock_rate: u32, ssrc: u32) -> Track {
    Track {
        name: format!("{codec:?}"),
        codec,
        clock_rate,
        channels: 0,
        fmtp: String::new(),
        layers: vec![Layer {
            ssrc: Ssrc(ssrc),
            payload_type: 96,
            width: None,
            height: None,
            bitrate: None,
            scalability: None,
        }],
    }
}

/// An offer is refused with a sentence or gets an answer that has a section for each of its own.
pub fn leaf_sdp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(offer) = Offer::parse(text) else { return };
    let tracks = vec![track(Codec::H264, 90_000, 10), track(Codec::Opus, 48_000, 20)];
    let pipeline = PipelineDef { id: PipelineId(1), name: "demo".into(), live: true, tracks };
    let addresses = [Candidate::udp(([192, 0, 2, 1], 8190).into())];
    let options = AnswerOptions {
        ice_ufrag: "0abcdefg",
        ice_pwd: "0123456789abcdefghijklmn",
        fingerprint: [0xab; 32],
        addresses: &addresses,
        cname: "name",
    };
    if let Ok(answer) = answer(&offer, &pipeline, &options, &mut StdRng::seed_from_u64(3)) {
        let sections = answer.sdp.lines().filter(|l| l.starts_with("m=")).count();
        assert_eq!(sections, offer.media.len(), "{}", answer.sdp);
        assert!(answer.tracks.len() <= pipeline.tracks.len());
        // Nothing of the offer breaks out of its line.
        assert!(answer.sdp.lines().all(|l| l.as_bytes().get(1) == Some(&b'=')), "{}", answer.sdp);
    }
}

/// STUN that is read can be checked, with any password.
pub fn leaf_stun(data: &[u8]) {
    if let Some(message) = stun::parse(data) {
        assert!(stun::is_stun(data) && data.len() <= stun::MAX_STUN_LEN);
        let _ = message.verify("0123456789abcdefghijklmn");
    }
}

/// RTCP of a viewer has a bounded number of items.
pub fn leaf_rtcp(data: &[u8]) {
    let mut items = 0;
    rtcp::read(data, |item| {
        items += 1;
        if let rtcp::Feedback::Nack { seq, mask, .. } = item {
            assert!(rtcp::nacked(seq, mask).count() <= 17);
        }
    });
    assert!(items <= data.len() / 4);
}

/// A viewer's adaptation: packets go out, time passes, feedback comes in, layers change, all as the
/// input says. The first byte of an operation tells which; the estimate stays within its bounds.
pub fn leaf_twcc(mut data: &[u8]) {
    let config = Config::default();
    let ladder = [(Ssrc(1), 2_500_000), (Ssrc(2), 800_000), (Ssrc(3), 0)];
    let mut now = Mono(1 << 33);
    let mut pilot = Pilot::new(now, [(MediaKind::Video, Ssrc(1))].into_iter());
    while !data.is_empty() {
        match byte(&mut data) {
            op @ 0..90 => {
                let size = usize::from(byte(&mut data)) * 8;
                (0..op).for_each(|_| pilot.on_sent(now, size));
            }
            op @ 90..96 => pilot.set_layers(0, &ladder[usize::from(op % 3)..]),
            op @ 96..100 => pilot.set_wish(0, (op < 99).then(|| Ssrc(u32::from(op - 95)))),
            op @ 100..200 => now = Mono(now.0 + (u64::from(op) - 99) * 1_000),
            op @ 200..210 => now = Mono(now.0 + (u64::from(op) - 199) * 1_000_000),
            _ => {
                let message = piece(&mut data);
                if let Some(feedback) = Feedback::parse(message) {
                    assert!(feedback.len() <= MAX_PACKETS);
                    assert_eq!(feedback.packets().count(), usize::from(feedback.len()));
                }
                pilot.on_feedback(now, message);
            }
        }
        let mut layer = None;
        pilot.steer(now, |change| {
            if let Change::Layer(_, ssrc) = change {
                layer = Some(ssrc);
            }
        });
        if let Some(ssrc) = layer {
            pilot.switched(now, 0, ssrc);
        }
        if let Some(probe) = pilot.probe(now) {
            assert!(probe.packets <= MAX_PROBE);
            (0..probe.packets).for_each(|_| pilot.on_probe_sent(now, 1_100));
        }
        if let Some(estimate) = pilot.estimate(now) {
            assert!((config.min..=config.max).contains(&estimate), "{estimate}");
        }
        let state = pilot.state();
        assert!((0.0..=1.0).contains(&state.loss), "{state:?}");
    }
}

//! The parsers of what viewers send to a leaf.

use leaf_gateway::sdp::{AnswerOptions, Offer, answer};
use leaf_gateway::session::{rtcp, stun};
use rand::SeedableRng;
use rand::rngs::StdRng;
use soleil_protocol::pipeline::{Codec, Layer, PipelineDef, Track};
use soleil_protocol::{PipelineId, Ssrc};

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
        }],
    }
}

/// An offer is refused with a sentence or gets an answer that has a section for each of its own.
pub fn leaf_sdp(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(offer) = Offer::parse(text) else { return };
    let tracks = vec![track(Codec::H264, 90_000, 10), track(Codec::Opus, 48_000, 20)];
    let pipeline = PipelineDef { id: PipelineId(1), name: "demo".into(), live: true, tracks };
    let addresses = [([192, 0, 2, 1], 8190).into()];
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

//! An offer of ours to a viewer whose own has no codec of the stream (WHEP section 4.2.2), and
//! what the viewer's answer to it means.

use super::answer::{Agreed, Answer, AnswerOptions, Side, agree, no_common, write};
use super::offer::{Offer, OfferedMedia};
use super::{OfferedCodec, SdpError};
use crate::session::track::TrackSetup;
use rand::RngCore;
use relay_node::webrtc::sdp::parameter;
use soleil_protocol::pipeline::{Codec, MediaKind, PipelineDef, Track};

/// Payload types of our offers, as browsers number them.
const VIDEO_TYPE: u8 = 96;
const RTX_TYPE: u8 = 97;
const AUDIO_TYPE: u8 = 111;

/// Id of the absolute-capture-time extension in our offers.
const CAPTURE_EXT: u8 = 1;

/// The longest reason in an offer.
const MAX_REASON: usize = 200;

/// Id of the extension with the transport-wide number.
const TWCC_EXT: u8 = 2;

/// Offers a pipeline: the first track of each kind (one MediaStream has one of each, WHEP section
/// 4.5.2). Why stands in its `i=` line, for whoever looks at an offer that nobody answers.
///
/// # Errors
/// [`SdpError::NoCommonCodec`] if the pipeline has no tracks.
pub fn counter_offer(
    pipeline: &PipelineDef,
    options: &AnswerOptions<'_>,
    why: &str,
    rng: &mut impl RngCore,
) -> Result<Answer, SdpError> {
    // As if the viewer had offered just what the stream has: the writer is the same.
    let kinds = [MediaKind::Video, MediaKind::Audio];
    let first = |kind| pipeline.tracks.iter().find(|t| t.codec.kind() == kind);
    let media: Vec<OfferedMedia> =
        kinds.into_iter().filter_map(first).enumerate().map(|(i, t)| section(i, t)).collect();
    let mut used = vec![false; pipeline.tracks.len()];
    let agreed: Vec<Option<Agreed<'_>>> =
        media.iter().map(|m| agree(m, pipeline, &mut used, rng)).collect();
    if agreed.is_empty() || agreed.iter().any(Option::is_none) {
        return Err(no_common(pipeline));
    }
    let sdp = write(&media, &agreed, options, Side::Offer, rng).map_err(|_| no_common(pipeline))?;
    let why: String = why.chars().filter(|c| !c.is_control()).take(MAX_REASON).collect();
    let sdp = sdp.replacen("s=-\r\n", &format!("s=-\r\ni={why}\r\n"), 1);
    let tracks: Vec<_> = agreed.into_iter().flatten().map(|a| a.setup).collect();
    Ok(Answer { sdp, lines: (0..tracks.len()).collect(), tracks })
}

fn section(index: usize, track: &Track) -> OfferedMedia {
    let kind = track.codec.kind();
    let video = kind == MediaKind::Video;
    let codec = |payload_type, name: &str, fmtp: String| OfferedCodec {
        payload_type,
        name: name.to_owned(),
        clock_rate: track.clock_rate,
        // RFC 7587 section 7: always 2, whatever is sent.
        channels: (track.codec == Codec::Opus).then(|| "2".to_owned()),
        fmtp,
        nack: video,
        pli: video,
        fir: video,
        transport_cc: true,
    };
    let mut codecs = Vec::new();
    let payload_type = if video { VIDEO_TYPE } else { AUDIO_TYPE };
    codecs.push(codec(payload_type, track.codec.name(), fmtp(track)));
    if video {
        codecs.push(codec(RTX_TYPE, "rtx", format!("apt={payload_type}")));
    }
    OfferedMedia {
        kind: Some(kind),
        media: if video { "video" } else { "audio" }.to_owned(),
        protocol: "UDP/TLS/RTP/SAVPF".to_owned(),
        formats: Vec::new(),
        mid: Some(index.to_string()),
        receives: true,
        rtcp_rsize: true,
        codecs,
        capture_ext: Some(CAPTURE_EXT),
        twcc_ext: Some(TWCC_EXT),
    }
}

/// The track's parameters; for H.264 all three that a browser has to know (RFC 6184 section 8.1).
fn fmtp(track: &Track) -> String {
    let mut fmtp = track.fmtp.clone();
    if track.codec == Codec::H264 {
        for (name, default) in [
            ("level-asymmetry-allowed", "1"),
            ("packetization-mode", "1"),
            ("profile-level-id", "42e01f"),
        ] {
            if parameter(&track.fmtp, name).is_none() {
                let separator = if fmtp.is_empty() { "" } else { ";" };
                fmtp.push_str(&format!("{separator}{name}={default}"));
            }
        }
    }
    fmtp
}

/// What of the offered tracks an answer takes, and on which lines.
///
/// # Errors
/// [`SdpError::Bad`] if it does not fit the offer, [`SdpError::NoCommonCodec`] if it takes nothing.
pub fn accept(
    answer: &Offer,
    offered: &[TrackSetup],
) -> Result<(Vec<TrackSetup>, Vec<usize>), SdpError> {
    if answer.media.len() != offered.len() {
        return Err(SdpError::Bad("the answer must have the offer's media sections".into()));
    }
    let mut tracks = Vec::new();
    let mut lines = Vec::new();
    for (line, (media, setup)) in answer.media.iter().zip(offered).enumerate() {
        if media.kind != Some(setup.kind) {
            return Err(SdpError::Bad("the answer's sections are not in the offer's order".into()));
        }
        let taken = media.codecs.iter().find(|c| c.payload_type == setup.payload_type);
        // A section that is rejected (port 0) or takes another payload type gets nothing.
        let Some(codec) = taken.filter(|_| media.receives) else { continue };
        let rtx = setup.rtx.filter(|rtx| {
            codec.nack && media.codecs.iter().any(|c| c.payload_type == rtx.payload_type)
        });
        let capture_ext = setup.capture_ext.filter(|id| media.capture_ext == Some(*id));
        let repaired = rtx.is_some() || !codec.nack;
        let twcc_ext = setup
            .twcc_ext
            .filter(|id| media.twcc_ext == Some(*id) && codec.transport_cc && repaired);
        let nack = codec.nack;
        tracks.push(TrackSetup { rtx, nack, capture_ext, twcc_ext, ..setup.clone() });
        lines.push(line);
    }
    if tracks.is_empty() {
        return Err(SdpError::NoCommonCodec("the answer takes no track of the offer".into()));
    }
    Ok((tracks, lines))
}

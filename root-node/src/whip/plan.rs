//! What of an offer goes to which layers of the stream: the stream's definition decides, and either
//! every section fits or the offer is refused (RFC 9725 section 4.4.3).

use super::offer::{Extension, Offer, OfferError, OfferedCodec, Section, parameter, unacceptable};
use crate::ingest::TrackSpec;
use soleil_protocol::pipeline::Codec;

/// What was agreed, section by section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The sections of the offer, in its order.
    pub lines: Vec<Line>,
}

/// One section that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The section.
    pub section: Section,
    /// The codec that was picked.
    pub codec: OfferedCodec,
    /// Its payload type for resent packets (RFC 4588).
    pub rtx: Option<u8>,
    /// The stream's codec.
    pub kind: Codec,
    /// Feedback that both sides have.
    pub feedback: Vec<&'static str>,
    /// The `fmtp` of the answer.
    pub fmtp: String,
    /// The rids that are taken, best layer first; empty without simulcast.
    pub rids: Vec<String>,
    /// Number of the track's first layer, counted through all tracks of the stream.
    pub first_layer: usize,
    /// The payload type that the stream's ingest takes.
    pub payload_type: u8,
}

impl Line {
    /// The id of a header extension.
    pub fn extension(&self, wanted: Extension) -> Option<u8> {
        self.section.extensions.iter().find(|(e, _)| *e == wanted).map(|(_, id)| *id)
    }

    /// The stream's layer of a rid.
    pub fn layer(&self, rid: &str) -> Option<usize> {
        Some(self.first_layer + self.rids.iter().position(|r| r == rid)?)
    }
}

impl Plan {
    /// Agrees on an offer for a stream of these tracks.
    ///
    /// # Errors
    /// [`OfferError::Unacceptable`] with what does not fit.
    pub fn new(offer: &Offer, tracks: &[TrackSpec]) -> Result<Self, OfferError> {
        let mut lines = Vec::new();
        for section in &offer.sections {
            let mut first_layer = 0;
            let track = tracks.iter().find(|track| {
                let found = track.codec.kind() == section.kind;
                if !found {
                    first_layer += track.all_layers();
                }
                found
            });
            lines.push(line(section, track, first_layer)?);
        }
        let mut types: Vec<u8> = Vec::new();
        for line in &lines {
            for payload_type in [Some(line.codec.payload_type), line.rtx].into_iter().flatten() {
                if types.contains(&payload_type) {
                    return Err(unacceptable("two sections use one payload type"));
                }
                types.push(payload_type);
            }
        }
        Ok(Self { lines })
    }
}

fn line(
    section: &Section,
    track: Option<&TrackSpec>,
    first_layer: usize,
) -> Result<Line, OfferError> {
    let Some(track) = track else {
        let text = format!("the stream has no track for the section {:?}", section.mid);
        return Err(unacceptable(text));
    };
    let codec = choose(track, &section.codecs).ok_or_else(|| {
        let name = track.codec.name();
        let text = format!("the stream is defined for {name}, which the offer has not");
        unacceptable(match track.codec {
            Codec::H264 => format!("{text} (with packetization-mode=1)"),
            _ => text,
        })
    })?;
    let rids: Vec<String> = section.rids.iter().take(track.layers).cloned().collect();
    let has = |wanted| section.extensions.iter().any(|(e, _)| *e == wanted);
    if !rids.is_empty() && !has(Extension::Rid) {
        return Err(unacceptable("simulcast needs the header extension rtp-stream-id"));
    }
    let feedback = codec.feedback().filter(|f| *f != "transport-cc" || has(Extension::TransportCc));
    let rtx = section.codecs.iter().find(|o| {
        o.name.eq_ignore_ascii_case("rtx")
            && o.parameter("apt").and_then(|apt| apt.parse().ok()) == Some(codec.payload_type)
    });
    Ok(Line {
        section: section.clone(),
        codec: codec.clone(),
        rtx: rtx.map(|o| o.payload_type),
        kind: track.codec,
        feedback: feedback.collect(),
        fmtp: fmtp(track, codec),
        rids,
        first_layer,
        payload_type: track.payload_type,
    })
}

/// The offered codec that fits best, in the broadcaster's order among equals.
fn choose<'a>(track: &TrackSpec, offered: &'a [OfferedCodec]) -> Option<&'a OfferedCodec> {
    offered
        .iter()
        .filter(|o| Codec::from_name(&o.name) == Some(track.codec))
        .filter(|o| o.clock_rate == track.clock_rate)
        .filter_map(|o| Some((fit(track, o)?, o)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, o)| o)
}

/// 0 for what fits best, `None` for what does not.
fn fit(track: &TrackSpec, offered: &OfferedCodec) -> Option<u8> {
    let same = |name: &str| {
        let ours = parameter(&track.fmtp, name).unwrap_or("0");
        (offered.parameter(name).unwrap_or("0") == ours).then_some(0)
    };
    match track.codec {
        Codec::Vp8 | Codec::Opus => Some(0),
        Codec::Vp9 => same("profile-id"),
        Codec::Av1 => same("profile"),
        Codec::H264 => h264(track, offered),
    }
}

/// H.264 in pieces (mode 1), in the stream's profile if it has one, else in the one that most viewers
/// decode: constrained baseline first.
fn h264(track: &TrackSpec, offered: &OfferedCodec) -> Option<u8> {
    if offered.parameter("packetization-mode") != Some("1") {
        return None;
    }
    let theirs = profile(offered.parameter("profile-level-id").unwrap_or("42000a"))?;
    match parameter(&track.fmtp, "profile-level-id") {
        Some(ours) => (profile(ours)? == theirs).then_some(0),
        None => Some(theirs),
    }
}

/// Rank of a profile that browsers decode (RFC 6184 section 8.1, table 5).
fn profile(profile_level_id: &str) -> Option<u8> {
    if profile_level_id.len() != 6 || !profile_level_id.is_ascii() {
        return None;
    }
    let idc = u8::from_str_radix(&profile_level_id[..2], 16).ok()?;
    let constraints = u8::from_str_radix(&profile_level_id[2..4], 16).ok()?;
    match idc {
        0x42 if constraints & 0x40 != 0 => Some(0),
        0x42 => Some(1),
        0x4d if constraints & 0x80 != 0 => Some(0),
        0x64 if constraints & 0x0c == 0x0c => Some(2),
        0x64 => Some(3),
        0x4d => Some(4),
        _ => None,
    }
}

/// What we say of the codec: as offered, and for sound that we take both channels (RFC 7587 section
/// 6.1: without `stereo=1` a browser sends one).
fn fmtp(track: &TrackSpec, codec: &OfferedCodec) -> String {
    if track.codec != Codec::Opus {
        return codec.fmtp.clone();
    }
    let mut parts = vec!["minptime=10".to_owned(), "useinbandfec=1".to_owned()];
    if track.channels >= 2 {
        parts.push("stereo=1".to_owned());
    }
    parts.join(";")
}

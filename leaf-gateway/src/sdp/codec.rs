//! Which of the offered codecs can play a track.

use super::OfferedCodec;
use relay_node::webrtc::sdp::parameter;
use soleil_protocol::pipeline::{Codec, Track};

/// The payload type that fits best, in the viewer's order among equals.
pub(super) fn choose<'a>(track: &Track, offered: &'a [OfferedCodec]) -> Option<&'a OfferedCodec> {
    offered
        .iter()
        .enumerate()
        .filter(|(_, o)| same_codec(track, o))
        .filter_map(|(i, o)| Some((fit(track, o)?, i, o)))
        .min_by_key(|(distance, i, _)| (*distance, *i))
        .map(|(_, _, o)| o)
}

/// The RTX payload type for a codec (RFC 4588 section 8.6).
pub(super) fn rtx(payload_type: u8, offered: &[OfferedCodec]) -> Option<&OfferedCodec> {
    offered.iter().find(|o| {
        o.name.eq_ignore_ascii_case("rtx")
            && o.parameter("apt").and_then(|apt| apt.parse().ok()) == Some(payload_type)
    })
}

fn same_codec(track: &Track, offered: &OfferedCodec) -> bool {
    Codec::from_name(&offered.name) == Some(track.codec) && offered.clock_rate == track.clock_rate
}

/// 0 for the very same, larger the further away, `None` if it does not fit.
fn fit(track: &Track, offered: &OfferedCodec) -> Option<u32> {
    match track.codec {
        Codec::Vp8 | Codec::Opus => Some(0),
        Codec::Vp9 => same_number(&track.fmtp, offered, "profile-id"),
        Codec::Av1 => same_number(&track.fmtp, offered, "profile"),
        Codec::H264 => h264(&track.fmtp, offered),
    }
}

fn same_number(fmtp: &str, offered: &OfferedCodec, name: &str) -> Option<u32> {
    let ours = parameter(fmtp, name).unwrap_or("0");
    (offered.parameter(name).unwrap_or("0") == ours).then_some(0)
}

/// RFC 6184 section 8.2.2: profile and packetization mode must fit; levels are not insisted on
/// (browsers decode more than they state, and say so with level-asymmetry-allowed).
fn h264(fmtp: &str, offered: &OfferedCodec) -> Option<u32> {
    // A stream that does not state its mode has been cut to fit a datagram: mode 1.
    let ours = parameter(fmtp, "packetization-mode").unwrap_or("1");
    let theirs = offered.parameter("packetization-mode").unwrap_or("0");
    let mode = match (ours, theirs) {
        (a, b) if a == b => 0,
        // Single NAL units may be sent in mode 1 as well.
        ("0", "1") => 1,
        _ => return None,
    };
    let theirs = profile(offered.parameter("profile-level-id").unwrap_or("42000a"))?;
    let distance = match parameter(fmtp, "profile-level-id").and_then(profile) {
        Some(ours) if theirs >= ours => theirs as u32 - ours as u32,
        Some(_) => return None,
        None => theirs as u32,
    };
    Some(2 * distance + mode)
}

/// H.264 profiles that decode each other, in rising order: a decoder of one decodes those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Profile {
    ConstrainedBaseline,
    /// Real Baseline (with FMO and ASO) exists on paper only; browsers offer it under this name
    /// and mean constrained.
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    High444,
}

/// Table 5 of RFC 6184 section 8.1, as far as browsers use it.
fn profile(profile_level_id: &str) -> Option<Profile> {
    if profile_level_id.len() != 6 || !profile_level_id.is_ascii() {
        return None;
    }
    let idc = u8::from_str_radix(&profile_level_id[..2], 16).ok()?;
    let iop = u8::from_str_radix(&profile_level_id[2..4], 16).ok()?;
    u8::from_str_radix(&profile_level_id[4..], 16).ok()?;
    Some(match idc {
        0x42 if iop & 0x40 != 0 => Profile::ConstrainedBaseline,
        0x42 => Profile::Baseline,
        0x4d if iop & 0x80 != 0 => Profile::ConstrainedBaseline,
        0x4d => Profile::Main,
        0x58 if iop & 0xc0 == 0xc0 => Profile::ConstrainedBaseline,
        0x64 if iop & 0x0c == 0x0c => Profile::ConstrainedHigh,
        0x64 => Profile::High,
        0xf4 => Profile::High444,
        _ => return None,
    })
}

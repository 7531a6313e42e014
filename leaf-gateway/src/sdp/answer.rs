//! Writes the answer and says what was agreed.

use super::codec::{choose, rtx};
use super::offer::{Offer, OfferedMedia};
use super::{ABS_CAPTURE_TIME, OfferedCodec, SdpError, TRANSPORT_CC};
use crate::reach::Candidate;
use crate::session::dtls::Fingerprint;
use crate::session::track::{RtxSetup, TrackSetup};
use rand::{Rng, RngCore};
use relay_node::webrtc::ice::{ICE_OPTIONS, write_candidates};
use soleil_protocol::pipeline::{Codec, MediaKind, PipelineDef, Track};
use std::fmt::Write;
use std::net::IpAddr;

/// Our side of the answer.
#[derive(Debug, Clone)]
pub struct AnswerOptions<'a> {
    /// Our ICE user name fragment.
    pub ice_ufrag: &'a str,
    /// Our ICE password.
    pub ice_pwd: &'a str,
    /// Our certificate.
    pub fingerprint: Fingerprint,
    /// Where the viewer port is reached, best first; at least one.
    pub addresses: &'a [Candidate],
    /// CNAME.
    pub cname: &'a str,
}

/// The answer and what it means for the session.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The SDP.
    pub sdp: String,
    /// What the viewer gets.
    pub tracks: Vec<TrackSetup>,
    /// The media line of each track, from 0.
    pub lines: Vec<usize>,
}

pub(super) struct Agreed<'a> {
    pub(super) setup: TrackSetup,
    track: &'a Track,
    codec: &'a OfferedCodec,
}

/// Which side of the exchange a description is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Offer,
    Answer,
}

/// Answers an offer for a pipeline.
///
/// # Errors
/// [`SdpError::NoCommonCodec`] if a kind of media that both have has no codec in common, or
/// nothing is in common at all.
pub fn answer(
    offer: &Offer,
    pipeline: &PipelineDef,
    options: &AnswerOptions<'_>,
    rng: &mut impl RngCore,
) -> Result<Answer, SdpError> {
    let mut agreed: Vec<Option<Agreed<'_>>> = offer.media.iter().map(|_| None).collect();
    let mut used = vec![false; pipeline.tracks.len()];
    for (slot, media) in agreed.iter_mut().zip(&offer.media) {
        *slot = agree(media, pipeline, &mut used, rng);
    }
    // Half a stream is not what was asked for: a viewer with ears only says so in its offer.
    for (track, used) in pipeline.tracks.iter().zip(&used) {
        let kind = track.codec.kind();
        let offered = offer.media.iter().any(|m| m.receives && m.kind == Some(kind));
        let served = agreed.iter().flatten().any(|a| a.setup.kind == kind);
        if offered && !served && !*used {
            return Err(no_common(pipeline));
        }
    }
    if agreed.iter().all(Option::is_none) {
        return Err(no_common(pipeline));
    }
    let sdp = write(&offer.media, &agreed, options, Side::Answer, rng)
        .map_err(|_| no_common(pipeline))?;
    let (lines, tracks) = agreed
        .into_iter()
        .enumerate()
        .filter_map(|(line, agreed)| Some((line, agreed?.setup)))
        .unzip();
    Ok(Answer { sdp, tracks, lines })
}

pub(super) fn no_common(pipeline: &PipelineDef) -> SdpError {
    let has: Vec<String> = pipeline
        .tracks
        .iter()
        .map(|t| match t.fmtp.as_str() {
            "" => t.codec.name().to_owned(),
            fmtp => format!("{} ({fmtp})", t.codec.name()),
        })
        .collect();
    SdpError::NoCommonCodec(format!(
        "no codec in common: the stream has {}",
        if has.is_empty() { "no tracks".to_owned() } else { has.join(" and ") }
    ))
}

/// The first track of this kind that is not taken and that the viewer can play.
pub(super) fn agree<'a>(
    media: &'a OfferedMedia,
    pipeline: &'a PipelineDef,
    used: &mut [bool],
    rng: &mut impl RngCore,
) -> Option<Agreed<'a>> {
    if !media.receives {
        return None;
    }
    let kind = media.kind?;
    for (track, used) in pipeline.tracks.iter().zip(used) {
        if *used || track.codec.kind() != kind {
            continue;
        }
        let Some(codec) = choose(track, &media.codecs) else { continue };
        let layer = track.layers.first()?;
        *used = true;
        let rtx = rtx(codec.payload_type, &media.codecs)
            .filter(|_| codec.nack)
            .map(|r| RtxSetup { ssrc: ssrc(rng), payload_type: r.payload_type });
        // A resend without RTX is the same packet, so it cannot carry another number: repair comes
        // before the estimate.
        let repaired = rtx.is_some() || !codec.nack;
        let twcc_ext = media
            .twcc_ext
            .filter(|id| codec.transport_cc && repaired && media.capture_ext != Some(*id));
        let setup = TrackSetup {
            name: track.name.clone(),
            kind,
            codec: track.codec,
            clock_rate: track.clock_rate,
            source: layer.ssrc,
            ssrc: ssrc(rng),
            payload_type: codec.payload_type,
            rtx,
            nack: codec.nack,
            capture_ext: media.capture_ext,
            twcc_ext,
        };
        return Some(Agreed { setup, track, codec });
    }
    None
}

/// A random SSRC; 0 is legal but confuses tools.
fn ssrc(rng: &mut impl RngCore) -> u32 {
    rng.random_range(1..=u32::MAX)
}

pub(super) fn write(
    media: &[OfferedMedia],
    agreed: &[Option<Agreed<'_>>],
    options: &AnswerOptions<'_>,
    side: Side,
    rng: &mut impl RngCore,
) -> Result<String, std::fmt::Error> {
    let mut out = String::with_capacity(4_096);
    let session = rng.next_u64() >> 1;
    write!(out, "v=0\r\no=- {session} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{ICE_OPTIONS}")?;
    let mids: Vec<&str> = media
        .iter()
        .zip(agreed)
        .filter(|(_, a)| a.is_some())
        .filter_map(|(m, _)| m.mid.as_deref())
        .collect();
    if !mids.is_empty() {
        write!(out, "a=group:BUNDLE {}\r\n", mids.join(" "))?;
    }
    write!(out, "a=msid-semantic:WMS *\r\n")?;
    let mut first = true;
    for (media, agreed) in media.iter().zip(agreed) {
        match agreed {
            Some(agreed) => {
                section(&mut out, media, agreed, options, side, first)?;
                first = false;
            }
            None => reject(&mut out, media)?,
        }
    }
    Ok(out)
}

fn section(
    out: &mut String,
    media: &OfferedMedia,
    agreed: &Agreed<'_>,
    options: &AnswerOptions<'_>,
    side: Side,
    first: bool,
) -> std::fmt::Result {
    let Agreed { setup, track, codec } = agreed;
    let pt = setup.payload_type;
    let default = options.addresses.first().map(|c| c.address);
    let (ip, port) = default.map_or((IpAddr::from([0, 0, 0, 0]), 9), |a| (a.ip(), a.port()));
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    // With the policy max-bundle only the first section of an offer has a transport of its own
    // (RFC 9429 section 5.2.1).
    let bundled = side == Side::Offer && !first;
    let port = if bundled { 0 } else { port };
    write!(out, "m={} {port} {} {pt}", media.media, media.protocol)?;
    if let Some(rtx) = setup.rtx {
        write!(out, " {}", rtx.payload_type)?;
    }
    write!(out, "\r\nc=IN {family} {ip}\r\na=rtcp:{port} IN {family} {ip}\r\n")?;
    write!(out, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", options.ice_ufrag, options.ice_pwd)?;
    write!(out, "a=fingerprint:sha-256 {}\r\n", Hex(&options.fingerprint))?;
    write!(out, "a=setup:{}\r\n", if side == Side::Offer { "actpass" } else { "passive" })?;
    if let Some(mid) = &media.mid {
        write!(out, "a=mid:{mid}\r\n")?;
    }
    if let Some(id) = setup.capture_ext {
        write!(out, "a=extmap:{id} {ABS_CAPTURE_TIME}\r\n")?;
    }
    if let Some(id) = setup.twcc_ext {
        write!(out, "a=extmap:{id} {TRANSPORT_CC}\r\n")?;
    }
    write!(out, "a=sendonly\r\na=msid:soleil {}\r\na=rtcp-mux\r\n", setup.name)?;
    if side == Side::Offer {
        // Not in answers (RFC 8858 section 4).
        write!(out, "a=rtcp-mux-only\r\n")?;
    }
    if bundled {
        write!(out, "a=bundle-only\r\n")?;
    }
    if media.rtcp_rsize {
        write!(out, "a=rtcp-rsize\r\n")?;
    }
    write!(out, "a=rtpmap:{pt} {}/{}", codec.name, codec.clock_rate)?;
    if let Some(channels) = &codec.channels {
        write!(out, "/{channels}")?;
    }
    write!(out, "\r\n")?;
    for (on, what) in [
        (codec.nack, "nack"),
        (codec.pli, "nack pli"),
        (codec.fir, "ccm fir"),
        (setup.twcc_ext.is_some(), "transport-cc"),
    ] {
        if on {
            write!(out, "a=rtcp-fb:{pt} {what}\r\n")?;
        }
    }
    let fmtp = fmtp(track, codec);
    if !fmtp.is_empty() {
        write!(out, "a=fmtp:{pt} {fmtp}\r\n")?;
    }
    let (ssrc, cname) = (setup.ssrc, options.cname);
    if let Some(rtx) = setup.rtx {
        let number = rtx.payload_type;
        write!(out, "a=rtpmap:{number} rtx/{}\r\na=fmtp:{number} apt={pt}\r\n", codec.clock_rate)?;
        write!(out, "a=ssrc-group:FID {ssrc} {}\r\n", rtx.ssrc)?;
    }
    write!(out, "a=ssrc:{ssrc} cname:{cname}\r\na=ssrc:{ssrc} msid:soleil {}\r\n", setup.name)?;
    if let Some(rtx) = setup.rtx {
        let ssrc = rtx.ssrc;
        write!(out, "a=ssrc:{ssrc} cname:{cname}\r\na=ssrc:{ssrc} msid:soleil {}\r\n", setup.name)?;
    }
    // With BUNDLE the candidates of the first section serve all (RFC 8843 section 7.3).
    if first {
        write_candidates(out, options.addresses)?;
    }
    Ok(())
}

/// A section that is not served (RFC 3264 section 6: port 0, at least one format).
fn reject(out: &mut String, media: &OfferedMedia) -> std::fmt::Result {
    let format = if media.formats.is_empty() { "0".to_owned() } else { media.formats.join(" ") };
    let protocol =
        if media.protocol.is_empty() { "UDP/TLS/RTP/SAVPF" } else { media.protocol.as_str() };
    write!(out, "m={} 0 {protocol} {format}\r\nc=IN IP4 0.0.0.0\r\n", media.media)?;
    if let Some(mid) = &media.mid {
        write!(out, "a=mid:{mid}\r\n")?;
    }
    write!(out, "a=inactive\r\n")
}

/// The offered parameters, and for Opus that we send two channels (RFC 7587 section 7.1).
fn fmtp(track: &Track, codec: &OfferedCodec) -> String {
    let mut fmtp = codec.fmtp.clone();
    if track.codec == Codec::Opus && track.codec.kind() == MediaKind::Audio && track.channels == 2 {
        for parameter in ["stereo", "sprop-stereo"] {
            if codec.parameter(parameter).is_none() {
                let separator = if fmtp.is_empty() { "" } else { ";" };
                fmtp.push_str(separator);
                fmtp.push_str(parameter);
                fmtp.push_str("=1");
            }
        }
    }
    fmtp
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

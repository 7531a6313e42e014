//! Reads an offer into what we need of it, within limits.

use super::{MAX_MEDIA, SdpError};
use crate::session::dtls::Fingerprint;
use relay_node::webrtc::ice::good_lengths;
use relay_node::webrtc::sdp::{
    MAX_CODECS, MAX_TOKEN, OfferedCodec, bundle, codecs, direction, extensions, parse, token, value,
};
use rtc_sdp::SessionDescription;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use soleil_protocol::pipeline::MediaKind;

/// What an offer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The viewer's ICE user name fragment.
    pub ice_ufrag: String,
    /// The viewer's ICE password.
    pub ice_pwd: String,
    /// The viewer's certificate.
    pub fingerprint: Fingerprint,
    /// Its sections, in order.
    pub media: Vec<OfferedMedia>,
    /// Bytes of the offer.
    pub len: usize,
}

/// One media section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedMedia {
    /// Sound or picture; `None` for anything else.
    pub kind: Option<MediaKind>,
    /// The `m=` word.
    pub media: String,
    /// The protocol, as written.
    pub protocol: String,
    /// The formats, as written.
    pub formats: Vec<String>,
    /// Its name.
    pub mid: Option<String>,
    /// Whether the viewer takes media there and the section is usable.
    pub receives: bool,
    /// Reduced-size RTCP.
    pub rtcp_rsize: bool,
    /// Codecs in the viewer's order.
    pub codecs: Vec<OfferedCodec>,
    /// Id of the absolute-capture-time extension.
    pub capture_ext: Option<u8>,
    /// Id of the extension with the transport-wide number.
    pub twcc_ext: Option<u8>,
}

fn bad(text: &str) -> SdpError {
    SdpError::Bad(text.to_owned())
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// [`SdpError::Bad`] with a sentence for the viewer's developer.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        Self::parse_with(text, &["actpass", "active"])
    }

    /// Reads the answer to an offer of ours: the same shape, but it has to connect to us.
    ///
    /// # Errors
    /// [`SdpError::Bad`] with a sentence for the viewer's developer.
    pub fn parse_answer(text: &str) -> Result<Self, SdpError> {
        Self::parse_with(text, &["active"])
    }

    fn parse_with(text: &str, setups: &[&str]) -> Result<Self, SdpError> {
        let sdp = parse(text)?;
        let sections = &sdp.media_descriptions;
        if sections.is_empty() {
            return Err(bad("the offer has no media section"));
        }
        if sections.len() > MAX_MEDIA {
            return Err(bad("the offer has too many media sections"));
        }
        let media: Vec<_> = sections.iter().map(section).collect();
        let wanted: Vec<_> = media.iter().zip(sections).filter(|(m, _)| m.receives).collect();
        let Some((_, first)) = wanted.first() else {
            return Err(bad("the offer has no section that receives audio or video"));
        };
        check_bundle(&sdp, &wanted)?;
        let find = |name| value(&first.attributes, name).or_else(|| value(&sdp.attributes, name));
        let ice_ufrag = find("ice-ufrag").ok_or_else(|| bad("no ice-ufrag"))?;
        let ice_pwd = find("ice-pwd").ok_or_else(|| bad("no ice-pwd"))?;
        if !good_lengths(ice_ufrag, ice_pwd) {
            return Err(bad("ice-ufrag or ice-pwd has a wrong length"));
        }
        let setup = find("setup").unwrap_or("actpass");
        if !setups.contains(&setup) {
            let text = format!("a=setup must be {}: the leaf is passive", setups.join(" or "));
            return Err(SdpError::Bad(text));
        }
        let fingerprint = [&first.attributes, &sdp.attributes]
            .into_iter()
            .flatten()
            .filter(|a| a.key == "fingerprint")
            .filter_map(|a| sha256(a.value.as_deref()?))
            .next()
            .ok_or_else(|| bad("no SHA-256 fingerprint"))?;
        Ok(Self {
            ice_ufrag: ice_ufrag.to_owned(),
            ice_pwd: ice_pwd.to_owned(),
            fingerprint,
            media,
            len: text.len(),
        })
    }
}

/// All that is served goes over one transport (RFC 8843), RTCP included (RFC 5761).
fn check_bundle(
    sdp: &SessionDescription,
    wanted: &[(&OfferedMedia, &MediaDescription)],
) -> Result<(), SdpError> {
    if wanted.iter().any(|(_, s)| !s.has_attribute("rtcp-mux")) {
        return Err(bad("every section must have a=rtcp-mux"));
    }
    if wanted.len() < 2 {
        return Ok(());
    }
    let group = bundle(sdp).ok_or_else(|| bad("the sections must be bundled (a=group:BUNDLE)"))?;
    let bundled = |m: &OfferedMedia| m.mid.as_deref().is_some_and(|mid| group.contains(&mid));
    if wanted.iter().all(|(m, _)| bundled(m)) {
        Ok(())
    } else {
        Err(bad("every section must be in the BUNDLE group"))
    }
}

fn section(md: &MediaDescription) -> OfferedMedia {
    let name = &md.media_name;
    let kind = match name.media.as_str() {
        "audio" => Some(MediaKind::Audio),
        "video" => Some(MediaKind::Video),
        _ => None,
    };
    let rtp = name.protos.join("/");
    let bundle_only = md.has_attribute("bundle-only");
    let receives = kind.is_some()
        && (name.port.value != 0 || bundle_only)
        && rtp == "UDP/TLS/RTP/SAVPF"
        && matches!(direction(md), "sendrecv" | "recvonly");
    OfferedMedia {
        kind,
        media: token(&name.media).unwrap_or("application").to_owned(),
        protocol: if rtp.len() <= MAX_TOKEN { rtp } else { String::new() },
        formats: name
            .formats
            .iter()
            .filter_map(|f| token(f).map(str::to_owned))
            .take(MAX_CODECS)
            .collect(),
        mid: value(&md.attributes, "mid").and_then(token).map(str::to_owned),
        receives,
        rtcp_rsize: md.has_attribute("rtcp-rsize"),
        codecs: if receives { codecs(md) } else { Vec::new() },
        capture_ext: extension(&md.attributes, super::ABS_CAPTURE_TIME),
        twcc_ext: extension(&md.attributes, super::TRANSPORT_CC),
    }
}

/// The id of a header extension.
fn extension(attributes: &[Attribute], wanted: &str) -> Option<u8> {
    extensions(attributes).find(|(_, uri)| *uri == wanted).map(|(id, _)| id)
}

/// The value of an `a=fingerprint` line with SHA-256 (RFC 8122 section 5).
fn sha256(value: &str) -> Option<Fingerprint> {
    let (hash, hex) = value.split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut out = [0; 32];
    let mut bytes = hex.trim().split(':');
    for byte in &mut out {
        *byte = u8::from_str_radix(bytes.next()?, 16).ok()?;
    }
    bytes.next().is_none().then_some(out)
}

//! Reads an offer into what we need of it, within limits.

use super::{MAX_LINES, MAX_MEDIA, MAX_OFFER_LEN, SdpError};
use crate::session::dtls::Fingerprint;
use rtc_sdp::SessionDescription;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use soleil_protocol::pipeline::MediaKind;
use std::io::Cursor;

/// The longest token that is echoed in the answer (a mid, a format).
const MAX_TOKEN: usize = 64;

/// The longest `fmtp` that is looked at.
const MAX_FMTP: usize = 512;

/// Codecs of a section: there are 128 payload types.
const MAX_CODECS: usize = 128;

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

/// One payload type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedCodec {
    /// Its number.
    pub payload_type: u8,
    /// Encoding name.
    pub name: String,
    /// Clock rate.
    pub clock_rate: u32,
    /// The rest of the `rtpmap` (channels), as written.
    pub channels: Option<String>,
    /// Its `fmtp`; may be empty.
    pub fmtp: String,
    /// Generic NACK.
    pub nack: bool,
    /// PLI.
    pub pli: bool,
    /// FIR.
    pub fir: bool,
    /// Feedback on transport-wide numbers.
    pub transport_cc: bool,
}

impl OfferedCodec {
    /// A parameter of the `fmtp`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        parameter(&self.fmtp, name)
    }
}

/// A parameter of an `fmtp` line.
pub(super) fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|p| {
        let (key, value) = p.split_once('=').unwrap_or((p, ""));
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
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
        if text.len() > MAX_OFFER_LEN || text.lines().count() > MAX_LINES {
            return Err(bad("the offer is too long"));
        }
        let sdp = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
            .map_err(|_| bad("the body is not an SDP offer"))?;
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
        check_credentials(ice_ufrag, ice_pwd)?;
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

/// RFC 8839 section 5.4.
pub(super) fn check_credentials(ice_ufrag: &str, ice_pwd: &str) -> Result<(), SdpError> {
    if !(4..=256).contains(&ice_ufrag.len()) || !(22..=256).contains(&ice_pwd.len()) {
        return Err(bad("ice-ufrag or ice-pwd has a wrong length"));
    }
    Ok(())
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
    let group = sdp.attributes.iter().filter(|a| a.key == "group").find_map(|a| {
        a.value.as_deref()?.strip_prefix("BUNDLE").map(|m| m.split_whitespace().collect::<Vec<_>>())
    });
    let group = group.ok_or_else(|| bad("the sections must be bundled (a=group:BUNDLE)"))?;
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
    let direction = ["sendrecv", "recvonly", "sendonly", "inactive"]
        .into_iter()
        .find(|d| md.has_attribute(d))
        .unwrap_or("sendrecv");
    let bundle_only = md.has_attribute("bundle-only");
    let receives = kind.is_some()
        && (name.port.value != 0 || bundle_only)
        && rtp == "UDP/TLS/RTP/SAVPF"
        && matches!(direction, "sendrecv" | "recvonly");
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

fn codecs(md: &MediaDescription) -> Vec<OfferedCodec> {
    let lines = |key: &'static str| {
        md.attributes.iter().filter(move |a| a.key == key).filter_map(|a| {
            let (pt, rest) = a.value.as_deref()?.split_once(' ')?;
            Some((pt, rest.trim()))
        })
    };
    let mut codecs = Vec::new();
    for format in md.media_name.formats.iter().take(MAX_CODECS) {
        let Some(payload_type) = format.parse::<u8>().ok().filter(|pt| *pt < 128) else { continue };
        let Some((_, map)) = lines("rtpmap").find(|(pt, _)| pt == format) else { continue };
        let mut parts = map.split('/');
        let Some(name) = parts.next().and_then(token) else { continue };
        let Some(clock_rate) = parts.next().and_then(|c| c.parse().ok()) else { continue };
        let fmtp = lines("fmtp").find(|(pt, _)| pt == format).map_or("", |(_, f)| f);
        let usable = fmtp.len() <= MAX_FMTP && fmtp.bytes().all(|b| (0x20..0x7f).contains(&b));
        let feedback = |what: &str| {
            lines("rtcp-fb").any(|(pt, f)| {
                (pt == format || pt == "*") && f.split_whitespace().eq(what.split_whitespace())
            })
        };
        codecs.push(OfferedCodec {
            payload_type,
            name: name.to_owned(),
            clock_rate,
            channels: parts.next().and_then(token).map(str::to_owned),
            fmtp: if usable { fmtp.to_owned() } else { String::new() },
            nack: feedback("nack"),
            pli: feedback("nack pli"),
            fir: feedback("ccm fir"),
            transport_cc: feedback("transport-cc"),
        });
    }
    codecs
}

/// The id of a header extension, if one-byte headers can carry it (RFC 8285: 1 to 14).
fn extension(attributes: &[Attribute], wanted: &str) -> Option<u8> {
    attributes.iter().filter(|a| a.key == "extmap").find_map(|a| {
        let mut words = a.value.as_deref()?.split_whitespace();
        let (id, uri) = (words.next()?, words.next()?);
        let id = id.split('/').next()?.parse::<u8>().ok()?;
        (uri == wanted && (1..=14).contains(&id)).then_some(id)
    })
}

fn value<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|a| a.key == key)?.value.as_deref().map(str::trim)
}

/// A token that may be echoed.
fn token(text: &str) -> Option<&str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b);
    (!text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(legal)).then_some(text)
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

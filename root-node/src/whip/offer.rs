//! Reads a broadcaster's offer into what is needed of it, within limits, and refuses what RFC 9725
//! section 4.4 does not allow.

use relay_node::webrtc::Malformed;
use relay_node::webrtc::ice::good_lengths;
pub use relay_node::webrtc::sdp::{MAX_OFFER, OfferedCodec, parameter};
use relay_node::webrtc::sdp::{
    MAX_TOKEN, bundle, codecs, direction, extensions, parse, token, value,
};
use rtc_sdp::SessionDescription;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use soleil_protocol::pipeline::MediaKind;

/// The attribute for header extensions of both kinds in one stream (RFC 8285 section 6).
pub(super) const MIXED: &str = "extmap-allow-mixed";
/// Simulcast layers that are looked at.
const MAX_RIDS: usize = 16;

/// What is wrong with an offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// It is no offer.
    #[error("{0}")]
    Malformed(String),
    /// It is one that is not taken.
    #[error("{0}")]
    Unacceptable(String),
}

impl From<Malformed> for OfferError {
    fn from(Malformed(text): Malformed) -> Self {
        OfferError::Malformed(text)
    }
}

pub(super) fn malformed(text: impl Into<String>) -> OfferError {
    OfferError::Malformed(text.into())
}

pub(super) fn unacceptable(text: impl Into<String>) -> OfferError {
    OfferError::Unacceptable(text.into())
}

/// Header extensions that are of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143).
    Mid,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852).
    Rid,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852).
    RepairedRid,
    /// The transport-wide number of draft-holmer-rmcat-transport-wide-cc-extensions-01.
    TransportCc,
    /// The dependency descriptor (AV1 RTP payload specification, appendix A).
    DependencyDescriptor,
}

impl Extension {
    const ALL: [Extension; 5] = [
        Extension::Mid,
        Extension::Rid,
        Extension::RepairedRid,
        Extension::TransportCc,
        Extension::DependencyDescriptor,
    ];

    /// Its URI.
    pub fn uri(self) -> &'static str {
        match self {
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Extension::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Extension::TransportCc => {
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
            }
            Extension::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }
}

/// ICE credentials of one side.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name fragment.
    pub ufrag: String,
    /// The password.
    pub pwd: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Checks the form (RFC 8839 section 5.4).
    ///
    /// # Errors
    /// [`OfferError::Malformed`].
    pub fn new(ufrag: &str, pwd: &str) -> Result<Self, OfferError> {
        let ice_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
        let good = good_lengths(ufrag, pwd)
            && ufrag.bytes().chain(pwd.bytes()).all(|b| ice_char(b) || b"-_=".contains(&b));
        if !good {
            return Err(malformed("ice-ufrag or ice-pwd has a wrong length or form"));
        }
        Ok(Self { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() })
    }
}

/// What an offer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The broadcaster's ICE credentials.
    pub ice: Credentials,
    /// Hash function and fingerprint of its certificate, as written.
    pub fingerprint: String,
    /// Its sections in order: at most one of a kind.
    pub sections: Vec<Section>,
}

/// One media section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Sound or picture.
    pub kind: MediaKind,
    /// Its name.
    pub mid: String,
    /// Codecs in the broadcaster's order.
    pub codecs: Vec<OfferedCodec>,
    /// Header extensions that are of use, and their ids.
    pub extensions: Vec<(Extension, u8)>,
    /// Simulcast layers in the order of `a=simulcast` (RFC 8853).
    pub rids: Vec<String>,
    /// Header extensions may have two-byte headers among those with one (RFC 8285 section 6): a
    /// dependency descriptor with its structure needs them.
    pub mixed: bool,
    /// Reduced-size RTCP.
    pub rtcp_rsize: bool,
    /// Which SSRC repairs which, where the offer says it (RFC 5576 `FID`): media, repair.
    pub repairs: Vec<(u32, u32)>,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// A sentence for whoever made it, and whether it is malformed (400) or not acceptable (422).
    pub fn parse(text: &str) -> Result<Self, OfferError> {
        let sdp = parse(text)?;
        let media = &sdp.media_descriptions;
        let Some(tagged) = tagged(&sdp) else {
            return Err(malformed("the offer has no media section"));
        };
        let find = |name| value(&tagged.attributes, name).or_else(|| value(&sdp.attributes, name));
        let need = |name: &'static str| find(name).ok_or_else(|| malformed(format!("no a={name}")));
        let ice = Credentials::new(need("ice-ufrag")?, need("ice-pwd")?)?;
        let fingerprint = fingerprint(need("fingerprint")?)?;
        let setup = find("setup").unwrap_or("actpass");
        if !["actpass", "active"].contains(&setup) {
            return Err(unacceptable("a=setup must be actpass or active: the root is passive"));
        }
        if sdp.attributes.iter().chain(&tagged.attributes).any(|a| a.key == "ice-lite") {
            return Err(unacceptable("the broadcaster must do full ICE, the root does ICE-lite"));
        }
        let mut sections: Vec<Section> = Vec::new();
        for description in media {
            let mut section = section(description, tagged)?;
            section.mixed |= sdp.attributes.iter().any(|a| a.key == MIXED);
            if sections.iter().any(|s| s.kind == section.kind) {
                let kind = if section.kind == MediaKind::Audio { "audio" } else { "video" };
                return Err(unacceptable(format!("more than one {kind} section")));
            }
            if sections.iter().any(|s| s.mid == section.mid) {
                return Err(malformed("two sections have the same mid"));
            }
            sections.push(section);
        }
        check_bundle(&sdp, &sections)?;
        check_media_stream(media)?;
        Ok(Self { ice, fingerprint, sections })
    }
}

/// The section whose transport is that of all: the one that the bundle names first, or the first one (RFC
/// 9143 section 7.2).
fn tagged(sdp: &SessionDescription) -> Option<&MediaDescription> {
    let media = &sdp.media_descriptions;
    let tag = bundle(sdp).and_then(|mids| mids.first().copied());
    let named = media.iter().find(|m| tag.is_some() && value(&m.attributes, "mid") == tag);
    named.or(media.first())
}

/// All sections are of one bundle (RFC 9725 section 4.4.1).
fn check_bundle(sdp: &SessionDescription, sections: &[Section]) -> Result<(), OfferError> {
    if sections.len() < 2 {
        return Ok(());
    }
    let bundled = bundle(sdp).unwrap_or_default();
    if sections.iter().all(|s| bundled.contains(&s.mid.as_str())) {
        Ok(())
    } else {
        Err(unacceptable("all sections must be in one BUNDLE group"))
    }
}

/// All sections are of one MediaStream (RFC 9725 section 4.4.2).
fn check_media_stream(media: &[MediaDescription]) -> Result<(), OfferError> {
    let of = |m: &MediaDescription| {
        let words = value(&m.attributes, "msid")?.split_whitespace().next()?.to_owned();
        Some(words)
    };
    let mut streams: Vec<String> = media.iter().filter_map(of).collect();
    streams.dedup();
    if streams.len() > 1 {
        return Err(unacceptable("all sections must be of one MediaStream (a=msid)"));
    }
    Ok(())
}

fn section(md: &MediaDescription, tagged: &MediaDescription) -> Result<Section, OfferError> {
    let name = &md.media_name;
    let kind = match name.media.as_str() {
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        _ => return Err(unacceptable("only audio and video sections are taken")),
    };
    if name.protos.join("/") != "UDP/TLS/RTP/SAVPF" {
        return Err(unacceptable("every section must be UDP/TLS/RTP/SAVPF"));
    }
    if name.port.value == 0 && !md.has_attribute("bundle-only") {
        return Err(unacceptable("a section is rejected (port 0)"));
    }
    let direction = direction(md);
    if direction != "sendonly" {
        let text = format!("every section must be sendonly: one is {direction}");
        return Err(unacceptable(text));
    }
    // What is bundle-only has its transport from the tagged section, and repeats nothing of it (RFC 9143
    // section 7.1.3).
    let transport = if md.has_attribute("bundle-only") { tagged } else { md };
    if !transport.has_attribute("rtcp-mux") {
        return Err(unacceptable("every section must have a=rtcp-mux"));
    }
    let mid = value(&md.attributes, "mid").and_then(token);
    Ok(Section {
        kind,
        mid: mid.ok_or_else(|| malformed("a section has no a=mid"))?.to_owned(),
        codecs: codecs(md),
        extensions: known(&md.attributes),
        rids: rids(&md.attributes),
        mixed: md.has_attribute(MIXED),
        rtcp_rsize: md.has_attribute("rtcp-rsize"),
        repairs: repairs(&md.attributes),
    })
}

/// Those header extensions that are of use, each once.
fn known(attributes: &[Attribute]) -> Vec<(Extension, u8)> {
    let mut found: Vec<(Extension, u8)> = Vec::new();
    for (id, uri) in extensions(attributes) {
        if let Some(extension) = Extension::ALL.into_iter().find(|e| e.uri() == uri)
            && !found.iter().any(|(e, i)| *e == extension || *i == id)
        {
            found.push((extension, id));
        }
    }
    found
}

/// The rids of `a=simulcast:send`, in its order; of alternatives the first (RFC 8853 section 5.1).
/// Without such a line there is no simulcast.
fn rids(attributes: &[Attribute]) -> Vec<String> {
    let Some(line) = value(attributes, "simulcast") else { return Vec::new() };
    let mut words = line.split_whitespace();
    while let Some(direction) = words.next() {
        let list = words.next().unwrap_or("");
        if direction != "send" {
            continue;
        }
        let declared: Vec<&str> = attributes
            .iter()
            .filter(|a| a.key == "rid")
            .filter_map(|a| {
                let mut words = a.value.as_deref()?.split_whitespace();
                let id = words.next()?;
                (words.next()? == "send").then_some(id)
            })
            .collect();
        let mut rids: Vec<String> = Vec::new();
        for layer in list.split(';').take(MAX_RIDS) {
            let rid = layer.split(',').next().unwrap_or("").trim_start_matches('~');
            let legal = rid.len() <= MAX_TOKEN && rid.bytes().all(|b| b.is_ascii_alphanumeric());
            if legal && declared.contains(&rid) && !rids.iter().any(|r| r == rid) {
                rids.push(rid.to_owned());
            }
        }
        return rids;
    }
    Vec::new()
}

fn repairs(attributes: &[Attribute]) -> Vec<(u32, u32)> {
    let groups = attributes.iter().filter(|a| a.key == "ssrc-group");
    let pair = |a: &Attribute| {
        let mut words = a.value.as_deref()?.strip_prefix("FID ")?.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    groups.filter_map(pair).take(MAX_RIDS).collect()
}

/// RFC 8122 section 5.
fn fingerprint(value: &str) -> Result<String, OfferError> {
    let mut words = value.split_whitespace();
    let (hash, hex) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let legal = hex.len() == 95 && hex.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    if !hash.eq_ignore_ascii_case("sha-256") || !legal {
        return Err(malformed("a=fingerprint must be one of SHA-256"));
    }
    Ok(format!("sha-256 {hex}"))
}

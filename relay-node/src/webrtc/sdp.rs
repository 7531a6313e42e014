//! Parts of session descriptions (RFC 8866, RFC 9429), read within limits. Which offers are taken is
//! decided where they come in: at the root for broadcasters, at the leaf for viewers.

use super::Malformed;
use rtc_sdp::SessionDescription;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use std::io::Cursor;

/// The longest description in bytes: Chromium's has 6 KB with every codec, and 8 KB with three layers of
/// the picture; tabs with many sections stay below 16 KB.
pub const MAX_OFFER: usize = 32 * 1024;
/// The most lines of a description: Chromium's has 200 for two sections.
pub const MAX_LINES: usize = 2_000;
/// The longest token that is echoed (a mid, a rid, a format, a codec's name).
pub const MAX_TOKEN: usize = 64;
/// The longest `fmtp` that is looked at.
pub const MAX_FMTP: usize = 512;
/// Codecs of a section: there are 128 payload types.
pub const MAX_CODECS: usize = 128;

/// One payload type of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedCodec {
    /// Its number.
    pub payload_type: u8,
    /// Encoding name.
    pub name: String,
    /// Clock rate in Hz.
    pub clock_rate: u32,
    /// The rest of the `rtpmap` (channels), as written.
    pub channels: Option<String>,
    /// Its `fmtp`; may be empty.
    pub fmtp: String,
    /// Generic NACK (RFC 4585 section 6.2.1).
    pub nack: bool,
    /// PLI (RFC 4585 section 6.3.1).
    pub pli: bool,
    /// FIR (RFC 5104 section 4.3.1).
    pub fir: bool,
    /// Feedback on transport-wide numbers.
    pub transport_cc: bool,
}

impl OfferedCodec {
    /// A parameter of the `fmtp`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        parameter(&self.fmtp, name)
    }

    /// The feedback that was offered for it, as `a=rtcp-fb` writes it.
    pub fn feedback(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.nack, "nack"),
            (self.pli, "nack pli"),
            (self.fir, "ccm fir"),
            (self.transport_cc, "transport-cc"),
        ];
        all.into_iter().filter_map(|(offered, name)| offered.then_some(name))
    }
}

/// A parameter of an `fmtp` line.
pub fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|p| {
        let (key, value) = p.split_once('=').unwrap_or((p, ""));
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Reads a description.
///
/// # Errors
/// If it is longer than [`MAX_OFFER`] or [`MAX_LINES`], or none.
pub fn parse(text: &str) -> Result<SessionDescription, Malformed> {
    if text.len() > MAX_OFFER || text.lines().count() > MAX_LINES {
        return Err(Malformed::new("the offer is too long"));
    }
    SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes()))
        .map_err(|_| Malformed::new("the body is not an SDP offer"))
}

/// The mids of the first BUNDLE group (RFC 9143 section 7); the first of them is the tagged one.
pub fn bundle(sdp: &SessionDescription) -> Option<Vec<&str>> {
    sdp.attributes.iter().filter(|a| a.key == "group").find_map(|a| {
        let mut words = a.value.as_deref()?.split_whitespace();
        (words.next()? == "BUNDLE").then(|| words.collect())
    })
}

/// Which way media are to go (RFC 8866 section 6.7); of several that contradict each other never
/// `sendonly`.
pub fn direction(md: &MediaDescription) -> &'static str {
    ["sendrecv", "recvonly", "inactive", "sendonly"]
        .into_iter()
        .find(|d| md.has_attribute(d))
        .unwrap_or("sendrecv")
}

/// The value of the first attribute of this name.
pub fn value<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|a| a.key == key)?.value.as_deref().map(str::trim)
}

/// A token that may be echoed.
pub fn token(text: &str) -> Option<&str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~".contains(&b);
    (!text.is_empty() && text.len() <= MAX_TOKEN && text.bytes().all(legal)).then_some(text)
}

/// Header extensions with an id that one-byte headers can carry (RFC 8285: 1 to 14): id and URI.
pub fn extensions(attributes: &[Attribute]) -> impl Iterator<Item = (u8, &str)> {
    attributes.iter().filter(|a| a.key == "extmap").filter_map(|a| {
        let mut words = a.value.as_deref()?.split_whitespace();
        let id = words.next()?.split('/').next()?.parse::<u8>().ok()?;
        let uri = words.next()?;
        (1..=14).contains(&id).then_some((id, uri))
    })
}

/// The codecs of a section, in its order. Payload types that say nothing of themselves, or nothing that
/// can be read, are left out.
pub fn codecs(md: &MediaDescription) -> Vec<OfferedCodec> {
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

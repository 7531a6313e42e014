//! The viewer's offer, written by hand, and what it needs of an answer. It knows what browsers
//! offer to a WHEP server and no more of SDP.

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// A media format that the viewer can count (it decodes none).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264, packetisation mode 1.
    H264,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// AV1.
    Av1,
    /// Opus.
    Opus,
}

impl Codec {
    /// The name in an rtpmap.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::Opus => "opus",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::H264, Self::Vp8, Self::Vp9, Self::Av1, Self::Opus]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Payload types offered with their format parameters; RTX is always the next number.
    fn offered(self) -> &'static [(u8, &'static str)] {
        match self {
            Self::Vp8 => &[(96, "")],
            Self::Vp9 => &[(98, "profile-id=0")],
            Self::H264 => &[
                (102, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
                (104, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
                (106, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f"),
            ],
            Self::Av1 => &[(45, "level-idx=5;profile=0;tier=0")],
            Self::Opus => &[(111, "minptime=10;useinbandfec=1;stereo=1")],
        }
    }
}

/// Header extension that carries the time of capture.
pub const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
/// Its number in our offers.
const ABS_CAPTURE_TIME_ID: u8 = 1;
const TWCC_ID: u8 = 3;
const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const MID_ID: u8 = 4;

/// What an offer says besides the codecs.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// Session number.
    pub id: u64,
    /// ICE user name fragment.
    pub ufrag: &'a str,
    /// ICE password.
    pub pwd: &'a str,
    /// SHA-256 of the certificate as SDP writes it.
    pub fingerprint: &'a str,
    /// Video codecs in order of preference.
    pub video: &'a [Codec],
    /// Whether sound is wanted.
    pub audio: bool,
    /// Whether we report on every packet's arrival.
    pub feedback: bool,
    /// Where we receive.
    pub candidate: SocketAddr,
}

impl Offer<'_> {
    /// The text.
    #[must_use]
    pub fn to_sdp(&self) -> String {
        let mids = if self.audio { "0 1" } else { "0" };
        let mut sdp = format!(
            "v=0\r\no=- {} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n\
             a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n",
            self.id
        );
        self.media(&mut sdp, 0, "video", self.video, true);
        if self.audio {
            self.media(&mut sdp, 1, "audio", &[Codec::Opus], false);
        }
        sdp
    }

    fn media(&self, sdp: &mut String, mid: u8, kind: &str, codecs: &[Codec], rtx: bool) {
        let mut types = String::new();
        let mut maps = String::new();
        for codec in codecs {
            let clock = if *codec == Codec::Opus { "48000/2" } else { "90000" };
            for (pt, fmtp) in codec.offered() {
                types += &format!(" {pt}");
                maps += &format!("a=rtpmap:{pt} {}/{clock}\r\n", codec.name());
                if rtx {
                    maps += &format!(
                        "a=rtcp-fb:{pt} ccm fir\r\na=rtcp-fb:{pt} nack\r\n\
                         a=rtcp-fb:{pt} nack pli\r\n"
                    );
                }
                if self.feedback {
                    maps += &format!("a=rtcp-fb:{pt} transport-cc\r\n");
                }
                if !fmtp.is_empty() {
                    maps += &format!("a=fmtp:{pt} {fmtp}\r\n");
                }
                if rtx {
                    let rtx = pt + 1;
                    types += &format!(" {rtx}");
                    maps += &format!("a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n");
                }
            }
        }
        if self.feedback {
            maps += &format!("a=extmap:{TWCC_ID} {}\r\n", super::arrivals::EXTENSION_URI);
        }
        let port = self.candidate.port();
        let address = self.candidate.ip();
        *sdp += &format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF{types}\r\nc=IN IP4 0.0.0.0\r\n\
             a=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=candidate:1 1 udp 2130706431 {address} {port} typ host\r\n\
             a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=ice-options:trickle\r\n\
             a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\n\
             a=extmap:{ABS_CAPTURE_TIME_ID} {ABS_CAPTURE_TIME}\r\na=extmap:{MID_ID} {MID}\r\n\
             a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n{maps}",
            self.ufrag, self.pwd, self.fingerprint
        );
    }
}

/// What a payload type stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Media of this codec.
    Media(Codec),
    /// Retransmissions (RFC 4588) of that payload type.
    Rtx(u8),
}

/// What the viewer needs of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The server's ICE user name fragment.
    pub ufrag: String,
    /// Its ICE password.
    pub pwd: String,
    /// SHA-256 of its certificate, colons and all, upper case.
    pub fingerprint: String,
    /// Its addresses.
    pub candidates: Vec<SocketAddr>,
    /// What the payload types mean.
    pub payloads: Vec<(u8, Payload)>,
    /// Number of the capture time extension, if it was accepted.
    pub capture_id: Option<u8>,
    /// Number of the transport-wide extension, if it was accepted.
    pub twcc_id: Option<u8>,
    /// The server says that it begins the DTLS handshake.
    pub active: bool,
}

/// Why an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("answer without {0}")]
pub struct AnswerError(&'static str);

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// If something is missing without which there can be no session.
    pub fn parse(sdp: &str) -> Result<Self, AnswerError> {
        let mut rtpmaps = Vec::new();
        let mut apts = Vec::new();
        let (mut ufrag, mut pwd, mut fingerprint) = (None, None, None);
        let (mut candidates, mut active) = (Vec::new(), false);
        let (mut capture_id, mut twcc_id) = (None, None);
        let mut rejected = false;
        for line in sdp.lines() {
            let line = line.trim_end();
            if let Some(media) = line.strip_prefix("m=") {
                rejected = media.split(' ').nth(1) == Some("0");
                continue;
            }
            let Some(attribute) = line.strip_prefix("a=") else { continue };
            if rejected {
                continue;
            }
            let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
            match name {
                "ice-ufrag" => ufrag = ufrag.or(Some(value.to_owned())),
                "ice-pwd" => pwd = pwd.or(Some(value.to_owned())),
                "fingerprint" => {
                    let sha256 = value
                        .split_once(' ')
                        .filter(|(hash, _)| hash.eq_ignore_ascii_case("sha-256"));
                    fingerprint = fingerprint.or(sha256.map(|(_, f)| f.to_ascii_uppercase()));
                }
                "setup" => active = value == "active",
                "candidate" => candidates.extend(candidate(value)),
                "rtpmap" => {
                    if let Some((pt, map)) = value.split_once(' ')
                        && let Ok(pt) = pt.parse::<u8>()
                    {
                        rtpmaps.push((pt, map.split('/').next().unwrap_or("").to_owned()));
                    }
                }
                "fmtp" => {
                    if let Some((pt, parameters)) = value.split_once(' ')
                        && let Some(apt) = parameters
                            .split(';')
                            .find_map(|p| p.trim().strip_prefix("apt=")?.parse::<u8>().ok())
                        && let Ok(pt) = pt.parse::<u8>()
                    {
                        apts.push((pt, apt));
                    }
                }
                "extmap" => {
                    if let Some((id, uri)) = value.split_once(' ') {
                        let id = id.split('/').next().and_then(|id| id.parse().ok());
                        match uri.trim_end() {
                            ABS_CAPTURE_TIME => capture_id = id,
                            super::arrivals::EXTENSION_URI => twcc_id = id,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let mut payloads = Vec::new();
        for (pt, name) in rtpmaps {
            if name.eq_ignore_ascii_case("rtx") {
                let apt = apts.iter().find(|(rtx, _)| *rtx == pt);
                payloads.extend(apt.map(|(_, apt)| (pt, Payload::Rtx(*apt))));
            } else if let Some(codec) = Codec::from_name(&name) {
                payloads.push((pt, Payload::Media(codec)));
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        if payloads.is_empty() {
            return Err(AnswerError("media"));
        }
        if candidates.is_empty() {
            return Err(AnswerError("candidates"));
        }
        Ok(Self {
            ufrag: ufrag.ok_or(AnswerError("ice-ufrag"))?,
            pwd: pwd.ok_or(AnswerError("ice-pwd"))?,
            fingerprint: fingerprint.ok_or(AnswerError("fingerprint"))?,
            candidates,
            payloads,
            capture_id,
            twcc_id,
            active,
        })
    }

    /// Meaning of a payload type.
    #[must_use]
    pub fn payload(&self, pt: u8) -> Option<Payload> {
        self.payloads.iter().find(|(p, _)| *p == pt).map(|(_, payload)| *payload)
    }
}

/// UDP candidates of component 1 (RFC 8839 section 5.1).
fn candidate(value: &str) -> Option<SocketAddr> {
    let mut fields = value.split(' ');
    let (_, component, transport) = (fields.next()?, fields.next()?, fields.next()?);
    let (_, ip, port) = (fields.next()?, fields.next()?, fields.next()?);
    if component != "1" || !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> String {
        Offer {
            id: 5,
            ufrag: "abcd",
            pwd: "0123456789012345678901",
            fingerprint: "AA:BB",
            video: &[Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1],
            audio: true,
            feedback: true,
            candidate: "127.0.0.1:4000".parse().unwrap(),
        }
        .to_sdp()
    }

    #[test]
    fn our_offer_is_sdp_to_somebody_else() {
        let mut text = std::io::Cursor::new(offer().into_bytes());
        let sdp = rtc_sdp::SessionDescription::unmarshal(&mut text).unwrap();
        assert_eq!(sdp.media_descriptions.len(), 2);
        assert!(sdp.media_descriptions[0].media_name.formats.contains(&"102".to_owned()));
    }

    #[test]
    fn reads_what_an_answer_says() {
        let answer = "v=0\r\na=ice-lite\r\na=fingerprint:sha-256 aa:0b\r\nm=video 9 UDP/TLS/RTP/SAVPF 102 103\r\n\
            a=ice-ufrag:u\r\na=ice-pwd:p\r\na=setup:passive\r\na=rtpmap:102 H264/90000\r\n\
            a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\na=extmap:1 http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time\r\n\
            a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
            a=candidate:1 1 UDP 1 127.0.0.1 8191 typ host\r\na=candidate:2 1 TCP 1 127.0.0.1 8191 typ host tcptype passive\r\n\
            m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n";
        let answer = Answer::parse(answer).unwrap();
        assert_eq!(answer.fingerprint, "AA:0B");
        assert_eq!(answer.candidates, ["127.0.0.1:8191".parse::<SocketAddr>().unwrap()]);
        assert_eq!(answer.payload(102), Some(Payload::Media(Codec::H264)));
        assert_eq!(answer.payload(103), Some(Payload::Rtx(102)));
        assert_eq!(answer.payload(111), None);
        assert_eq!((answer.capture_id, answer.twcc_id, answer.active), (Some(1), Some(3), false));
    }

    #[test]
    fn useless_answers_say_why() {
        assert_eq!(Answer::parse("v=0").unwrap_err().to_string(), "answer without media");
    }
}

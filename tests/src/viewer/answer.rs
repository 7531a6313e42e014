//! The viewer's answer where the server offers, written by hand: it takes the media it knows, refuses
//! the rest, and begins the DTLS handshake itself, as browsers do (RFC 8842 section 5.3).

use super::sdp::{ABS_CAPTURE_TIME, Codec};
use std::fmt::Write;
use std::net::SocketAddr;

/// What a viewer answers from.
#[derive(Debug, Clone)]
pub(super) struct Answering {
    /// Session number.
    pub id: u64,
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// SHA-256 of the certificate as SDP writes it.
    pub fingerprint: String,
    /// Video codecs that are taken.
    pub video: Vec<Codec>,
    /// Whether sound is taken.
    pub audio: bool,
    /// Whether we report on every packet's arrival.
    pub feedback: bool,
    /// Where we receive.
    pub candidate: SocketAddr,
}

/// Why an offer cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnsweringError {
    /// No media that the viewer takes.
    #[error("nothing in it that we take")]
    Nothing,
    /// The server wants to be DTLS client.
    #[error("the server wants to be DTLS client")]
    Active,
}

/// One `m=` section of an offer.
#[derive(Debug, Default)]
struct Section<'a> {
    kind: &'a str,
    protocol: &'a str,
    formats: Vec<&'a str>,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Section<'a> {
    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |(n, _)| *n == name).map(|(_, v)| *v)
    }

    /// Value of an attribute that begins with a payload type.
    fn of(&self, name: &str, format: &str) -> Option<&'a str> {
        self.values(name).find_map(|v| v.split_once(' ').filter(|(f, _)| *f == format)).map(|v| v.1)
    }

    /// The codec of a payload type.
    fn codec(&self, format: &str) -> &'a str {
        self.of("rtpmap", format).and_then(|map| map.split('/').next()).unwrap_or("")
    }

    /// The payload type that a retransmission's stands for.
    fn repairs(&self, format: &str) -> Option<&'a str> {
        let mut parameters = self.of("fmtp", format)?.split(';');
        parameters.find_map(|p| p.trim().strip_prefix("apt="))
    }
}

fn sections(offer: &str) -> Vec<Section<'_>> {
    let mut found: Vec<Section<'_>> = Vec::new();
    for line in offer.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split(' ');
            let (kind, _port) = (words.next().unwrap_or(""), words.next());
            let protocol = words.next().unwrap_or("");
            found.push(Section { kind, protocol, formats: words.collect(), ..Section::default() });
        } else if let (Some(section), Some(a)) = (found.last_mut(), line.strip_prefix("a=")) {
            section.attributes.push(a.split_once(':').unwrap_or((a, "")));
        }
    }
    found
}

impl Answering {
    /// The text.
    ///
    /// # Errors
    /// If the offer has nothing for us or wants the other DTLS role.
    pub fn to_sdp(&self, offer: &str) -> Result<String, AnsweringError> {
        if offer.lines().any(|line| line.trim_end() == "a=setup:active") {
            return Err(AnsweringError::Active);
        }
        let (mut body, mut bundle) = (String::new(), String::new());
        for section in sections(offer) {
            let formats = self.formats(&section);
            let mid = section.values("mid").next().unwrap_or("0");
            if formats.is_empty() {
                // Refused (RFC 3264 section 6); a format has to stand there.
                let format = section.formats.first().unwrap_or(&"0");
                body += &format!("m={} 0 {} {format}\r\n", section.kind, section.protocol);
                body += &format!("c=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na=inactive\r\n");
                continue;
            }
            bundle += &format!(" {mid}");
            self.media(&mut body, &section, mid, &formats);
        }
        if bundle.is_empty() {
            return Err(AnsweringError::Nothing);
        }
        Ok(format!(
            "v=0\r\no=- {} 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE{bundle}\r\n\
             a=msid-semantic: WMS\r\n{body}",
            self.id
        ))
    }

    /// The formats that are taken, retransmissions included.
    fn formats<'a>(&self, section: &Section<'a>) -> Vec<&'a str> {
        let opus = [Codec::Opus];
        let codecs: &[Codec] = match section.kind {
            "video" => &self.video,
            "audio" if self.audio => &opus,
            _ => &[],
        };
        let taken = |format: &str| {
            codecs.iter().any(|c| c.name().eq_ignore_ascii_case(section.codec(format)))
        };
        let repairs = |format: &str| section.repairs(format).is_some_and(taken);
        section.formats.iter().copied().filter(|f| taken(f) || repairs(f)).collect()
    }

    fn media(&self, out: &mut String, section: &Section<'_>, mid: &str, formats: &[&str]) {
        let (ip, port) = (self.candidate.ip(), self.candidate.port());
        *out += &format!(
            "m={} 9 {} {}\r\nc=IN IP4 0.0.0.0\r\na=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\n\
             a=end-of-candidates\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\n\
             a=setup:active\r\na=mid:{mid}\r\na=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n",
            section.kind,
            section.protocol,
            formats.join(" "),
            self.ufrag,
            self.pwd,
            self.fingerprint,
        );
        for (name, value) in &section.attributes {
            let format = value.split(' ').next().unwrap_or("");
            let taken = match *name {
                "rtpmap" | "fmtp" => formats.contains(&format),
                "rtcp-fb" => formats.contains(&format) && self.gives(value),
                "extmap" => self.reads(value),
                _ => false,
            };
            if taken {
                // Writing to a string does not fail.
                let _ = write!(out, "a={name}:{value}\r\n");
            }
        }
    }

    /// Whether we give this feedback.
    fn gives(&self, value: &str) -> bool {
        let kind = value.split_once(' ').map_or("", |(_, kind)| kind);
        matches!(kind, "nack" | "nack pli") || (kind == "transport-cc" && self.feedback)
    }

    /// Whether we read this header extension.
    fn reads(&self, value: &str) -> bool {
        let uri = value.split_once(' ').map_or("", |(_, uri)| uri);
        uri == ABS_CAPTURE_TIME || (uri == super::arrivals::EXTENSION_URI && self.feedback)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sdp::{Answer, Payload};
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\na=group:BUNDLE a v d\r\n\
        a=ice-options:trickle\r\na=fingerprint:sha-256 11:90\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 127.0.0.1\r\na=sendonly\r\na=mid:a\r\na=rtpmap:111 opus/48000/2\r\n\
        a=ice-ufrag:u\r\na=ice-pwd:p\r\na=setup:actpass\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 98\r\nc=IN IP4 127.0.0.1\r\na=sendonly\r\na=mid:v\r\n\
        a=ice-ufrag:u\r\na=ice-pwd:p\r\na=setup:actpass\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n\
        a=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 goog-remb\r\na=rtcp-fb:96 transport-cc\r\n\
        a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time\r\n\
        a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:98 VP9/90000\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\na=sctp-port:5000\r\n";

    fn answering() -> Answering {
        Answering {
            id: 5,
            ufrag: "abcd".into(),
            pwd: "0123456789012345678901".into(),
            fingerprint: "AA:BB".into(),
            video: vec![Codec::Vp8],
            audio: false,
            feedback: false,
            candidate: "127.0.0.1:4000".parse().unwrap(),
        }
    }

    #[test]
    fn the_known_is_taken_and_the_rest_refused() {
        let answer = answering().to_sdp(OFFER).unwrap();
        let lines: Vec<&str> = answer.lines().collect();
        let media: Vec<&str> = lines.iter().copied().filter(|l| l.starts_with("m=")).collect();
        assert_eq!(
            media,
            [
                "m=audio 0 UDP/TLS/RTP/SAVPF 111",
                "m=video 9 UDP/TLS/RTP/SAVPF 96 97",
                "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
            ]
        );
        assert!(lines.contains(&"a=group:BUNDLE v"));
        assert!(lines.contains(&"a=setup:active") && lines.contains(&"a=mid:d"));
        let feedback: Vec<&str> =
            lines.iter().copied().filter(|l| l.starts_with("a=rtcp-fb")).collect();
        assert_eq!(feedback, ["a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli"]);
        assert!(!answer.contains("extmap"), "{answer}");
        // Somebody else's parser takes it, and ours finds what stands in it.
        let mut text = std::io::Cursor::new(answer.clone().into_bytes());
        assert_eq!(
            rtc_sdp::SessionDescription::unmarshal(&mut text).unwrap().media_descriptions.len(),
            3
        );
        let read = Answer::parse(&answer).unwrap();
        assert_eq!((read.ufrag.as_str(), read.fingerprint.as_str()), ("abcd", "AA:BB"));
        assert_eq!(read.payload(96), Some(Payload::Media(Codec::Vp8)));
        assert_eq!((read.payload(97), read.payload(98)), (Some(Payload::Rtx(96)), None));
        assert_eq!((read.active, read.candidates.len(), read.twcc_id), (true, 1, None));
    }

    #[test]
    fn feedback_and_sound_are_taken_by_who_wants_them() {
        let wants = Answering { audio: true, feedback: true, ..answering() };
        let answer = wants.to_sdp(OFFER).unwrap();
        assert!(answer.contains("a=group:BUNDLE a v\r\n"));
        let read = Answer::parse(&answer).unwrap();
        assert_eq!(read.payload(111), Some(Payload::Media(Codec::Opus)));
        assert_eq!(read.twcc_id, Some(3));
        assert!(answer.contains("a=rtcp-fb:96 transport-cc\r\n"));
    }

    #[test]
    fn useless_offers_say_why() {
        let none = Answering { video: vec![Codec::Av1], ..answering() };
        assert_eq!(none.to_sdp(OFFER), Err(AnsweringError::Nothing));
        let active = OFFER.replace("actpass", "active");
        assert_eq!(answering().to_sdp(&active), Err(AnsweringError::Active));
    }
}

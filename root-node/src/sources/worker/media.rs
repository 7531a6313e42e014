//! What a stream of the input is, out of its GStreamer caps: in words, and whether a browser plays
//! it as it is.

use crate::sources::job::Make;
use gstreamer as gst;

/// Most channels of an Opus stream that browsers take without knowing their order (RFC 7845 section
/// 5.1.1, mapping family 0).
const PLAIN_OPUS: i32 = 2;

/// Picture or sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Picture.
    Video,
    /// Sound.
    Audio,
}

/// One stream of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    /// Picture or sound.
    pub kind: Kind,
    /// Its codec, in words.
    pub codec: String,
    /// With everything else that is known, in words.
    pub words: String,
    /// What it is as it comes, if that is something that a track can be.
    pub is: Option<Make>,
    /// Why browsers do not play it although the codec is right.
    pub flaw: Option<String>,
    /// Fields instead of frames.
    pub interlaced: bool,
    /// Pictures: width, height, frames a second.
    pub size: Option<(i32, i32)>,
    /// Frames a second.
    pub rate: Option<f64>,
    /// Sound: channels.
    pub channels: Option<i32>,
}

impl Media {
    /// `None` for what is neither picture nor sound.
    pub fn new(caps: &gst::CapsRef) -> Option<Media> {
        let s = caps.structure(0)?;
        let name = s.name().as_str();
        let kind = match name.split_once('/')?.0 {
            "video" | "image" => Kind::Video,
            "audio" => Kind::Audio,
            _ => return None,
        };
        let text = |field: &str| s.get::<String>(field).ok();
        let number = |field: &str| s.get::<i32>(field).ok();
        let (codec, is) = codec(name, number("mpegversion"), number("layer"));
        let profile = text("profile");
        let size = number("width").zip(number("height"));
        let rate = s.get::<gst::Fraction>("framerate").ok();
        let rate =
            rate.filter(|r| r.numer() > 0).map(|r| f64::from(r.numer()) / f64::from(r.denom()));
        let interlaced = text("interlace-mode").is_some_and(|mode| mode != "progressive");
        let channels = number("channels");
        let flaw = match is {
            Some(Make::H264) => h264_flaw(profile.as_deref(), interlaced, &text),
            Some(Make::Opus) => channels
                .filter(|n| *n > PLAIN_OPUS)
                .map(|n| format!("{n} channels: browsers take two")),
            _ => None,
        };
        let mut words = codec.clone();
        let mut add = |part: Option<String>| {
            if let Some(part) = part {
                words.push(' ');
                words.push_str(&part);
            }
        };
        add(profile);
        add(size.map(|(w, h)| format!("{w}x{h}")));
        add(rate.map(|r| format!("{} fps", (r * 100.0).round() / 100.0)));
        add(interlaced.then(|| "interlaced".into()));
        add(number("rate").filter(|_| kind == Kind::Audio).map(|r| format!("{r} Hz")));
        add(channels.map(|n| format!("{n} ch")));
        Some(Media { kind, codec, words, is, flaw, interlaced, size, rate, channels })
    }

    /// Why it can't be `make` as it comes; `None` if it can.
    pub fn unfit(&self, make: Make) -> Option<String> {
        if self.is != Some(make) {
            return Some(format!("{} is not {}, which the track is", self.codec, make.name()));
        }
        self.flaw.clone()
    }
}

fn codec(name: &str, version: Option<i32>, layer: Option<i32>) -> (String, Option<Make>) {
    let known = match (name, version) {
        ("video/x-h264", _) => ("H.264", Some(Make::H264)),
        ("video/x-h265", _) => ("HEVC", None),
        ("video/x-vp8", _) => ("VP8", Some(Make::Vp8)),
        ("video/x-vp9", _) => ("VP9", None),
        ("video/x-av1", _) => ("AV1", None),
        ("video/mpeg", Some(4)) => ("MPEG-4 part 2", None),
        ("video/mpeg", _) => ("MPEG-2 video", None),
        ("image/jpeg", _) => ("JPEG", None),
        ("video/x-raw" | "audio/x-raw", _) => ("uncompressed", None),
        ("audio/x-opus", _) => ("Opus", Some(Make::Opus)),
        ("audio/mpeg", Some(2 | 4)) => ("AAC", None),
        ("audio/mpeg", _) if layer == Some(3) => ("MP3", None),
        ("audio/mpeg", _) => ("MPEG audio", None),
        ("audio/x-ac3", _) => ("AC-3", None),
        ("audio/x-eac3", _) => ("E-AC-3", None),
        ("audio/x-vorbis", _) => ("Vorbis", None),
        ("audio/x-flac", _) => ("FLAC", None),
        _ => return (name.to_owned(), None),
    };
    (known.0.to_owned(), known.1)
}

/// Browsers decode 4:2:0 with 8 bits in the profiles up to high (RFC 7742 section 6.2 asks for
/// constrained baseline, all have the others).
fn h264_flaw(
    profile: Option<&str>,
    interlaced: bool,
    text: &impl Fn(&str) -> Option<String>,
) -> Option<String> {
    const PLAYED: &[&str] = &[
        "constrained-baseline",
        "baseline",
        "main",
        "high",
        "progressive-high",
        "constrained-high",
    ];
    if let Some(profile) = profile.filter(|p| !PLAYED.contains(p)) {
        return Some(format!("browsers do not play the profile {profile}"));
    }
    if text("chroma-format").is_some_and(|c| c != "4:2:0") {
        return Some("browsers play 4:2:0 only".into());
    }
    interlaced.then(|| "it is interlaced".into())
}

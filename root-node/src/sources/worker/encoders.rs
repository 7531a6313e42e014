//! Which encoder a machine has: hardware first, then software. An encoder that is installed may still
//! have no device, so each is asked to get ready before it is chosen.

use super::missing;
use crate::sources::job::Make;
use crate::sources::status::Problem;
use gstreamer as gst;
use gstreamer::prelude::*;

/// What an encoder shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Bit rate in kbit/s.
    pub kbit: u32,
    /// Frames between two key frames, at most.
    pub key_every: u32,
}

impl Wish {
    /// For pictures of this size and rate, as a source makes them.
    pub fn of(size: Option<(i32, i32)>, rate: Option<f64>) -> Wish {
        Wish { kbit: kbits(size, rate), key_every: KEY_EVERY }
    }
}

/// Key frames come at least so often (frames): viewers begin with one, and a source can't be asked.
const KEY_EVERY: u32 = 60;
/// Bits for each pixel of each frame: 2.8 Mbit/s for 720p30, what services recommend.
const BITS_PER_PIXEL: f64 = 0.1;
/// Where the input does not say how large it is.
const DEFAULT_SIZE: (i32, i32) = (1280, 720);
const DEFAULT_RATE: f64 = 30.0;
/// Bounds for odd sizes, kbit/s.
const KBITS: (f64, f64) = (200.0, 12_000.0);

/// Settings of an encoder that has them; one without leaves them out. `{kbit}`, `{bit}` and `{key}`
/// stand for bit rate and key-frame distance.
type Settings = &'static [(&'static str, &'static str)];

/// Best first. Only the software ones were tried: the others get what their documentation asks for.
const H264: &[(&str, Settings)] = &[
    (
        "nvh264enc",
        &[
            ("bitrate", "{kbit}"),
            ("gop-size", "{key}"),
            ("bframes", "0"),
            ("zerolatency", "true"),
            ("rc-mode", "cbr"),
        ],
    ),
    (
        "vah264enc",
        &[
            ("bitrate", "{kbit}"),
            ("key-int-max", "{key}"),
            ("b-frames", "0"),
            ("rate-control", "cbr"),
        ],
    ),
    (
        "qsvh264enc",
        &[("bitrate", "{kbit}"), ("gop-size", "{key}"), ("b-frames", "0"), ("low-latency", "true")],
    ),
    (
        "x264enc",
        &[
            ("tune", "zerolatency"),
            ("speed-preset", "superfast"),
            ("bitrate", "{kbit}"),
            ("key-int-max", "{key}"),
            ("bframes", "0"),
            ("vbv-buf-capacity", "600"),
            // No key frame of its own accord where the picture changes: layers keep in step.
            ("option-string", "scenecut=0"),
        ],
    ),
    (
        "openh264enc",
        &[
            ("bitrate", "{bit}"),
            ("gop-size", "{key}"),
            ("rate-control", "bitrate"),
            ("usage-type", "camera"),
            ("complexity", "low"),
        ],
    ),
];

const VP8: &[(&str, Settings)] = &[(
    "vp8enc",
    &[
        ("deadline", "1"),
        ("cpu-used", "8"),
        ("end-usage", "cbr"),
        ("lag-in-frames", "0"),
        ("target-bitrate", "{bit}"),
        ("keyframe-max-dist", "{key}"),
        ("threads", "2"),
    ],
)];

/// Times are counted by samples, as long as those of the input are within 40 ms of that: FLV tells whole
/// milliseconds, which are 21 or 22 of them for a frame of AAC, and a player would hear each of these
/// differences as a hole or as too much.
const OPUS: &[(&str, Settings)] =
    &[("opusenc", &[("bitrate", "128000"), ("frame-size", "20"), ("perfect-timestamp", "true")])];

/// Makes the best encoder that works.
///
/// # Errors
/// If there is none; the text names the last of them.
pub fn encoder(make: Make, wish: Wish, place: &str) -> Result<gst::Element, Problem> {
    let list = match make {
        Make::H264 => H264,
        Make::Vp8 => VP8,
        Make::Opus => OPUS,
    };
    let Wish { kbit, key_every } = wish;
    let mut last = "";
    for (factory, settings) in list {
        last = factory;
        let Ok(encoder) = gst::ElementFactory::make(factory).build() else { continue };
        for (name, value) in *settings {
            if encoder.find_property(name).is_none() {
                continue;
            }
            let value = value
                .replace("{kbit}", &kbit.to_string())
                .replace("{bit}", &(kbit * 1000).to_string())
                .replace("{key}", &key_every.to_string());
            encoder.set_property_from_str(name, &value);
        }
        let works = encoder.set_state(gst::State::Ready).is_ok();
        let _ = encoder.set_state(gst::State::Null);
        if works {
            return Ok(encoder);
        }
    }
    Err(missing(last, place))
}

/// The bit rate for a size and rate of frames.
pub fn kbits(size: Option<(i32, i32)>, rate: Option<f64>) -> u32 {
    let (width, height) = size.unwrap_or(DEFAULT_SIZE);
    let pixels = f64::from(width) * f64::from(height) * rate.unwrap_or(DEFAULT_RATE);
    (pixels * BITS_PER_PIXEL / 1000.0).clamp(KBITS.0, KBITS.1) as u32
}

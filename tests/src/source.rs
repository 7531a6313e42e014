//! The broadcaster of the tests and of the demo: the test picture and a keyed tone, encoded by
//! GStreamer and sent as plain RTP with RTCP. Picture and sound carry times of one clock, so that
//! a test can measure how far apart a viewer gets them.

mod av1;
mod clip;
mod pipeline;
mod rate;
mod temporal;
mod tone;

pub use clip::{write_clip, write_clip_of};
pub use pipeline::{Source, SourceError};
pub use rate::FrameRate;
pub use tone::Tone;

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How the picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// x264enc, zero latency, constrained baseline.
    H264,
    /// vp8enc, realtime.
    Vp8,
    /// vp9enc, realtime.
    Vp9,
    /// av1enc, realtime.
    Av1,
}

/// Where RTCP goes and comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Rtcp {
    /// To the media port itself (RFC 5761).
    Mux,
    /// To the next port, from the same socket.
    Next,
    /// No RTCP at all: a sender that cannot be asked for key frames.
    None,
}

/// What to send and where. The defaults are those of the demo.
#[derive(Debug, Clone, clap::Args)]
pub struct SourceOptions {
    /// Where the picture goes.
    #[arg(long, default_value = "127.0.0.1:5004")]
    pub video: SocketAddr,
    /// Where the sound goes; none with --no-audio.
    #[arg(long, default_value = "127.0.0.1:5006")]
    pub audio: SocketAddr,
    /// Send no sound.
    #[arg(long)]
    pub no_audio: bool,
    /// The picture's codec.
    #[arg(long, value_enum, default_value = "h264")]
    pub codec: VideoCodec,
    /// Picture width in pixels.
    #[arg(long, default_value_t = 1280)]
    pub width: usize,
    /// Picture height in pixels.
    #[arg(long, default_value_t = 720)]
    pub height: usize,
    /// Frames per second: 30, or a fraction such as 30000/1001.
    #[arg(long, default_value = "30")]
    pub fps: FrameRate,
    /// Video bitrate in kbit/s.
    #[arg(long, default_value_t = 2000)]
    pub bitrate: u32,
    /// Encode in three temporal layers (VP8): every second frame is one that nothing builds upon.
    #[arg(long)]
    pub temporal: bool,
    /// Frames from one key frame to the next, if nobody asks for one.
    #[arg(long, default_value_t = 60)]
    pub key_int: u32,
    /// Largest RTP packet in bytes.
    #[arg(long, default_value_t = 1200)]
    pub mtu: u32,
    /// RTP payload type of the picture.
    #[arg(long, default_value_t = 96)]
    pub video_pt: u8,
    /// RTP payload type of the sound.
    #[arg(long, default_value_t = 111)]
    pub audio_pt: u8,
    /// Where RTCP goes.
    #[arg(long, value_enum, default_value = "mux")]
    pub rtcp: Rtcp,
    /// Draw a clock that people can read.
    #[arg(long)]
    pub clock_text: bool,
    /// Stop after this many frames.
    #[arg(long)]
    pub frames: Option<u64>,
    /// Number of the first frame.
    #[arg(long, default_value_t = 0)]
    pub first_number: u32,
}

/// What was sent; printed as JSON at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Frames handed to the encoder.
    pub frames: u64,
    /// Number of the first one.
    pub first: u32,
    /// Number of the last one.
    pub last: u32,
    /// Send time of the first one, milliseconds since the epoch.
    pub first_ms: u64,
    /// Send time of the last one.
    pub last_ms: u64,
    /// Frame slots that passed unused because encoder or machine were too slow.
    pub skipped: u64,
    /// Key frames that came out of the encoder.
    pub key_frames: u64,
    /// Key-frame requests that came from the receiver.
    pub key_requests: u64,
}

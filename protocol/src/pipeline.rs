//! What a pipeline is made of: tracks, and for each track one or more layers (quality replicas).

use crate::ids::{Epoch, PipelineId, Ssrc};
use crate::scalability::Scalability;

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Picture.
    Video,
}

/// A codec that browsers can play, as it travels in RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 6184.
    H264,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// AV1 RTP payload specification.
    Av1,
    /// RFC 7587.
    Opus,
}

impl Codec {
    /// The encoding name of the SDP `rtpmap` line.
    pub fn name(self) -> &'static str {
        match self {
            Codec::H264 => "H264",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::Av1 => "AV1",
            Codec::Opus => "opus",
        }
    }

    /// Looks a codec up by its encoding name, whatever its case.
    pub fn from_name(name: &str) -> Option<Codec> {
        [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::Opus]
            .into_iter()
            .find(|c| c.name().eq_ignore_ascii_case(name))
    }

    /// Whether it carries sound or picture.
    pub fn kind(self) -> MediaKind {
        match self {
            Codec::Opus => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }
}

/// One quality of a track: one SSRC on the hops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its SSRC, chosen by the root, the same on every hop.
    pub ssrc: Ssrc,
    /// RTP payload type on the hops.
    pub payload_type: u8,
    /// Width in pixels if known (video).
    pub width: Option<u32>,
    /// Height in pixels if known (video).
    pub height: Option<u32>,
    /// Nominal bits per second if known.
    pub bitrate: Option<u64>,
    /// The layers within it, if there are known to be some: they all travel under its SSRC.
    pub scalability: Option<Scalability>,
}

/// One track: a codec and its layers, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Short name, unique in the pipeline (`video`, `audio`).
    pub name: String,
    /// The codec of all its layers.
    pub codec: Codec,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
    /// Audio channels (0 for video).
    pub channels: u8,
    /// Codec parameters as in an SDP `fmtp` line; may be empty.
    pub fmtp: String,
    /// At least one layer, best first.
    pub layers: Vec<Layer>,
}

/// A secret wrapped for one receiver (HPKE, RFC 9180: DHKEM X25519, HKDF-SHA256, AES-128-GCM).
#[derive(Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// The encapsulated key.
    pub enc: Vec<u8>,
    /// The sealed secret with its tag.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wrapped({} bytes)", self.sealed.len())
    }
}

/// The key of one epoch of a pipeline, wrapped for the node that the message goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochKey {
    /// Which epoch.
    pub epoch: Epoch,
    /// SRTP master key (16 bytes) and master salt (12 bytes, RFC 7714 section 12), wrapped.
    pub key: Wrapped,
}

/// The definition of a pipeline, as PIPEDEF carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineDef {
    /// Its number.
    pub id: PipelineId,
    /// The stream's name in URLs.
    pub name: String,
    /// Whether media flows at present (the source is on air).
    pub live: bool,
    /// Its tracks.
    pub tracks: Vec<Track>,
}

impl PipelineDef {
    /// Every SSRC of the pipeline.
    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + '_ {
        self.tracks.iter().flat_map(|t| t.layers.iter().map(|l| l.ssrc))
    }
}

//! What the root tells a source worker, and what the worker tells the root: one line of JSON each.
//! Secrets go this way only; they never stand in arguments or in the environment.

use super::status::{Problem, TrackStatus};
use crate::config::{Secret, SourceKind, SourceSection, TrackSection};
use serde::{Deserialize, Serialize};
use soleil_protocol::pipeline::Codec;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The hidden subcommand of the child.
pub const SUBCOMMAND: &str = "source-worker";

/// Longest line either way. A job has a few addresses and texts with limits of their own.
pub const MAX_LINE: usize = 64 * 1024;

/// What a worker is to do.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Where the media comes from.
    pub input: Input,
    /// Where it goes.
    pub tracks: Vec<Target>,
    /// Tracks that must be converted whatever they look like, with the reason: an earlier worker
    /// has found out late.
    pub convert: Vec<(String, String)>,
}

/// Where the media comes from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// SRT.
    Srt {
        /// `srt://host:port`, with `mode`.
        uri: String,
        /// Listens instead of calling.
        listen: bool,
        /// The passphrase.
        passphrase: Option<String>,
        /// The id that a caller says.
        stream_id: Option<String>,
        /// How long it waits for lost packets, milliseconds.
        latency_ms: u32,
    },
    /// RTSP.
    Rtsp {
        /// Its address.
        uri: String,
        /// User and password.
        login: Option<(String, String)>,
        /// The jitter buffer, milliseconds.
        latency_ms: u32,
    },
    /// A file.
    File {
        /// Which one.
        path: PathBuf,
        /// Again and again.
        repeat: bool,
    },
    /// A still picture, over and over, and silence.
    Slate {
        /// The picture; none: a dark ground.
        path: Option<PathBuf>,
        /// What stands on it.
        text: Option<String>,
    },
    /// FLV on the standard input, behind the job's line: what an RTMP publisher sends.
    Flv,
}

impl Input {
    /// What may stand in no message.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Input::Srt { passphrase, .. } => passphrase.iter().map(String::as_str).collect(),
            Input::Rtsp { login, .. } => login.iter().map(|(_, p)| p.as_str()).collect(),
            Input::File { .. } | Input::Slate { .. } | Input::Flv => Vec::new(),
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        match self {
            Input::Srt { uri, .. } => uri.split('?').next().unwrap_or_default().to_owned(),
            Input::Rtsp { uri, .. } => uri.clone(),
            Input::File { path, .. } | Input::Slate { path: Some(path), .. } => {
                path.display().to_string()
            }
            Input::Slate { path: None, .. } => "of a slate".into(),
            Input::Flv => "by RTMP".into(),
        }
    }

    /// Out of a checked section and its secret.
    pub fn new(section: &SourceSection, secret: Option<Secret>) -> Input {
        let latency_ms = u32::try_from(section.latency.as_millis()).unwrap_or(u32::MAX);
        let secret = secret.map(|s| s.0);
        let uri = section.uri.clone().unwrap_or_default();
        match section.kind {
            SourceKind::Srt => Input::Srt {
                uri: match section.listen {
                    Some(at) => format!("srt://{at}?mode=listener"),
                    None => format!("{}?mode=caller", uri.trim_end_matches('/')),
                },
                listen: section.listen.is_some(),
                passphrase: secret,
                stream_id: section.stream_id.clone(),
                latency_ms,
            },
            SourceKind::Rtsp => {
                Input::Rtsp { uri, login: section.user.clone().zip(secret), latency_ms }
            }
            SourceKind::File => Input::File {
                path: section.path.clone().unwrap_or_default(),
                repeat: section.repeat,
            },
            SourceKind::Slate => {
                Input::Slate { path: section.path.clone(), text: section.text.clone() }
            }
            SourceKind::Rtmp => Input::Flv,
        }
    }
}

/// What a track has to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Make {
    /// H.264 without B-frames.
    H264,
    /// VP8.
    Vp8,
    /// Opus, mono or stereo.
    Opus,
}

impl Make {
    /// The codec, if a source can make it.
    pub fn new(codec: Codec) -> Option<Make> {
        match codec {
            Codec::H264 => Some(Make::H264),
            Codec::Vp8 => Some(Make::Vp8),
            Codec::Opus => Some(Make::Opus),
            Codec::Vp9 | Codec::Av1 => None,
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Make::H264 => "H.264",
            Make::Vp8 => "VP8",
            Make::Opus => "Opus",
        }
    }
}

/// One track of the stream and where its RTP goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The track's name.
    pub name: String,
    /// What it has to be.
    pub make: Make,
    /// RTP payload type.
    pub payload_type: u8,
    /// The ingest port of each layer, best first. A worker fills the first one: a ladder of
    /// qualities will fill the others.
    pub layers: Vec<SocketAddr>,
}

impl Target {
    /// For a track of the configuration whose layers are bound to these addresses; `None` if a
    /// source can't make its codec.
    pub fn new(track: &TrackSection, bound: &[SocketAddr]) -> Option<Target> {
        Some(Target {
            name: track.name().to_owned(),
            make: Make::new(track.codec)?,
            payload_type: track.payload_type,
            layers: bound.iter().copied().map(reachable).collect(),
        })
    }
}

/// Where a socket on this machine is reached.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// It is ready, and nobody sends yet.
    Waiting,
    /// What the input is, and what becomes of it. Media flows from here on.
    Plan {
        /// Everything that was found in the input, also what no track takes.
        input: Vec<String>,
        /// The tracks.
        tracks: Vec<TrackStatus>,
    },
    /// Once a second: how many packets have gone out since the last time.
    Flowing {
        /// So many.
        packets: u64,
    },
    /// Something that an operator wants to know and that stops nothing.
    Remark(String),
    /// A ladder: the longest time that a frame took in the last second, in milliseconds.
    Delay(u32),
    /// A ladder: a rung is left out because it can't be kept up with, or made again.
    Left {
        /// Its number.
        rung: usize,
        /// Why; none: it is made again.
        why: Option<String>,
    },
    /// A track that passed through has to be converted after all; the worker ends.
    Convert {
        /// The track.
        track: String,
        /// Why.
        reason: String,
    },
    /// What went wrong; the worker ends.
    Problem(Problem),
    /// The input has come to its end, in order; the worker ends.
    End,
}

//! `[[stream]]`: which streams there are, and on which UDP ports a broadcaster sends them.

use super::PublishToken;
use super::source::{self, SourceKind, SourceSection};
use crate::ingest::TrackSpec;
use crate::ladder::rung::{DEFAULT, Rung};
use serde::Deserialize;
use soleil_protocol::limits::MAX_FMTP;
use soleil_protocol::pipeline::{Codec, MediaKind};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How many streams one root takes in.
pub const MAX_STREAMS: usize = 64;
/// Tracks of one stream: a picture, a sound, and some in other languages.
pub const MAX_TRACKS: usize = 8;
/// Layers of one track, one port each.
pub const MAX_LAYERS: usize = 4;
/// Longest name of a stream or track: it stands in URLs.
pub const MAX_NAME: usize = 64;

/// One stream.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSection {
    /// Its name in URLs.
    pub name: String,
    /// Its number; default: given at its first start, and kept.
    #[serde(default)]
    pub id: Option<u32>,
    /// Who has it may broadcast the stream over WHIP; default: nobody.
    #[serde(default)]
    pub publish_token: Option<PublishToken>,
    /// Its tracks.
    #[serde(default)]
    pub track: Vec<TrackSection>,
    /// Where the root gets it by itself, the best source first; none: a broadcaster sends it to the ports.
    #[serde(default, deserialize_with = "source::one_or_more")]
    pub source: Vec<SourceSection>,
    /// Smaller layers that the root makes of the picture; none: it comes out as it comes in.
    #[serde(default, deserialize_with = "ladder")]
    pub ladder: Vec<Rung>,
}

/// One track.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackSection {
    /// Its name, unique in the stream; default: `video` or `audio`.
    #[serde(default)]
    pub name: Option<String>,
    /// The codec's name as in SDP.
    #[serde(deserialize_with = "codec")]
    pub codec: Codec,
    /// The RTP payload type that the broadcaster uses.
    pub payload_type: u8,
    /// RTP clock rate; default: 90,000 for pictures, 48,000 for Opus.
    #[serde(default)]
    pub clock_rate: Option<u32>,
    /// Audio channels; default: 2.
    #[serde(default)]
    pub channels: Option<u8>,
    /// Codec parameters as in an SDP `fmtp` line.
    #[serde(default)]
    pub fmtp: String,
    /// One UDP port for each layer, best layer first. Where the stream has a source, none need be
    /// given: 0 takes one that is free.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// The address to listen on. Whoever can send to it can broadcast: the default is this machine.
    #[serde(default = "loopback")]
    pub bind: IpAddr,
    /// The stream's ladder, of the track that it belongs to.
    #[serde(skip)]
    pub ladder: Vec<Rung>,
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

fn codec<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Codec, D::Error> {
    let name = String::deserialize(deserializer)?;
    Codec::from_name(&name).ok_or_else(|| {
        serde::de::Error::custom(format!("{name:?} is none of H264, VP8, VP9, AV1, opus"))
    })
}

/// A list of rungs, or "default".
fn ladder<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Rung>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ladder {
        Word(String),
        Rungs(Vec<String>),
    }
    match Ladder::deserialize(deserializer)? {
        Ladder::Word(word) if word == "default" => Ok(DEFAULT.to_vec()),
        Ladder::Word(word) => Err(serde::de::Error::custom(format!(
            "ladder is \"default\" or a list of rungs, not {word:?}"
        ))),
        Ladder::Rungs(rungs) => {
            rungs.iter().map(|rung| rung.parse().map_err(serde::de::Error::custom)).collect()
        }
    }
}

impl StreamSection {
    /// The stream of the demo: H.264 on 5004, Opus on 5006, from this machine.
    pub fn demo() -> StreamSection {
        let track = vec![
            TrackSection::new(Codec::H264, 96, 5004),
            TrackSection::new(Codec::Opus, 111, 5006),
        ];
        StreamSection {
            name: "demo".into(),
            id: None,
            publish_token: None,
            track,
            source: vec![],
            ladder: vec![],
        }
    }

    /// Fills in what need not be said of a stream with a source: its tracks are H.264 and Opus, and
    /// their ports any that are free. The ladder goes to the picture.
    pub fn complete(&mut self) {
        if !self.source.is_empty() {
            self.complete_tracks();
        }
        let picture = |track: &&mut TrackSection| track.codec.kind() == MediaKind::Video;
        if let Some(track) = self.track.iter_mut().find(picture) {
            track.ladder = std::mem::take(&mut self.ladder);
        }
    }

    /// The tracks of a stream with sources of which nothing else is said.
    pub fn sourced_tracks() -> Vec<TrackSection> {
        vec![TrackSection::new(Codec::H264, 96, 0), TrackSection::new(Codec::Opus, 111, 0)]
    }

    fn complete_tracks(&mut self) {
        if self.track.is_empty() {
            self.track = Self::sourced_tracks();
        }
        for track in self.track.iter_mut().filter(|t| t.ports.is_empty()) {
            track.ports = vec![0];
        }
    }
}

impl TrackSection {
    fn new(codec: Codec, payload_type: u8, port: u16) -> Self {
        Self {
            name: None,
            codec,
            payload_type,
            clock_rate: None,
            channels: None,
            fmtp: String::new(),
            ports: vec![port],
            bind: loopback(),
            ladder: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(match self.codec.kind() {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        })
    }

    /// As ingest has it.
    pub fn spec(&self) -> TrackSpec {
        let audio = self.codec.kind() == MediaKind::Audio;
        TrackSpec {
            name: self.name().to_owned(),
            codec: self.codec,
            payload_type: self.payload_type,
            clock_rate: self.clock_rate.unwrap_or(if audio { 48_000 } else { 90_000 }),
            channels: if audio { self.channels.unwrap_or(2) } else { 0 },
            fmtp: self.fmtp.clone(),
            layers: self.ports.len(),
            made: self.ladder.len(),
        }
    }
}

/// What must fit together in all streams.
pub fn check(streams: &[StreamSection]) -> Result<(), String> {
    if streams.len() > MAX_STREAMS {
        return Err(format!("at most {MAX_STREAMS} streams"));
    }
    let mut names = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let mut ports: BTreeSet<SocketAddr> = BTreeSet::new();
    for stream in streams {
        let name = &stream.name;
        legal_name(name)?;
        let fail = |what: String| format!("stream {name:?}: {what}");
        if !names.insert(name) {
            return Err(fail("there are two of this name".into()));
        }
        if let Some(id) = stream.id
            && (id == 0 || !ids.insert(id))
        {
            return Err(fail(format!("id {id} is taken, or 0")));
        }
        if stream.track.is_empty() || stream.track.len() > MAX_TRACKS {
            return Err(fail(format!("it needs 1 to {MAX_TRACKS} tracks ([[stream.track]])")));
        }
        if !stream.ladder.is_empty() {
            return Err(fail("a ladder is made of a picture, and it has none".into()));
        }
        let (mut tracks, mut ladders) = (BTreeSet::new(), 0);
        for track in &stream.track {
            legal_name(track.name()).map_err(fail)?;
            let fail = |what: String| fail(format!("track {:?}: {what}", track.name()));
            if !tracks.insert(track.name()) {
                return Err(fail("there are two of this name: give them names".into()));
            }
            check_track(track).map_err(fail)?;
            check_ladder(track).map_err(fail)?;
            ladders += usize::from(!track.ladder.is_empty());
            if !stream.source.is_empty() {
                check_sourced(track, &stream.source).map_err(fail)?;
            } else if track.ports.contains(&0) {
                return Err(fail("port 0 takes a free one, which no broadcaster knows".into()));
            }
            for port in track.ports.iter().filter(|port| **port != 0) {
                if !ports.insert(SocketAddr::new(track.bind, *port)) {
                    return Err(fail(format!("port {port} is used twice")));
                }
            }
        }
        if ladders > 1 {
            return Err(fail("one ladder a stream".into()));
        }
    }
    Ok(())
}

fn check_track(track: &TrackSection) -> Result<(), String> {
    // RFC 5761 section 4: 64 to 95 can't be told from RTCP on the same port.
    if track.payload_type > 127 || (64..96).contains(&track.payload_type) {
        return Err("payload_type must be 0 to 63 or 96 to 127".into());
    }
    if track.ports.is_empty() || track.ports.len() > MAX_LAYERS {
        return Err(format!("it needs 1 to {MAX_LAYERS} ports, one for each layer"));
    }
    if track.clock_rate.is_some_and(|rate| !(1000..=1_000_000).contains(&rate)) {
        return Err("clock_rate must be 1000 to 1000000".into());
    }
    if track.channels.is_some_and(|c| c == 0 || c > 8) {
        return Err("channels must be 1 to 8".into());
    }
    if track.fmtp.len() > MAX_FMTP || track.fmtp.chars().any(char::is_control) {
        return Err(format!("fmtp has at most {MAX_FMTP} bytes and no control characters"));
    }
    Ok(())
}

/// What a ladder can be made of, and what it can be.
fn check_ladder(track: &TrackSection) -> Result<(), String> {
    let rungs = &track.ladder;
    if rungs.is_empty() {
        return Ok(());
    }
    if cfg!(not(feature = "gstreamer")) {
        return Err("ladder: this root-node was built without GStreamer".into());
    }
    if !matches!(track.codec, Codec::H264 | Codec::Vp8) {
        return Err("a ladder is made of H264 or VP8".into());
    }
    if track.ports.len() > 1 {
        return Err("a ladder is made of one layer, and this track takes in several".into());
    }
    if rungs.len() >= MAX_LAYERS {
        return Err(format!("a ladder has at most {} rungs", MAX_LAYERS - 1));
    }
    if rungs.iter().zip(rungs.iter().skip(1)).any(|(better, worse)| better.lines <= worse.lines) {
        return Err("a ladder's rungs go down: the best one first, none twice".into());
    }
    Ok(())
}

/// What a source can make.
fn check_sourced(track: &TrackSection, sources: &[SourceSection]) -> Result<(), String> {
    if !matches!(track.codec, Codec::H264 | Codec::Vp8 | Codec::Opus) {
        return Err("a source makes H264, VP8 or opus".into());
    }
    // Who stands by for a broadcaster makes the best layer of what that one sends.
    let stands_by = |s: &SourceSection| s.standby || s.kind == SourceKind::Slate;
    if track.ports.len() > 1 && !sources.iter().all(stands_by) {
        return Err("a source makes one layer: one port, or none".into());
    }
    Ok(())
}

/// What names may be: they stand in URLs.
pub fn legal_name(name: &str) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let dots = name.bytes().all(|b| b == b'.');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(legal) || dots {
        return Err(format!(
            "{name:?} is no name: 1 to {MAX_NAME} characters out of A-Z a-z 0-9 . _ -"
        ));
    }
    Ok(())
}

//! The state of a source as the API and the log show it.

use crate::config::SourceKind;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// What a worker works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// A source of kind SRT.
    Srt,
    /// RTSP.
    Rtsp,
    /// RTMP: started for each publisher.
    Rtmp,
    /// A file, which has an end.
    File,
    /// A slate.
    Slate,
    /// A ladder: there while its source is.
    Ladder,
}

impl Work {
    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Work::Srt => "srt",
            Work::Rtsp => "rtsp",
            Work::Rtmp => "rtmp",
            Work::File => "file",
            Work::Slate => "slate",
            Work::Ladder => "ladder",
        }
    }
}

impl From<SourceKind> for Work {
    fn from(kind: SourceKind) -> Work {
        match kind {
            SourceKind::Srt => Work::Srt,
            SourceKind::Rtsp => Work::Rtsp,
            SourceKind::Rtmp => Work::Rtmp,
            SourceKind::File => Work::File,
            SourceKind::Slate => Work::Slate,
        }
    }
}

/// What a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its worker has been started and has not got hold of the input yet.
    Starting,
    /// It is ready, and nobody sends.
    Waiting,
    /// Media flows.
    Running,
    /// Media has stopped to flow; after a while it is started anew.
    Stalled,
    /// It has failed and is tried again later.
    BackingOff,
    /// The file is over.
    Ended,
    /// The root has stopped it.
    Stopped,
}

impl State {
    /// All of them.
    pub const ALL: [State; 7] = [
        State::Starting,
        State::Waiting,
        State::Running,
        State::Stalled,
        State::BackingOff,
        State::Ended,
        State::Stopped,
    ];

    /// As in the API.
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Waiting => "waiting",
            State::Running => "running",
            State::Stalled => "stalled",
            State::BackingOff => "backing_off",
            State::Ended => "ended",
            State::Stopped => "stopped",
        }
    }
}

/// What became of a track's media.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Handling {
    /// The very bytes of the input.
    PassedThrough,
    /// Decoded, and encoded anew.
    Converted {
        /// Why.
        reason: String,
        /// By which GStreamer element.
        encoder: String,
    },
    /// The input has nothing for it.
    Absent,
}

/// One track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SourceTrack)]
pub struct TrackStatus {
    /// Its name.
    pub name: String,
    /// What the input has for it, in words.
    pub input: Option<String>,
    /// What becomes of that.
    pub handling: Handling,
}

impl fmt::Display for TrackStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let input = self.input.as_deref().unwrap_or("nothing");
        write!(f, "{}: {input}, ", self.name)?;
        match &self.handling {
            Handling::PassedThrough => f.write_str("passed through"),
            Handling::Converted { reason, encoder } => {
                write!(f, "converted by {encoder}: {reason}")
            }
            Handling::Absent => f.write_str("the track stays empty"),
        }
    }
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What, in words.
    pub what: String,
    /// The GStreamer element that said it, if one did.
    pub element: Option<String>,
    /// Where: `input` with its address, `output`, `worker`.
    pub place: String,
}

impl Problem {
    /// Without an element.
    pub fn new(place: &str, what: impl Into<String>) -> Problem {
        Problem { what: what.into(), element: None, place: place.to_owned() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.element {
            Some(element) => write!(f, "{} ({element}): {}", self.place, self.what),
            None => write!(f, "{}: {}", self.place, self.what),
        }
    }
}

/// A source as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SourceStatus {
    /// How the broadcast comes: `srt`, `rtsp`, `rtmp`, `file` or `slate`.
    #[schema(value_type = String, example = "srt")]
    pub kind: Work,
    /// What its process is doing: `starting`, `waiting` (for a sender), `running`, `stalled`, `backing_off` (it
    /// has failed and is tried again soon), `ended`, `stopped`.
    #[schema(value_type = String, example = "running")]
    pub state: State,
    /// Since when, milliseconds since the epoch.
    pub since: u64,
    /// What was found in the input last, each part in words.
    pub input: Vec<String>,
    /// The tracks of the stream, and what became of them.
    pub tracks: Vec<TrackStatus>,
    /// How often its worker was started again.
    pub restarts: u64,
    /// What went wrong last.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "in_words")]
    pub last_error: Option<Problem>,
}

/// A problem as people read it.
///
/// # Errors
/// What the serialiser says.
pub fn in_words<S: serde::Serializer>(problem: &Option<Problem>, to: S) -> Result<S::Ok, S::Error> {
    problem.as_ref().map(ToString::to_string).serialize(to)
}

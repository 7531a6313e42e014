//! Video layers (WHEP core extensions, "Video Layer Selection extension"): what there are, and the
//! viewer's own choice among them.

use super::Site;
use super::problem::Problem;
use super::request::{JSON, need_type, no_session, read_body, session_id};
use crate::session::{Choice, track::TrackSetup};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use soleil_protocol::Ssrc;
use soleil_protocol::pipeline::{Layer, MediaKind, PipelineDef, Track};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::Arc;

/// The longest choice: all members that the text has fit three times.
const MAX_CHOICE_LEN: usize = 1_024;

/// A media line of an answer that has a track of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which of the answer's lines, from 0.
    pub index: usize,
    /// The track's name in the pipeline.
    pub track: String,
    /// Sound or picture.
    pub kind: MediaKind,
}

/// Tracks with the lines that they are on.
pub(super) fn lines(tracks: &[TrackSetup], indexes: &[usize]) -> Vec<Line> {
    tracks
        .iter()
        .zip(indexes)
        .map(|(t, index)| Line { index: *index, track: t.name.clone(), kind: t.kind })
        .collect()
}

/// The `Link` that announces the extension.
pub(super) fn link(session: &str) -> String {
    format!("<{session}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\"")
}

/// A layer as the `layers` event has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerOut {
    rid: String,
    /// What comes now; a layer without it is inactive (so the text).
    #[serde(skip_serializing_if = "Option::is_none")]
    bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
}

/// The pictures' layers on their lines, best first.
fn pictures<'a>(
    def: &'a PipelineDef,
    lines: &'a [Line],
) -> impl Iterator<Item = (usize, &'a [Layer])> {
    lines.iter().filter(|l| l.kind == MediaKind::Video).filter_map(|line| {
        let track = def.tracks.iter().find(|t| t.name == line.track)?;
        Some((line.index, track.layers.as_slice()))
    })
}

fn rate(layer: &Layer, rates: &HashMap<Ssrc, u64>) -> Option<u64> {
    rates.get(&layer.ssrc).copied().filter(|rate| *rate > 0)
}

/// The name of a layer towards viewers: its SSRC, which stays when layers come and go.
fn rid(layer: &Layer) -> String {
    layer.ssrc.0.to_string()
}

/// The data of a `layers` event: an array for each video line by its number.
pub(super) fn describe(def: &PipelineDef, lines: &[Line], rates: &HashMap<Ssrc, u64>) -> String {
    let out: BTreeMap<usize, Vec<LayerOut>> = pictures(def, lines)
        .map(|(line, layers)| {
            let layer = |l: &Layer| LayerOut {
                rid: rid(l),
                bitrate: rate(l, rates),
                target_bitrate: l.bitrate,
                width: l.width,
                height: l.height,
            };
            (line, layers.iter().map(layer).collect())
        })
        .collect();
    // Numbers and digits only: this does not fail.
    serde_json::to_string(&out).unwrap_or_else(|_| "{}".to_owned())
}

/// What of the layers is news when it changes: all but how much an active one brings.
pub(super) fn key(def: &PipelineDef, rates: &HashMap<Ssrc, u64>) -> String {
    let mut key = String::new();
    for track in def.tracks.iter().filter(|t| t.codec.kind() == MediaKind::Video) {
        for l in &track.layers {
            let active = rate(l, rates).is_some();
            let size = (l.width, l.height, l.bitrate);
            let _ = write!(key, "{} {} {active} {size:?};", track.name, l.ssrc.0);
        }
    }
    key
}

/// What a viewer wishes. Members that are not known here are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Wish {
    media_id: Option<MediaId>,
    /// Drafts up to -01 call it `encodingId`.
    #[serde(alias = "encodingId")]
    rid: Option<String>,
    spatial_layer_id: Option<u32>,
    temporal_layer_id: Option<u32>,
    max_width: Option<u32>,
    max_height: Option<u32>,
}

/// The text says string and means a number: both.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum MediaId {
    Text(String),
    Number(usize),
}

fn away() -> Problem {
    Problem::new(StatusCode::CONFLICT, "the track is not there at present")
}

/// What a wish means: which track gets what.
///
/// # Errors
/// 404 what is not there, 409 while the pipeline is not there, 422 what can't be done.
pub(super) fn choose(
    wish: &Wish,
    def: Option<&PipelineDef>,
    lines: &[Line],
) -> Result<(String, Choice), Problem> {
    let not_found = |text: &str| Problem::new(StatusCode::NOT_FOUND, text);
    let cannot = |text: &str| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text);
    let line = match &wish.media_id {
        None => lines.iter().find(|l| l.kind == MediaKind::Video),
        Some(MediaId::Number(n)) => lines.iter().find(|l| l.index == *n),
        Some(MediaId::Text(n)) => lines.iter().find(|l| n.parse() == Ok(l.index)),
    };
    let line = line.ok_or_else(|| not_found("the session has no such media line"))?;
    if line.kind != MediaKind::Video {
        return Err(cannot("only video has layers to choose from"));
    }
    let track: &Track =
        def.and_then(|d| d.tracks.iter().find(|t| t.name == line.track)).ok_or_else(away)?;
    if wish.spatial_layer_id.is_some_and(|n| n > 0) || wish.temporal_layer_id.is_some_and(|n| n > 0)
    {
        return Err(cannot("encodings have no spatial or temporal layers above 0 here"));
    }
    let fits = |l: &Layer| {
        let within = |size: Option<u32>, max: Option<u32>| {
            max.is_none_or(|max| size.is_some_and(|size| size <= max))
        };
        within(l.width, wish.max_width) && within(l.height, wish.max_height)
    };
    let choice = match &wish.rid {
        Some(name) => {
            let layer = track.layers.iter().find(|l| rid(l) == *name);
            let layer = layer.ok_or_else(|| not_found("there is no layer of that rid"))?;
            if !fits(layer) {
                return Err(cannot("that layer is larger than maxWidth or maxHeight"));
            }
            Choice::Fixed(layer.ssrc)
        }
        None if wish.max_width.is_some() || wish.max_height.is_some() => {
            let layer = track.layers.iter().find(|l| fits(l));
            let layer = layer.ok_or_else(|| cannot("no layer is known to be so small"))?;
            Choice::Fixed(layer.ssrc)
        }
        None => Choice::Auto,
    };
    Ok((line.track.clone(), choice))
}

/// `POST`: the viewer chooses, or leaves it to us again.
pub(super) async fn select(
    State(site): State<Arc<Site>>,
    Path((_, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let id = session_id(session)?;
    need_type(&headers, JSON)?;
    let (def, lines) = site.events.session(&id).ok_or_else(no_session)?;
    let text = read_body(body, MAX_CHOICE_LEN).await?;
    // Through a map: a struct would also be read from an array.
    let object: Option<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&text).ok();
    let wish = object.and_then(|o| serde_json::from_value::<Wish>(o.into()).ok());
    let wish = wish.ok_or_else(|| {
        Problem::new(StatusCode::BAD_REQUEST, "the body must be a JSON object of the extension")
    })?;
    let (track, choice) = choose(&wish, def.as_ref(), &lines)?;
    match site.workers.choose(id, track, choice).await {
        Some(true) => Ok(StatusCode::OK),
        Some(false) => Err(away()),
        None => Err(no_session()),
    }
}

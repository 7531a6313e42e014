//! Reading: which streams there are and what they do.

use super::super::HttpState;
use super::super::problem::{Problem, ProblemBody};
use super::auth::Reader;
use super::fresh;
use crate::core::api::RootView;
use crate::ingest::choice::Via;
use crate::ladder::status::LadderStatus;
use crate::sources::metrics::Row;
use crate::sources::status::SourceStatus;
use crate::streams::{Definition, Info, Origin, State as StreamState};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use soleil_protocol::PipelineId;
use soleil_protocol::pipeline::{Codec, Layer, MediaKind, Track};
use std::sync::Arc;
use utoipa::ToSchema;

/// The list.
#[derive(Debug, Serialize, ToSchema)]
pub struct StreamList {
    streams: Vec<Stream>,
}

/// One stream.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stream {
    name: String,
    /// Whether it is on air: packets come in.
    live: bool,
    /// Since when, in milliseconds since the epoch; null when it is off air.
    since: Option<u64>,
    /// Viewers of all leaves.
    viewers: u64,
    /// What viewers can get.
    tracks: Vec<TrackOut>,
    /// Who has defined it: `configuration` (which the API can't change) or `api`.
    origin: &'static str,
    /// `running` (it takes in what comes), `stopped` or `failed`.
    state: &'static str,
    /// Its number in the tree. This and what follows is shown to operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    /// What it is, and where it comes in.
    #[serde(skip_serializing_if = "Option::is_none")]
    definition: Option<Definition>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Its ladder, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    ladder: Option<LadderStatus>,
    /// Its sources, while it runs, as they are configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<SourceOut>>,
    /// When it was defined through the API, in milliseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<u64>,
}

/// What the root fetches, or takes in, by itself.
#[derive(Debug, Serialize, ToSchema)]
pub struct SourceOut {
    /// Whether viewers see this one.
    on_air: bool,
    #[serde(flatten)]
    status: SourceStatus,
}

/// One track.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrackOut {
    name: String,
    /// `audio` or `video`.
    kind: &'static str,
    codec: String,
    layers: Vec<LayerOut>,
}

/// One layer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LayerOut {
    width: Option<u32>,
    height: Option<u32>,
    bitrate: Option<u64>,
    /// The layers within it, by the name of their scalability mode (W3C webrtc-svc), if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    scalability: Option<String>,
}

/// All streams, by number.
#[utoipa::path(
    get, path = "/api/v1/streams", operation_id = "listStreams", tag = "streams",
    security((), ("operator" = [])),
    responses(
        (status = 200, description = "All streams", body = StreamList),
        (status = 401, description = "A token came that is not good", body = ProblemBody),
    )
)]
pub async fn list(reader: Reader, State(state): State<Arc<HttpState>>) -> Response {
    let mut all = state.streams.list();
    all.sort_by_key(|info| info.id);
    let streams = all.into_iter().map(|info| describe(&state, info, reader.operator)).collect();
    fresh(Json(StreamList { streams }))
}

/// One stream.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream}", operation_id = "showStream", tag = "streams",
    params(("stream" = String, Path, description = "Its name")),
    security((), ("operator" = [])),
    responses(
        (status = 200, description = "The stream", body = Stream),
        (status = 401, description = "A token came that is not good", body = ProblemBody),
        (status = 404, description = "There is none of this name", body = ProblemBody),
    )
)]
pub async fn one(
    reader: Reader,
    State(state): State<Arc<HttpState>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let info = state.streams.get(&name).ok_or_else(no_stream)?;
    Ok(fresh(Json(describe(&state, info, reader.operator))))
}

/// A stream that is not known. The name is not repeated: it is whatever a stranger sent.
pub fn no_stream() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, crate::streams::Refused::Unknown.to_string())
}

/// A stream as it is at this moment.
pub fn describe(state: &HttpState, info: Info, operator: bool) -> Stream {
    let view = state.view.borrow().clone();
    let since = state.on_air.borrow().get(&info.id).copied();
    let shown = view.pipelines.iter().find(|p| p.def.id == info.id).map(|p| &p.def);
    let live = shown.is_some_and(|def| def.live);
    let tracks = match shown {
        Some(def) => def.tracks.iter().map(track).collect(),
        None => defined(&info.definition),
    };
    let (word, error) = match info.state {
        StreamState::Running => ("running", None),
        StreamState::Stopped => ("stopped", None),
        StreamState::Failed(error) => ("failed", Some(error)),
    };
    Stream {
        name: info.name,
        live,
        since: since.filter(|_| live).map(|m| m.0),
        viewers: viewers(&view, info.id),
        tracks,
        origin: match info.origin {
            Origin::Configuration => "configuration",
            Origin::Api => "api",
        },
        state: word,
        id: operator.then_some(info.id.0),
        definition: operator.then(|| info.definition.hidden()),
        error: error.filter(|_| operator),
        ladder: info.ladder.filter(|_| operator).map(Arc::unwrap_or_clone),
        sources: info.sources.filter(|_| operator).map(sources),
        created: info.created.filter(|_| operator).map(|m| m.0),
    }
}

fn sources(row: Row) -> Vec<SourceOut> {
    let on_air = *row.on_air.borrow();
    let all = row.sources.iter().map(|source| SourceOut {
        on_air: on_air == Some(Via::Source(source.number)),
        status: source.status.borrow().as_ref().clone(),
    });
    all.collect()
}

/// Each leaf counts its own viewers; sums of counts, not means. What a node said before it went
/// is kept for its return, and is nobody's viewers now.
pub(super) fn viewers(view: &RootView, id: PipelineId) -> u64 {
    let viewers: f64 = view
        .nodes
        .iter()
        .filter(|n| n.attached)
        .flat_map(|n| &n.stats)
        .filter(|c| c.id == Some(id))
        .flat_map(|c| &c.stats)
        .filter(|s| s.name == "viewers")
        .map(|s| s.value.max(0.0))
        .sum();
    viewers as u64
}

fn track(track: &Track) -> TrackOut {
    let layer = |layer: &Layer| LayerOut {
        width: layer.width,
        height: layer.height,
        bitrate: layer.bitrate,
        scalability: layer.scalability.map(|mode| mode.to_string()),
    };
    let layers = track.layers.iter().map(layer).collect();
    let codec = track.codec.name().to_owned();
    TrackOut { name: track.name.clone(), kind: kind(track.codec), codec, layers }
}

/// The tracks of a stream that the tree does not have at present.
fn defined(definition: &Definition) -> Vec<TrackOut> {
    let none = LayerOut { width: None, height: None, bitrate: None, scalability: None };
    let of = |track: &crate::streams::TrackDefinition| TrackOut {
        name: track.name.clone(),
        kind: Codec::from_name(&track.codec).map_or("video", kind),
        codec: track.codec.clone(),
        layers: vec![none.clone(); track.ports.len() + track.ladder.len()],
    };
    definition.tracks.iter().map(of).collect()
}

fn kind(codec: Codec) -> &'static str {
    match codec.kind() {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

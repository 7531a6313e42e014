//! `/api/v1`: what streams there are.

use super::HttpState;
use super::problem::Problem;
use crate::core::api::{PipelineView, RootView};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use soleil_protocol::Millis;
use soleil_protocol::pipeline::{MediaKind, Track};
use std::sync::Arc;

/// The list.
#[derive(Debug, Serialize)]
struct StreamList {
    streams: Vec<Stream>,
}

/// One stream.
#[derive(Debug, Serialize)]
struct Stream {
    name: String,
    live: bool,
    /// Milliseconds since the epoch; null when it is off air.
    since: Option<u64>,
    viewers: u64,
    tracks: Vec<TrackOut>,
}

/// One track.
#[derive(Debug, Serialize)]
struct TrackOut {
    name: String,
    kind: &'static str,
    codec: &'static str,
    layers: Vec<LayerOut>,
}

/// One layer.
#[derive(Debug, Serialize)]
struct LayerOut {
    width: Option<u32>,
    height: Option<u32>,
    bitrate: Option<u64>,
}

/// `GET /api/v1/streams`.
pub async fn streams(State(state): State<Arc<HttpState>>) -> Response {
    let view = state.view.borrow().clone();
    let on_air = state.on_air.borrow().clone();
    let streams =
        view.pipelines.iter().map(|p| describe(&view, p, on_air.get(&p.def.id).copied())).collect();
    fresh(Json(StreamList { streams }))
}

/// `GET /api/v1/streams/{stream}`.
pub async fn stream(
    State(state): State<Arc<HttpState>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let view = state.view.borrow().clone();
    let found = view.pipelines.iter().find(|p| p.def.name == name).ok_or_else(no_stream)?;
    let since = state.on_air.borrow().get(&found.def.id).copied();
    Ok(fresh(Json(describe(&view, found, since))))
}

/// Anything else under `/api`.
pub async fn unknown() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such resource: the API's streams are at /api/v1/streams",
    )
}

/// A stream that is not known. The name is not repeated: it is whatever a stranger sent.
pub fn no_stream() -> Problem {
    let text = "there is no stream of this name: /api/v1/streams lists those that exist";
    Problem::new(StatusCode::NOT_FOUND, text)
}

fn fresh(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], body).into_response()
}

fn describe(view: &RootView, pipeline: &PipelineView, since: Option<Millis>) -> Stream {
    let def = &pipeline.def;
    // Each leaf counts its own viewers; sums of counts, not means. What a node said before it went
    // is kept for its return, and is nobody's viewers now.
    let viewers: f64 = view
        .nodes
        .iter()
        .filter(|n| n.attached)
        .flat_map(|n| &n.stats)
        .filter(|c| c.id == Some(def.id))
        .flat_map(|c| &c.stats)
        .filter(|s| s.name == "viewers")
        .map(|s| s.value.max(0.0))
        .sum();
    Stream {
        name: def.name.clone(),
        live: def.live,
        since: since.filter(|_| def.live).map(|m| m.0),
        viewers: viewers as u64,
        tracks: def.tracks.iter().map(track).collect(),
    }
}

fn track(track: &Track) -> TrackOut {
    let layers = track
        .layers
        .iter()
        .map(|l| LayerOut { width: l.width, height: l.height, bitrate: l.bitrate })
        .collect();
    let kind = match track.codec.kind() {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    };
    TrackOut { name: track.name.clone(), kind, codec: track.codec.name(), layers }
}

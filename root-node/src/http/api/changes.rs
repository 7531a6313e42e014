//! Changing: streams are defined, changed, started, stopped and removed.

use super::super::HttpState;
use super::super::problem::{Problem, ProblemBody};
use super::auth::Operator;
use super::body::Body;
use super::fresh;
use super::streams::{Stream, describe};
use crate::config::StreamSection;
use crate::streams::{Definition, Refused, SourceRequest, TrackDefinition, TrackRequest};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::net::IpAddr;
use std::sync::Arc;
use utoipa::ToSchema;

/// A stream to be defined.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStream {
    /// Its name in addresses: 1 to 64 characters out of A-Z a-z 0-9 . _ -
    #[schema(example = "news")]
    name: String,
    /// Your words.
    label: Option<String>,
    /// Its tracks: 1 to 8; default for a stream with sources: H.264 and Opus.
    #[serde(default)]
    tracks: Vec<TrackRequest>,
    /// What the root fetches, or takes in, by itself: the best source first, 4 at most.
    #[serde(default)]
    sources: Vec<SourceRequest>,
    /// Whether it starts at once, and with the root; default: yes.
    start: Option<bool>,
}

/// What shall be changed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamChange {
    /// Your words.
    label: Option<String>,
    /// All its tracks anew. The stream must not be running.
    tracks: Option<Vec<TrackRequest>>,
    /// All its sources anew, with their secrets. The stream must not be running.
    sources: Option<Vec<SourceRequest>>,
}

fn resolve(tracks: &[TrackRequest], bind: IpAddr) -> Result<Vec<TrackDefinition>, Refused> {
    let numbered = tracks.iter().enumerate();
    numbered
        .map(|(number, track)| {
            track.resolve(bind).map_err(|refused| match refused {
                Refused::Invalid(text) => Refused::Invalid(format!("tracks[{number}]: {text}")),
                other => other,
            })
        })
        .collect()
}

/// What a stream with sources is unless somebody says otherwise.
fn sourced(bind: IpAddr) -> Vec<TrackDefinition> {
    let tracks = StreamSection::sourced_tracks();
    tracks.iter().map(|t| TrackDefinition { bind, ..TrackDefinition::of(t) }).collect()
}

/// Defines a stream and starts it.
#[utoipa::path(
    post, path = "/api/v1/streams", operation_id = "defineStream", tag = "streams",
    request_body = NewStream,
    security(("operator" = [])),
    responses(
        (status = 201, description = "It is defined", body = Stream,
            headers(("Location" = String, description = "Where it is"))),
        (status = 400, description = "The body is no JSON", body = ProblemBody),
        (status = 401, description = "No token, or one that is not good", body = ProblemBody),
        (status = 403, description = "A token for something else", body = ProblemBody),
        (status = 409, description = "There is one of this name, a port is in use, or there are too many",
            body = ProblemBody),
        (status = 413, description = "The body is too large", body = ProblemBody),
        (status = 415, description = "Content-Type is not application/json", body = ProblemBody),
        (status = 422, description = "Something in it makes no sense", body = ProblemBody),
        (status = 503, description = "The root is busy", body = ProblemBody),
    )
)]
pub async fn define(
    _operator: Operator,
    State(state): State<Arc<HttpState>>,
    Body(new): Body<NewStream>,
) -> Result<Response, Problem> {
    let bind = state.streams.bind();
    let sources = state.streams.resolve_sources(&new.name, new.sources).await?;
    let tracks = match (new.tracks.is_empty(), sources.is_empty()) {
        (true, false) => sourced(bind),
        _ => resolve(&new.tracks, bind)?,
    };
    let definition = Definition { label: new.label.unwrap_or_default(), tracks, sources };
    let info = state.streams.define(new.name, definition, new.start.unwrap_or(true)).await?;
    let location = format!("/api/v1/streams/{}", info.name);
    let location = HeaderValue::try_from(location).map_err(|_| Problem::from(Refused::Busy))?;
    let body = Json(describe(&state, info, true));
    Ok(fresh((StatusCode::CREATED, [(header::LOCATION, location)], body)))
}

/// Changes a stream.
#[utoipa::path(
    patch, path = "/api/v1/streams/{stream}", operation_id = "changeStream", tag = "streams",
    params(("stream" = String, Path, description = "Its name")),
    request_body = StreamChange,
    security(("operator" = [])),
    responses(
        (status = 200, description = "It is changed", body = Stream),
        (status = 400, description = "The body is no JSON", body = ProblemBody),
        (status = 401, description = "No token, or one that is not good", body = ProblemBody),
        (status = 403, description = "A token for something else", body = ProblemBody),
        (status = 404, description = "There is none of this name", body = ProblemBody),
        (status = 409, description = "It stands in the configuration, is running, or a port is in use",
            body = ProblemBody),
        (status = 413, description = "The body is too large", body = ProblemBody),
        (status = 415, description = "Content-Type is not application/json", body = ProblemBody),
        (status = 422, description = "Something in it makes no sense", body = ProblemBody),
    )
)]
pub async fn change(
    _operator: Operator,
    State(state): State<Arc<HttpState>>,
    Path(name): Path<String>,
    Body(change): Body<StreamChange>,
) -> Result<Response, Problem> {
    let tracks = change.tracks.map(|tracks| resolve(&tracks, state.streams.bind())).transpose()?;
    let sources = match change.sources {
        Some(sources) => Some(state.streams.resolve_sources(&name, sources).await?),
        None => None,
    };
    let apply = move |definition: &mut Definition| {
        if let Some(label) = change.label {
            definition.label = label;
        }
        if let Some(tracks) = tracks {
            definition.tracks = tracks;
        }
        if let Some(sources) = sources {
            definition.sources = sources;
        }
    };
    let info = state.streams.change(name, apply).await?;
    Ok(fresh(Json(describe(&state, info, true))))
}

/// Starts a stream; one that runs goes on.
#[utoipa::path(
    post, path = "/api/v1/streams/{stream}/start", operation_id = "startStream", tag = "streams",
    params(("stream" = String, Path, description = "Its name")),
    security(("operator" = [])),
    responses(
        (status = 200, description = "It runs", body = Stream),
        (status = 401, description = "No token, or one that is not good", body = ProblemBody),
        (status = 403, description = "A token for something else", body = ProblemBody),
        (status = 404, description = "There is none of this name", body = ProblemBody),
        (status = 409, description = "It stands in the configuration, or a port is in use",
            body = ProblemBody),
        (status = 503, description = "The root is busy", body = ProblemBody),
    )
)]
pub async fn start(
    _operator: Operator,
    State(state): State<Arc<HttpState>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let info = state.streams.begin(name).await?;
    Ok(fresh(Json(describe(&state, info, true))))
}

/// Stops a stream: its ports are closed and its viewers' sessions end.
#[utoipa::path(
    post, path = "/api/v1/streams/{stream}/stop", operation_id = "stopStream", tag = "streams",
    params(("stream" = String, Path, description = "Its name")),
    security(("operator" = [])),
    responses(
        (status = 200, description = "It is stopped", body = Stream),
        (status = 401, description = "No token, or one that is not good", body = ProblemBody),
        (status = 403, description = "A token for something else", body = ProblemBody),
        (status = 404, description = "There is none of this name", body = ProblemBody),
        (status = 409, description = "It stands in the configuration", body = ProblemBody),
        (status = 503, description = "The root is busy", body = ProblemBody),
    )
)]
pub async fn stop(
    _operator: Operator,
    State(state): State<Arc<HttpState>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let info = state.streams.stop(name).await?;
    Ok(fresh(Json(describe(&state, info, true))))
}

/// Removes a stream with its publish tokens.
#[utoipa::path(
    delete, path = "/api/v1/streams/{stream}", operation_id = "removeStream", tag = "streams",
    params(("stream" = String, Path, description = "Its name")),
    security(("operator" = [])),
    responses(
        (status = 204, description = "It is removed"),
        (status = 401, description = "No token, or one that is not good", body = ProblemBody),
        (status = 403, description = "A token for something else", body = ProblemBody),
        (status = 404, description = "There is none of this name", body = ProblemBody),
        (status = 409, description = "It stands in the configuration", body = ProblemBody),
        (status = 503, description = "The root is busy", body = ProblemBody),
    )
)]
pub async fn remove(
    _operator: Operator,
    State(state): State<Arc<HttpState>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    state.streams.remove(name).await?;
    Ok(fresh(StatusCode::NO_CONTENT.into_response()))
}

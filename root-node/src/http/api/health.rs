//! How the viewers of a stream fare, for whoever broadcasts it: what the tree's statistics say of them.
//! Not for everybody: it takes a publish token of the stream, or an operator's.

use super::super::HttpState;
use super::super::problem::{Problem, ProblemBody};
use super::auth::publisher_of;
use super::fresh;
use super::streams::{no_stream, viewers};
use crate::core::api::RootView;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use soleil_protocol::PipelineId;
use soleil_protocol::message::Stat;
use std::sync::Arc;
use utoipa::ToSchema;

/// How a stream's viewers fare. What nobody has reported is null.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct Health {
    /// Whether the stream is on air: packets come in.
    live: bool,
    /// Since when, in milliseconds since the epoch; null when it is off air.
    since: Option<u64>,
    /// Viewers of all leaves.
    viewers: u64,
    /// For how many viewers `loss` speaks.
    reporting: u64,
    /// Share of packets that viewers miss, from 0 to 1, before repair: the mean of all.
    loss: Option<f64>,
    /// The same of the leaf whose viewers miss most: a mean hides the few who suffer.
    worst_loss: Option<f64>,
    /// Round trip between leaf and viewer in milliseconds, mean.
    rtt_ms: Option<f64>,
    /// Jitter that viewers report in milliseconds, mean (RFC 3550 section 6.4.1).
    jitter_ms: Option<f64>,
    /// What a viewer receives in bit/s, mean.
    bitrate: Option<f64>,
}

/// How the viewers of a stream fare.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream}/health", operation_id = "showHealth", tag = "streams",
    params(("stream" = String, Path, description = "Its name")),
    security(("publisher" = []), ("operator" = [])),
    responses(
        (status = 200, description = "What the tree says of the viewers", body = Health),
        (status = 401, description = "No token, or one that is not good", body = ProblemBody),
        (status = 403, description = "A token for something else", body = ProblemBody),
        (status = 404, description = "There is none of this name", body = ProblemBody),
    )
)]
pub async fn show(
    State(state): State<Arc<HttpState>>,
    Path(stream): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    publisher_of(&stream, &headers, &state).await?;
    let info = state.streams.get(&stream).ok_or_else(no_stream)?;
    let since = state.on_air.borrow().get(&info.id).map(|since| since.0);
    let view = state.view.borrow().clone();
    Ok(fresh(Json(health(&view, info.id, since))))
}

/// What a view says of a stream; `since` counts while the view has it on air.
fn health(view: &RootView, id: PipelineId, since: Option<u64>) -> Health {
    let pipeline = view.pipelines.iter().find(|p| p.def.id == id);
    let live = pipeline.is_some_and(|p| p.def.live);
    let stats = pipeline.map(|p| p.stats.as_slice()).unwrap_or_default();
    let mean = |name: &str| find(stats, name).map(|stat| stat.value);
    let leaves = view.nodes.iter().filter(|node| node.attached).flat_map(|node| &node.stats);
    let losses = leaves
        .filter(|container| container.id == Some(id))
        .filter_map(|container| find(&container.stats, "fractionlost"));
    Health {
        live,
        since: since.filter(|_| live),
        viewers: viewers(view, id),
        reporting: find(stats, "fractionlost").and_then(|stat| stat.weight).unwrap_or(0.0) as u64,
        loss: mean("fractionlost"),
        worst_loss: losses.map(|stat| stat.value).reduce(f64::max),
        rtt_ms: mean("rtt"),
        jitter_ms: mean("viewerjitter"),
        bitrate: mean("bitrate"),
    }
}

fn find<'a>(stats: &'a [Stat], name: &str) -> Option<&'a Stat> {
    stats.iter().find(|stat| stat.name == name)
}

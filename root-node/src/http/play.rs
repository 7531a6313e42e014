//! `POST /whep/{stream}`: which leaf a viewer goes to. The answer is a 307, so the browser repeats
//! its offer there; the play ticket is in the URL, because browsers drop `Authorization` on a
//! redirect to another origin.

use super::HttpState;
use super::problem::Problem;
use crate::core::pick::Pick;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relay_node::identity::PlayTicket;
use soleil_protocol::Millis;
use std::sync::{Arc, PoisonError};

/// How long a play ticket is good, in milliseconds. Browsers follow at once; the rest is for
/// clocks of leaves that are somewhat off.
pub const TICKET_MILLIS: u64 = 60_000;
/// When to ask again for a stream that is not live, in seconds.
const RETRY_NOT_LIVE: u32 = 3;
/// When to ask again if no leaf is there or has room, in seconds: leaves report their viewers every two.
const RETRY_NO_LEAF: u32 = 5;
/// How long a preflight's answer is good for, in seconds (browsers allow two hours).
const PREFLIGHT_SECONDS: &str = "7200";

/// Sends a viewer to a leaf. The body is read (and thrown away) so that the connection stays good.
pub async fn play(
    State(state): State<Arc<HttpState>>,
    Path(stream): Path<String>,
    _offer: Bytes,
) -> Result<Response, Problem> {
    let now = state.clock.now();
    let view = state.view.borrow().clone();
    let pick = {
        let mut picker = state.picker.lock().unwrap_or_else(PoisonError::into_inner);
        picker.pick(now.mono, &view, &stream)
    };
    let (leaf, http) = match pick {
        Pick::Leaf { leaf, http, .. } => (leaf, http),
        Pick::UnknownStream if state.streams.get(&stream).is_none() => {
            return Err(super::api::no_stream());
        }
        // The tree does not know a stream that is stopped.
        Pick::UnknownStream | Pick::NotLive => {
            let text = format!("stream {stream} is not on air at present");
            return Err(Problem::new(StatusCode::CONFLICT, text).retry_after(RETRY_NOT_LIVE));
        }
        none @ (Pick::NoLeaf | Pick::Full) => {
            let text = match none {
                Pick::Full => "every leaf is full at present",
                _ => "no leaf is attached at present",
            };
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, text);
            return Err(problem.retry_after(RETRY_NO_LEAF));
        }
    };
    let expires = Millis(now.wall.millis().0 + TICKET_MILLIS);
    let internal = |error: String| {
        tracing::error!(%error, %leaf, "cannot send a viewer to its leaf");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the root can't make a play ticket")
    };
    let ticket = PlayTicket::new(&stream, &leaf, expires)
        .and_then(|t| t.sign(&state.tickets))
        .map_err(|e| internal(e.to_string()))?;
    let location = format!("{}/whep/{stream}?ticket={ticket}", http.trim_end_matches('/'));
    let location = HeaderValue::try_from(location).map_err(|e| internal(e.to_string()))?;
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
}

/// What may be posted, and the answer to a browser's preflight.
pub async fn options() -> Response {
    let headers = [
        (header::ALLOW, "POST, OPTIONS"),
        (header::HeaderName::from_static("accept-post"), "application/sdp"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, Authorization, If-Match"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

//! The requests of the event extension: POST makes a stream, GET reads it, DELETE ends it.

use super::{Kind, Refused, Wants};
use crate::http::Site;
use crate::http::problem::Problem;
use crate::http::request::{JSON, base, need_type, new_id, no_session, read_body, rng, session_id};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use relay_node::http_server::Hangup;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// The longest list of events: all that there are fit ten times.
const MAX_LIST_LEN: usize = 1_024;

/// A comment that says that the stream is alive; proxies give up after 30 to 60 seconds of silence.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// When one who has found no place shall come again.
const FULL_RETRY: u32 = 5;

/// The `Link` that announces the extension.
pub(in crate::http) fn link(session: &str) -> String {
    let events: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
    format!(
        "<{session}/events>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; \
         events=\"{}\"",
        events.join(",")
    )
}

/// `POST`: a stream of those events that the body names, or of all.
pub(in crate::http) async fn open(
    State(site): State<Arc<Site>>,
    Path((_, session)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let session = session_id(session)?;
    let text = read_body(body, MAX_LIST_LEN).await?;
    // The list may be left out (then nothing need be said of its type).
    let wants = if text.is_empty() {
        Wants::all()
    } else {
        need_type(&headers, JSON)?;
        let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
        let names: Vec<String> = serde_json::from_str(&text)
            .map_err(|_| bad("the body must be a JSON array of event names".to_owned()))?;
        Wants::named(names.iter().map(String::as_str)).map_err(|name| {
            let name: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
            bad(format!("there are no events of the name {name:?}"))
        })?
    };
    let id = new_id(&mut rng()?);
    site.events.open(&session, id.clone(), wants).map_err(|refused| match refused {
        Refused::NoSession => no_session(),
        Refused::SessionFull => {
            Problem::new(StatusCode::CONFLICT, "the session has all the event streams it may have")
        }
        Refused::LeafFull => {
            let text = "all event streams of this leaf are taken";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(FULL_RETRY)
        }
    })?;
    site.metrics.event_streams.add(1);
    // As it came: the stream's name in it is the client's, escapes and all.
    let location = format!("{}{}/{id}", base(&site, &headers), uri.path());
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// `GET`: the events as they come.
pub(in crate::http) async fn read(
    State(site): State<Arc<Site>>,
    Extension(hangup): Extension<Hangup>,
    Path((_, session, id)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    let session = session_id(session)?;
    let (queue, reader) = site.events.read(&session, &id, hangup).ok_or_else(no_stream)?;
    let events = futures_util::stream::unfold((queue, reader), |(queue, reader)| async move {
        let item = queue.next(reader).await?;
        let event = Event::default().event(item.kind.name()).data(item.data);
        Some((Ok::<_, Infallible>(event), (queue, reader)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// `HEAD`: whether the stream is there, and what it is; takes it from nobody.
pub(in crate::http) async fn look(
    State(site): State<Arc<Site>>,
    Path((_, session, id)): Path<(String, String, String)>,
) -> Result<Response, Problem> {
    if !site.events.has(&session_id(session)?, &id) {
        return Err(no_stream());
    }
    Ok([(header::CONTENT_TYPE, "text/event-stream")].into_response())
}

/// `DELETE`: the stream ends, and what waits is dropped.
pub(in crate::http) async fn close(
    State(site): State<Arc<Site>>,
    Path((_, session, id)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    if site.events.close(&session_id(session)?, &id) {
        Ok(StatusCode::OK)
    } else {
        Err(no_stream())
    }
}

fn no_stream() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such event stream")
}

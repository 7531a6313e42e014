//! The WHEP methods.

use super::Site;
use super::problem::Problem;
use crate::metrics::Refusal;
use crate::occupancy::Full;
use crate::sdp::{self, AnswerOptions, Fragment, MAX_FRAGMENT_LEN, MAX_OFFER_LEN, Offer, SdpError};
use crate::session::SessionSetup;
use crate::session::ice::Credentials;
use crate::worker::{NewSession, SessionId, WORKER_LETTERS};
use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::http_server::ClientAddr;
use relay_node::identity::PlayTicket;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use soleil_protocol::pipeline::PipelineDef;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a client may take to send its offer, in the whole.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// When to come back if the stream is not on air.
const NOT_LIVE_RETRY: u32 = 2;

/// When to come back if there is no place: some viewer leaves every few seconds.
const FULL_RETRY: u32 = 5;

/// Length of our ICE user name fragment, the worker's letter included: 41 random bits are more
/// than the 24 of RFC 8445 section 5.3.
const UFRAG_LEN: usize = 8;

/// Length of our ICE password: 142 random bits (RFC 8445 section 5.3 wants 128).
const PASSWORD_LEN: usize = 24;

/// The query of a POST.
#[derive(Debug, Deserialize)]
pub(super) struct PlayQuery {
    ticket: Option<String>,
}

/// `OPTIONS`: what may be posted (RFC 9725 section 4.2).
pub(super) async fn options() -> Response {
    let accept = [("accept-post", "application/sdp"), ("accept-patch", TRICKLE)];
    (StatusCode::NO_CONTENT, accept).into_response()
}

const TRICKLE: &str = "application/trickle-ice-sdpfrag";

/// `POST`: an offer in, an answer out.
pub(super) async fn join(
    State(site): State<Arc<Site>>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    Path(stream): Path<String>,
    Query(query): Query<PlayQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let refuse = |refusal, problem| {
        site.metrics.refuse(refusal);
        problem
    };
    if site.draining.load(Ordering::Relaxed) {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this leaf is leaving");
        return Err(refuse(Refusal::NotReady, problem.retry_after(1)));
    }
    if site.worker.failure().borrow().is_some() {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this leaf has failed");
        return Err(refuse(Refusal::NotReady, problem.retry_after(FULL_RETRY)));
    }
    let lack = *site.lack.borrow();
    if let Some(lack) = lack {
        // The root may not know yet that no media arrive here: another leaf is asked.
        let text = format!("this leaf is not ready: {lack}");
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, text);
        return Err(refuse(Refusal::NotReady, problem.retry_after(FULL_RETRY)));
    }
    if !is_type(&headers, "application/sdp") {
        let text = "the body must be application/sdp";
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        return Err(refuse(Refusal::Body, problem));
    }
    check_ticket(&site, &stream, query.ticket.as_deref())?;
    let pipeline = find(&site, &stream)?;
    let permit = site.occupancy.enter(client.ip()).map_err(|full| {
        let (refusal, text) = match full {
            Full::Viewers => (Refusal::Full, "all places of this leaf are taken"),
            Full::Address => (Refusal::Address, "too many sessions from your address"),
            Full::Connecting => (Refusal::Handshakes, "too many viewers are connecting"),
        };
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, text);
        refuse(refusal, problem.retry_after(FULL_RETRY))
    })?;
    let text = read_body(body, MAX_OFFER_LEN).await.map_err(|p| refuse(Refusal::Body, p))?;
    let offer = Offer::parse(&text).map_err(|error| {
        refuse(Refusal::BadOffer, Problem::new(StatusCode::BAD_REQUEST, error.to_string()))
    })?;

    let mut rng = StdRng::from_seed(seed()?);
    let credentials = Credentials {
        local_ufrag: ufrag(&site, &mut rng),
        local_password: word(&mut rng, PASSWORD_LEN),
        remote_ufrag: offer.ice_ufrag.clone(),
        remote_password: offer.ice_pwd.clone(),
    };
    let addresses = site.reach.candidates(client.ip());
    let cname = word(&mut rng, 16);
    let options = AnswerOptions {
        ice_ufrag: &credentials.local_ufrag,
        ice_pwd: &credentials.local_password,
        fingerprint: site.fingerprint,
        addresses: &addresses,
        cname: &cname,
    };
    let answer =
        sdp::answer(&offer, &pipeline, &options, &mut rng).map_err(|error| match error {
            SdpError::Bad(text) => {
                refuse(Refusal::BadOffer, Problem::new(StatusCode::BAD_REQUEST, text))
            }
            SdpError::NoCommonCodec(text) => {
                refuse(Refusal::NoCommonCodec, Problem::new(StatusCode::NOT_ACCEPTABLE, text))
            }
        })?;

    let id = SessionId(format!("{:032x}", rng.random::<u128>()));
    let etag = etag(&credentials.local_ufrag);
    let location = format!("{}/whep/{stream}/{}", base(&site, &headers), id.0);
    let mut response = (StatusCode::CREATED, answer.sdp).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/sdp"));
    out.insert(header::LOCATION, value(&location)?);
    out.insert(header::ETAG, value(&etag)?);
    out.insert("accept-patch", HeaderValue::from_static(TRICKLE));
    let now = site.clock.now();
    for server in &site.ice_servers {
        out.append(header::LINK, value(&server.link(now.wall))?);
    }
    site.metrics.joins.add(1);
    tracing::debug!(%client, stream, session = id.0, "a viewer joins");
    site.worker.add(NewSession {
        id,
        setup: SessionSetup {
            credentials,
            offer_len: offer.len,
            fingerprint: offer.fingerprint,
            pipeline: pipeline.id,
            tracks: answer.tracks,
            cname,
            timeouts: site.timeouts,
        },
        permit,
        wanted: site.demand.want(pipeline.id),
        seed: seed()?,
    });
    Ok(response)
}

/// `DELETE`: the viewer goes.
pub(super) async fn leave(
    State(site): State<Arc<Site>>,
    Path((_, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    if is_id(&session) && site.worker.remove(SessionId(session)).await {
        Ok(StatusCode::OK)
    } else {
        Err(no_session())
    }
}

/// `PATCH`: candidates are taken note of (a lite agent needs none: it learns addresses from the
/// viewer's checks); new credentials restart ICE (RFC 9725 section 4.3.3).
pub(super) async fn change(
    State(site): State<Arc<Site>>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    Path((_, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if !is_type(&headers, TRICKLE) {
        let text = format!("the body must be {TRICKLE}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let id = Some(SessionId(session)).filter(|id| is_id(&id.0)).ok_or_else(no_session)?;
    let known = site.worker.ufrags(id.clone()).await;
    let (local, remote) = known.ok_or_else(no_session)?;
    let matching = headers.get(header::IF_MATCH).ok_or_else(|| {
        Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "If-Match with the session's ETag is needed",
        )
    })?;
    if !names(matching, &etag(&local)) {
        let text = "the ETag is not that of the present ICE session";
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, text));
    }
    let text = read_body(body, MAX_FRAGMENT_LEN).await?;
    let bad = |error: SdpError| Problem::new(StatusCode::BAD_REQUEST, error.to_string());
    let fragment = Fragment::parse(&text).map_err(bad)?;
    if fragment.ice_ufrag.is_none_or(|ufrag| ufrag == remote) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (remote_ufrag, remote_password) = fragment.credentials().map_err(bad)?;
    let mut rng = StdRng::from_seed(seed()?);
    let credentials = Credentials {
        local_ufrag: ufrag(&site, &mut rng),
        local_password: word(&mut rng, PASSWORD_LEN),
        remote_ufrag: remote_ufrag.to_owned(),
        remote_password: remote_password.to_owned(),
    };
    let (ours, password) = (&credentials.local_ufrag, &credentials.local_password);
    let addresses = site.reach.candidates(client.ip());
    let answer = fragment.answer(ours, password, &addresses).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer can't be written")
    })?;
    let etag = value(&etag(ours))?;
    if !site.worker.restart(id, credentials, fragment.len()).await {
        return Err(no_session());
    }
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TRICKLE));
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}

/// A new user name fragment of ours.
fn ufrag(site: &Site, rng: &mut StdRng) -> String {
    format!("{}{}", site.worker.letter(), word(rng, UFRAG_LEN - 1))
}

fn no_session() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such session")
}

fn check_ticket(site: &Site, stream: &str, ticket: Option<&str>) -> Result<(), Problem> {
    if !site.require_ticket {
        return Ok(());
    }
    let refuse = |status, text: String| {
        site.metrics.refuse(Refusal::Ticket);
        Problem::new(status, text)
    };
    let Some(ticket) = ticket else {
        let text = "a play ticket is needed: ask the root for the stream";
        return Err(refuse(StatusCode::UNAUTHORIZED, text.into()));
    };
    let identity = site.identity.borrow().clone().ok_or_else(|| {
        site.metrics.refuse(Refusal::NotReady);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this leaf has not joined the tree yet")
            .retry_after(FULL_RETRY)
    })?;
    let now = site.clock.now();
    PlayTicket::verify(ticket, &identity.ticket_key, now, stream, &identity.id).map(drop).map_err(
        |error| refuse(StatusCode::FORBIDDEN, format!("the play ticket is refused: {error}")),
    )
}

fn find(site: &Site, stream: &str) -> Result<PipelineDef, Problem> {
    let pipelines = site.pipelines.borrow().clone();
    let found = pipelines.values().find(|p| p.name == stream).cloned().ok_or_else(|| {
        site.metrics.refuse(Refusal::UnknownStream);
        Problem::new(StatusCode::NOT_FOUND, "there is no such stream")
    })?;
    if !found.live {
        site.metrics.refuse(Refusal::NotLive);
        return Err(Problem::new(StatusCode::CONFLICT, "the stream is not on air")
            .retry_after(NOT_LIVE_RETRY));
    }
    Ok(found)
}

async fn read_body(body: Body, max: usize) -> Result<String, Problem> {
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, max))
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long"))?;
    let bytes = read.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {max} bytes"))
    })?;
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not text"))
}

fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .is_some_and(|v| v.trim().eq_ignore_ascii_case(wanted))
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether an If-Match names the tag: `*`, or a list (RFC 9110 section 13.1.1; weak tags never do).
fn names(matching: &HeaderValue, etag: &str) -> bool {
    matching
        .to_str()
        .is_ok_and(|list| list.trim() == "*" || list.split(',').any(|tag| tag.trim() == etag))
}

fn etag(ufrag: &str) -> String {
    format!("\"{ufrag}\"")
}

/// The absolute beginning of our URLs: configured, or as the client calls us.
fn base(site: &Site, headers: &HeaderMap) -> String {
    if let Some(url) = &site.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let legal = |h: &&str| {
        h.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) && !h.is_empty()
    };
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).filter(legal);
    let scheme = if site.https { "https" } else { "http" };
    // Without a Host there is only the path left: still a valid reference.
    host.map_or_else(String::new, |host| format!("{scheme}://{host}"))
}

fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a header can't be written"))
}

fn seed() -> Result<[u8; 32], Problem> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the system gives no random numbers")
    })?;
    Ok(seed)
}

fn word(rng: &mut StdRng, len: usize) -> String {
    (0..len)
        .map(|_| char::from(WORKER_LETTERS[rng.random_range(0..WORKER_LETTERS.len())]))
        .collect()
}

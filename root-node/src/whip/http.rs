//! WHIP over HTTP (RFC 9725): the endpoint that takes offers, and the resource of each session. Section
//! numbers are those of the RFC.

mod access;

use super::answer::{Ours, answer};
use super::driver::{NewSession, Restarted, SessionId, Whip};
use super::offer::{Credentials, MAX_OFFER, Offer, OfferError};
use super::plan::Plan;
use super::publish::PublishCheck;
use super::session::Session;
use crate::http::headers;
use crate::http::problem::{self, Problem};
use crate::ingest::driver::IngestHandle;
use crate::ingest::feed;
use crate::ingest::{REPLACED_AFTER, TrackSpec};
use access::later;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use relay_node::clock::Clock;
use relay_node::config::candidates::Reach;
use relay_node::config::ice_servers::IceServer;
use relay_node::http_server::ClientAddr;
use relay_node::identity;
use relay_node::webrtc::fragment::{Fragment, MAX_FRAGMENT};
use relay_node::webrtc::http::{self, Matching, SDP, TRICKLE, etag, is_name, is_type};
use relay_node::webrtc::rate::Rate;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// When to come back if all places are taken.
const RETRY_FULL: Duration = Duration::from_secs(10);
/// When to come back to a root that is stopping: the next one is there soon.
const RETRY_STOPPING: Duration = Duration::from_secs(5);
/// When to come back for an address that asks too often: it has one request again by then.
const RETRY_OFTEN: Duration = Duration::from_secs(1);
/// Broadcasters of one address that [`Rate`] reckons with: a studio behind NAT.
pub const BROADCASTERS_OF_AN_ADDRESS: usize = 16;
/// How long a preflight's answer is good for, in seconds (browsers allow two hours).
const PREFLIGHT_SECONDS: &str = "7200";
/// Length of a session's name in hexadecimal digits.
const ID_LENGTH: usize = 32;

/// A stream that may be broadcast.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where media goes.
    pub ingest: IngestHandle,
    /// What the stream is defined for.
    pub tracks: Vec<TrackSpec>,
}

/// A stream that there is.
#[derive(Debug, Clone)]
pub enum Found {
    /// It takes a broadcaster in.
    Open(Target),
    /// An operator has stopped it.
    Stopped,
    /// It shall run, and can't.
    Failed,
}

/// Finds streams by name.
pub trait Streams: Send + Sync + std::fmt::Debug {
    /// The stream of this name.
    fn find(&self, name: &str) -> Option<Found>;
}

/// What the handlers need.
#[derive(Debug)]
pub struct WhipSite {
    /// Where sessions go.
    pub whip: Whip,
    /// What there is to broadcast.
    pub streams: Arc<dyn Streams>,
    /// Who may.
    pub tokens: Arc<dyn PublishCheck>,
    /// Where the port is reached.
    pub reach: Reach,
    /// STUN and TURN servers for broadcasters.
    pub ice_servers: Vec<IceServer>,
    /// The base of Location; `None`: as the client calls us.
    pub public_url: Option<String>,
    /// Whether we speak HTTPS ourselves.
    pub https: bool,
    /// How often an address may ask.
    pub rate: Rate,
    /// Tells the time.
    pub clock: Clock,
    /// Whether the root is on its way out: then nobody new is let in.
    pub draining: CancellationToken,
}

/// All routes.
pub fn router(site: Arc<WhipSite>) -> Router {
    Router::new()
        .route("/whip/{stream}", get(endpoint).post(publish).options(endpoint_options))
        .route(
            "/whip/{stream}/{session}",
            get(look).patch(change).delete(end).options(session_options),
        )
        .layer(DefaultBodyLimit::max(MAX_OFFER))
        .layer(axum::middleware::from_fn_with_state(site.clone(), limit))
        .layer(axum::middleware::map_response(problem::same_form))
        .layer(axum::middleware::map_response(headers::open_to_all))
        .with_state(site)
}

/// 429 for an address that asks too often (section 5). Preflights are the browser's, and cost nothing.
async fn limit(
    State(site): State<Arc<WhipSite>>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method();
    if method == Method::OPTIONS || site.rate.take(site.clock.now().mono, client.ip()) {
        return next.run(request).await;
    }
    if method == Method::POST {
        site.whip.counters.refused.add(1);
    }
    let text = "too many requests from your address";
    later(StatusCode::TOO_MANY_REQUESTS, text, RETRY_OFTEN).into_response()
}

/// `GET` and `HEAD` of the endpoint: there is nothing to read (section 4.1). Says nothing about whether
/// there is a stream of that name: for that a token is needed.
async fn endpoint() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// `GET` and `HEAD` of a session: there is nothing to read, but it is there (section 4.1).
async fn look(
    State(site): State<Arc<WhipSite>>,
    Path((_, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let found = site.whip.look(session_id(session)?).await;
    found.map(|_| StatusCode::NO_CONTENT).ok_or_else(no_session)
}

/// `OPTIONS` of the endpoint (section 4.2): what may be posted, and a browser's preflight.
async fn endpoint_options() -> Response {
    options("GET, HEAD, POST, OPTIONS", header::HeaderName::from_static("accept-post"), SDP)
}

/// `OPTIONS` of a session.
async fn session_options() -> Response {
    options(
        "GET, HEAD, PATCH, DELETE, OPTIONS",
        header::HeaderName::from_static("accept-patch"),
        TRICKLE,
    )
}

fn options(allow: &'static str, accept: header::HeaderName, kind: &'static str) -> Response {
    let headers = [
        (header::ALLOW, allow),
        (accept, kind),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, Authorization, If-Match"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ];
    (StatusCode::OK, headers).into_response()
}

/// `POST`: an offer (section 4.2).
async fn publish(
    State(site): State<Arc<WhipSite>>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let published = begin(&site, client, &stream, &headers, &body).await;
    published.unwrap_or_else(|problem| {
        site.whip.counters.refused.add(1);
        tracing::debug!(%client, status = %problem.status(), "a broadcaster is refused");
        problem.into_response()
    })
}

async fn begin(
    site: &WhipSite,
    client: std::net::SocketAddr,
    stream: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Problem> {
    let target = access::authorize(site, stream, headers).await?;
    if site.draining.is_cancelled() {
        return Err(stopping());
    }
    need_type(headers, SDP)?;
    let text = std::str::from_utf8(body).map_err(|_| bad("the body is not text"))?;
    let offer = Offer::parse(text).map_err(refused_offer)?;
    let plan = Plan::new(&offer, &target.tracks).map_err(refused_offer)?;
    let place = site.whip.place().ok_or_else(|| {
        let text = "all places for broadcasters are taken";
        later(StatusCode::SERVICE_UNAVAILABLE, text, RETRY_FULL)
    })?;
    let feed = target.ingest.feed(site.whip.wishes()).await.map_err(|refused| {
        let status = match refused {
            feed::Refused::Busy => StatusCode::CONFLICT,
            feed::Refused::Ended => StatusCode::SERVICE_UNAVAILABLE,
        };
        // The same broadcaster after a crash has the stream again by then.
        later(status, refused.to_string(), REPLACED_AFTER)
    })?;
    let now = site.clock.instant(site.clock.now().mono);
    let certificate = &site.whip.certificate;
    let session = Session::new(now, &plan, &offer.ice, &offer.fingerprint, certificate)
        .map_err(|error| internal(&error.to_string()))?;
    let random: [u8; 20] = identity::random().map_err(|error| internal(&error.to_string()))?;
    let (name, number) = random.split_at(ID_LENGTH / 2);
    let id = SessionId(name.iter().map(|b| format!("{b:02x}")).collect());
    let local = session.local().clone();
    let addresses = site.reach.candidates(client.ip());
    let ours = Ours {
        ice: &local,
        fingerprint: certificate.fingerprint(),
        addresses: &addresses,
        session: number.iter().fold(0, |sum, b| (sum << 8) | u32::from(*b)) >> 1,
    };
    let sdp = answer(&plan, &ours).map_err(|error| internal(&error.to_string()))?;
    let location = format!("{}/whip/{stream}/{}", base(site, headers), id.0);
    let stream = stream.to_owned();
    if !site.whip.begin(NewSession { id, stream, session, feed, place }).await {
        return Err(stopping());
    }
    let mut response = (StatusCode::CREATED, sdp).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    out.insert(header::LOCATION, value(&location)?);
    out.insert(header::ETAG, value(&etag(&local.ufrag))?);
    out.insert("accept-patch", HeaderValue::from_static(TRICKLE));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Section 4.6.
    for server in &site.ice_servers {
        out.append(header::LINK, value(&server.link(site.clock.now().wall))?);
    }
    Ok(response)
}

/// `PATCH`: candidates, or a restart of ICE (section 4.3).
async fn change(
    State(site): State<Arc<WhipSite>>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    Path((_, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let id = session_id(session)?;
    let (local, remote) = site.whip.look(id.clone()).await.ok_or_else(no_session)?;
    need_type(&headers, TRICKLE)?;
    let matching = Matching::of(&headers, &etag(&local.ufrag));
    match matching {
        Matching::Any | Matching::This => {}
        Matching::Other => return Err(changed()),
        Matching::Missing => {
            let text = "If-Match with the session's ETag is needed";
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, text));
        }
    }
    if body.len() > MAX_FRAGMENT {
        let text = format!("the fragment is larger than {MAX_FRAGMENT} bytes");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let text = std::str::from_utf8(&body).map_err(|_| bad("the body is not text"))?;
    let fragment = Fragment::parse(text).map_err(|error| bad(&error.to_string()))?;
    if fragment.ice_ufrag.is_none_or(|ufrag| ufrag == remote.ufrag) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (ufrag, pwd) = fragment.credentials().map_err(|error| bad(&error.to_string()))?;
    let credentials = Credentials::new(ufrag, pwd).map_err(refused_offer)?;
    let current = (matching == Matching::This).then_some(local.ufrag);
    let ours = match site.whip.restart(id, current, credentials).await {
        Restarted::Done(ours) => ours,
        Restarted::Gone => return Err(no_session()),
        Restarted::Changed => return Err(changed()),
        Restarted::Failed(error) => {
            let text = format!("ICE can't be restarted: {error}");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text));
        }
    };
    let addresses = site.reach.candidates(client.ip());
    let answer = fragment
        .answer(&ours.ufrag, &ours.pwd, &addresses)
        .map_err(|error| internal(&error.to_string()))?;
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TRICKLE));
    response.headers_mut().insert(header::ETAG, value(&etag(&ours.ufrag))?);
    Ok(response)
}

/// `DELETE`: the broadcaster goes (section 4.2). Conditions are not looked at (section 4.3.1).
async fn end(
    State(site): State<Arc<WhipSite>>,
    Path((_, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = session_id(session)?;
    if site.whip.end(id).await { Ok(StatusCode::OK) } else { Err(no_session()) }
}

/// 415 unless the body is of the type.
fn need_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    if is_type(headers, wanted) {
        return Ok(());
    }
    let text = format!("the body must be {wanted}");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

fn refused_offer(error: OfferError) -> Problem {
    let status = match error {
        OfferError::Malformed(_) => StatusCode::BAD_REQUEST,
        OfferError::Unacceptable(_) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Problem::new(status, error.to_string())
}

fn stopping() -> Problem {
    later(StatusCode::SERVICE_UNAVAILABLE, "the root is stopping", RETRY_STOPPING)
}

fn bad(text: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, text)
}

fn changed() -> Problem {
    let text = "the ETag is not that of the present ICE session";
    Problem::new(StatusCode::PRECONDITION_FAILED, text)
}

/// The name of a session in a path; what can't be one is one that there is not.
fn session_id(text: String) -> Result<SessionId, Problem> {
    if is_name(&text, ID_LENGTH) { Ok(SessionId(text)) } else { Err(no_session()) }
}

fn no_session() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such session")
}

fn internal(error: &str) -> Problem {
    tracing::error!(%error, "a broadcaster can't be let in");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the root has failed")
}

fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::try_from(text).map_err(|_| internal("a header can't be written"))
}

/// The absolute beginning of our URLs: configured, or as the client calls us.
fn base(site: &WhipSite, headers: &HeaderMap) -> String {
    http::base(site.public_url.as_deref(), site.https, headers).unwrap_or_else(|| {
        // A Location is absolute, for whoever names no host as well.
        format!("{}://localhost", if site.https { "https" } else { "http" })
    })
}

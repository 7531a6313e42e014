//! The leaf's HTTP service: WHEP (draft-ietf-wish-whep-03 and its core extensions; RFC 9725 for the
//! parts that it shares with WHIP). It checks who comes and answers offers; sessions live in the
//! worker, and the listener is `relay_node::http_server`. `docs/whep.md` goes through the clauses.

mod change;
pub mod counter;
pub mod events;
pub use relay_node::config::ice_servers;
mod join;
pub mod layers;
mod problem;
mod request;

#[cfg(test)]
mod tests;

use crate::demand::Demand;
use crate::metrics::Metrics;
use crate::occupancy::Occupancy;
use crate::reach::Reach;
use crate::sdp::MAX_OFFER_LEN;
use crate::session::Timeouts;
use crate::session::dtls::Fingerprint;
use crate::worker::Workers;
use axum::Extension;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use counter::CounterOffers;
use events::{Events, handlers as stream};
use ice_servers::IceServer;
use problem::Problem;
use relay_node::clock::Clock;
use relay_node::control::api::Lack;
use relay_node::http_server::ClientAddr;
use relay_node::webrtc::rate::Rate;
use soleil_protocol::PipelineId;
use soleil_protocol::message::Identity;
use soleil_protocol::pipeline::PipelineDef;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::watch;

/// How long a page may remember what OPTIONS said, in seconds.
const PREFLIGHT_AGE: &str = "86400";

/// What the handlers need.
#[derive(Debug)]
pub struct Site {
    /// Where sessions go.
    pub workers: Workers,
    /// Of our DTLS certificate.
    pub fingerprint: Fingerprint,
    /// The clock.
    pub clock: Clock,
    /// Places.
    pub occupancy: Arc<Occupancy>,
    /// Wishes.
    pub demand: Arc<Demand>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What there is.
    pub pipelines: watch::Receiver<Arc<BTreeMap<PipelineId, PipelineDef>>>,
    /// Who we are, and the key that checks tickets.
    pub identity: watch::Receiver<Option<Identity>>,
    /// What the node lacks; nobody new while it is anything.
    pub lack: watch::Receiver<Option<Lack>>,
    /// Whether a ticket is needed.
    pub require_ticket: bool,
    /// The base of Location; `None`: as the client calls us.
    pub public_url: Option<String>,
    /// Whether we speak HTTPS ourselves.
    pub https: bool,
    /// STUN and TURN servers for viewers.
    pub ice_servers: Vec<IceServer>,
    /// Where the viewer port is reached.
    pub reach: Reach,
    /// How often an address may ask.
    pub rate: Rate,
    /// Offers of ours that wait for an answer.
    pub counters: Arc<CounterOffers>,
    /// Event streams.
    pub events: Arc<Events>,
    /// Time limits of sessions.
    pub timeouts: Timeouts,
    /// The node leaves: nobody new.
    pub draining: AtomicBool,
}

/// All routes.
pub fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/whep/{stream}", get(join::look).post(join::join).options(join::options))
        .route(
            "/whep/{stream}/{session}",
            get(change::look).patch(change::change).delete(change::leave).options(join::options),
        )
        .route("/whep/{stream}/{session}/events", post(stream::open).options(events_options))
        .route(
            "/whep/{stream}/{session}/events/{id}",
            get(stream::read).head(stream::look).delete(stream::close).options(events_options),
        )
        .route("/whep/{stream}/{session}/layer", post(layers::select).options(events_options))
        .layer(DefaultBodyLimit::max(MAX_OFFER_LEN))
        .layer(axum::middleware::from_fn_with_state(site.clone(), limit))
        .layer(axum::middleware::map_response(add_headers))
        .with_state(site)
}

/// `OPTIONS` of the extensions.
async fn events_options() -> Response {
    (StatusCode::OK, [("accept-post", request::JSON)]).into_response()
}

/// 429 for an address that asks too often. Preflights are the browser's, and cost nothing.
async fn limit(
    State(site): State<Arc<Site>>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    request: Request,
    next: Next,
) -> Response {
    let free = request.method() == Method::OPTIONS;
    if free || site.rate.take(site.clock.now().mono, client.ip()) {
        return next.run(request).await;
    }
    site.metrics.limited.add(1);
    let text = "too many requests from your address";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, text).retry_after(1).into_response()
}

/// CORS: any page may play what its viewer has a ticket for (there are no cookies), and must see
/// the headers that WHEP works with. Nothing here may be cached.
async fn add_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PATCH, DELETE, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, if-match"),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "location, link, etag, accept-post, accept-patch, retry-after",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

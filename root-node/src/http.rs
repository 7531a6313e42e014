//! What the root shows to browsers: pages, the list of streams, and the way to a leaf (INTERFACE
//! "HTTP"), and the API by which operators change streams. Handlers read snapshots; what changes
//! something goes through `streams::Registry`. Sockets are in `relay_node::http_server`.

mod api;
pub(crate) mod headers;
mod pages;
mod play;
pub mod problem;
#[cfg(test)]
mod tests;

pub(crate) use api::no_stream;

use crate::core::api::RootView;
use crate::core::pick::LeafPicker;
use crate::store::Store;
use crate::streams::Registry;
use crate::whip;
use crate::whip::PublishCheck;
use crate::whip::http::WhipSite;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{get, post};
use relay_node::clock::Clock;
use relay_node::identity::SigningKey;
use soleil_protocol::{Millis, PipelineId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tower_http::timeout::TimeoutLayer;

/// Largest request body: an SDP offer of a browser has 3 to 8 KB, and here it is not even read; a
/// definition of the largest stream has some 20 KB.
pub const MAX_BODY: usize = 64 * 1024;
/// How long a request may take, body included. Changes of streams wait for the tree, 5 s at most.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Since when each stream has been on air; a stream that is not in it is off air.
pub type OnAir = Arc<BTreeMap<PipelineId, Millis>>;

/// What the handlers know.
#[derive(Debug)]
pub struct HttpState {
    /// The tree.
    pub view: watch::Receiver<Arc<RootView>>,
    /// Since when streams have been on air.
    pub on_air: watch::Receiver<OnAir>,
    /// Chooses leaves.
    pub picker: Mutex<LeafPicker>,
    /// Signs play tickets.
    pub tickets: Arc<SigningKey>,
    /// Tells the time.
    pub clock: Clock,
    /// All streams.
    pub streams: Arc<Registry>,
    /// Knows tokens.
    pub store: Arc<Store>,
    /// Knows who may broadcast what.
    pub publishers: Arc<dyn PublishCheck>,
    /// Broadcasters over WebRTC, if they are taken.
    pub whip: Option<Arc<WhipSite>>,
}

/// All routes.
pub fn router(state: Arc<HttpState>) -> Router {
    let whip = state.whip.clone().map(whip::http::router).unwrap_or_default();
    let open = Router::new()
        .route("/whep/{stream}", post(play::play).options(play::options))
        .layer(axum::middleware::map_response(problem::same_form))
        .layer(axum::middleware::map_response(headers::open_to_all));
    Router::new()
        .route("/", get(pages::index))
        .route("/watch/{stream}", get(pages::watch))
        .route("/broadcast", get(pages::broadcast))
        .route("/assets/{*path}", get(pages::asset))
        .merge(open)
        .merge(api::routes())
        .fallback(pages::other)
        .with_state(state)
        .merge(whip)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::map_response(problem::same_form))
        .layer(axum::middleware::map_response(headers::secure))
}

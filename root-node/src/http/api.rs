//! `/api/v1`: streams and their publish tokens. Reading is open to all; changing takes an operator's
//! token (`auth`), and ports and tokens are shown to operators only; how viewers fare is shown to who
//! broadcasts as well (`health`). The OpenAPI text is made out of what stands beside the handlers
//! (`openapi`).

pub mod auth;
mod body;
mod changes;
mod health;
mod openapi;
mod streams;
mod tokens;

pub use streams::no_stream;

use super::problem::Problem;
use super::{HttpState, headers};
use crate::store::StoreError;
use crate::streams::Refused;
use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use std::sync::Arc;

/// When to try again what the root was too busy for, in seconds.
const RETRY_BUSY: u32 = 2;

/// All routes of the API.
pub fn routes() -> Router<Arc<HttpState>> {
    Router::new()
        .route("/api/v1/openapi.json", get(openapi::document).options(preflight))
        .route("/api/v1/streams", get(streams::list).post(changes::define).options(preflight))
        .route(
            "/api/v1/streams/{stream}",
            get(streams::one).patch(changes::change).delete(changes::remove).options(preflight),
        )
        .route("/api/v1/streams/{stream}/health", get(health::show))
        .route("/api/v1/streams/{stream}/start", post(changes::start))
        .route("/api/v1/streams/{stream}/stop", post(changes::stop))
        .route("/api/v1/streams/{stream}/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/streams/{stream}/tokens/{token}", delete(tokens::revoke))
        .route("/api/{*path}", any(unknown))
        .layer(axum::middleware::from_fn(headers::open_reads))
}

/// Anything else under `/api`.
async fn unknown() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "there is no such resource: /api/v1/openapi.json says what there is",
    )
}

/// What a browser may do on behalf of another site: read, without a token.
async fn preflight() -> Response {
    let headers = [(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD")];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// An answer that is true at this moment only.
fn fresh(body: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], body).into_response()
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Unknown => StatusCode::NOT_FOUND,
            Refused::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refused::Exists(_)
            | Refused::Configured(_)
            | Refused::Running(_)
            | Refused::Ports(_)
            | Refused::Full(_) => StatusCode::CONFLICT,
            Refused::Busy => {
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, refused.to_string());
                return problem.retry_after(RETRY_BUSY);
            }
            Refused::Store(error) => return error.into(),
        };
        Problem::new(status, refused.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(text) => Problem::new(StatusCode::CONFLICT, text),
            other => {
                tracing::error!(error = %other, "the API can't use the database");
                let text = "the root can't use its database: its log says why";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}

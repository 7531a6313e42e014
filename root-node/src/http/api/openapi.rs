//! `/api/v1/openapi.json`: the API for machines, made out of what stands beside the handlers.

use super::super::problem::ProblemBody;
use super::{changes, health, streams, tokens};
use axum::Json;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Soleil",
        description = "Streams of a Soleil root. Errors are application/problem+json (RFC 9457).",
    ),
    paths(
        document,
        streams::list, streams::one, health::show,
        changes::define, changes::change, changes::start, changes::stop, changes::remove,
        tokens::list, tokens::create, tokens::revoke,
    ),
    components(schemas(ProblemBody)),
    modifiers(&Schemes),
)]
pub struct Api;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let schemes = [
            ("operator", "An operator's token: `root-node token create --role operator`."),
            ("publisher", "A publish token of the stream, as WHIP takes it."),
        ];
        for (name, text) in schemes {
            let mut bearer = Http::new(HttpAuthScheme::Bearer);
            bearer.description = Some(text.to_owned());
            components.add_security_scheme(name, SecurityScheme::Http(bearer));
        }
    }
}

/// This text.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", operation_id = "openapi", tag = "api",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
pub async fn document() -> Response {
    Json(Api::openapi()).into_response()
}

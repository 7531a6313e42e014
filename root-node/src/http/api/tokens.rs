//! Publish tokens of a stream: whoever has one may send it.

use super::super::HttpState;
use super::super::problem::{Problem, ProblemBody};
use super::auth::Operator;
use super::body::Body;
use super::{fresh, streams::no_stream};
use crate::cli::lifetime;
use crate::store::access::{ApiTokenRow, Right};
use crate::store::{Store, StoreError};
use crate::streams::Refused;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use soleil_protocol::Wall;
use std::sync::Arc;
use utoipa::ToSchema;

/// A token to be made.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Your words.
    label: Option<String>,
    /// How long it is good, like `30m`, `24h` or `7d`; default: no end.
    #[schema(example = "24h")]
    ttl: Option<String>,
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
pub struct Token {
    /// Its number.
    id: String,
    /// The whole token. It is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    label: String,
    /// `valid`, `expired` or `revoked`.
    state: &'static str,
    /// When it was made, in milliseconds since the epoch.
    created: u64,
    /// When it runs out; null means never.
    expires: Option<u64>,
    /// When it was revoked.
    revoked: Option<u64>,
}

/// The list.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    tokens: Vec<Token>,
}

impl Token {
    fn of(row: ApiTokenRow, now: Wall, token: Option<String>) -> Self {
        Self {
            state: row.state(now),
            id: row.id,
            token,
            label: row.label,
            created: row.created.0,
            expires: row.expires.map(|m| m.0),
            revoked: row.revoked.map(|m| m.0),
        }
    }
}

async fn stored<T: Send + 'static>(
    state: &HttpState,
    work: impl FnOnce(&Store, Wall) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let (store, now) = (state.store.clone(), state.clock.now().wall);
    let done = tokio::task::spawn_blocking(move || work(&store, now)).await;
    done.map_err(|_| Problem::from(Refused::Busy))?.map_err(Problem::from)
}

/// The publish tokens of a stream, without their secrets, the newest first.
#[utoipa::path(
    get, path = "/api/v1/streams/{stream}/tokens", operation_id = "listPublishTokens", tag = "tokens",
    params(("stream" = String, Path, description = "Its name")),
    security(("operator" = [])),
    responses(
        (status = 200, description = "Its tokens", body = TokenList),
        (status = 401, description = "No token, or one that is not good", body = ProblemBody),
        (status = 403, description = "A token for something else", body = ProblemBody),
        (status = 404, description = "There is no stream of this name", body = ProblemBody),
    )
)]
pub async fn list(
    _operator: Operator,
    State(state): State<Arc<HttpState>>,
    Path(stream): Path<String>,
) -> Result<Response, Problem> {
    state.streams.get(&stream).ok_or_else(no_stream)?;
    let now = state.clock.now().wall;
    let rows = stored(&state, move |store, _| store.publish_tokens(&stream)).await?;
    let tokens = rows.into_iter().map(|row| Token::of(row, now, None)).collect();
    Ok(fresh(Json(TokenList { tokens })))
}

/// Makes a publish token and shows it, this once.
#[utoipa::path(
    post, path = "/api/v1/streams/{stream}/tokens", operation_id = "createPublishToken", tag = "tokens",
    params(("stream" = String, Path, description = "Its name")),
    request_body = NewToken,
    security(("operator" = [])),
    responses(
        (status = 201, description = "The token", body = Token,
            headers(("Location" = String, description = "Where to revoke it"))),
        (status = 400, description = "The body is no JSON", body = ProblemBody),
        (status = 401, description = "No token, or one that is not good", body = ProblemBody),
        (status = 403, description = "A token for something else", body = ProblemBody),
        (status = 404, description = "There is no stream of this name", body = ProblemBody),
        (status = 409, description = "It has too many valid ones", body = ProblemBody),
        (status = 413, description = "The body is too large", body = ProblemBody),
        (status = 415, description = "Content-Type is not application/json", body = ProblemBody),
        (status = 422, description = "Something in it makes no sense", body = ProblemBody),
    )
)]
pub async fn create(
    _operator: Operator,
    State(state): State<Arc<HttpState>>,
    Path(stream): Path<String>,
    Body(new): Body<NewToken>,
) -> Result<Response, Problem> {
    state.streams.get(&stream).ok_or_else(no_stream)?;
    let invalid = |text: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text);
    let ttl = new.ttl.as_deref().map(lifetime).transpose();
    let ttl = ttl.map_err(|text| invalid(format!("ttl: {text}")))?;
    let label = new.label.unwrap_or_default();
    crate::store::access::check_label(&label).map_err(|e| invalid(e.to_string()))?;
    let right = Right::Publish(stream.clone());
    let made = stored(&state, move |store, now| {
        store.create_api_token(now, &right, ttl, &label).map(|made| (now, made))
    });
    let (now, (token, row)) = made.await?;
    tracing::info!(%stream, token = %token.id, "a publish token was made");
    let location = format!("/api/v1/streams/{stream}/tokens/{}", token.id);
    let location = HeaderValue::try_from(location).map_err(|_| Problem::from(Refused::Busy))?;
    let body = Json(Token::of(row, now, Some(token.to_string())));
    Ok(fresh((StatusCode::CREATED, [(header::LOCATION, location)], body)))
}

/// Takes a publish token back.
#[utoipa::path(
    delete, path = "/api/v1/streams/{stream}/tokens/{token}", operation_id = "revokePublishToken",
    tag = "tokens",
    params(
        ("stream" = String, Path, description = "The stream's name"),
        ("token" = String, Path, description = "The token's id"),
    ),
    security(("operator" = [])),
    responses(
        (status = 204, description = "It is revoked"),
        (status = 401, description = "No token, or one that is not good", body = ProblemBody),
        (status = 403, description = "A token for something else", body = ProblemBody),
        (status = 404, description = "There is none that is not revoked already", body = ProblemBody),
    )
)]
pub async fn revoke(
    _operator: Operator,
    State(state): State<Arc<HttpState>>,
    Path((stream, token)): Path<(String, String)>,
) -> Result<Response, Problem> {
    state.streams.get(&stream).ok_or_else(no_stream)?;
    let revoked =
        stored(&state, move |store, now| store.revoke_api_token(now, &token, Some(&stream)));
    if !revoked.await? {
        let text = "this stream has no such token that is not revoked already";
        return Err(Problem::new(StatusCode::NOT_FOUND, text));
    }
    Ok(fresh(StatusCode::NO_CONTENT.into_response()))
}

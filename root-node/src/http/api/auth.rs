//! Who asks. Tokens come as `Authorization: Bearer` (RFC 6750), never in the address, and are looked
//! at before anything of the body is read.

use super::super::HttpState;
use super::super::problem::Problem;
use crate::store::access::{AccessRefusal, Right};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use std::sync::Arc;

/// RFC 6750 section 3: nothing was shown.
const NONE: &str = "Bearer realm=\"soleil\"";
/// What was shown is not good.
const INVALID: &str = "Bearer realm=\"soleil\", error=\"invalid_token\"";
/// It is good, but not for this.
const TOO_LITTLE: &str = "Bearer realm=\"soleil\", error=\"insufficient_scope\"";
/// How an operator gets a token.
const HOW: &str = "make a token with `root-node token create --role operator` and send it as \
    `Authorization: Bearer TOKEN`";

/// Somebody who may change things. Without a token that says so the request is refused.
#[derive(Debug)]
pub struct Operator(());

/// Anybody. Whoever shows a token that is not good is told so.
#[derive(Debug)]
pub struct Reader {
    /// Whether he may see what operators see.
    pub operator: bool,
}

impl FromRequestParts<Arc<HttpState>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<HttpState>,
    ) -> Result<Self, Problem> {
        match right(&parts.headers, state).await? {
            Some(Right::Operate) => Ok(Operator(())),
            Some(other) => {
                let text = format!("a {}'s token does not open this: {HOW}", other.role());
                Err(Problem::new(StatusCode::FORBIDDEN, text).challenge(TOO_LITTLE))
            }
            None => {
                let text = format!("this is for operators: {HOW}");
                Err(Problem::new(StatusCode::UNAUTHORIZED, text).challenge(NONE))
            }
        }
    }
}

impl FromRequestParts<Arc<HttpState>> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<HttpState>,
    ) -> Result<Self, Problem> {
        let right = right(&parts.headers, state).await?;
        Ok(Reader { operator: right == Some(Right::Operate) })
    }
}

/// Lets through who may broadcast the stream, and operators.
///
/// # Errors
/// What to answer to everybody else.
pub async fn publisher_of(
    stream: &str,
    headers: &HeaderMap,
    state: &Arc<HttpState>,
) -> Result<(), Problem> {
    let token = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(bearer);
    if let Some(token) = token {
        let (publishers, stream) = (state.publishers.clone(), stream.to_owned());
        let token = token.to_owned();
        let check = move || publishers.check(&stream, Some(&token)).is_ok();
        // The store may be waiting for the disk. What fails here is looked at once more below.
        if tokio::task::spawn_blocking(check).await.unwrap_or(false) {
            return Ok(());
        }
    }
    const WHOSE: &str = "this is for who broadcasts the stream: send its publish token, or an \
        operator's, as `Authorization: Bearer TOKEN`";
    match right(headers, state).await? {
        Some(Right::Operate) => Ok(()),
        Some(Right::Publish(_)) => {
            Err(Problem::new(StatusCode::FORBIDDEN, WHOSE).challenge(TOO_LITTLE))
        }
        None => Err(Problem::new(StatusCode::UNAUTHORIZED, WHOSE).challenge(NONE)),
    }
}

/// The right that comes with the request; `None` if no token does.
async fn right(headers: &HeaderMap, state: &Arc<HttpState>) -> Result<Option<Right>, Problem> {
    let Some(header) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = header.to_str().ok().and_then(bearer).ok_or_else(|| {
        let text = format!("Authorization has not the form `Bearer TOKEN`: {HOW}");
        Problem::new(StatusCode::UNAUTHORIZED, text).challenge(INVALID)
    })?;
    let (store, token) = (state.store.clone(), token.to_owned());
    let now = state.clock.now().wall;
    // The store may be waiting for the disk.
    let checked = tokio::task::spawn_blocking(move || store.check_access(now, &token)).await;
    match checked.unwrap_or(Err(AccessRefusal::Unavailable)) {
        Ok(right) => Ok(Some(right)),
        Err(refusal @ AccessRefusal::Unavailable) => {
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, refusal.to_string())
                .retry_after(super::RETRY_BUSY))
        }
        Err(refusal) => {
            Err(Problem::new(StatusCode::UNAUTHORIZED, format!("{refusal}: {HOW}"))
                .challenge(INVALID))
        }
    }
}

/// The scheme's name may be in either case (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

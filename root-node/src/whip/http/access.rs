//! Who may broadcast which stream: the first question to every offer (RFC 9725 section 4.7.1).

use super::{Found, Target, WhipSite};
use crate::http::problem::Problem;
use crate::whip::Refused;
use axum::http::{HeaderMap, StatusCode};
use relay_node::webrtc::http::bearer;
use std::time::Duration;

/// When to come back if tokens can't be checked: a disk that was busy, or a database that was locked.
const RETRY_UNCHECKED: Duration = Duration::from_secs(2);
/// When to come back to a stream that does not run: somebody has to start it first.
const RETRY_RESTS: Duration = Duration::from_secs(10);

/// The stream, if the bearer of the request may broadcast it.
pub(super) async fn authorize(
    site: &WhipSite,
    stream: &str,
    headers: &HeaderMap,
) -> Result<Target, Problem> {
    let token = bearer(headers).map(str::to_owned);
    // Without a token nobody learns more than that one is needed.
    let found = site.streams.find(stream).filter(|_| token.is_some());
    // The store may be waiting for the disk.
    let (tokens, name) = (site.tokens.clone(), stream.to_owned());
    let checked = tokio::task::spawn_blocking(move || tokens.check(&name, token.as_deref())).await;
    let checked = checked.unwrap_or_else(|error| {
        tracing::error!(%error, "the check of a publish token has panicked");
        Err(Refused::Unavailable)
    });
    match (checked, found) {
        (Ok(()), Some(found)) => open(found),
        (Err(Refused::NoToken), _) => {
            Err(unauthorized("a publish token is needed: send it as Authorization: Bearer", false))
        }
        (_, None) => Err(crate::http::no_stream()),
        (Err(Refused::WrongToken), _) => {
            Err(unauthorized("the publish token is not this stream's", true))
        }
        (Err(Refused::NotOpen), _) => Err(unauthorized(
            "the stream has no publish token yet: set publish_token for it at the root",
            true,
        )),
        (Err(Refused::Unavailable), _) => {
            let text = "the root can't check tokens at the moment";
            Err(later(StatusCode::SERVICE_UNAVAILABLE, text, RETRY_UNCHECKED))
        }
    }
}

/// A stream that does not run is there all the same: that is a conflict with what it is doing (RFC
/// 9110 section 15.5.10), and may be over soon.
fn open(found: Found) -> Result<Target, Problem> {
    let text = match found {
        Found::Open(target) => return Ok(target),
        Found::Stopped => "the stream is stopped: an operator has to start it first",
        Found::Failed => {
            "the stream can't run at the moment: the root's list of streams tells operators why"
        }
    };
    Err(later(StatusCode::CONFLICT, text, RETRY_RESTS))
}

/// RFC 6750 section 3.
fn unauthorized(text: &str, invalid: bool) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, text).challenge(match invalid {
        true => "Bearer realm=\"whip\", error=\"invalid_token\"",
        false => "Bearer realm=\"whip\"",
    })
}

/// A refusal that says when to try again (RFC 9110 section 10.2.3).
pub(super) fn later(status: StatusCode, text: impl Into<String>, after: Duration) -> Problem {
    let seconds = u32::try_from(after.as_secs()).unwrap_or(u32::MAX);
    Problem::new(status, text).retry_after(seconds)
}

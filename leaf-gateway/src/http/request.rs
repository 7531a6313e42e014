//! What all handlers need of a request and of our names: bodies within limits, types, conditions,
//! URLs, random words.

use super::Site;
use super::problem::Problem;
use crate::worker::{SESSION_ID_LEN, SessionId, WORKER_LETTERS};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use relay_node::webrtc::http::{self, is_name, is_type};
use ring::rand::{SecureRandom, SystemRandom};
use std::time::Duration;

/// The bodies of extensions.
pub(super) const JSON: &str = "application/json";

/// How long a client may take to send a body, in the whole.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Length of our ICE user name fragment, the worker's letter included: 41 random bits are more
/// than the 24 of RFC 8445 section 5.3.
const UFRAG_LEN: usize = 8;

/// Length of our ICE password: 142 random bits (RFC 8445 section 5.3 wants 128).
pub(super) const PASSWORD_LEN: usize = 24;

/// A body as text.
pub(super) async fn read_body(body: Body, max: usize) -> Result<String, Problem> {
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, max))
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long"))?;
    let bytes = read.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {max} bytes"))
    })?;
    String::from_utf8(bytes.into())
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not text"))
}

/// 415 unless the body is of the type.
pub(super) fn need_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    if is_type(headers, wanted) {
        return Ok(());
    }
    let text = format!("the body must be {wanted}");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text))
}

/// The name of a session in a path; what can't be one is one that there is not.
pub(super) fn session_id(text: String) -> Result<SessionId, Problem> {
    if is_name(&text, SESSION_ID_LEN) { Ok(SessionId(text)) } else { Err(no_session()) }
}

/// A name of an event stream that can't be guessed: 128 random bits.
pub(super) fn new_id(rng: &mut StdRng) -> String {
    format!("{:032x}", rng.random::<u128>())
}

pub(super) fn no_session() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such session")
}

pub(super) fn bad(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error.to_string())
}

/// The absolute beginning of our URLs: configured, or as the client calls us.
pub(super) fn base(site: &Site, headers: &HeaderMap) -> String {
    // Without a Host there is only the path left: still a valid reference.
    http::base(site.public_url.as_deref(), site.https, headers).unwrap_or_default()
}

/// A header's value.
pub(super) fn value(text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text)
        .map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a header can't be written"))
}

/// Randomness from the system.
pub(super) fn seed() -> Result<[u8; 32], Problem> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the system gives no random numbers")
    })?;
    Ok(seed)
}

/// A generator of names and secrets.
pub(super) fn rng() -> Result<StdRng, Problem> {
    Ok(StdRng::from_seed(seed()?))
}

/// A random word.
pub(super) fn word(rng: &mut StdRng, len: usize) -> String {
    (0..len)
        .map(|_| char::from(WORKER_LETTERS[rng.random_range(0..WORKER_LETTERS.len())]))
        .collect()
}

/// A new ICE user name fragment of ours, for a session of the worker with this letter.
pub(super) fn ufrag(letter: char, rng: &mut StdRng) -> String {
    format!("{letter}{}", word(rng, UFRAG_LEN - 1))
}

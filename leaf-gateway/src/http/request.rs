//! What all handlers need of a request and of our names: bodies within limits, types, conditions,
//! URLs, random words.

use super::Site;
use super::problem::Problem;
use crate::sdp::SdpError;
use crate::worker::{SESSION_ID_LEN, SessionId, WORKER_LETTERS};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use ring::rand::{SecureRandom, SystemRandom};
use std::time::Duration;

/// Fragments of candidates and ICE credentials (RFC 8840 section 9).
pub(super) const TRICKLE: &str = "application/trickle-ice-sdpfrag";

/// Offers and answers.
pub(super) const SDP: &str = "application/sdp";

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

/// Whether the body says that it is of a type; parameters do not count.
pub(super) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .is_some_and(|v| v.trim().eq_ignore_ascii_case(wanted))
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
    let legal = text.len() == SESSION_ID_LEN && is_hex(&text);
    if legal { Ok(SessionId(text)) } else { Err(no_session()) }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A name of an event stream that can't be guessed: 128 random bits.
pub(super) fn new_id(rng: &mut StdRng) -> String {
    format!("{:032x}", rng.random::<u128>())
}

pub(super) fn no_session() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such session")
}

pub(super) fn bad(error: SdpError) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error.to_string())
}

/// Whether an If-Match names the tag: `*`, or a list (RFC 9110 section 13.1.1; weak tags never do).
/// The drafts' examples write `"*"` where they say `*`: both are taken (no tag of ours is `"*"`).
pub(super) fn names(matching: &HeaderValue, etag: &str) -> bool {
    matching.to_str().is_ok_and(|list| {
        matches!(list.trim(), "*" | "\"*\"") || list.split(',').any(|tag| tag.trim() == etag)
    })
}

/// The tag of an ICE session.
pub(super) fn etag(ufrag: &str) -> String {
    format!("\"{ufrag}\"")
}

/// The absolute beginning of our URLs: configured, or as the client calls us.
pub(super) fn base(site: &Site, headers: &HeaderMap) -> String {
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

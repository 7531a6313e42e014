//! The web pages, embedded into the binary (built from `web/` by `make web`).

use super::headers;
use super::problem::Problem;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relay_node::identity::encoding::hex;
use rust_embed::RustEmbed;

/// What Vite built, embedded in every build: a binary is all that one deploys.
#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist"]
#[allow_missing = true]
struct Pages;

/// Vite puts a hash of the content into the names under `/assets`: they never change.
const FOREVER: &str = "public, max-age=31536000, immutable";
/// Pages are asked for each time, and answered by 304 if they are the same.
const REVALIDATE: &str = "no-cache";

/// The list of streams.
pub async fn index(headers: HeaderMap) -> Response {
    page("index.html", &headers)
}

/// The viewer page; which stream it plays, it reads from its address.
pub async fn watch(headers: HeaderMap) -> Response {
    page("watch.html", &headers)
}

/// The broadcaster page; which stream it sends, and with which token, it reads from its address.
pub async fn broadcast(headers: HeaderMap) -> Response {
    headers::for_broadcasting(page("broadcast.html", &headers))
}

/// Scripts, styles and pictures.
pub async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    file(&format!("assets/{path}"), FOREVER, &headers).unwrap_or_else(not_found)
}

/// A file at the top (a favicon), or nothing.
pub async fn other(uri: axum::http::Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    let top = !path.is_empty() && !path.contains('/') && !path.ends_with(".html");
    let found = if top { file(path, REVALIDATE, &headers) } else { None };
    found.unwrap_or_else(not_found)
}

fn not_found() -> Response {
    let text =
        "there is no such page: / lists the streams, /watch/NAME plays one, /broadcast sends one";
    Problem::new(StatusCode::NOT_FOUND, text).into_response()
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    file(name, REVALIDATE, headers).unwrap_or_else(|| {
        let text = "this root-node was built without its web pages: run `make web`, build again";
        Problem::new(StatusCode::NOT_FOUND, text).into_response()
    })
}

fn file(path: &str, caching: &'static str, request: &HeaderMap) -> Option<Response> {
    let found = Pages::get(path)?;
    let tag = format!("\"{}\"", hex(&found.metadata.sha256_hash()[..16]));
    let known = request
        .get(header::IF_NONE_MATCH)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|t| t.trim().trim_start_matches("W/") == tag));
    let mime = found.metadata.mimetype();
    let mime = match mime {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    let value = |text: String| HeaderValue::try_from(text).ok();
    let headers = [
        (header::CONTENT_TYPE, value(mime)?),
        (header::ETAG, value(tag)?),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
    ];
    Some(if known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, found.data.into_owned()).into_response()
    })
}

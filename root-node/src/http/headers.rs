//! Response headers that protect (all responses) and that open (what other sites may call).

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;

/// Scripts, styles and workers come from here only. Leaves may be anywhere (WHEP is called with
/// `fetch`); video is a `MediaStream` or a blob.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; media-src 'self' blob: mediastream:; connect-src 'self' http: \
    https: ws: wss:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; \
    form-action 'self'";

/// The page that gets cameras and tokens calls nobody but us, and stands in no frame of others.
const BROADCAST_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; media-src 'self' blob: mediastream:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What pages may ask a browser for: nothing, except for the page that broadcasts.
const FEATURES: &str = "camera=(), microphone=(), display-capture=(), geolocation=()";
const BROADCAST_FEATURES: &str =
    "camera=(self), microphone=(self), display-capture=(self), geolocation=()";
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");

/// On the broadcaster page, in place of what every response has.
pub fn for_broadcasting(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let set = [
        (header::CONTENT_SECURITY_POLICY, BROADCAST_POLICY),
        (PERMISSIONS, BROADCAST_FEATURES),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// On every response.
pub async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let set = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
        (PERMISSIONS, FEATURES),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in set {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// On what pages of other sites may call: nothing here depends on cookies.
pub async fn open_to_all(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let set = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Location, Link, ETag, Retry-After"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The same for reads only: what changes something is not for pages of other sites, whoever's token
/// they have.
pub async fn open_reads(request: Request, next: Next) -> Response {
    let read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let response = next.run(request).await;
    if read { open_to_all(response).await } else { response }
}

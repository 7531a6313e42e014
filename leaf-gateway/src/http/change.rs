//! The WHEP session: candidates, ICE restarts, the answer to a counter-offer, the end.

use super::Site;
use super::join::{Agreed, check_ready};
use super::problem::Problem;
use super::request::{
    PASSWORD_LEN, bad, need_type, no_session, read_body, rng, session_id, ufrag, value, word,
};
use crate::metrics::Refusal;
use crate::sdp::{self, Fragment, MAX_FRAGMENT_LEN, MAX_OFFER_LEN, Offer, SdpError};
use crate::session::ice::Credentials;
use crate::worker::SessionId;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relay_node::http_server::ClientAddr;
use relay_node::webrtc::http::{Matching, SDP, TRICKLE, etag, is_type};
use std::net::IpAddr;
use std::sync::Arc;

/// `GET`: there is nothing to read, but the session is there (WHEP section 4.1).
pub(super) async fn look(
    State(site): State<Arc<Site>>,
    Path((_, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = session_id(session)?;
    let waits = site.counters.stands(site.clock.now().mono, &id);
    if waits || site.workers.ufrags(id).await.is_some() {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(no_session())
    }
}

/// `DELETE`: the viewer goes. Conditions are not looked at (WHEP section 4.4.1).
pub(super) async fn leave(
    State(site): State<Arc<Site>>,
    Path((_, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = session_id(session)?;
    let waited = site.counters.take(site.clock.now().mono, &id).is_some();
    if waited || site.workers.remove(id).await { Ok(StatusCode::OK) } else { Err(no_session()) }
}

/// `PATCH`: a fragment for ICE, or the answer to a counter-offer.
pub(super) async fn change(
    State(site): State<Arc<Site>>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    Path((_, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = session_id(session);
    if is_type(&headers, SDP) {
        let id = id?;
        let now = site.clock.now().mono;
        return if site.counters.stands(now, &id) {
            answered(&site, id, body).await
        } else if site.workers.ufrags(id).await.is_some() {
            need_type(&headers, TRICKLE).map(|()| StatusCode::NO_CONTENT.into_response())
        } else {
            Err(no_session())
        };
    }
    need_type(&headers, TRICKLE)?;
    fragment(&site, client.ip(), id?, &headers, body).await
}

/// Candidates are taken note of (a lite agent needs none: it learns addresses from the viewer's
/// checks); new credentials restart ICE (RFC 9725 section 4.3.3).
async fn fragment(
    site: &Site,
    client: IpAddr,
    id: SessionId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let known = site.workers.ufrags(id.clone()).await;
    let (local, remote) = known.ok_or_else(no_session)?;
    match Matching::of(headers, &etag(&local)) {
        Matching::Any | Matching::This => {}
        Matching::Missing => {
            let text = "If-Match with the session's ETag is needed";
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, text));
        }
        Matching::Other => {
            let text = "the ETag is not that of the present ICE session";
            return Err(Problem::new(StatusCode::PRECONDITION_FAILED, text));
        }
    }
    let text = read_body(body, MAX_FRAGMENT_LEN).await?;
    let fragment = Fragment::parse(&text).map_err(bad)?;
    if fragment.ice_ufrag.is_none_or(|ufrag| ufrag == remote) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let (remote_ufrag, remote_password) = fragment.credentials().map_err(bad)?;
    let mut rng = rng()?;
    let credentials = Credentials {
        // The session stays where it is.
        local_ufrag: ufrag(local.chars().next().unwrap_or_default(), &mut rng),
        local_password: word(&mut rng, PASSWORD_LEN),
        remote_ufrag: remote_ufrag.to_owned(),
        remote_password: remote_password.to_owned(),
    };
    let (ours, password) = (&credentials.local_ufrag, &credentials.local_password);
    let addresses = site.reach.candidates(client);
    let answer = fragment.answer(ours, password, &addresses).map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer can't be written")
    })?;
    let etag = value(&etag(ours))?;
    if !site.workers.restart(id, credentials, fragment.len()).await {
        return Err(no_session());
    }
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TRICKLE));
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}

/// The viewer answers our counter-offer (WHEP section 4.2.2). What is no answer leaves it standing.
async fn answered(site: &Site, id: SessionId, body: Body) -> Result<Response, Problem> {
    check_ready(site)?;
    let refuse = |refusal, problem| {
        site.metrics.refuse(refusal);
        problem
    };
    let text = read_body(body, MAX_OFFER_LEN).await.map_err(|p| refuse(Refusal::Body, p))?;
    let answer = Offer::parse_answer(&text).map_err(|e| refuse(Refusal::BadOffer, bad(e)))?;
    let now = site.clock.now().mono;
    let waiting = site.counters.take(now, &id).ok_or_else(no_session)?;
    let (tracks, lines) = match sdp::accept(&answer, &waiting.tracks) {
        Ok(agreed) => agreed,
        Err(error) => {
            site.counters.keep(id, waiting);
            let (refusal, status) = match error {
                SdpError::Bad(_) => (Refusal::BadOffer, StatusCode::BAD_REQUEST),
                SdpError::NoCommonCodec(_) => {
                    (Refusal::NoCommonCodec, StatusCode::UNPROCESSABLE_ENTITY)
                }
            };
            return Err(refuse(refusal, Problem::new(status, error.to_string())));
        }
    };
    let viewer = Agreed {
        id,
        pipeline: waiting.pipeline,
        credentials: Credentials {
            local_ufrag: waiting.ufrag,
            local_password: waiting.password,
            remote_ufrag: answer.ice_ufrag,
            remote_password: answer.ice_pwd,
        },
        offer_len: answer.len,
        fingerprint: answer.fingerprint,
        tracks,
        lines,
        cname: waiting.cname,
        permit: waiting.permit,
        seat: waiting.seat,
    };
    viewer.begin(site)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

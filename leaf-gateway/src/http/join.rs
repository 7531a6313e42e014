//! The WHEP endpoint: an offer in, an answer out (WHEP section 4.2), and who may come.

use super::counter::{COUNTER_OFFER_LIFETIME, Waiting};
use super::events::handlers as events;
use super::problem::Problem;
use super::request::{
    PASSWORD_LEN, bad, base, need_type, read_body, rng, seed, ufrag, value, word,
};
use super::{Site, layers};
use crate::metrics::Refusal;
use crate::occupancy::{Full, Permit};
use crate::sdp::{self, Answer, AnswerOptions, MAX_OFFER_LEN, Offer, SdpError};
use crate::session::ice::Credentials;
use crate::session::track::TrackSetup;
use crate::session::{SessionSetup, dtls::Fingerprint};
use crate::worker::{NewSession, Seat, SessionId};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rand::Rng;
use relay_node::http_server::ClientAddr;
use relay_node::identity::PlayTicket;
use relay_node::webrtc::http::{SDP, TRICKLE, bearer, etag};
use serde::Deserialize;
use soleil_protocol::PipelineId;
use soleil_protocol::pipeline::PipelineDef;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// When to come back if the stream is not on air.
const NOT_LIVE_RETRY: u32 = 2;

/// When to come back if there is no place: some viewer leaves every few seconds.
const FULL_RETRY: u32 = 5;

/// The query of a POST.
#[derive(Debug, Deserialize)]
pub(super) struct PlayQuery {
    ticket: Option<String>,
}

/// `OPTIONS`: what may be posted (RFC 9725 section 4.2).
pub(super) async fn options() -> Response {
    let accept = [("accept-post", SDP), ("accept-patch", TRICKLE)];
    (StatusCode::OK, accept).into_response()
}

/// `GET` and `HEAD`: this is a WHEP endpoint, and there is nothing to read. Says nothing about
/// whether there is a stream of that name: for that a ticket may be needed.
pub(super) async fn look() -> Response {
    ([(header::CONTENT_TYPE, SDP)], Body::empty()).into_response()
}

/// `POST`.
pub(super) async fn join(
    State(site): State<Arc<Site>>,
    Extension(ClientAddr(client)): Extension<ClientAddr>,
    Path(stream): Path<String>,
    Query(query): Query<PlayQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let refuse = |refusal, problem| {
        site.metrics.refuse(refusal);
        problem
    };
    check_ready(&site).map_err(|p| refuse(Refusal::NotReady, p))?;
    need_type(&headers, SDP).map_err(|p| refuse(Refusal::Body, p))?;
    check_ticket(&site, &stream, query.ticket.as_deref(), &headers)?;
    let pipeline = find(&site, &stream)?;
    let permit = place(&site, client.ip())?;
    let text = read_body(body, MAX_OFFER_LEN).await.map_err(|p| refuse(Refusal::Body, p))?;
    let offer = Offer::parse(&text).map_err(|e| refuse(Refusal::BadOffer, bad(e)))?;

    let mut rng = rng()?;
    let seat = site.workers.seat();
    let (ufrag, password) = (ufrag(seat.letter(), &mut rng), word(&mut rng, PASSWORD_LEN));
    let (cname, id) = (word(&mut rng, 16), seat.id(rng.random()));
    let addresses = site.reach.candidates(client.ip());
    let options = AnswerOptions {
        ice_ufrag: &ufrag,
        ice_pwd: &password,
        fingerprint: site.fingerprint,
        addresses: &addresses,
        cname: &cname,
    };
    let location = format!("{}/whep/{stream}/{}", base(&site, &headers), id.0);
    tracing::debug!(%client, stream, session = id.0, "a viewer comes");
    match sdp::answer(&offer, &pipeline, &options, &mut rng) {
        Ok(Answer { sdp, tracks, lines }) => {
            let response = description(&site, StatusCode::CREATED, sdp, &location, &ufrag)?;
            let credentials = Credentials {
                local_ufrag: ufrag,
                local_password: password,
                remote_ufrag: offer.ice_ufrag,
                remote_password: offer.ice_pwd,
            };
            let viewer = Agreed {
                id,
                pipeline: pipeline.id,
                credentials,
                offer_len: offer.len,
                fingerprint: offer.fingerprint,
                tracks,
                lines,
                cname,
                permit,
                seat,
            };
            viewer.begin(&site)?;
            Ok(response)
        }
        Err(SdpError::Bad(text)) => {
            Err(refuse(Refusal::BadOffer, Problem::new(StatusCode::BAD_REQUEST, text)))
        }
        Err(SdpError::NoCommonCodec(text)) => {
            site.metrics.refuse(Refusal::NoCommonCodec);
            // What the stream has, for the viewer to answer.
            let counter =
                sdp::counter_offer(&pipeline, &options, &text, &mut rng).map_err(|_| {
                    Problem::new(StatusCode::CONFLICT, text).retry_after(NOT_LIVE_RETRY)
                })?;
            let status = StatusCode::NOT_ACCEPTABLE;
            let response = description(&site, status, counter.sdp, &location, &ufrag)?;
            let waiting = Waiting {
                until: site.clock.now().mono.after(COUNTER_OFFER_LIFETIME),
                pipeline: pipeline.id,
                tracks: counter.tracks,
                ufrag,
                password,
                cname,
                permit,
                seat,
            };
            site.counters.keep(id, waiting);
            Ok(response)
        }
    }
}

/// A session description of ours with all that a viewer has to know of the session.
fn description(
    site: &Site,
    status: StatusCode,
    sdp: String,
    location: &str,
    ufrag: &str,
) -> Result<Response, Problem> {
    let mut response = (status, sdp).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    out.insert(header::LOCATION, value(location)?);
    out.insert(header::ETAG, value(&etag(ufrag))?);
    out.insert("accept-patch", HeaderValue::from_static(TRICKLE));
    let now = site.clock.now();
    for server in &site.ice_servers {
        out.append(header::LINK, value(&server.link(now.wall))?);
    }
    for link in [events::link(location), layers::link(location)] {
        out.append(header::LINK, value(&link)?);
    }
    Ok(response)
}

/// A viewer with whom everything is agreed.
pub(super) struct Agreed {
    pub(super) id: SessionId,
    pub(super) pipeline: PipelineId,
    pub(super) credentials: Credentials,
    /// Length of what the viewer has sent.
    pub(super) offer_len: usize,
    pub(super) fingerprint: Fingerprint,
    pub(super) tracks: Vec<TrackSetup>,
    /// The media lines of the tracks.
    pub(super) lines: Vec<usize>,
    pub(super) cname: String,
    pub(super) permit: Permit,
    pub(super) seat: Seat,
}

impl Agreed {
    /// Hands it to its worker.
    pub(super) fn begin(mut self, site: &Site) -> Result<(), Problem> {
        let seed = seed()?;
        let lines = layers::lines(&self.tracks, &self.lines);
        self.permit.attach(site.events.list(self.id.clone(), self.pipeline, lines));
        site.metrics.joins.add(1);
        site.workers.add(NewSession {
            id: self.id,
            setup: SessionSetup {
                credentials: self.credentials,
                offer_len: self.offer_len,
                fingerprint: self.fingerprint,
                pipeline: self.pipeline,
                tracks: self.tracks,
                cname: self.cname,
                timeouts: site.timeouts,
            },
            permit: self.permit,
            seat: self.seat,
            wanted: site.demand.want(self.pipeline),
            seed,
        });
        Ok(())
    }
}

/// 503 while this leaf can't serve.
pub(super) fn check_ready(site: &Site) -> Result<(), Problem> {
    let refuse = |text: String, after| {
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(after))
    };
    if site.draining.load(Ordering::Relaxed) {
        return refuse("this leaf is leaving".to_owned(), 1);
    }
    if site.workers.failure().borrow().is_some() {
        return refuse("this leaf has failed".to_owned(), FULL_RETRY);
    }
    match *site.lack.borrow() {
        // The root may not know yet that no media arrive here: another leaf is asked.
        Some(lack) => refuse(format!("this leaf is not ready: {lack}"), FULL_RETRY),
        None => Ok(()),
    }
}

fn place(site: &Site, address: IpAddr) -> Result<Permit, Problem> {
    site.occupancy.enter(address).map_err(|full| {
        let (refusal, text) = match full {
            Full::Viewers => (Refusal::Full, "all places of this leaf are taken"),
            Full::Address => (Refusal::Address, "too many sessions from your address"),
            Full::Connecting => (Refusal::Handshakes, "too many viewers are connecting"),
        };
        site.metrics.refuse(refusal);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, text).retry_after(FULL_RETRY)
    })
}

/// A play ticket comes in the URL, as the root's redirect has it, or as a bearer token. One in the
/// URL goes before: a player may well send the root's token along to wherever it is sent.
fn check_ticket(
    site: &Site,
    stream: &str,
    ticket: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    if !site.require_ticket {
        return Ok(());
    }
    let Some(token) = ticket.or_else(|| bearer(headers)) else {
        site.metrics.refuse(Refusal::Ticket);
        let text = "a play ticket is needed: ask the root for the stream";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, text));
    };
    let identity = site.identity.borrow().clone().ok_or_else(|| {
        site.metrics.refuse(Refusal::NotReady);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "this leaf has not joined the tree yet")
            .retry_after(FULL_RETRY)
    })?;
    let now = site.clock.now();
    let checked = PlayTicket::verify(token, &identity.ticket_key, now, stream, &identity.id);
    checked.map(drop).map_err(|error| {
        site.metrics.refuse(Refusal::Ticket);
        let text = format!("the play ticket is refused: {error}");
        match ticket {
            Some(_) => Problem::new(StatusCode::FORBIDDEN, text),
            // RFC 6750 section 3.1.
            None => Problem::new(StatusCode::UNAUTHORIZED, text).invalid_token(),
        }
    })
}

fn find(site: &Site, stream: &str) -> Result<PipelineDef, Problem> {
    let pipelines = site.pipelines.borrow().clone();
    let found = pipelines.values().find(|p| p.name == stream).cloned().ok_or_else(|| {
        site.metrics.refuse(Refusal::UnknownStream);
        Problem::new(StatusCode::NOT_FOUND, "there is no such stream")
    })?;
    if !found.live {
        site.metrics.refuse(Refusal::NotLive);
        return Err(Problem::new(StatusCode::CONFLICT, "the stream is not on air")
            .retry_after(NOT_LIVE_RETRY));
    }
    Ok(found)
}

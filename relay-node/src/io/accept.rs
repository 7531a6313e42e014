//! Accepting control links: TCP, TLS, the WebSocket upgrade on `/soleil`, and who it is.

use super::TokenCheck;
use super::conn::{Connection, LinkEvent, Shared, web_socket_config};
use super::gate::{Gate, Place};
use super::limits::ACCEPT_AGAIN;
use crate::control::api::{ConnId, Peer};
use crate::identity::{JoinToken, NodeCertificate};
use crate::refusals::Refusal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_util::task::TaskTracker;

/// The path of the upgrade.
pub const PATH: &str = "/soleil";
/// The WebSocket subprotocol: PROTOCOL's first major version.
pub const SUBPROTOCOL: &str = "soleil.1";

/// Numbers for connections, shared by those that accept and those that dial.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnNumbers(Arc<AtomicU64>);

impl ConnNumbers {
    pub(super) fn next(&self) -> ConnId {
        ConnId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Accepts links for the driver.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    /// `None` until the node has an identity: nobody is accepted before.
    pub(super) tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    /// Only the root has one.
    pub(super) tokens: Option<Arc<dyn TokenCheck>>,
    pub(super) numbers: ConnNumbers,
    pub(super) shared: Shared,
    pub(super) tasks: TaskTracker,
}

impl Acceptor {
    /// Runs until the driver ends.
    pub(super) async fn run(mut self) {
        let gate = Gate::new(self.shared.limits.clone());
        tokio::select! {
            ready = self.tls.wait_for(Option::is_some) => if ready.is_err() { return },
            () = self.shared.stop.cancelled() => return,
        }
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = self.shared.stop.cancelled() => return,
            };
            let (tcp, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or a client that was gone at once.
                    self.shared.tell("accept", &"listener", &error);
                    let again = self.shared.clock.deadline(ACCEPT_AGAIN);
                    tokio::time::sleep_until(again.into()).await;
                    continue;
                }
            };
            let Some(place) = gate.enter(remote.ip()) else {
                let text = "no place for another connection";
                self.shared.refuse(Refusal::Crowded, &remote, &text);
                continue;
            };
            let Some(tls) = self.tls.borrow().clone() else { continue };
            let greeting = greet(
                tcp,
                remote,
                tls,
                self.tokens.clone(),
                self.numbers.next(),
                self.shared.clone(),
                place,
            );
            self.tasks.spawn(greeting);
        }
    }
}

async fn greet(
    tcp: TcpStream,
    remote: SocketAddr,
    tls: Arc<ServerConfig>,
    tokens: Option<Arc<dyn TokenCheck>>,
    conn: ConnId,
    shared: Shared,
    mut place: Place,
) {
    let _ = tcp.set_nodelay(true);
    let shaking = timeout(shared.limits.handshake_timeout, shake(tcp, tls, tokens.as_deref()));
    let shaken = tokio::select! {
        shaken = shaking => shaken,
        () = shared.stop.cancelled() => return,
    };
    let (socket, peer) = match shaken {
        Ok(Ok(done)) => done,
        Ok(Err((why, text))) => {
            shared.refuse(why, &remote, &text);
            return;
        }
        Err(_) => {
            shared.refuse(Refusal::Slow, &remote, &"the handshake took too long");
            return;
        }
    };
    place.opened();
    let (connection, out) = Connection::new(conn, socket, shared.clone());
    let event = LinkEvent::Accepted { conn, peer, remote, out };
    if shared.inbox.send(event).await.is_ok() {
        connection.run().await;
    }
    drop(place);
}

type Refused = (Refusal, String);

async fn shake(
    tcp: TcpStream,
    tls: Arc<ServerConfig>,
    tokens: Option<&dyn TokenCheck>,
) -> Result<(WebSocketStream<TlsStream<TcpStream>>, Peer), Refused> {
    let failed = |e: &dyn std::fmt::Display| (Refusal::Handshake, e.to_string());
    let stream = TlsAcceptor::from(tls).accept(tcp).await.map_err(|e| failed(&e))?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate =
        certificate.map(|der| NodeCertificate::parse(der)).transpose().map_err(|e| failed(&e))?;
    let mut peer = None;
    let mut refusal = None;
    // The shape of tungstenite's callback: its error is a whole response.
    #[allow(clippy::result_large_err)]
    let upgrade = |request: &Request, response: Response| match admit(request, certificate, tokens)
    {
        Ok(who) => {
            peer = Some(who);
            Ok(with_subprotocol(response))
        }
        Err((status, why, text)) => {
            let answer = refuse(status, text.clone());
            refusal = Some((why, text));
            Err(answer)
        }
    };
    let config = Some(web_socket_config());
    let upgraded = tokio_tungstenite::accept_hdr_async_with_config(stream, upgrade, config).await;
    match (upgraded, peer, refusal) {
        (Ok(socket), Some(peer), _) => Ok((socket, peer)),
        (_, _, Some(refusal)) => Err(refusal),
        (Err(error), _, _) => Err(failed(&error)),
        (Ok(_), None, None) => Err(failed(&"nobody was admitted")),
    }
}

fn with_subprotocol(mut response: Response) -> Response {
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    response
}

fn refuse(status: StatusCode, text: String) -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    *response.body_mut() = Some(text);
    response
}

/// Who asks for the upgrade, or why it is refused. A certificate says who a node is. A token, where
/// one is shown, must be good even beside a certificate: a revoked one ends a node's return.
fn admit(
    request: &Request,
    certificate: Option<NodeCertificate>,
    tokens: Option<&dyn TokenCheck>,
) -> Result<Peer, (StatusCode, Refusal, String)> {
    let refuse = |status, why, text: &str| Err((status, why, text.to_string()));
    if request.uri().path() != PATH {
        let text = "there is nothing here but /soleil";
        return refuse(StatusCode::NOT_FOUND, Refusal::Handshake, text);
    }
    let protocols = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut protocols = protocols.iter().filter_map(|value| value.to_str().ok());
    if !protocols.any(|list| list.split(',').any(|one| one.trim() == SUBPROTOCOL)) {
        let text = "the subprotocol soleil.1 is spoken here";
        return refuse(StatusCode::BAD_REQUEST, Refusal::Handshake, text);
    }
    let unauthorized = StatusCode::UNAUTHORIZED;
    let bearer = request.headers().get(header::AUTHORIZATION);
    let joining = match (bearer, tokens) {
        (None, _) | (Some(_), None) => None,
        (Some(value), Some(tokens)) => {
            let value = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
            let Some((id, secret)) = value.and_then(JoinToken::parse_bearer) else {
                return refuse(unauthorized, Refusal::Token, "this is not a join token");
            };
            match tokens.check(id, secret) {
                Ok(role) => Some((id.to_string(), role)),
                Err(text) => return refuse(unauthorized, Refusal::Token, &text),
            }
        }
    };
    match (certificate, joining, tokens) {
        (Some(certificate), joining, _) => Ok(Peer::Node {
            id: certificate.id,
            key: certificate.key,
            until: certificate.not_after,
            token: joining,
        }),
        (None, Some((token, role)), _) => Ok(Peer::Joining { token, role }),
        (None, None, Some(_)) => {
            refuse(unauthorized, Refusal::Anonymous, "a certificate or a join token is needed")
        }
        (None, None, None) => refuse(unauthorized, Refusal::Anonymous, "a certificate is needed"),
    }
}

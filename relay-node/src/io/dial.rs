//! Dialing the root or a parent: name, TCP, TLS, upgrade, all within one time-out.

use super::accept::{ConnNumbers, PATH, SUBPROTOCOL};
use super::conn::{Connection, LinkEvent, Shared, web_socket_config};
use super::limits::MAX_REFUSAL;
use crate::config::values::format_endpoint;
use crate::control::api::DialId;
use crate::identity::tls::unused_server_name;
use soleil_protocol::message::HostPort;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use zeroize::Zeroizing;

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;

/// One dial.
pub(super) struct Dial {
    pub(super) dial: DialId,
    pub(super) to: HostPort,
    /// TLS configurations, tried in order. The root is dialed with the certificate first, and if
    /// that fails (it has run out by the root's clock) with the token alone.
    pub(super) tls: Vec<Arc<ClientConfig>>,
    /// `<token-id>.<secret>` for the root.
    pub(super) bearer: Option<Zeroizing<String>>,
}

/// Why a dial failed.
struct Failure {
    text: String,
    refused: bool,
}

impl Failure {
    fn new(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), refused: false }
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

impl Dial {
    /// Dials, tells the driver, and runs the connection.
    pub(super) async fn run(self, numbers: ConnNumbers, shared: Shared) {
        let dial = self.dial;
        let dialing = timeout(shared.limits.dial_timeout, self.connect());
        let result = tokio::select! {
            result = dialing => result,
            () = shared.stop.cancelled() => return,
        };
        let failure = match result {
            Ok(Ok((socket, local))) => {
                let conn = numbers.next();
                let (connection, out) = Connection::new(conn, socket, shared.clone());
                let event = LinkEvent::Dialed { dial, conn, local, out };
                if shared.inbox.send(event).await.is_ok() {
                    connection.run().await;
                }
                return;
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::new("it takes too long"),
        };
        let error = format!("{}: {}", format_endpoint(&self.to), failure.text);
        let event = LinkEvent::DialFailed { dial, error, refused: failure.refused };
        let _ = shared.inbox.send(event).await;
    }

    async fn connect(&self) -> Result<(Socket, SocketAddr), Failure> {
        let mut last = Failure::new("no TLS configuration");
        for tls in &self.tls {
            match self.connect_with(tls).await {
                Ok(done) => return Ok(done),
                // A refused token is refused with and without a certificate.
                Err(failure) if failure.refused => return Err(failure),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn connect_with(&self, tls: &Arc<ClientConfig>) -> Result<(Socket, SocketAddr), Failure> {
        let tcp = self.connect_tcp().await?;
        let local = tcp.local_addr().map_err(|e| Failure::new(e.to_string()))?;
        let _ = tcp.set_nodelay(true);
        let stream = TlsConnector::from(tls.clone())
            .connect(unused_server_name(), tcp)
            .await
            .map_err(|e| Failure::new(format!("TLS: {e}")))?;
        let url = format!("wss://{}{PATH}", format_endpoint(&self.to));
        let mut request = url.into_client_request().map_err(|e| Failure::new(e.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        if let Some(bearer) = &self.bearer {
            let value = Zeroizing::new(format!("Bearer {}", bearer.as_str()));
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| Failure::new("the token cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let config = Some(web_socket_config());
        match tokio_tungstenite::client_async_with_config(request, stream, config).await {
            Ok((socket, _)) => Ok((socket, local)),
            Err(Error::Http(response)) => {
                let refused = response.status() == StatusCode::UNAUTHORIZED;
                let body = response.body().as_deref().unwrap_or_default();
                let body = String::from_utf8_lossy(&body[..body.len().min(MAX_REFUSAL)]);
                // It goes into a log: one line, nothing that moves the cursor.
                let body: String = body.chars().filter(|c| !c.is_control()).collect();
                let text = format!("refused with {}: {body}", response.status());
                Err(Failure { text, refused })
            }
            Err(error) => Err(Failure::new(error.to_string())),
        }
    }

    async fn connect_tcp(&self) -> Result<TcpStream, Failure> {
        let addresses = lookup_host((self.to.host.as_str(), self.to.port))
            .await
            .map_err(|e| Failure::new(format!("cannot find the name: {e}")))?;
        let mut last = Failure::new("the name has no address");
        for address in addresses.take(MAX_ADDRESSES) {
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = Failure::new(error.to_string()),
            }
        }
        Err(last)
    }
}

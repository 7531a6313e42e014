//! The public HTTP listener of root and leaf: plain or TLS with files that may be renewed while it
//! runs, and limits on what strangers can hold open. Routes and handlers are their crates'; the
//! operators' endpoint is [`crate::ops`].

mod guests;
mod patience;
#[cfg(test)]
mod tests;
mod tls;

pub use tls::TlsFiles;

use axum::{Extension, Router};
use guests::Guests;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use patience::Patient;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at the same time. A viewer holds one for a moment, when it joins and leaves.
pub const MAX_CONNECTIONS: u32 = 4096;
/// Connections from one address at the same time: many viewers may sit behind one NAT, but one
/// address (IPv6: one /64) must not be able to take them all.
pub const MAX_PER_ADDRESS: u32 = 512;
/// How long a client may take to send a request's head, idle time before it included (slowloris).
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a client may leave its answer unread once the sockets between are full. Event streams
/// have as much patience with those who do not read.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest request head.
pub const MAX_HEAD: usize = 16 * 1024;
/// How long open requests may go on when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the certificate's files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// A pause when connections can't be accepted (no file descriptors): some must end first.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A bound listener.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    tls: Option<Arc<TlsFiles>>,
    limits: Limits,
}

/// What one server lets in, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: u32,
    /// Of these, from one address.
    pub per_address: u32,
    /// For a request's head.
    pub head: Duration,
    /// For a TLS handshake.
    pub handshake: Duration,
    /// For a client that does not read.
    pub write: Duration,
    /// Between two looks at the certificate's files.
    pub reload: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            per_address: MAX_PER_ADDRESS,
            head: HEAD_TIMEOUT,
            handshake: HANDSHAKE_TIMEOUT,
            write: WRITE_TIMEOUT,
            reload: RELOAD_INTERVAL,
        }
    }
}

/// Where a request comes from; handlers get it as an axum `Extension`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub SocketAddr);

/// Ends the connection that a request came over, its answer unfinished: for answers that a client
/// asks for and then does not read. Handlers get it as an axum `Extension`.
#[derive(Debug, Clone, Default)]
pub struct Hangup(CancellationToken);

impl Hangup {
    /// Now.
    pub fn now(&self) {
        self.0.cancel();
    }

    /// Whether it has been done.
    pub fn is_now(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl HttpServer {
    /// Binds; `tls` makes it HTTPS.
    ///
    /// # Errors
    /// If the address can't be bound.
    pub async fn bind(listen: SocketAddr, tls: Option<TlsFiles>) -> io::Result<HttpServer> {
        let listener = TcpListener::bind(listen).await?;
        Ok(HttpServer { listener, tls: tls.map(Arc::new), limits: Limits::default() })
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until cancelled; open requests may end.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let guests = Guests::default();
        let tasks = TaskTracker::new();
        let mut reload = tokio::time::interval(self.limits.reload);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                _ = reload.tick() => {
                    if let Some(tls) = &self.tls {
                        tls.refresh();
                    }
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    let _ = tokio::time::timeout(ACCEPT_AGAIN, stop.cancelled()).await;
                    continue;
                }
            };
            let Some(place) = guests.enter(from.ip(), &self.limits) else {
                tracing::debug!(%from, "too many HTTP connections");
                continue;
            };
            let acceptor = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.config()));
            let hangup = Hangup::default();
            let router =
                router.clone().layer(Extension(ClientAddr(from))).layer(Extension(hangup.clone()));
            let (stop, limits) = (stop.clone(), self.limits);
            tasks.spawn(async move {
                let _place = place;
                tokio::select! {
                    () = connection(stream, acceptor, router, stop, limits) => {}
                    () = hangup.0.cancelled() => {}
                }
            });
        }
        tasks.close();
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, tasks.wait()).await;
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
    limits: Limits,
) {
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, limits.write);
    match acceptor {
        None => serve_stream(stream, router, stop, limits.head).await,
        Some(acceptor) => {
            match tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve_stream(stream, router, stop, limits.head).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        }
    }
}

async fn serve_stream<S>(stream: S, router: Router, stop: CancellationToken, head: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

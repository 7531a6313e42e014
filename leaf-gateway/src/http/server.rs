//! The HTTP listener: plain or TLS, with limits on what strangers can hold open. Handlers learn the
//! client's address from [`ClientAddr`].

use super::TlsFiles;
use axum::{Extension, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at the same time. A viewer holds one for a moment, when it joins and leaves.
pub const MAX_CONNECTIONS: usize = 4096;
/// Of these, from one address: many viewers may sit behind one NAT.
pub const MAX_PER_ADDRESS: usize = 512;
/// How long a client may take for a request's head, idle time before it included (slowloris).
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest request head.
pub const MAX_HEAD: usize = 16 * 1024;
/// How long open requests may go on when the server stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the certificate's files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// A pause when connections can't be accepted (no file descriptors).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where the request comes from.
#[derive(Debug, Clone, Copy)]
pub struct ClientAddr(pub SocketAddr);

/// A bound listener.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    tls: Option<TlsFiles>,
}

type Guests = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection's place, given back when dropped.
struct Place(Guests, IpAddr);

impl Place {
    fn take(guests: &Guests, ip: IpAddr) -> Option<Self> {
        let mut map = guests.lock().unwrap_or_else(PoisonError::into_inner);
        // At most MAX_CONNECTIONS small numbers: cheap beside accepting.
        if map.values().sum::<usize>() >= MAX_CONNECTIONS {
            return None;
        }
        let here = map.entry(ip).or_default();
        if *here >= MAX_PER_ADDRESS {
            return None;
        }
        *here += 1;
        Some(Self(guests.clone(), ip))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = map.get_mut(&self.1) {
            *here -= 1;
            if *here == 0 {
                map.remove(&self.1);
            }
        }
    }
}

impl HttpServer {
    /// Binds; `tls` makes it HTTPS.
    ///
    /// # Errors
    /// If the address can't be bound.
    pub async fn bind(listen: SocketAddr, tls: Option<TlsFiles>) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(listen).await?, tls })
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
        let mut reload = tokio::time::interval(RELOAD_INTERVAL);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
                _ = reload.tick() => {
                    if let Some(tls) = &self.tls {
                        tls.refresh();
                    }
                    continue;
                }
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "can't accept HTTP connections");
                    let _ = tokio::time::timeout(ACCEPT_AGAIN, stop.cancelled()).await;
                    continue;
                }
            };
            let Some(place) = Place::take(&guests, from.ip().to_canonical()) else { continue };
            let tls = self.tls.as_ref().map(|t| TlsAcceptor::from(t.config()));
            let router = router.clone().layer(Extension(ClientAddr(from)));
            let stop = stop.clone();
            tasks.spawn(async move {
                let _place = place;
                connection(stream, tls, router, stop).await;
            });
        }
        tasks.close();
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, tasks.wait()).await;
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return requests(stream, router, stop).await };
    match tokio::time::timeout(TLS_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, router, stop).await,
        _ => tracing::debug!("no TLS handshake"),
    }
}

async fn requests<S>(stream: S, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an HTTP connection ended");
    }
}

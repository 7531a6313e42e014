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

/// How long the server waits for clients and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a request's head.
    pub head: Duration,
    /// For a TLS handshake.
    pub tls: Duration,
    /// Between two looks at the certificate's files.
    pub reload: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: HEAD_TIMEOUT, tls: TLS_TIMEOUT, reload: RELOAD_INTERVAL }
    }
}

/// A bound listener.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    tls: Option<TlsFiles>,
    patience: Patience,
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
        let listener = TcpListener::bind(listen).await?;
        Ok(Self { listener, tls, patience: Patience::default() })
    }

    /// With another patience.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
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
        let mut reload = tokio::time::interval(self.patience.reload);
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
            let (stop, patience) = (stop.clone(), self.patience);
            tasks.spawn(async move {
                let _place = place;
                connection(stream, tls, router, patience, stop).await;
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
    patience: Patience,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return requests(stream, router, patience, stop).await };
    match tokio::time::timeout(patience.tls, tls.accept(stream)).await {
        Ok(Ok(stream)) => requests(stream, router, patience, stop).await,
        _ => tracing::debug!("no TLS handshake"),
    }
}

async fn requests<S>(stream: S, router: Router, patience: Patience, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_per_address_and_come_back() {
        let guests = Guests::default();
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        let mut taken: Vec<Place> =
            (0..MAX_PER_ADDRESS).map(|_| Place::take(&guests, ip(1)).unwrap()).collect();
        assert!(Place::take(&guests, ip(1)).is_none());
        taken.push(Place::take(&guests, ip(2)).unwrap());
        taken.remove(0);
        taken.push(Place::take(&guests, ip(1)).unwrap());
        drop(taken);
        assert!(guests.lock().unwrap().is_empty());
    }

    #[test]
    fn places_are_limited_in_all() {
        let guests = Guests::default();
        let address = |i: usize| IpAddr::from([10, 0, (i >> 8) as u8, i as u8]);
        let taken: Vec<Place> =
            (0..MAX_CONNECTIONS).map(|i| Place::take(&guests, address(i)).unwrap()).collect();
        assert!(Place::take(&guests, IpAddr::from([192, 0, 2, 1])).is_none());
        assert_eq!(guests.lock().unwrap().len(), MAX_CONNECTIONS, "a refusal leaves nothing");
        drop(taken);
    }
}

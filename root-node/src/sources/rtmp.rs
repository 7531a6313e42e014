//! The RTMP server: encoders (OBS, FFmpeg, GStreamer) push to it, and what they send goes as FLV to the
//! worker of the stream. The protocol itself is the crate `rtmp-runtime`, a state machine without
//! sockets; here are the sockets, who may publish, and the limits.
//!
//! An address is `rtmp://HOST/STREAM` and the stream key is the source's secret; encoders that have one
//! line for both write `rtmp://HOST/STREAM/KEY`. A stream takes one publisher at a time.

use super::driver::{Feeder, SourceHandle, feed};
use super::status::State;
use crate::config::Secret;
use bytes::Bytes;
use relay_node::clock::Clock;
use relay_node::refusals::RefusalLog;
use ring::digest;
use rtmp_runtime::server::{ServerConfig, ServerEvent, ServerSession};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections at a time, those of strangers included.
pub const MAX_CONNECTIONS: usize = 64;
/// From the connection to an accepted publish.
pub const GREETING: Duration = Duration::from_secs(10);
/// Bytes until then: the handshake has 3,073, commands some hundreds.
pub const MAX_GREETING: usize = 32 * 1024;
/// A publisher that sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(15);
/// Our few answers must be taken, and a worker must take media, within this time.
const TAKEN: Duration = Duration::from_secs(5);
/// Bytes of messages that are not complete: a large key frame and some sound. (The crate has limits of its
/// own for chunks, chunk streams and messages.)
const MAX_PENDING: usize = 8 << 20;
/// Bytes read at once.
const PIECE: usize = 16 * 1024;

/// A stream that can be published to.
pub struct Entry {
    /// Its stream key.
    pub key: Secret,
    /// Its name.
    pub stream: String,
    /// Finds its source of now: it is another one when the stream has begun again.
    pub source: Box<dyn Fn() -> Option<SourceHandle> + Send + Sync>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Why a publisher is sent away.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("it does not speak RTMP as it should: {0}")]
    Protocol(#[from] rtmp_runtime::RtmpError),
    #[error("nothing was published within {} s", GREETING.as_secs())]
    Slow,
    #[error("{MAX_GREETING} bytes and nothing published")]
    Much,
    #[error("there is no such stream that is published by RTMP")]
    Unknown,
    #[error("wrong stream key")]
    Key,
    #[error("somebody publishes it already")]
    Busy,
    #[error("it has sent nothing for {} s", SILENCE.as_secs())]
    Silent,
    #[error("the worker takes no more")]
    Worker,
}

impl Refused {
    /// What the log counts together.
    fn kind(&self) -> &'static str {
        match self {
            Refused::Io(_) => "io",
            Refused::Protocol(_) => "protocol",
            Refused::Slow => "slow",
            Refused::Much => "much",
            Refused::Unknown => "unknown",
            Refused::Key => "key",
            Refused::Busy => "busy",
            Refused::Silent => "silent",
            Refused::Worker => "worker",
        }
    }
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    entries: Vec<Entry>,
    clock: Clock,
    stop: CancellationToken,
) {
    let entries = Arc::new(entries);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let refusals = Arc::new(Mutex::new(RefusalLog::default()));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "RTMP: a connection was not taken");
                // No descriptors, most likely: one that ends frees one.
                let _ = places.acquire().await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::debug!(%peer, "RTMP: too many connections");
            continue;
        };
        let (entries, stop, refusals) = (entries.clone(), stop.clone(), refusals.clone());
        tokio::spawn(async move {
            let connection = Connection::new(socket, peer, &entries, clock);
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection.run() => match ended {
                    Ok(()) => tracing::debug!(%peer, "RTMP: the connection has ended"),
                    Err(why) => {
                        let mut log = refusals.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(times) = log.note(why.kind(), 1, clock.now().mono) {
                            tracing::warn!(%peer, times, "RTMP: closed: {why}");
                        }
                    }
                }
            }
            drop(place);
        });
    }
}

struct Connection<'a> {
    socket: TcpStream,
    peer: SocketAddr,
    entries: &'a [Entry],
    clock: Clock,
    session: ServerSession,
    publishing: Option<Feeder>,
}

impl<'a> Connection<'a> {
    fn new(socket: TcpStream, peer: SocketAddr, entries: &'a [Entry], clock: Clock) -> Self {
        // The key is looked at when it is known whose it must be.
        let config = ServerConfig::default().with_max_in_progress_bytes(MAX_PENDING);
        let session = ServerSession::new(config);
        Self { socket, peer, entries, clock, session, publishing: None }
    }

    async fn run(mut self) -> Result<(), Refused> {
        let begun = self.clock.now().mono;
        let (mut buffer, mut taken) = (vec![0; PIECE], 0_usize);
        loop {
            let greeted = self.publishing.is_some();
            let limit = if greeted {
                SILENCE
            } else {
                GREETING.saturating_sub(self.clock.now().mono.since(begun))
            };
            let late = if greeted { Refused::Silent } else { Refused::Slow };
            let read = tokio::time::timeout(limit, self.socket.read(&mut buffer));
            let n = read.await.map_err(|_| late)??;
            if n == 0 {
                return Ok(());
            }
            taken = taken.saturating_add(n);
            if !greeted && taken > MAX_GREETING {
                return Err(Refused::Much);
            }
            let (answer, events) = self.session.handle_data(&buffer[..n])?;
            for event in events {
                if self.event(event).await? {
                    return Ok(());
                }
            }
            // Only now: who may not publish hears no "go on".
            let write = tokio::time::timeout(TAKEN, self.socket.write_all(&answer));
            write.await.map_err(|_| Refused::Slow)??;
        }
    }

    /// Takes an event; `true` if it was the last one.
    async fn event(&mut self, event: ServerEvent) -> Result<bool, Refused> {
        match event {
            ServerEvent::Connected { app } => {
                self.entries(&app).next().map(|_| false).ok_or(Refused::Unknown)
            }
            ServerEvent::Publish { app, stream_key, .. } => {
                self.entries(&app).next().ok_or(Refused::Unknown)?;
                // A stream may have two such sources: the key tells which.
                let entry = self.entries(&app).find(|e| same(&e.key.0, &stream_key));
                let entry = entry.ok_or(Refused::Key)?;
                let stream = &entry.stream;
                // A stream that does not run has nobody who could take it.
                let source = (entry.source)().ok_or(Refused::Worker)?;
                let free = source.status.borrow().state == State::Waiting;
                let (feeder, media) = feed();
                if !free || self.publishing.is_some() || !source.publish(media) {
                    return Err(Refused::Busy);
                }
                tracing::info!(peer = %self.peer, %stream, "RTMP: a publisher begins");
                self.publishing = Some(feeder);
                Ok(false)
            }
            ServerEvent::Media { flv } => {
                let Some(feeder) = &self.publishing else { return Ok(false) };
                let sent = tokio::time::timeout(TAKEN, feeder.send(Bytes::from(flv))).await;
                match sent {
                    Ok(Ok(())) => Ok(false),
                    Ok(Err(_)) | Err(_) => Err(Refused::Worker),
                }
            }
            ServerEvent::Eof => Ok(true),
            _ => Ok(false),
        }
    }

    /// Who may be meant by an address' path.
    fn entries(&self, app: &str) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let name = app.split('?').next().unwrap_or_default().trim_matches('/').to_owned();
        self.entries.iter().filter(move |e| e.stream == name)
    }
}

/// Compares secrets in a time that tells nothing: what is compared are digests, of which a guesser does
/// not choose a single byte.
fn same(a: &str, b: &str) -> bool {
    let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
    hash(a).as_ref() == hash(b).as_ref()
}

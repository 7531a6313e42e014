//! One control connection: a task that reads messages for the core and writes what the core sends.
//!
//! Everything is bounded: what a peer may send (by rate, by size), what waits for a peer that does
//! not read (bytes, messages, time). A connection that goes over is closed; others notice nothing.

use super::bucket::Bucket;
use super::counters::{Direction, LinkCounters};
use super::limits::{INBOX, LINK_BYTES, LinkLimits, MAX_DISCARDED};
use crate::clock::Clock;
use crate::control::api::{ConnId, DialId, Peer};
use crate::refusals::Refusal;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use soleil_protocol::limits::MAX_MESSAGE;
use soleil_protocol::message::{ErrorCode, ErrorReport};
use soleil_protocol::{Body, Message};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Error, error::ProtocolError};
use tokio_util::sync::CancellationToken;

/// The WebSocket's own bounds: a message of the protocol fits, nothing larger is even buffered.
pub(super) fn web_socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(16 * 1024)
        .write_buffer_size(16 * 1024)
        .max_write_buffer_size(2 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// What connections tell the driver.
#[derive(Debug)]
pub(super) enum LinkEvent {
    Accepted { conn: ConnId, peer: Peer, remote: SocketAddr, out: Outbound },
    Dialed { dial: DialId, conn: ConnId, local: SocketAddr, out: Outbound },
    DialFailed { dial: DialId, error: String, refused: bool },
    Message(ConnId, Message),
    Malformed(ConnId, ErrorReport),
    Closed(ConnId),
}

/// What all connections of a node share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) inbox: mpsc::Sender<LinkEvent>,
    pub(super) counters: Arc<LinkCounters>,
    pub(super) limits: LinkLimits,
    pub(super) clock: Clock,
    /// The node ends: accept and dial no more.
    pub(super) stop: CancellationToken,
}

impl Shared {
    pub(super) fn new(limits: LinkLimits, clock: Clock) -> (Shared, mpsc::Receiver<LinkEvent>) {
        let (inbox, events) = mpsc::channel(INBOX);
        let stop = CancellationToken::new();
        (Shared { inbox, counters: Arc::default(), limits, clock, stop }, events)
    }

    /// Counts what was refused, and says so in the log if it is its turn.
    pub(super) fn refuse(&self, why: Refusal, who: &dyn Display, text: &dyn Display) {
        self.counters.refused(why);
        self.tell(why.as_str(), who, text);
    }

    /// A line in the log, unless there were many of this kind lately.
    pub(super) fn tell(&self, kind: &'static str, who: &dyn Display, text: &dyn Display) {
        if let Some(times) = self.counters.note(kind, 1, self.clock.now().mono) {
            tracing::warn!(reason = kind, %who, text = %text, times, "refused");
        }
    }

    /// Tells of what was left out of the log.
    pub(super) fn tell_overdue(&self) {
        for (kind, times) in self.counters.overdue(self.clock.now().mono) {
            tracing::warn!(reason = kind, times, "refused, and left out of the log till now");
        }
    }
}

#[derive(Debug)]
enum Outgoing {
    Text(String),
    Close(String),
}

/// The driver's end of a connection's queue. Dropping it sends what is queued and closes.
#[derive(Debug)]
pub(super) struct Outbound {
    queue: mpsc::UnboundedSender<Outgoing>,
    waiting: Arc<Waiting>,
    cancel: CancellationToken,
    limits: (usize, usize),
}

/// What waits in a queue. The channel is unbounded; this is its bound.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    messages: AtomicUsize,
}

impl Outbound {
    /// Queues a message. A peer that lets too much pile up is cut off: then this is `false`, and
    /// `Closed` follows.
    pub(super) fn send(&self, text: String) -> bool {
        let bytes = self.waiting.bytes.fetch_add(text.len(), Ordering::Relaxed) + text.len();
        let messages = self.waiting.messages.fetch_add(1, Ordering::Relaxed) + 1;
        if bytes > self.limits.0 || messages > self.limits.1 {
            self.cancel.cancel();
            return false;
        }
        // A connection that has ended meanwhile says so by `Closed`.
        let _ = self.queue.send(Outgoing::Text(text));
        true
    }

    /// Closes after what is queued.
    pub(super) fn close(&self, reason: String) {
        let _ = self.queue.send(Outgoing::Close(reason));
    }
}

/// One connection, ready to run. Made before the driver is told, so that nothing is lost between.
pub(super) struct Connection<S> {
    conn: ConnId,
    socket: WebSocketStream<S>,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    waiting: Arc<Waiting>,
    cancel: CancellationToken,
    shared: Shared,
}

/// Why reading ended.
enum End {
    /// The peer has gone.
    Gone,
    /// It sent what cannot be read on after; the core answers and closes.
    Unreadable,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(
        conn: ConnId,
        socket: WebSocketStream<S>,
        shared: Shared,
    ) -> (Connection<S>, Outbound) {
        let (sender, queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let cancel = CancellationToken::new();
        let limits = (shared.limits.queued_bytes, shared.limits.queued_messages);
        let out =
            Outbound { queue: sender, waiting: waiting.clone(), cancel: cancel.clone(), limits };
        (Connection { conn, socket, queue, waiting, cancel, shared }, out)
    }

    /// Runs until either side closes, and tells the driver so.
    pub(super) async fn run(self) {
        let Connection { conn, socket, queue, waiting, cancel, shared } = self;
        let guard = shared.counters.opened();
        let close_timeout = shared.limits.close_timeout;
        let (mut sink, mut stream) = socket.split();
        let polite = {
            let reading = read(conn, &mut stream, &shared);
            let mut writing = std::pin::pin!(write(conn, &mut sink, queue, &waiting, &shared));
            tokio::select! {
                () = cancel.cancelled() => {
                    let text = "too much waits for this peer: closing";
                    shared.refuse(Refusal::NotReading, &conn, &text);
                    false
                }
                polite = &mut writing => polite,
                end = reading => match end {
                    End::Gone => false,
                    // The core's ERROR and its close still go out.
                    End::Unreadable => {
                        timeout(close_timeout, &mut writing).await.unwrap_or(false)
                    }
                },
            }
        };
        drop(guard);
        // The driver may have ended before us.
        let _ = shared.inbox.send(LinkEvent::Closed(conn)).await;
        if polite && let Ok(mut socket) = sink.reunite(stream) {
            let _ = timeout(close_timeout, discard(socket.get_mut())).await;
        }
    }
}

/// Reads messages into the inbox until the peer has gone or cannot be understood any more.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    conn: ConnId,
    stream: &mut SplitStream<WebSocketStream<S>>,
    shared: &Shared,
) -> End {
    let now = shared.clock.now().mono;
    let mut messages = Bucket::new(shared.limits.rate, shared.limits.burst, now);
    let mut bytes = Bucket::new(LINK_BYTES, 2 * LINK_BYTES, now);
    loop {
        let event = match stream.next().await {
            None => return End::Gone,
            Some(Ok(frame)) => {
                let now = shared.clock.now().mono;
                let size = u32::try_from(frame.len()).unwrap_or(u32::MAX);
                let wait = messages.take(1, now).max(bytes.take(size, now));
                if !wait.is_zero() {
                    shared.counters.slowed();
                    tokio::time::sleep_until(shared.clock.deadline(wait).into()).await;
                }
                match frame {
                    tungstenite::Message::Text(text) => match Message::from_xml(&text) {
                        Ok(message) => {
                            count(shared, Direction::In, &message.body);
                            LinkEvent::Message(conn, message)
                        }
                        Err(error) => LinkEvent::Malformed(conn, error.into()),
                    },
                    tungstenite::Message::Binary(_) => malformed(conn, "a binary frame"),
                    tungstenite::Message::Close(_) => return End::Gone,
                    // Keep-alives of the WebSocket itself: answered below us, counted above.
                    _ => continue,
                }
            }
            Some(Err(error)) => match error {
                Error::Capacity(_) => malformed(conn, "a frame that is too long"),
                Error::Utf8(_) => malformed(conn, "text that is not UTF-8"),
                Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return End::Gone,
                Error::Protocol(_) => malformed(conn, "something that is no WebSocket frame"),
                _ => return End::Gone,
            },
        };
        let unreadable = matches!(
            &event,
            LinkEvent::Malformed(_, report) if report.code != ErrorCode::UnknownType
        );
        if let LinkEvent::Malformed(_, report) = &event {
            shared.refuse(Refusal::Malformed, &conn, &report.text);
        }
        if shared.inbox.send(event).await.is_err() {
            return End::Gone;
        }
        if unreadable {
            return End::Unreadable;
        }
    }
}

fn malformed(conn: ConnId, what: &str) -> LinkEvent {
    let report = ErrorReport {
        code: ErrorCode::Malformed,
        text: format!("what came is not a message but {what}"),
        failed_time: None,
        failed_type: String::new(),
    };
    LinkEvent::Malformed(conn, report)
}

/// Counts a message, and an ERROR by its code.
pub(super) fn count(shared: &Shared, direction: Direction, body: &Body) {
    shared.counters.message(direction, body.kind());
    if let Body::Error(report) = body {
        shared.counters.error(direction, report.code);
    }
}

/// Writes what is queued; whether the end was one of ours (then the peer gets time to read it).
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    conn: ConnId,
    sink: &mut SplitSink<WebSocketStream<S>, tungstenite::Message>,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    waiting: &Waiting,
    shared: &Shared,
) -> bool {
    let limits = &shared.limits;
    let mut farewell = String::from("the node stops");
    while let Some(next) = queue.recv().await {
        let text = match next {
            Outgoing::Text(text) => text,
            Outgoing::Close(reason) => {
                farewell = reason;
                break;
            }
        };
        let length = text.len();
        let sending = sink.send(tungstenite::Message::text(text));
        match timeout(limits.write_timeout, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return false,
            Err(_) => {
                shared.refuse(Refusal::NotReading, &conn, &"the peer does not read: closing");
                return false;
            }
        }
        waiting.bytes.fetch_sub(length, Ordering::Relaxed);
        waiting.messages.fetch_sub(1, Ordering::Relaxed);
    }
    tracing::debug!(?conn, reason = %farewell, "closing");
    let frame = CloseFrame { code: CloseCode::Normal, reason: clip(&farewell).into() };
    let closing = sink.send(tungstenite::Message::Close(Some(frame)));
    matches!(timeout(limits.close_timeout, closing).await, Ok(Ok(())))
}

/// A close frame's reason has at most 123 bytes (RFC 6455 section 5.5).
fn clip(reason: &str) -> &str {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}

/// Ends our side and throws away what still comes. Closing a socket with unread bytes in it resets
/// the connection, and the peer would lose our last message.
async fn discard<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut buffer = [0; 4096];
    let mut total = 0;
    while let Ok(n) = stream.read(&mut buffer).await {
        total += n;
        if n == 0 || total > MAX_DISCARDED {
            return;
        }
    }
}
